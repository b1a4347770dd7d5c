"""Finds instances that training shares with test, by hashes."""

import collections
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
import dataclasses
import functools
import itertools

import numpy as np

from it_study.corpus import worker_pool
from it_study.corpus.findings import plural
from it_study.corpus.natinst import SPLITS, Corpus, Instance
from it_study.corpus.normalization import normalize_answer
from it_study.errors import InputError
from it_study.seeding import stable_hash

# How two instances with the same normalised input can match, closest first:
# code and description. One common reference is enough.
LEVELS = (
  ('shared-instance', 'the input and an output'),
  ('shared-instance-normalized', 'the normalised input and output'),
  ('shared-input', 'the input, no output,'),
  ('shared-input-normalized', 'the normalised input, no output,'),
)
# Pairs of splits to compare.
WITH_TEST = (('train', 'test'), ('validation', 'test'))
HELD_OUT = (('validation', 'train'),)
# The first levels, at which training sees a test instance with its output.
NUM_LEAKING = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
  """Instances of one task that match instances of another.

  Attributes:
    level: Index into `LEVELS`.
    splits: Splits of the first and the second task.
    tasks: Names of the first task, a training task, and the second.
    ids: Ids of the matching instances of both tasks, without repetitions; the
      first id of one matches the first id of the other.
  """

  level: int
  splits: tuple[str, str]
  tasks: tuple[str, str]
  ids: tuple[tuple[str, ...], tuple[str, ...]]

  @property
  def example(self) -> tuple[str, str]:
    """Ids of two instances that match."""
    return self.ids[0][0], self.ids[1][0]

  @property
  def leaks(self) -> bool:
    """Whether input and output are both the same."""
    return self.level < NUM_LEAKING


def instance_keys(instance: Instance) -> tuple[int, int]:
  """Unsigned 64-bit hashes of an instance's input: normalised, and unchanged.

  The input is normalised as exact match does, by
  `normalization.normalize_answer`. An input that this leaves empty is hashed
  unchanged, and an empty input matches no other.
  """
  exact = stable_hash('input', instance.input)
  if not instance.input.strip():
    exact = stable_hash('empty input', instance.id)
    return exact, exact
  normalized = normalize_answer(instance.input)
  if not normalized:
    return exact, exact
  return stable_hash('normalized input', normalized), exact


def find(train_keys: np.ndarray, test_keys: np.ndarray) -> np.ndarray:
  """Returns the keys in both arrays.

  Args:
    train_keys: Keys in any order, possibly repeated, uint64 [n].
    test_keys: Keys in any order, possibly repeated, uint64 [m].

  Returns:
    Common keys without repetitions, ascending, uint64 [k].
  """
  return np.intersect1d(train_keys, test_keys)


def shared_instances(
  corpus: Corpus,
  keys: Mapping[str, Mapping[str, np.ndarray]],
  *,
  pairs: Sequence[tuple[str, str]] = (*WITH_TEST, *HELD_OUT),
  max_instances_per_task: int | None = None,
  num_workers: int | None = None,
  on_task: Callable[[int, int], None] | None = None,
) -> list[Shared]:
  """Finds the instances that two splits share.

  Only reads the files of tasks that share an input with another.

  Args:
    corpus: Corpus to read.
    keys: Split to task to the first of `instance_keys` of its instances,
      uint64 [n].
    pairs: Pairs of splits to compare.
    max_instances_per_task: Maximum number of training instances per task, those
      of lowest hash; None for no limit.
    num_workers: Number of processes, as in `worker_pool.map_tasks`.
    on_task: Called with the number of files read and their total.

  Returns:
    One `Shared` for each level, pair of splits and pair of tasks that occurs.
  """
  hits = _common_keys(keys, pairs)
  names = sorted(
    name
    for name in {name for tasks in keys.values() for name in tasks}
    if any(
      np.isin(tasks[name], hits).any()
      for tasks in keys.values()
      if name in tasks
    )
  )
  by_key: dict[int, list[_Record]] = collections.defaultdict(list)
  results: Iterator[tuple[str, list[_Record]]] = worker_pool.map_tasks(
    functools.partial(
      _records,
      hits=frozenset(hits.tolist()),
      max_instances_per_task=max_instances_per_task,
    ),
    corpus=corpus,
    names=names,
    num_workers=num_workers,
  )
  for done, (_, records) in enumerate(results, start=1):
    for record in records:
      by_key[record.key].append(record)
    if on_task is not None:
      on_task(done, len(names))
  return _group(by_key.values(), pairs)


