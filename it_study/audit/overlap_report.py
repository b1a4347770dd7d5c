"""Audits a corpus: what training has in common with test."""

import array
import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import functools

import numpy as np

from it_study.corpus import worker_pool
from it_study.corpus.findings import ERROR, NOTE, WARNING, CorpusFinding, plural
from it_study.corpus.natinst import SPLITS, Corpus
from it_study.corpus.normalization import normalize_answer
from it_study.data import overlap
from it_study.data.overlap import Shared
from it_study.seeding import stable_hash


def audit(
  corpus: Corpus,
  *,
  num_workers: int | None = None,
  on_progress: Callable[[str, int, int], None] | None = None,
) -> list[CorpusFinding]:
  """Looks for what training shares with test, by task, data set and instance.

  All instances of the training tasks are compared, however few a study takes.

  Args:
    corpus: to read.
    num_workers: as `worker_pool.map_tasks` has it.
    on_progress: called with 'parse' or 'compare', the number of files done and
      of all; those that share an input are read again to be compared.

  Returns:
    Errors where a test instance is in training with an output, or a test task
    is; warnings and notes where less is shared.

  Raises:
    InputError: if a task file cannot be used.
  """
  names = (*corpus.train_tasks, *corpus.test_tasks)
  seen: dict[str, _Seen] = {}
  for name, task in worker_pool.map_tasks(
    _look, corpus=corpus, names=names, num_workers=num_workers
  ):
    seen[name] = task
    if on_progress is not None:
      on_progress('parse', len(seen), len(names))
  shared = overlap.shared_instances(
    corpus,
    {
      split: {
        name: np.frombuffer(seen[name].keys[split], np.uint64)
        for name in corpus.tasks_of(split)
      }
      for split in SPLITS
    },
    num_workers=num_workers,
    on_task=on_progress and functools.partial(on_progress, 'compare'),
  )
  return [
    *_by_task(corpus, seen, shared),
    *_by_source(corpus, seen),
    *_by_instance(shared),
    *_held_out(shared),
  ]


@dataclasses.dataclass(frozen=True)
class _Seen:
  """What is kept of a file.

  Attributes:
    definition: hashes of it, as it is and normalised.
    has_definition: whether normalisation leaves any of it.
    sources: data sets, in lower case.
    keys: split to keys of its instances.
  """

  definition: tuple[int, int]
  has_definition: bool
  sources: tuple[str, ...]
  keys: dict[str, array.array]

  def num_instances(self) -> int:
    return sum(map(len, self.keys.values()))


def _look(corpus: Corpus, name: str) -> _Seen:
  file = corpus.load(name)
  splits = ('test',) if name in corpus.test_tasks else ('train', 'validation')
  definition = file.task.definition.strip()
  return _Seen(
    (stable_hash(definition), stable_hash(normalize_answer(definition))),
    bool(normalize_answer(definition)),
    tuple(dict.fromkeys(source.lower() for source in file.sources)),
    {
      split: array.array(
        'Q',
        (overlap.instance_keys(i)[0] for i in corpus.instances(name, split)),
      )
      for split in splits
    },
  )


