"""Tests of it_study.data.tfds_builder: rows are written once and read back."""

import json
import logging
import os
import pathlib
import shutil
import tempfile

import fakes
import pytest
import seqio
import tensorflow_datasets as tfds

from it_study.corpus import natinst
from it_study.data import build_folder, tfds_builder
from it_study.errors import InputError


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  folder = tmp_path_factory.mktemp('tfds')
  return natinst.open_corpus(fakes.write_small_corpus(folder / 'corpus'))


@pytest.fixture(name='data_dir', scope='module')
def _data_dir(corpus, tmp_path_factory):
  data_dir = tmp_path_factory.mktemp('rows')
  tfds_builder.build_rows(corpus=corpus, data_dir=data_dir)
  return data_dir


def read(data_dir, split):
  """Rows in the order in which they are stored."""
  builder = tfds.builder_from_directory(rows_directory(data_dir))
  order = tfds.ReadConfig(interleave_cycle_length=1)
  return list(tfds.as_numpy(builder.as_dataset(split, read_config=order)))


def rows_directory(data_dir):
  return data_dir / tfds_builder.NAME / tfds_builder.VERSION


def place(row):
  return row['task'].decode(), int(row['rank'])


def leftovers(data_dir):
  """Names beside the finished rows."""
  return {
    path.name
    for path in (data_dir / tfds_builder.NAME).iterdir()
    if path.name not in (tfds_builder.VERSION, '.lock')
  }


def test_every_instance_of_a_split_is_a_row(data_dir):
  counts = {split: len(read(data_dir, split)) for split in natinst.SPLITS}
  assert counts == {'train': 36, 'validation': 30, 'test': 106}


def test_a_row_holds_its_instance(data_dir):
  (row,) = [r for r in read(data_dir, 'test') if r['id'] == b'title-3']
  assert row['outputs'].tolist() == [b'Thing 3', b'The Thing 3']
  del row['outputs']
  assert row == {
    'id': b'title-3',
    'task': b'task5_title',
    'position': 3,
    'rank': 3,
    'split': b'test',
    'input': b'a thing 3',
  }


def test_test_rows_are_the_first_hundred_of_their_file(data_dir):
  rows = [r for r in read(data_dir, 'test') if r['task'] == b'task4_entail']
  assert sorted(row['position'] for row in rows) == list(range(100))


def test_train_ranks_follow_the_hash_order_of_the_corpus(corpus, data_dir):
  rows = [r for r in read(data_dir, 'train') if r['task'] == b'task1_mood']
  rows.sort(key=lambda row: row['rank'])
  assert [row['rank'] for row in rows] == list(range(30))
  assert [row['id'].decode() for row in rows] == [
    instance.id for instance in corpus.instances('task1_mood', 'train')
  ]


def test_validation_shares_no_row_with_train(data_dir):
  ids = {
    split: {row['id'] for row in read(data_dir, split)}
    for split in ('train', 'validation')
  }
  assert not ids['train'] & ids['validation']


def test_task_texts_are_stored_once_in_the_metadata(corpus, data_dir):
  metadata = tfds_builder.stored_metadata(data_dir)
  assert metadata['fingerprint'] == corpus.fingerprint()
  assert metadata['train_tasks'] == ['task1_mood', 'task2_echo', 'task3_few']
  assert metadata['num_train_instances'] == {
    'task1_mood': 30,
    'task2_echo': 4,
    'task3_few': 2,
  }
  assert metadata['tasks']['task4_entail']['label_space'] == ['yes', 'no']
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    stored = natinst.Task.from_json(metadata['tasks'][name])
    assert stored == corpus.load(name).task


def test_stock_tfds_finds_the_rows_by_name(data_dir):
  for name in (
    tfds_builder.NAME,
    f'{tfds_builder.NAME}:{tfds_builder.VERSION}',
  ):
    builder = tfds.builder(name, data_dir=data_dir)
    assert builder.is_prepared()
    assert builder.info.splits['validation'].num_examples == 30
    assert builder.info.file_format.value == 'tfrecord'


