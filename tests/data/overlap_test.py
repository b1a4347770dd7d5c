"""Tests for it_study.overlap."""

import numpy as np
import pytest

from it_study.corpus import natinst
from it_study.corpus.schema import Instance
from it_study.data import overlap
from it_study.errors import InputError


def _instance(text, id_='a') -> Instance:
  return Instance(id=id_, input=text, outputs=('x',), position=0)


def _instances(prefix, count, **changed) -> list[dict]:
  """Instances of their own, but for those given as `_3=(input, output)`."""
  rows = []
  for index in range(count):
    text, output = changed.get(
      f'_{index}', (f'{prefix} text {index}', f'{prefix} out {index}')
    )
    rows.append({'id': f'{prefix}-{index}', 'input': text, 'output': output})
  return rows


@pytest.fixture(name='corpus')
def _corpus(write_corpus, raw_task):
  def make(train, test, **other):
    tasks = {'task1_a': raw_task(Instances=train)} | {
      name: raw_task(Instances=instances) for name, instances in other.items()
    }
    directory = write_corpus(
      train=tasks, test={'task2_b': raw_task(Instances=test)}
    )
    return natinst.open_corpus(directory)

  return make


def _keys(corpus, max_instances_per_task=None) -> dict:
  """Split to task to keys, [n, 2], of the instances that rows would have."""
  keys = {}
  for split in natinst.SPLITS:
    keys[split] = {}
    for name in corpus.tasks_of(split):
      instances = corpus.instances(name, split)
      if split == 'train':
        instances = instances[:max_instances_per_task]
      keys[split][name] = np.array(
        [overlap.instance_keys(i) for i in instances], np.uint64
      )
  return keys


def _shared_of(corpus, max_instances_per_task=None, **settings) -> list:
  return overlap.shared_instances(
    corpus,
    {
      split: {name: rows[:, 0] for name, rows in tasks.items()}
      for split, tasks in _keys(corpus, max_instances_per_task).items()
    },
    max_instances_per_task=max_instances_per_task,
    **settings,
  )


def _shared(corpus, **settings) -> list[tuple]:
  return [
    (pair.level, pair.splits, pair.tasks, pair.ids)
    for pair in _shared_of(corpus, **settings)
  ]


def test_keys_of_an_input():
  normalized, exact = overlap.instance_keys(_instance('It is so.'))
  assert overlap.instance_keys(_instance('It is so.', 'b')) == (
    normalized,
    exact,
  )
  other = overlap.instance_keys(_instance(' it  IS so', 'b'))
  assert other[0] == normalized
  assert other[1] != exact
  assert overlap.instance_keys(_instance('It is not.'))[0] != normalized
  assert max(normalized, exact) < 2**64


def test_an_empty_input_matches_no_other():
  assert overlap.instance_keys(_instance(' ', 'a')) != overlap.instance_keys(
    _instance(' ', 'b')
  )
  # Normalisation leaves nothing of both.
  marks = [overlap.instance_keys(_instance(t))[0] for t in ('?', '!', '?')]
  assert marks[0] == marks[2] != marks[1]


def test_find_returns_common_keys_once():
  found = overlap.find(
    np.array([5, 3, 2**64 - 1, 5], np.uint64),
    np.array([2**64 - 1, 5, 5, 4], np.uint64),
  )
  assert found.tolist() == [5, 2**64 - 1]
  assert overlap.find(found, found[:0]).tolist() == []


@pytest.mark.parametrize(
  ('other', 'level'),
  [
    (('It is.', 'Yes'), 0),
    # One reference in common is enough.
    (('It is.', ['No', 'Yes']), 0),
    (('It is.', 'yes.'), 1),
    (('it IS', 'Yes'), 1),
    (('It is.', 'No'), 2),
    (('it IS', 'No'), 3),
    (('It is', '...'), 3),
    (('It was.', 'Yes'), None),
  ],
)
def test_levels(corpus, other, level):
  made = corpus(
    _instances('t', 14, _2=('It is.', 'Yes')),
    _instances('s', 3, _1=other),
  )
  expected = [
    (level, ('train', 'test'), ('task1_a', 'task2_b'), (('t-2',), ('s-1',)))
  ]
  assert _shared(made) == (expected if level is not None else [])


def test_outputs_of_different_punctuation_differ(corpus):
  made = corpus(
    _instances('t', 14, _2=('It is.', '?')),
    _instances('s', 3, _1=('It is', '!')),
  )
  assert [found[0] for found in _shared(made)] == [3]


def test_validation_is_compared_with_both(corpus):
  # 12 is held out, 2 and 7 are trained on.
  same = ('It is.', 'Yes')
  made = corpus(
    _instances('t', 14, _12=same, _2=same, _7=('It is.', 'No')),
    _instances('s', 3, _1=same),
  )
  tasks = ('task1_a', 'task2_b')
  itself = ('task1_a', 'task1_a')
  assert _shared(made) == [
    (0, ('train', 'test'), tasks, (('t-2',), ('s-1',))),
    (0, ('validation', 'test'), tasks, (('t-12',), ('s-1',))),
    (0, ('validation', 'train'), itself, (('t-12',), ('t-2',))),
    (2, ('train', 'test'), tasks, (('t-7',), ('s-1',))),
    (2, ('validation', 'train'), itself, (('t-12',), ('t-7',))),
  ]
  assert len(_shared(made, pairs=overlap.WITH_TEST)) == 3
  assert _shared(made, num_workers=2) == _shared(made)


def test_instances_after_the_first_100_do_not_count(corpus):
  same = ('It is.', 'Yes')
  made = corpus(_instances('t', 14, _0=same), _instances('s', 102, _101=same))
  assert _shared(made) == []


def test_instances_beyond_the_cap_do_not_count(corpus):
  same = ('It is.', 'Yes')
  made = corpus(
    _instances('t', 14, _0=same, _2=same), _instances('s', 3, _1=same)
  )
  # Of train, 5, 2, 7 and 0 by their hashes, two are kept.
  (pair,) = _shared_of(made, 2)
  assert pair.ids == (('t-2',), ('s-1',))


def test_a_leak_is_refused_unless_allowed(corpus):
  same = ('It is.', 'Yes')
  made = corpus(
    _instances('t', 14, _12=same, _2=same),
    _instances('s', 5, _1=same, _4=('It is.', 'No')),
  )
  settings = {
    'corpus': made,
    'keys': _keys(made),
    'max_instances_per_task': 1000,
  }
  with pytest.raises(InputError) as error:
    overlap.gate(**settings)
  directory = made.directory
  assert str(error.value) == (
    f'corpus {directory}: 1 test instance would be trained on and 1 validated '
    'on, with an output: '
    "'t-2' of task1_a is 's-1' of task2_b, the first of 2 such pairs. "
    f"'it-study corpus audit {directory} --write_exclusions F' lists instances "
    f"to leave out with '--exclude F'; 'it-study corpus build {directory} "
    "--allow_overlap' trains on them."
  )
  assert overlap.gate(**settings, allow=True)['overlap'] == {
    'train_instances': 2,
    'test_instances': 1,
    'pairs_of_tasks': 1,
    'allowed': True,
  }


def test_a_shared_input_alone_is_no_leak(corpus):
  made = corpus(
    _instances('t', 14, _2=('It is.', 'Yes')),
    _instances('s', 3, _1=('It is.', 'No')),
  )
  assert overlap.gate(_keys(made), corpus=made, max_instances_per_task=None)[
    'overlap'
  ] == {
    'train_instances': 0,
    'test_instances': 0,
    'pairs_of_tasks': 0,
    'allowed': False,
  }
