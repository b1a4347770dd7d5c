"""Tests of it_study.data.prepare."""

import fakes
import pytest
import seqio
import tensorflow_datasets as tfds

from it_study.corpus import locate
from it_study.data import prepare, row_source, tfds_builder, vocabularies
from it_study.errors import InputError


@pytest.fixture(name='corpus')
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  return fakes.write_small_corpus(tmp_path / 'corpus')


def test_using_a_corpus_builds_its_rows_and_reads_them(corpus, tmp_path):
  data_dir = prepare.use_corpus(
    corpus, data_dir=tmp_path / 'rows', max_instances_per_task=3
  )
  assert data_dir == tmp_path / 'rows'
  assert row_source.SOURCE.counts('train')['task1_mood'] == 3


def test_a_tilde_is_one_folder(corpus, monkeypatch, tmp_path):
  # TFDS expands it as well, pathlib does not.
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  data_dir = prepare.use_corpus('~/corpus', data_dir='~/rows')
  assert data_dir == tmp_path / 'rows'
  assert str(row_source.SOURCE.tfds_dataset.data_dir) == str(data_dir)
  assert row_source.SOURCE.counts('test')['task4_entail'] == 100
  # As T5X's --tfds_data_dir gives it.
  seqio.set_tfds_data_dir_override('~/rows')
  try:
    source = row_source.RowsSource()
    assert source.counts('test') == row_source.SOURCE.counts('test')
  finally:
    seqio.set_tfds_data_dir_override(None)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['corpus', 'rows']


def test_using_a_corpus_and_a_vocabulary(corpus):
  assert prepare.use_corpus_and_vocabulary(corpus) == corpus
  assert row_source.SOURCE.metadata()['train_tasks'][0] == 'task1_mood'
  assert vocabularies.describe().startswith('byte')


def test_build_takes_a_cap_and_a_data_dir(corpus, tmp_path):
  folder = tmp_path / 'rows'
  data_dir = prepare.build_corpus(
    corpus, data_dir=folder, max_instances_per_task=3
  )
  assert data_dir == folder
  stored = tfds_builder.stored_metadata(folder)
  assert stored['num_train_instances']['task1_mood'] == 3
  assert not (folder / prepare.VOCABULARY_FILE).exists()


def test_a_track_has_separate_rows(corpus):
  splits = corpus / 'splits'
  (splits / 'xlingual').mkdir()
  for name, tasks in (('train', 'task2_echo'), ('test', 'task5_title')):
    (splits / f'xlingual/{name}_tasks.txt').write_text(f'{tasks}\n')
  prepare.use_corpus(corpus, track='xlingual')
  assert row_source.SOURCE.metadata()['train_tasks'] == ['task2_echo']
  assert prepare.build_corpus(corpus) != prepare.build_corpus(
    corpus, track='xlingual'
  )


def test_excluded_instances_are_in_no_row(corpus, tmp_path):
  path = tmp_path / 'exclusions.txt'
  path.write_text('task2_echo\ntask5_title\ttitle-3\n')
  folder = prepare.build_corpus(corpus, exclusions=path)
  assert folder != prepare.build_corpus(corpus)
  stored = tfds_builder.stored_metadata(folder)
  assert stored['train_tasks'] == ['task1_mood', 'task3_few']
  builder = tfds.builder_from_directory(
    folder / tfds_builder.NAME / tfds_builder.VERSION
  )
  assert builder.info.splits['test'].num_examples == 105


def test_build_reports_progress(corpus, tmp_path):
  reports = []
  prepare.build_corpus(
    corpus, data_dir=tmp_path / 'rows', on_progress=lambda *p: reports.append(p)
  )
  assert reports[4:] == [('parse', 5, 5), ('write', 172, 172)]


def test_a_missing_vocabulary_is_named(corpus, tmp_path):
  with pytest.raises(InputError, match=r'vocabulary .*/none: cannot be read'):
    prepare.use_corpus_and_vocabulary(corpus, vocabulary=str(tmp_path / 'none'))


def test_the_current_vocabulary_is_checked(corpus, tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, str(tmp_path / 'none'))
  with pytest.raises(InputError, match=r'vocabulary .*/none: cannot be read'):
    prepare.use_corpus_and_vocabulary(corpus)


def test_the_miniature_s_vocabulary_is_trained_once(corpus):
  directory = prepare.use_corpus_and_vocabulary(
    locate.MINIATURE, vocabulary=locate.MINIATURE
  )
  assert len(row_source.SOURCE.metadata()['tasks']) > 40
  described = vocabularies.describe()
  assert described.startswith(f'{prepare.VOCABULARY_FILE}, ')
  data_dir = prepare.build_corpus(directory)
  written = (data_dir / prepare.VOCABULARY_FILE).stat().st_mtime_ns
  # Another corpus may use it, and it is not trained again.
  prepare.use_corpus_and_vocabulary(corpus, vocabulary=locate.MINIATURE)
  assert vocabularies.describe() == described
  assert (data_dir / prepare.VOCABULARY_FILE).stat().st_mtime_ns == written


def test_a_damaged_vocabulary_is_trained_again(corpus, caplog):
  data_dir = prepare.build_corpus(locate.find(locate.MINIATURE))
  path = data_dir / prepare.VOCABULARY_FILE
  whole = path.read_bytes()
  path.write_bytes(whole.replace(b'Definition', b'Dafinition'))
  assert path.read_bytes() != whole
  prepare.set_or_check_vocabulary(locate.MINIATURE, data_dir=data_dir)
  assert caplog.messages == [
    f'{path}: it has changed since it was written; rebuilding it'
  ]
  assert path.read_bytes() == whole
  (data_dir / f'{path.name}.sha256').unlink()
  caplog.clear()
  prepare.set_or_check_vocabulary(locate.MINIATURE, data_dir=data_dir)
  assert not caplog.messages


def test_the_miniature_defaults_to_its_own_vocabulary(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  prepare.set_or_check_vocabulary(None, corpus=locate.MINIATURE)
  own = vocabularies.describe()
  assert own.startswith(f'{prepare.VOCABULARY_FILE}, ')
  # The variable takes precedence, and may name the miniature's.
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  prepare.set_or_check_vocabulary(None, corpus=locate.MINIATURE)
  assert vocabularies.describe().startswith('byte')
  monkeypatch.setenv(vocabularies.VARIABLE, locate.MINIATURE)
  prepare.set_or_check_vocabulary(None, corpus=corpus)
  assert vocabularies.describe() == own