def _by_task(
  corpus: Corpus, seen: Mapping[str, _Seen], shared: Iterable[Shared]
) -> Iterator[CorpusFinding]:
  """Test tasks that are in training, and definitions that are."""
  leaked: dict[str, set[str]] = collections.defaultdict(set)
  common: dict[tuple[str, str], list[set[str]]] = {}
  for pair in shared:
    if pair.leaks and pair.splits[1] == 'test':
      sides = common.setdefault(pair.tasks, [set(), set()])
      for side, ids in zip(sides, pair.ids, strict=True):
        side.update(ids)
      leaked[pair.tasks[0]].update(pair.ids[0])
  for (train, test), sides in common.items():
    most = any(
      2 * len(side) > seen[name].num_instances()
      for side, name in zip(sides, (train, test), strict=True)
    )
    if most and seen[train].definition[1] == seen[test].definition[1]:
      yield CorpusFinding(
        severity=ERROR,
        code='same-task',
        task=train,
        where='train and test',
        message=f'has the definition of {test} and most of its instances '
        f'({len(sides[1])} of {seen[test].num_instances()})',
      )
  for train, ids in leaked.items():
    if len(ids) == seen[train].num_instances():
      yield CorpusFinding(
        severity=ERROR,
        code='task-in-test',
        task=train,
        where='train and test',
        message=f'each of its {len(ids)} instances is in a test task',
      )
  for code, index in (('same-definition', 0), ('alike-definition', 1)):
    owners: dict[int, tuple[list[str], list[str]]] = {}
    for name, task in seen.items():
      if task.has_definition:
        both = owners.setdefault(task.definition[index], ([], []))
        both[name in corpus.test_tasks].append(name)
    for train, test in owners.values():
      alike = len({seen[n].definition[0] for n in (*train, *test)}) > 1
      if train and test and alike == (index == 1):
        yield CorpusFinding(
          severity=WARNING,
          code=code,
          task=train[0],
          where='Definition',
          message=f'{"normalised, " if index else ""}that of '
          f'{plural(len(train), "training task")} and of '
          f'{plural(len(test), "test task")}, {test[0]} first',
        )


def _by_source(
  corpus: Corpus, seen: Mapping[str, _Seen]
) -> Iterator[CorpusFinding]:
  owners: dict[str, tuple[list[str], list[str]]] = {}
  for name, task in seen.items():
    for source in task.sources:
      both = owners.setdefault(source, ([], []))
      both[name in corpus.test_tasks].append(name)
  for source, (train, test) in owners.items():
    if not (train and test):
      continue
    message = (
      f'{source!r} is that of {plural(len(train), "training task")} and of '
      f'{plural(len(test), "test task")}: {train[0]} and {test[0]} first'
    )
    if len(train) + len(test) == len(seen):
      message += '; every task names it, so it tells no data sets apart'
    yield CorpusFinding(
      severity=NOTE if len(train) + len(test) == len(seen) else WARNING,
      code='shared-source',
      task=None,
      where='Source',
      message=message,
    )
  silent = [name for name, task in seen.items() if not task.sources]
  if silent:
    yield CorpusFinding(
      severity=NOTE,
      code='no-source',
      task=None,
      where='Source',
      message=f'{plural(len(silent), "task")} of {len(seen)} '
      f'{"names" if len(silent) == 1 else "name"} no data set and cannot be '
      f'compared by it, {silent[0]} first',
    )


def _by_instance(shared: Iterable[Shared]) -> Iterator[CorpusFinding]:
  for pair in shared:
    if pair.splits[1] != 'test':
      continue
    code, what = overlap.LEVELS[pair.level]
    train, test = pair.ids
    yield CorpusFinding(
      severity=ERROR if pair.leaks else WARNING,
      code=code,
      task=pair.tasks[0],
      where=f'{pair.splits[0]} and test',
      message=f'{plural(len(train), "instance")} with {what} of '
      f'{plural(len(test), "instance")} of {pair.tasks[1]}, as '
      f'{pair.example[0]!r} and {pair.example[1]!r}',
      # Test stays as it was published.
      instances=train,
    )


def _held_out(shared: Iterable[Shared]) -> Iterator[CorpusFinding]:
  """What validation shares with train: one finding a task and level."""
  groups: dict[tuple[str, int], list[Shared]] = collections.defaultdict(list)
  for pair in shared:
    if pair.splits == ('validation', 'train'):
      groups[pair.tasks[0], pair.level].append(pair)
  for (task, level), pairs in groups.items():
    code, what = overlap.LEVELS[level]
    ids = tuple(dict.fromkeys(i for pair in pairs for i in pair.ids[0]))
    others = sum(len(pair.ids[1]) for pair in pairs)
    tasks = plural(len(pairs), 'task')
    yield CorpusFinding(
      severity=WARNING if level < overlap.NUM_LEAKING else NOTE,
      code=f'held-out-{code}',
      task=task,
      where='validation and train',
      message=f'{plural(len(ids), "instance")} with {what} of '
      f'{plural(others, "training instance")} of {tasks}, as '
      f'{pairs[0].example[0]!r} and {pairs[0].example[1]!r}',
      instances=ids,
    )
