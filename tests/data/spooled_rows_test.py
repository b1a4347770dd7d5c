"""Tests of it_study.data.spooled_rows."""

import array

import fakes
import pytest
import tensorflow as tf

from it_study.corpus import natinst
from it_study.data import spooled_rows
from it_study.errors import InputError

INSTANCE = natinst.Instance(
  id='é-1',
  input='x' * 300,
  outputs=('one', '', '\U0001f600' * 20_000),
  position=70_000,
)


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  folder = tmp_path_factory.mktemp('spool')
  return natinst.open_corpus(fakes.write_small_corpus(folder / 'corpus'))


@pytest.fixture(name='folder')
def _folder(tmp_path):
  folder = tmp_path / 'spool'
  folder.mkdir()
  return folder


def fill(corpus, folder, **settings):
  return spooled_rows.fill(
    **{'max_instances_per_task': 1000, **settings}, corpus=corpus, folder=folder
  )


def parsed(record):
  """Feature name to values, by TensorFlow."""
  features = tf.train.Example.FromString(record).features.feature
  return {
    name: list(feature.int64_list.value or feature.bytes_list.value)
    for name, feature in features.items()
  }


def keys(instance):
  return instance.position, 2**64 - 1


def test_a_row_equals_tensorflow_s():
  row = spooled_rows.serialize_row(
    task='task1_a', instance=INSTANCE, rank=0, split='train'
  )
  bytes_list, int64_list = tf.train.BytesList, tf.train.Int64List

  def text(*values):
    values = [value.encode() for value in values]
    return tf.train.Feature(bytes_list=bytes_list(value=values))

  def integer(value):
    return tf.train.Feature(int64_list=int64_list(value=[value]))

  assert tf.train.Example.FromString(row) == tf.train.Example(
    features=tf.train.Features(
      feature={
        'id': text('é-1'),
        'task': text('task1_a'),
        'position': integer(70_000),
        'rank': integer(0),
        'split': text('train'),
        'input': text('x' * 300),
        'outputs': text('one', '', '\U0001f600' * 20_000),
      }
    )
  )


def test_train_is_sorted_by_rank_and_the_others_by_task(corpus, folder):
  spool = fill(corpus, folder)
  rows = {
    split: [parsed(record) for record in spool.records(split)]
    for split in natinst.SPLITS
  }
  assert {split: len(found) for split, found in rows.items()} == fakes.NUM_ROWS
  assert [
    (row['task'][0].decode(), row['rank'][0]) for row in rows['train'][:11]
  ] == [
    ('task1_mood', 0),
    ('task2_echo', 0),
    ('task3_few', 0),
    ('task1_mood', 1),
    ('task2_echo', 1),
    ('task3_few', 1),
    ('task1_mood', 2),
    ('task2_echo', 2),
    ('task1_mood', 3),
    ('task2_echo', 3),
    ('task1_mood', 4),
  ]
  for split in ('validation', 'test'):
    order = [(row['task'][0], row['rank'][0]) for row in rows[split]]
    assert order == sorted(order)
    assert {row['split'][0] for row in rows[split]} == {split.encode()}


@pytest.mark.parametrize('block_bytes', [1, 1000, 5000])
def test_the_order_does_not_depend_on_the_block_size(
  corpus, folder, block_bytes
):
  spool = fill(corpus, folder)
  one = list(spool.records('train'))
  assert list(spool.records('train', block_bytes=block_bytes)) == one
  assert sum(map(len, one)) == spool.num_bytes('train')
  assert len(one) == spool.num_rows('train')


def test_a_block_is_no_larger_than_its_limit(corpus, folder, monkeypatch):
  spool = fill(corpus, folder)
  held = []
  read = spooled_rows.SpooledRows.read

  def counted(rows, start, stop):
    held.append((start, stop, rows.size(start, stop)))
    return read(rows, start, stop)

  monkeypatch.setattr(spooled_rows.SpooledRows, 'read', counted)
  list(spool.records('train', block_bytes=1500))
  blocks = {}
  for start, stop, size in held:
    blocks[start, stop] = blocks.get((start, stop), 0) + size
  assert len(blocks) > 3
  assert max(blocks.values()) <= 1500


def test_a_cap_keeps_the_lowest_ranks_of_train_only(corpus, folder):
  spool = fill(corpus, folder, max_instances_per_task=3)
  assert {split: spool.num_rows(split) for split in natinst.SPLITS} == {
    'train': 8,
    'validation': 30,
    'test': 106,
  }


@pytest.mark.parametrize('num_workers', [0, 2])
def test_rows_and_keys_do_not_depend_on_workers(corpus, folder, num_workers):
  calls = []
  spool = fill(
    corpus,
    folder,
    num_workers=num_workers,
    instance_keys=keys,
    on_task=lambda *progress: calls.append(progress),
  )
  assert calls == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
  assert list(spool.tasks) == sorted(spool.tasks)
  assert spool.tasks['task4_entail'].task['label_space'] == ('yes', 'no')
  rows = spool.tasks['task3_few'].rows
  positions = [i.position for i in corpus.instances('task3_few', 'train')]
  expected = [number for p in positions for number in (p, 2**64 - 1)]
  assert rows['train'].keys == array.array('Q', expected)
  assert len(rows['validation'].keys) == 20
  assert parsed(next(spool.records('train')))['task'] == [b'task1_mood']


def test_a_broken_file_is_named(tmp_path, folder):
  directory = fakes.write_small_corpus(tmp_path / 'corpus')
  (directory / 'tasks/task2_echo.json').write_text('[]')
  with pytest.raises(InputError, match=r'task2_echo\.json: file: expected one'):
    fill(natinst.open_corpus(directory), folder, num_workers=2)
