"""Tests of it_study.data.seqio_tasks.examples."""

import json

import pytest
import seqio
import seqio_tasks_fixture as fixture
import tensorflow as tf

from it_study.data.seqio_tasks import examples
from it_study.errors import InputError

LENGTHS = {'inputs': 32, 'targets': 8}


def _breaks(dataset):
  def parse(text):
    raise KeyError('answer')

  def tokens(row):
    parsed = tf.numpy_function(parse, [row['inputs_pretokenized']], tf.int32)
    return {**row, 'targets': tf.ensure_shape(parsed, [None])}

  return dataset.map(tokens)


def _refuses(dataset):
  raise ValueError('no such column')


def _drops_targets(dataset):
  return dataset.map(lambda row: {'inputs': row['inputs']})


@pytest.mark.parametrize(
  ('function', 'reason'),
  [
    (_breaks, "KeyError: 'answer'"),
    (_refuses, 'ValueError: no such column'),
    (
      _drops_targets,
      'ValueError: Task dataset is missing expected output feature after '
      'preprocessing: targets',
    ),
  ],
)
def test_a_preprocessor_of_a_user_that_fails_is_named(function, reason):
  task = fixture.add_task(
    'broken',
    {'test': fixture.questions(1)},
    preprocessors=[seqio.preprocessors.tokenize, function],
  )
  with pytest.raises(InputError) as raised:
    list(examples.read(task, lengths=LENGTHS, split='test'))
  assert str(raised.value) == (
    f"SeqIO task 'broken' cannot be read: {reason}. Its preprocessors are "
    f'{__name__}.{function.__name__}; add --debug to see where.'
  )


def test_a_source_that_fails_is_named(tmp_path):
  path = tmp_path / 'missing.tfrecord'
  task = fixture.add_task(
    'no_file',
    {'test': []},
    source=seqio.TFExampleDataSource(
      {'test': str(path)},
      {n: tf.io.FixedLenFeature([], tf.string) for n in ('inputs', 'targets')},
    ),
  )
  with pytest.raises(InputError) as raised:
    list(examples.read(task, lengths=LENGTHS, split='test'))
  assert str(raised.value).startswith("SeqIO task 'no_file' cannot be read: ")
  assert str(raised.value).endswith(
    '. Its source is a TFExampleDataSource; add --debug to see where.'
  )
  assert str(path) in str(raised.value)


def test_what_a_preprocessor_draws_is_drawn_again():
  @seqio.map_over_dataset(num_seeds=1)
  def draw(example, seed):
    number = tf.random.stateless_uniform([], seed, 0, 10**6, tf.int32)
    return {**example, 'inputs': tf.strings.as_string(number)}

  def read(split, shuffle_files=False, seed=None):
    return tf.data.Dataset.from_tensor_slices(
      {'inputs': ['a'] * 3, 'targets': ['b'] * 3}
    )

  task = fixture.add_task(
    'drawn',
    {},
    source=seqio.FunctionDataSource(read, splits=['test']),
    preprocessors=[draw, seqio.preprocessors.tokenize],
  )
  first, second = (
    [
      row['inputs_pretokenized']
      for row in examples.read(task, lengths=LENGTHS, split='test')
    ]
    for _ in range(2)
  )
  assert first == second
  assert len(set(first)) == 3


def test_a_task_that_needs_its_offline_cache_says_so():
  task = fixture.add_task(
    'must_be_cached',
    {'test': fixture.questions(1)},
    preprocessors=[
      seqio.preprocessors.tokenize,
      seqio.CacheDatasetPlaceholder(required=True),
    ],
  )
  with pytest.raises(InputError) as raised:
    list(examples.read(task, lengths=LENGTHS, split='test'))
  assert str(raised.value) == (
    "SeqIO task 'must_be_cached' needs its offline cache, which is in none of "
    'the cache folders (no folder is named). Run seqio_cache_tasks, and name '
    "its folder in the task's module: seqio.add_global_cache_dirs(['FOLDER'])."
  )


def test_examples_come_from_the_offline_cache_if_there_is_one(
  tmp_path, monkeypatch
):
  task = fixture.add_task(
    'cached',
    {'test': fixture.questions(1)},
    preprocessors=[
      seqio.preprocessors.tokenize,
      seqio.CacheDatasetPlaceholder(),
      seqio.preprocessors.append_eos_after_trim,
    ],
  )
  folder = tmp_path / 'cached'
  folder.mkdir()
  tokens = {'shape': [None], 'dtype': 'int32'}
  features = {'inputs': tokens, 'targets': tokens}
  (folder / 'info.test.json').write_text(
    json.dumps({'num_shards': 1, 'features': features, 'seqio_version': '1.0'})
  )
  (folder / 'stats.test.json').write_text(json.dumps({'examples': 2}))
  with tf.io.TFRecordWriter(
    str(folder / 'test.tfrecord-00000-of-00001')
  ) as writer:
    for number in (7, 9):
      values = tf.train.Feature(
        int64_list=tf.train.Int64List(value=[number, number])
      )
      feature = {'inputs': values, 'targets': values}
      example = tf.train.Example(features=tf.train.Features(feature=feature))
      writer.write(example.SerializeToString())
  (folder / 'COMPLETED').touch()
  monkeypatch.setattr(seqio.utils, '_GLOBAL_CACHE_DIRECTORIES', [])
  seqio.add_global_cache_dirs([str(tmp_path)])
  rows = list(examples.read(task, lengths=LENGTHS, split='test'))
  assert [row['inputs'].tolist() for row in rows] == [[7, 7, 1], [9, 9, 1]]


def test_a_data_set_that_tfds_has_not_built_is_named(tmp_path):
  task = fixture.add_task(
    'not_built',
    {},
    source=seqio.TfdsDataSource(
      'winogrande:1.2.0', tfds_data_dir=str(tmp_path)
    ),
  )
  with pytest.raises(InputError) as raised:
    examples.splits_of(task)
  assert str(raised.value) == (
    f"SeqIO task 'not_built' cannot be read: TFDS has no winogrande:1.2.0 in "
    f'{tmp_path}. Build it: tfds build winogrande:1.2.0 --data_dir={tmp_path}.'
  )


def test_the_splits_of_a_mixture_are_those_of_its_tasks():
  fixture.add_task('one', {'test': fixture.questions(1), 'dev': []})
  fixture.add_task('two', {'train': fixture.questions(1), 'test': []})
  seqio.MixtureRegistry.remove('one_and_two')
  mixture = seqio.MixtureRegistry.add('one_and_two', ['one', 'two'], 1)
  assert examples.splits_of(mixture) == ('test', 'dev', 'train')