def gate(
  keys: Mapping[str, Mapping[str, np.ndarray]],
  *,
  corpus: Corpus,
  max_instances_per_task: int | None,
  allow: bool = False,
  num_workers: int | None = None,
) -> dict[str, dict[str, int | bool]]:
  """Refuses rows that train on test instances, unless that is allowed.

  Args:
    keys: Split to task to `instance_keys` of its rows, uint64 [n, 2].
    corpus: Corpus of the rows.
    max_instances_per_task: Maximum number of training instances per task of the
      rows; None for no limit.
    allow: Whether such rows are allowed.
    num_workers: Number of processes, as in `worker_pool.map_tasks`.

  Returns:
    Metadata for the rows, under 'overlap': the number of training instances,
    validation included, that match a test instance and one of its outputs; the
    number of these test instances; the number of pairs of tasks; and whether
    overlap was allowed.

  Raises:
    InputError: If test instances are trained on and `allow` is False.
  """
  leaks = [
    pair
    for pair in shared_instances(
      corpus,
      {
        split: {name: rows[:, 0] for name, rows in tasks.items()}
        for split, tasks in keys.items()
      },
      pairs=WITH_TEST,
      max_instances_per_task=max_instances_per_task,
      num_workers=num_workers,
    )
    if pair.leaks
  ]
  train, test = (
    {(pair.tasks[side], id_) for pair in leaks for id_ in pair.ids[side]}
    for side in (0, 1)
  )
  if leaks and not allow:
    first = leaks[0]
    total = f', the first of {len(leaks)} such pairs' if leaks[1:] else ''
    numbers = {
      split: len(
        {
          (pair.tasks[1], id_)
          for pair in leaks
          if pair.splits[0] == split
          for id_ in pair.ids[1]
        }
      )
      for split, _ in WITH_TEST
    }
    raise InputError(
      f'corpus {corpus.directory}: '
      f'{plural(numbers["train"], "test instance")} would be trained on and '
      f'{numbers["validation"]} validated on, with an output: '
      f'{first.example[0]!r} of {first.tasks[0]} is {first.example[1]!r} of '
      f'{first.tasks[1]}{total}. '
      f"'it-study corpus audit {corpus.directory} --write_exclusions F' lists "
      "instances to leave out with '--exclude F'; 'it-study corpus build "
      f"{corpus.directory} --allow_overlap' trains on them."
    )
  return {
    'overlap': {
      'train_instances': len(train),
      'test_instances': len(test),
      'pairs_of_tasks': len({pair.tasks for pair in leaks}),
      'allowed': allow,
    }
  }


@dataclasses.dataclass(frozen=True)
class _Record:
  """An instance whose normalised input also occurs elsewhere."""

  key: int
  split: str
  task: str
  id: str
  exact: int
  outputs: frozenset[int]
  normalized_outputs: frozenset[int]


def _common_keys(
  keys: Mapping[str, Mapping[str, np.ndarray]],
  pairs: Sequence[tuple[str, str]],
) -> np.ndarray:
  """The keys that occur in both splits of a pair, uint64 [k], ascending."""
  by_split = {
    split: np.concatenate([*keys[split].values(), np.empty(0, np.uint64)])
    for split in SPLITS
  }
  return functools.reduce(
    np.union1d,
    (find(by_split[first], by_split[second]) for first, second in pairs),
  )


def _group(
  groups: Iterable[Sequence[_Record]], pairs: Sequence[tuple[str, str]]
) -> list[Shared]:
  """Compares the records of each key across splits, and joins them by task."""
  # Ordered sets of ids, as the keys of dicts.
  shared: dict[tuple, tuple[dict[str, None], dict[str, None]]] = {}
  for records in groups:
    for splits in pairs:
      firsts, seconds = (
        [record for record in records if record.split == split]
        for split in splits
      )
      for first, second in itertools.product(firsts, seconds):
        level = _level(first, second)
        ids = shared.setdefault(
          (level, splits, (first.task, second.task)), ({}, {})
        )
        ids[0][first.id] = None
        ids[1][second.id] = None
  return [
    Shared(
      level=level,
      splits=splits,
      tasks=tasks,
      ids=(tuple(ids[0]), tuple(ids[1])),
    )
    for (level, splits, tasks), ids in sorted(
      shared.items(), key=lambda item: item[0]
    )
  ]


def _records(
  corpus: Corpus,
  name: str,
  *,
  hits: Collection[int],
  max_instances_per_task: int | None,
) -> list[_Record]:
  splits = ('test',) if name in corpus.test_tasks else ('train', 'validation')
  records = []
  for split in splits:
    instances = corpus.instances(name, split)
    if split == 'train':
      instances = instances[:max_instances_per_task]
    for instance in instances:
      key, exact = instance_keys(instance)
      if key in hits:
        records.append(
          _Record(
            key,
            split,
            name,
            instance.id,
            exact,
            frozenset(map(stable_hash, instance.outputs)),
            frozenset(
              # Normalisation leaves nothing of punctuation alone.
              stable_hash(normalize_answer(output) or output)
              for output in instance.outputs
            ),
          )
        )
  return records


def _level(first: _Record, second: _Record) -> int:
  same_input = first.exact == second.exact
  if same_input and first.outputs & second.outputs:
    return 0
  if first.normalized_outputs & second.normalized_outputs:
    return 1
  return 2 if same_input else 3
