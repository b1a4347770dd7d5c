"""Tests of it_study.data.row_source."""

import itertools
import json
import os
import pathlib
import subprocess
import sys
import tarfile

from etils import epath
import fakes
import numpy as np
import pytest
import seqio
import tensorflow as tf

from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.data import build_folder, row_source, tfds_builder
from it_study.errors import InputError
from it_study.instructions.tk_instruct import TkInstruct
from it_study.seeding import stable_hash

SEEDS = (0, 1, 5, 77)
CONDITIONS = [
  Condition(instances_per_task=n, num_tasks=t, seed=s)
  for n, t, s in (
    (2, None, 0),
    (5, 2, 0),
    (100, None, 0),
    (100, 1, 0),
    (2, None, 3),
    (5, 2, 3),
    (100, 2, 3),
  )
]


def build(corpus, data_dir):
  tfds_builder.build_rows(natinst.open_corpus(corpus), data_dir=data_dir)
  return row_source.RowsSource(data_dir)


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('rows') / 'corpus')


@pytest.fixture(name='rows', scope='module')
def _rows(corpus, tmp_path_factory):
  return build(corpus, tmp_path_factory.mktemp('rows') / 'data')


def read(choice, rows, split='train', *, task=None, shard_info=None):
  """The ids, in order, that a SeqIO task reads from the source."""
  seqio.TaskRegistry.remove('row_source_test')
  made = seqio.TaskRegistry.add(
    'row_source_test',
    source=row_source.ChosenRows(choice=choice, rows=rows, task=task),
    preprocessors=[],
    output_features={'id': seqio.Feature(seqio.PassThroughVocabulary(1))},
  )
  dataset = made.source.get_dataset(split, shuffle=False)
  if shard_info is not None:
    files = made.source.list_shards(split)
    # SeqIO's rule.
    if len(files) >= shard_info.num_shards:
      dataset = made.source.get_dataset(
        split, shuffle=False, shard_info=shard_info
      )
    else:
      dataset = dataset.shard(shard_info.num_shards, shard_info.index)
  return [row['id'].decode() for row in dataset.as_numpy_iterator()]


def chosen_ids(choice, rows, corpus):
  """The ids of a condition's training rows, by `RowsSource.chosen`."""
  opened = natinst.open_corpus(corpus)
  return {
    instance.id
    for name, flags in rows.chosen(choice).items()
    for instance, flag in zip(
      opened.instances(name, 'train'), flags, strict=True
    )
    if flag
  }


def expected(corpus, choice):
  """The ids of a condition's training rows, from the task files."""
  opened = natinst.open_corpus(corpus)
  names = sorted(
    opened.train_tasks, key=lambda n: stable_hash(choice.seed, n, 'tasks')
  )
  ids = set()
  for name in names[: choice.num_tasks]:
    instances = opened.instances(name, 'train')
    if choice.seed:
      instances = sorted(
        instances, key=lambda i: stable_hash(choice.seed, i.id, 'instances')
      )
    ids |= {i.id for i in instances[: choice.instances_per_task]}
  return ids


@pytest.mark.parametrize('condition', CONDITIONS, ids=lambda c: c.name[33:])
def test_the_chosen_rows_are_read_once_each(condition, corpus, rows):
  ids = read(condition, rows)
  assert len(ids) == len(set(ids))
  assert set(ids) == expected(corpus, condition)
  assert set(ids) == chosen_ids(condition, rows, corpus)
  source = row_source.ChosenRows(choice=condition, rows=rows)
  assert source.num_input_examples('train') == len(ids)


def test_the_chosen_ids_are_the_same_everywhere(rows):
  assert read(Condition(instances_per_task=1), rows) == [
    'mood-14',
    'echo-5',
    'few-1',
  ]
  assert read(Condition(instances_per_task=2, seed=1), rows) == [
    *('few-1', 'few-6', 'mood-36', 'echo-8', 'echo-4', 'mood-30'),
  ]


@pytest.mark.parametrize('seed', SEEDS)
def test_both_choices_are_nested(seed, rows, corpus):
  for field, values in (
    ('instances_per_task', (1, 2, 5, 10, 20, 100)),
    ('num_tasks', (1, 2, 3)),
  ):
    sets = [
      chosen_ids(Condition(seed=seed, **{field: n}), rows, corpus)
      for n in values
    ]
    for smaller, larger in itertools.pairwise(sets):
      assert smaller <= larger
    assert len(sets[-1]) == 36


def test_a_seed_chooses_other_instances_and_other_tasks(rows, corpus):
  conditions = [Condition(instances_per_task=5, seed=s) for s in SEEDS]
  assert len({frozenset(chosen_ids(c, rows, corpus)) for c in conditions}) == 4
  tasks = [
    rows.chosen_tasks(Condition(num_tasks=1, seed=seed))[0]
    for seed in range(20)
  ]
  assert set(tasks) == {'task1_mood', 'task2_echo', 'task3_few'}