def test_the_first_instances_of_each_task_are_a_prefix(data_dir):
  rows = read(data_dir, 'train')
  counts = tfds_builder.stored_metadata(data_dir)['num_train_instances']
  for number in (1, 3, 10, 1000):
    size = sum(min(count, number) for count in counts.values())
    places = {place(row) for row in read(data_dir, f'train[:{size}]')}
    assert places == {place(row) for row in rows if row['rank'] < number}


@pytest.mark.parametrize('split', ['validation', 'test'])
def test_other_splits_are_stored_by_task(data_dir, split):
  places = [place(row) for row in read(data_dir, split)]
  assert places == sorted(places)


def test_seqio_reads_them_shuffled_and_in_order(data_dir):
  source = seqio.TfdsDataSource(
    f'{tfds_builder.NAME}:{tfds_builder.VERSION}',
    tfds_data_dir=str(data_dir),
    splits=natinst.SPLITS,
  )
  assert source.num_input_examples('train') == 36
  places = [
    sorted(
      place(row)
      for row in source.get_dataset(
        split='train', shuffle=shuffle, seed=0
      ).as_numpy_iterator()
    )
    for shuffle in (False, True)
  ]
  assert places[0] == places[1] == sorted(map(place, read(data_dir, 'train')))


def test_many_rows_are_split_into_files_for_many_hosts(
  corpus, data_dir, tmp_path, monkeypatch
):
  monkeypatch.setattr(tfds_builder, '_MANY_ROWS', 36)
  directory = rows_directory(tfds_builder.build_rows(corpus, data_dir=tmp_path))
  shards = sorted(path.name for path in directory.glob('*-train.tfrecord*'))
  assert len(shards) == 16
  assert shards[-1].endswith('.tfrecord-00015-of-00016')
  assert len(list(directory.glob('*-validation.tfrecord*'))) == 1
  assert list(map(place, read(tmp_path, 'train'))) == list(
    map(place, read(data_dir, 'train'))
  )
  source = seqio.TfdsDataSource(
    f'{tfds_builder.NAME}:{tfds_builder.VERSION}',
    tfds_data_dir=str(tmp_path),
    splits=natinst.SPLITS,
  )
  parts = [
    list(
      source.get_dataset(
        split='train', shuffle=False, shard_info=seqio.ShardInfo(index, 8)
      ).as_numpy_iterator()
    )
    for index in range(8)
  ]
  assert all(parts)
  assert sum(map(len, parts)) == 36


def test_number_of_files():
  mib = 1 << 20
  assert tfds_builder._num_shards(15_999, 250 * mib) == 1
  assert tfds_builder._num_shards(15_999, 257 * mib) == 2
  assert tfds_builder._num_shards(16_000, mib) == 16
  assert tfds_builder._num_shards(10**6, 5000 * mib) == 32
  assert tfds_builder._num_shards(3, 5000 * mib) == 2


def test_building_again_writes_nothing(corpus, data_dir, caplog):
  def written():
    return {
      path: path.stat().st_mtime_ns
      for path in data_dir.rglob('*')
      if path.is_file()
    }

  before = written()
  with caplog.at_level(logging.INFO):
    assert tfds_builder.build_rows(corpus, data_dir=data_dir) == data_dir
  assert written() == before
  assert f'rows cache hit: {rows_directory(data_dir)}' in caplog.messages


def test_another_corpus_is_refused(data_dir, tmp_path):
  other = natinst.open_corpus(
    fakes.write_small_corpus(tmp_path / 'other', mood='Good or bad?')
  )
  with pytest.raises(
    InputError, match=r'holds the rows of another corpus, .*other .*remove this'
  ):
    tfds_builder.build_rows(corpus=other, data_dir=data_dir)


def test_another_cap_is_refused(corpus, data_dir):
  with pytest.raises(
    InputError, match=r'built with max_instances_per_task=1000, not 5\. Choose'
  ):
    tfds_builder.build_rows(
      corpus=corpus, data_dir=data_dir, max_instances_per_task=5
    )


def test_a_cap_keeps_the_lowest_ranks(corpus, tmp_path):
  tfds_builder.build_rows(
    corpus=corpus, data_dir=tmp_path, max_instances_per_task=3
  )
  rows = read(tmp_path, 'train')
  assert sorted((row['task'], row['rank']) for row in rows) == [
    *[(b'task1_mood', rank) for rank in range(3)],
    *[(b'task2_echo', rank) for rank in range(3)],
    *[(b'task3_few', rank) for rank in range(2)],
  ]
  assert len(read(tmp_path, 'validation')) == 30


