"""Instances that training has in common with test, found by hashes."""

import collections
from collections.abc import Callable, Collection, Mapping, Sequence
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

# How two instances of one normalised input may be alike, the most first: code
# and what to call it. Of several references one in common is enough.
LEVELS = (
  ('shared-instance', 'the input and an output'),
  ('shared-instance-normalized', 'the normalised input and output'),
  ('shared-input', 'the input, no output,'),
  ('shared-input-normalized', 'the normalised input, no output,'),
)
# What is compared with what.
WITH_TEST = (('train', 'test'), ('validation', 'test'))
HELD_OUT = (('validation', 'train'),)
# Of the levels, those with which a test instance was trained on.
NUM_LEAKING = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
  """Instances of one task that are like instances of another.

  Attributes:
    level: index into `LEVELS`.
    splits: of the first and the second.
    tasks: the first, in training, and the second.
    ids: of the first's instances and of the second's, each once; the first ones
      of both are alike.
  """

  level: int
  splits: tuple[str, str]
  tasks: tuple[str, str]
  ids: tuple[tuple[str, ...], tuple[str, ...]]

  @property
  def example(self) -> tuple[str, str]:
    """Two instances that are alike."""
    return self.ids[0][0], self.ids[1][0]

  @property
  def leaks(self) -> bool:
    """Whether input and output are both the same."""
    return self.level < NUM_LEAKING


def instance_keys(instance: Instance) -> tuple[int, int]:
  """Unsigned 64-bit hashes of an instance's input: normalised, and as it is.

  Normalised by exact match's rule, `normalization.normalize_answer`. An input
  of which that leaves nothing counts as it is, and an empty one, which says
  nothing, as one of its own.
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
  """Keys that are in both.

  Args:
    train_keys: [n], uint64, in any order, with repetitions.
    test_keys: [m], likewise.

  Returns:
    [k], uint64, each once, ascending.
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
  """Instances that two splits have in common.

  Reads again those task files alone that have an input in common.

  Args:
    corpus: to read.
    keys: split to task to the first of `instance_keys` of its instances, [n].
    pairs: of splits, to compare.
    max_instances_per_task: cap of training instances, those of lowest hash.
    num_workers: as `worker_pool.map_tasks` has it.
    on_task: called with the number of files done and of all.

  Returns:
    One of each level, pair of splits and pair of tasks.
  """
  every = {
    split: np.concatenate([*keys[split].values(), np.empty(0, np.uint64)])
    for split in SPLITS
  }
  hits = functools.reduce(
    np.union1d, (find(every[first], every[second]) for first, second in pairs)
  )
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
  read = worker_pool.map_tasks(
    functools.partial(
      _records,
      hits=frozenset(hits.tolist()),
      max_instances_per_task=max_instances_per_task,
    ),
    corpus=corpus,
    names=names,
    num_workers=num_workers,
  )
  for done, (_, records) in enumerate(read, start=1):
    for record in records:
      by_key[record.key].append(record)
    if on_task is not None:
      on_task(done, len(names))
  found: dict[tuple, list[dict[str, None]]] = {}
  for records in by_key.values():
    for splits in pairs:
      firsts, seconds = (
        [record for record in records if record.split == split]
        for split in splits
      )
      for first, second in itertools.product(firsts, seconds):
        level = _level(first, second)
        sides = found.setdefault(
          (level, splits, (first.task, second.task)), [{}, {}]
        )
        for side, record in zip(sides, (first, second), strict=True):
          side[record.id] = None
  return [
    Shared(
      level=level,
      splits=splits,
      tasks=tasks,
      ids=(tuple(sides[0]), tuple(sides[1])),
    )
    for (level, splits, tasks), sides in sorted(
      found.items(), key=lambda item: item[0]
    )
  ]


def gate(
  keys: Mapping[str, Mapping[str, np.ndarray]],
  *,
  corpus: Corpus,
  max_instances_per_task: int | None,
  allow: bool = False,
  num_workers: int | None = None,
) -> dict[str, dict[str, int | bool]]:
  """Refuses rows with which test instances would be trained on.

  `tfds_builder.build_rows` takes it as `on_keys`, with `instance_keys`.

  Args:
    keys: split to task to `instance_keys` of its rows, [n, 2].
    corpus: that the rows are of.
    max_instances_per_task: cap that the rows were made with.
    allow: whether such rows are asked for.
    num_workers: as `worker_pool.map_tasks` has it.

  Returns:
    What to keep beside the rows, as 'overlap': number of training instances,
    validation included, that are in test with an output, of such test
    instances, of pairs of tasks, and whether this was allowed.

  Raises:
    InputError: if there are any and they are not allowed.
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
    more = f', the first of {len(leaks)} such pairs' if leaks[1:] else ''
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
      f'corpus {corpus.directory}: with an output, '
      f'{plural(numbers["train"], "test instance")} would be trained on and '
      f'{numbers["validation"]} validated on: '
      f'{first.example[0]!r} of {first.tasks[0]} is {first.example[1]!r} of '
      f'{first.tasks[1]}{more}. '
      f"'it-study corpus audit {corpus.directory} --write_exclusions F' lists "
      "what to leave out with '--exclude F'; 'it-study corpus build "
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
  """An instance whose normalised input is somewhere else, too."""

  key: int
  split: str
  task: str
  id: str
  exact: int
  outputs: frozenset[int]
  normalized_outputs: frozenset[int]


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
              # Of punctuation alone nothing would be left.
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