def test_other_splits_are_complete(corpus, rows):
  opened = natinst.open_corpus(corpus)
  choice = Condition(instances_per_task=1, num_tasks=1, seed=4)
  source = row_source.ChosenRows(choice=choice, rows=rows)
  for split in ('validation', 'test'):
    ids = read(choice, rows, split)
    assert sorted(ids) == sorted(i.id for _, i in opened.rows(split))
    assert source.num_input_examples(split) == len(ids)


def test_only_the_first_rows_are_read(corpus, tmp_path):
  rows = build(corpus, tmp_path / 'data')
  (path,) = (tmp_path / 'data').rglob('*train.tfrecord*')
  # The seventh row is truncated, so reading it fails.
  records = [len(r) for r in tf.data.TFRecordDataset(path).as_numpy_iterator()]
  overhead = 16
  size = sum(length + overhead for length in records[:6])
  path.write_bytes(path.read_bytes()[: size + 20])
  build_folder.write_file_list(epath.Path(path.parent))
  assert len(read(Condition(instances_per_task=2), rows)) == 6
  assert len(read(Condition(instances_per_task=2, num_tasks=1), rows)) == 2
  for more in ({'instances_per_task': 3}, {'instances_per_task': 2, 'seed': 1}):
    with pytest.raises(tf.errors.DataLossError):
      read(Condition(**more), rows)


@pytest.fixture(name='files', scope='module')
def _files(corpus, tmp_path_factory):
  """The same rows, with train in four files."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tfds_builder, '_MANY_ROWS', 36)
    patch.setattr(tfds_builder, '_MANY_SHARDS', 4)
    folder = tmp_path_factory.mktemp('files')
    rows = build(corpus, folder)
  assert len(list(folder.rglob('*train.tfrecord*'))) == 4
  return rows


@pytest.mark.parametrize('condition', CONDITIONS, ids=lambda c: c.name[33:])
@pytest.mark.parametrize('num_shards', [1, 4, 5])
def test_hosts_share_the_chosen_rows(condition, num_shards, corpus, files):
  shares = [
    read(condition, files, shard_info=seqio.ShardInfo(index, num_shards))
    for index in range(num_shards)
  ]
  ids = list(itertools.chain(*shares))
  assert len(ids) == len(set(ids))
  assert set(ids) == expected(corpus, condition)
  source = row_source.ChosenRows(choice=condition, rows=files)
  if source.list_shards('train') == ['some of train']:
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_seqio_shards_by_files_or_by_rows(files):
  """By files if all are read, otherwise by rows."""
  for fields in (
    {'instances_per_task': 2},
    {'instances_per_task': 2, 'seed': 1},
    {'num_tasks': 2},
  ):
    some = row_source.ChosenRows(choice=Condition(**fields), rows=files)
    assert some.list_shards('train') == ['some of train']
  for choice in (Condition(), Condition(seed=1), TkInstruct()):
    whole = row_source.ChosenRows(choice=choice, rows=files)
    assert len(whole.list_shards('train')) == 4
  assert len(some.list_shards('test')) == 4
  assert len(some.list_shards('validation')) == 1


def test_rows_are_those_of_tfds(files):
  """Rows are parsed by TFDS's own features, whether some or all are read."""
  whole = row_source.ChosenRows(choice=Condition(), rows=files)
  by_id = {row['id']: row for row in whole.get_dataset().as_numpy_iterator()}
  some = row_source.ChosenRows(
    choice=Condition(seed=1, num_tasks=2), rows=files
  )
  assert some.get_dataset().element_spec == whole.get_dataset().element_spec
  for row in some.get_dataset().as_numpy_iterator():
    assert row.keys() == by_id[row['id']].keys()
    for name, value in row.items():
      np.testing.assert_array_equal(value, by_id[row['id']][name])


def test_rows_of_one_task(rows):
  choice = Condition(instances_per_task=3)
  mood = row_source.ChosenRows(choice=choice, rows=rows, task='task1_mood')
  title = row_source.ChosenRows(choice=choice, rows=rows, task='task5_title')
  assert mood.splits == ('train', 'validation')
  assert title.splits == ('test',)
  ids = read(choice, rows, task='task1_mood')
  assert ids == [i for i in read(choice, rows) if i.startswith('mood')]
  assert (len(ids), mood.num_input_examples('train')) == (3, 3)
  assert mood.num_input_examples('validation') == 10
  assert title.num_input_examples('test') == 6
  assert len(read(choice, rows, 'test', task='task5_title')) == 6
  (left_out,) = set(rows.chosen_tasks(Condition())) - set(
    rows.chosen_tasks(Condition(num_tasks=2))
  )
  none = row_source.ChosenRows(
    choice=Condition(num_tasks=2), rows=rows, task=left_out
  )
  assert none.num_input_examples('train') == 0
  assert read(Condition(num_tasks=2), rows, task=left_out) == []


def test_tk_instruct_chooses_as_a_condition_does(rows):
  for fields in ({'instances_per_task': 4, 'seed': 2}, {'num_tasks': 2}):
    assert read(TkInstruct(**fields), rows) == read(Condition(**fields), rows)