def test_a_folder_that_cannot_be_written_is_named(corpus, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'cannot write to .*/file/rows: Not a'):
    tfds_builder.build_rows(corpus=corpus, data_dir=tmp_path / 'file/rows')


@pytest.mark.parametrize('cap', [0, -1])
def test_a_cap_below_one_is_refused(corpus, tmp_path, cap):
  with pytest.raises(InputError, match=f'task is {cap}; it must be 1 or more'):
    tfds_builder.build_rows(
      corpus=corpus, data_dir=tmp_path, max_instances_per_task=cap
    )


def test_a_corpus_with_nothing_to_train_on_is_refused(
  write_corpus, raw_task, tmp_path
):
  directory = write_corpus(
    train={'task1_a': raw_task(10)}, test={'task2_b': raw_task(5)}
  )
  with pytest.raises(InputError, match=r'no instances in train\. Each train'):
    tfds_builder.build_rows(
      corpus=natinst.open_corpus(directory), data_dir=tmp_path / 'rows'
    )


def test_tracks_of_a_corpus_do_not_collide(tmp_path):
  directory = fakes.write_small_corpus(tmp_path / 'corpus')
  splits = directory / 'splits'
  shutil.copytree(splits / 'default', splits / 'xlingual')
  (splits / 'xlingual/train_tasks.txt').write_text('task2_echo\ntask3_few\n')
  one, other = (
    natinst.open_corpus(directory, track=track)
    for track in ('default', 'xlingual')
  )
  assert tfds_builder.cached_data_dir(one) != tfds_builder.cached_data_dir(
    other
  )
  tfds_builder.build_rows(corpus=other, data_dir=tmp_path / 'rows')
  assert len(read(tmp_path / 'rows', 'train')) == 6
  with pytest.raises(InputError, match='holds the rows of another corpus'):
    tfds_builder.build_rows(corpus=one, data_dir=tmp_path / 'rows')


def test_a_changed_byte_makes_other_rows(tmp_path):
  directory = fakes.write_small_corpus(tmp_path / 'corpus')
  corpus = natinst.open_corpus(directory)
  before = tfds_builder.cached_data_dir(corpus)
  path = directory / 'tasks/task1_mood.json'
  path.write_bytes(path.read_bytes().replace(b'day 39', b'day 38', 1))
  assert json.loads(path.read_text())
  assert tfds_builder.cached_data_dir(corpus) != before


def test_preparing_without_a_corpus_names_the_command(tmp_path):
  builder = tfds_builder.NaturalInstructionsStudy(data_dir=tmp_path)
  with pytest.raises(InputError, match="'it-study corpus build CORPUS"):
    builder.download_and_prepare(download_dir=tmp_path / 'downloads')


def test_the_cache_folder_is_keyed_by_content_and_cap(corpus, tmp_path):
  one = tfds_builder.cached_data_dir(corpus)
  other = natinst.open_corpus(
    fakes.write_small_corpus(tmp_path / 'other', mood='Good or bad?')
  )
  copy = natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'copy'))
  assert tfds_builder.cached_data_dir(copy) == one
  assert tfds_builder.cached_data_dir(other) != one
  assert tfds_builder.cached_data_dir(corpus, 5) != one


def test_a_data_dir_in_a_bucket_keeps_its_address(corpus, monkeypatch):
  monkeypatch.setattr(tfds_builder, 'rows_directory', pathlib.Path)
  monkeypatch.setattr(pathlib.Path, 'exists', lambda path: True)
  monkeypatch.setattr(build_folder, 'find_damage', lambda *a, **k: None)
  monkeypatch.setattr(tfds_builder, 'check_same', lambda *a, **k: None)
  data_dir = tfds_builder.build_rows(corpus, data_dir='gs://bucket/rows')
  assert os.fspath(data_dir) == 'gs://bucket/rows'


def test_a_build_leaves_no_temporary_folder(corpus, tmp_path, monkeypatch):
  (tmp_path / 'temporary').mkdir()
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
  tfds_builder.build_rows(corpus, data_dir=tmp_path / 'rows')
  assert not list((tmp_path / 'temporary').iterdir())
