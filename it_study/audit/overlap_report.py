"""Reports what the training split of a corpus shares with the test split."""

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
  """Finds what training shares with test: tasks, data sets and instances.

  Compares all instances of the training tasks, even if a study uses only a few.

  Args:
    corpus: Corpus to audit.
    num_workers: Number of worker processes, as for `worker_pool.map_tasks`.
    on_progress: Called with 'parse' or 'compare' and the numbers of finished
      and of all files. Files that share an input are read again to be compared.

  Returns:
    Errors if a test task, or a test instance with an output, is in training;
    warnings and notes if less is shared.

  Raises:
    InputError: If a task file cannot be read.
  """
  names = (*corpus.train_tasks, *corpus.test_tasks)
  digests: dict[str, _TaskDigest] = {}
  results: Iterator[tuple[str, _TaskDigest]] = worker_pool.map_tasks(
    _read_digest, corpus=corpus, names=names, num_workers=num_workers
  )
  for name, digest in results:
    digests[name] = digest
    if on_progress is not None:
      on_progress('parse', len(digests), len(names))
  shared = overlap.shared_instances(
    corpus,
    {
      split: {
        name: np.frombuffer(digests[name].keys[split], np.uint64)
        for name in corpus.tasks_of(split)
      }
      for split in SPLITS
    },
    num_workers=num_workers,
    on_task=on_progress and functools.partial(on_progress, 'compare'),
  )
  return [
    *_by_task(corpus, digests, shared),
    *_by_source(corpus, digests),
    *_by_instance(shared),
    *_held_out(shared),
  ]


@dataclasses.dataclass(frozen=True)
class _TaskDigest:
  """The parts of a task file that are compared.

  Attributes:
    definition: Hashes of the definition, verbatim and normalised.
    has_definition: Whether the normalised definition is not empty.
    sources: Names of the task's data sets, in lower case.
    keys: Keys of the instances of each split.
  """

  definition: tuple[int, int]
  has_definition: bool
  sources: tuple[str, ...]
  keys: dict[str, array.array]

  def num_instances(self) -> int:
    return sum(map(len, self.keys.values()))


def _read_digest(corpus: Corpus, name: str) -> _TaskDigest:
  file = corpus.load(name)
  splits = ('test',) if name in corpus.test_tasks else ('train', 'validation')
  definition = file.task.definition.strip()
  return _TaskDigest(
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
  corpus: Corpus, digests: Mapping[str, _TaskDigest], shared: Iterable[Shared]
) -> Iterator[CorpusFinding]:
  """Finds test tasks and definitions that are also in training."""
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
      2 * len(side) > digests[name].num_instances()
      for side, name in zip(sides, (train, test), strict=True)
    )
    if most and digests[train].definition[1] == digests[test].definition[1]:
      yield CorpusFinding(
        severity=ERROR,
        code='same-task',
        task=train,
        where='train and test',
        message=f'has the definition of {test} and most of its instances '
        f'({len(sides[1])} of {digests[test].num_instances()})',
      )
  for train, leaked_ids in leaked.items():
    if len(leaked_ids) == digests[train].num_instances():
      yield CorpusFinding(
        severity=ERROR,
        code='task-in-test',
        task=train,
        where='train and test',
        message=f'all of its {len(leaked_ids)} instances are in a test task',
      )
  yield from _by_definition(corpus, digests)


def _by_definition(
  corpus: Corpus, digests: Mapping[str, _TaskDigest]
) -> Iterator[CorpusFinding]:
  """Finds definitions of test tasks that are also in training."""
  for code, index in (('same-definition', 0), ('alike-definition', 1)):
    owners: dict[int, tuple[list[str], list[str]]] = {}
    for name, task in digests.items():
      if task.has_definition:
        both = owners.setdefault(task.definition[index], ([], []))
        both[name in corpus.test_tasks].append(name)
    for train, test in owners.values():
      differs = len({digests[n].definition[0] for n in (*train, *test)}) > 1
      if train and test and differs == (index == 1):
        yield CorpusFinding(
          severity=WARNING,
          code=code,
          task=train[0],
          where='Definition',
          message=f'{"after normalisation, " if index else ""}shared by '
          f'{plural(len(train), "training task")} and '
          f'{plural(len(test), "test task")}, {test[0]} first',
        )


def _by_source(
  corpus: Corpus, digests: Mapping[str, _TaskDigest]
) -> Iterator[CorpusFinding]:
  owners: dict[str, tuple[list[str], list[str]]] = {}
  for name, task in digests.items():
    for source in task.sources:
      both = owners.setdefault(source, ([], []))
      both[name in corpus.test_tasks].append(name)
  for source, (train, test) in owners.items():
    if not (train and test):
      continue
    message = (
      f'{source!r} is shared by {plural(len(train), "training task")} and '
      f'{plural(len(test), "test task")}, {train[0]} and {test[0]} first'
    )
    if len(train) + len(test) == len(digests):
      message += '; every task names it, so it does not identify a data set'
    yield CorpusFinding(
      severity=NOTE if len(train) + len(test) == len(digests) else WARNING,
      code='shared-source',
      task=None,
      where='Source',
      message=message,
    )
  silent = [name for name, task in digests.items() if not task.sources]
  if silent:
    yield CorpusFinding(
      severity=NOTE,
      code='no-source',
      task=None,
      where='Source',
      message=f'{plural(len(silent), "task")} of {len(digests)} '
      f'{"names" if len(silent) == 1 else "name"} no data set to compare, '
      f'{silent[0]} first',
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
      f'{plural(len(test), "instance")} of {pair.tasks[1]}, such as '
      f'{pair.example[0]!r} and {pair.example[1]!r}',
      # Only training instances: the published test set stays intact.
      instances=train,
    )


def _held_out(shared: Iterable[Shared]) -> Iterator[CorpusFinding]:
  """Finds what validation shares with train: one finding per task and level."""
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
      f'{plural(others, "training instance")} of {tasks}, such as '
      f'{pairs[0].example[0]!r} and {pairs[0].example[1]!r}',
      instances=ids,
    )