def edit(directory, change):
  """Applies `change` to every task's instances; reverses the split files."""
  for path in (directory / 'tasks').iterdir():
    raw = json.loads(path.read_text())
    raw['Instances'] = change(raw['Instances'])
    path.write_text(json.dumps(raw))
  for path in (directory / 'splits/default').iterdir():
    lines = path.read_text().split()
    path.write_text('\n'.join(reversed(lines)))


def test_the_order_of_files_does_not_matter(rows, tmp_path):
  reversed_ = fakes.write_small_corpus(tmp_path / 'reversed_')
  edit(reversed_, lambda instances: instances[::-1])
  assert (reversed_ / 'splits/default/train_tasks.txt').read_text() == (
    'task3_few\ntask2_echo\ntask1_mood'
  )
  others = build(reversed_, tmp_path / 'data')
  for condition in CONDITIONS[1::3]:
    assert read(condition, others) == read(condition, rows)


def test_a_new_instance_displaces_at_most_one(rows, corpus, tmp_path):
  sizes = set()
  for number in range(3):
    larger = fakes.write_small_corpus(tmp_path / f'larger{number}')
    edit(
      larger,
      lambda instances, n=number: [
        *instances,
        {**instances[0], 'id': instances[0]['id'] + f'-new{n}', 'input': 'new'},
      ],
    )
    others = build(larger, tmp_path / f'data{number}')
    for seed, n in itertools.product(SEEDS, (1, 3, 10)):
      condition = Condition(instances_per_task=n, seed=seed)
      before = chosen_ids(condition, rows, corpus)
      after = chosen_ids(condition, others, larger)
      for task in ('mood', 'echo', 'few'):
        gone = [i for i in before - after if i.startswith(task)]
        new = [i for i in after - before if i.startswith(task)]
        assert len(gone) <= len(new) <= 1
        sizes.add(len(gone))
  # Both cases occur.
  assert sizes == {0, 1}


def test_another_process_chooses_the_same(rows):
  script = (
    'import json, sys\n'
    'from it_study.data import row_source\n'
    'from it_study.conditions import Condition\n'
    'rows = row_source.RowsSource(sys.argv[1])\n'
    'c = Condition(instances_per_task=5, num_tasks=2, seed=5)\n'
    'print(json.dumps({n: r.tolist() for n, r in rows.chosen(c).items()}))\n'
  )
  data_dir = rows.tfds_dataset.data_dir
  output = subprocess.run(
    [sys.executable, '-c', script, data_dir],
    env={
      **os.environ,
      'PYTHONHASHSEED': '12345',
      'PYTHONPATH': os.fspath(pathlib.Path(__file__).parents[2]),
    },
    capture_output=True,
    check=True,
    text=True,
  ).stdout
  condition = Condition(instances_per_task=5, num_tasks=2, seed=5)
  assert json.loads(output) == {
    name: ranks.tolist() for name, ranks in rows.chosen(condition).items()
  }


def test_more_tasks_than_there_are_are_refused(rows):
  available = len(rows.metadata()['train_tasks'])
  assert len(rows.chosen_tasks(Condition(num_tasks=available))) == available
  with pytest.raises(
    InputError, match=rf'but the corpus has {available}\. Use'
  ):
    rows.chosen_tasks(Condition(num_tasks=available + 1))


def test_rows_of_the_former_layout_are_reused(tmp_path):
  """`golden/rows.tar.xz` was built when `tfds_builder` was `natinst_tfds`."""
  archive = pathlib.Path(__file__).parents[1] / 'golden/rows.tar.xz'
  with tarfile.open(archive) as file:
    file.extractall(tmp_path, filter='data')
  corpus, data_dir = tmp_path / 'corpus', tmp_path / 'rows'
  info = data_dir / tfds_builder.NAME / tfds_builder.VERSION
  assert '"it_study.natinst_tfds"' in (info / 'dataset_info.json').read_text()
  before = {path: path.read_bytes() for path in info.iterdir()}
  former = build(corpus, data_dir)
  assert {path: path.read_bytes() for path in info.iterdir()} == before
  fresh = build(corpus, tmp_path / 'fresh')
  for split in natinst.SPLITS:
    rows = [
      list(source.get_dataset(split, shuffle=False).as_numpy_iterator())
      for source in (former, fresh)
    ]
    assert len(rows[0]) == {'train': 36, 'validation': 30, 'test': 106}[split]
    np.testing.assert_equal(*rows)


def test_training_instances_are_all_rows_of_train(rows, corpus):
  opened = natinst.open_corpus(corpus)
  found = rows.training_instances()
  assert list(found) == sorted(opened.train_tasks)
  for name in opened.train_tasks:
    expected = {(i.id, i.outputs) for i in opened.instances(name, 'train')}
    assert {(i.id, i.outputs) for i in found[name]} == expected
  assert rows.training_instances() is found
