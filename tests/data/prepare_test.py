"""Tests of prepare: a corpus made ready, its vocabulary settled."""

import fakes
import pytest
import tensorflow_datasets as tfds

from it_study import seqio_lib
from it_study.corpus import locate
from it_study.data import prepare, tfds_builder, vocabularies
from it_study.errors import InputError


@pytest.fixture(name='corpus')
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  return fakes.write_small_corpus(tmp_path / 'corpus')


def test_use_builds_and_points_the_tasks_at_the_rows(corpus):
  assert prepare.use_corpus(corpus) == corpus
  assert seqio_lib.SOURCE.metadata()['train_tasks'][0] == 'task1_mood'
  assert vocabularies.describe().startswith('byte')


def test_build_takes_a_cap_and_a_folder(corpus, tmp_path):
  folder = tmp_path / 'rows'
  assert (
    prepare.build(corpus, data_dir=folder, max_instances_per_task=3) == folder
  )
  stored = tfds_builder.stored_metadata(folder)
  assert stored['num_train_instances']['task1_mood'] == 3
  assert not (folder / prepare.VOCABULARY_FILE).exists()


def test_a_track_has_rows_of_its_own(corpus):
  splits = corpus / 'splits'
  (splits / 'xlingual').mkdir()
  for name, tasks in (('train', 'task2_echo'), ('test', 'task5_title')):
    (splits / f'xlingual/{name}_tasks.txt').write_text(f'{tasks}\n')
  prepare.use_corpus(corpus, track='xlingual')
  assert seqio_lib.SOURCE.metadata()['train_tasks'] == ['task2_echo']
  assert prepare.build(corpus) != prepare.build(corpus, track='xlingual')


def test_what_is_excluded_is_in_no_row(corpus, tmp_path):
  path = tmp_path / 'exclusions.txt'
  path.write_text('task2_echo\ntask5_title\ttitle-3\n')
  folder = prepare.build(corpus, exclusions=path)
  assert folder != prepare.build(corpus)
  stored = tfds_builder.stored_metadata(folder)
  assert stored['train_tasks'] == ['task1_mood', 'task3_few']
  builder = tfds.builder_from_directory(
    folder / tfds_builder.NAME / tfds_builder.VERSION
  )
  assert builder.info.splits['test'].num_examples == 105


def test_build_tells_how_far_it_is(corpus, tmp_path):
  told = []
  prepare.build(
    corpus, data_dir=tmp_path / 'rows', on_progress=lambda *p: told.append(p)
  )
  assert told[4:] == [('parse', 5, 5), ('write', 172, 172)]


def test_a_vocabulary_that_is_none(corpus, tmp_path):
  with pytest.raises(InputError, match=r'vocabulary .*/none: cannot be read'):
    prepare.use_corpus(corpus, vocabulary=str(tmp_path / 'none'))


def test_the_current_vocabulary_is_checked(corpus, tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, str(tmp_path / 'none'))
  with pytest.raises(InputError, match=r'vocabulary .*/none: cannot be read'):
    prepare.use_corpus(corpus)


def test_the_miniature_has_a_vocabulary_of_its_own(corpus):
  directory = prepare.use_corpus(locate.MINIATURE, vocabulary=locate.MINIATURE)
  assert len(seqio_lib.SOURCE.metadata()['tasks']) > 40
  described = vocabularies.describe()
  assert described.startswith(f'{prepare.VOCABULARY_FILE}, ')
  data_dir = prepare.build(directory)
  written = (data_dir / prepare.VOCABULARY_FILE).stat().st_mtime_ns
  # Another corpus may borrow it; nothing is made anew.
  prepare.use_corpus(corpus, vocabulary=locate.MINIATURE)
  assert vocabularies.describe() == described
  assert (data_dir / prepare.VOCABULARY_FILE).stat().st_mtime_ns == written


def test_the_miniature_takes_its_own_vocabulary(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  prepare.settle_vocabulary(None, corpus=locate.MINIATURE)
  own = vocabularies.describe()
  assert own.startswith(f'{prepare.VOCABULARY_FILE}, ')
  # What is named wins, and the variable may name it too.
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  prepare.settle_vocabulary(None, corpus=locate.MINIATURE)
  assert vocabularies.describe().startswith('byte')
  monkeypatch.setenv(vocabularies.VARIABLE, locate.MINIATURE)
  prepare.settle_vocabulary(None, corpus=corpus)
  assert vocabularies.describe() == own
