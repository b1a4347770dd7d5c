"""Reads a natural-instructions corpus: its splits, tasks and instances."""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import functools
import hashlib
import pathlib

from it_study.corpus import exclusions as exclusion_lists, files, task_kinds
from it_study.corpus.exclusions import NO_EXCLUSIONS, Exclusions
from it_study.corpus.findings import ERROR, NOTE, CorpusFinding
from it_study.corpus.parsing import TaskFileError, parse_task
from it_study.corpus.schema import (
  TEST_INSTANCES,
  Example,
  Instance,
  LazyTasks,
  Task,
  TaskFile,
)
from it_study.errors import InputError, nearest, nearest_path, shown
from it_study.seeding import stable_order
from it_study.storage.storage_path import expanded

__all__ = [
  'CONTROL_CATEGORIES',
  'SPLITS',
  'Corpus',
  'Example',
  'Instance',
  'Task',
  'TaskFile',
  'check_split',
  'open_corpus',
  'survey_corpus',
]

SPLITS = ('train', 'validation', 'test')
VALIDATION_INSTANCES = 10
# In the folder of a track's split files, so that all commands and engines use
# the same exclusions.
EXCLUSIONS_FILE = 'exclusions.txt'
# Tasks that test the study itself. Headline numbers never include them.
CONTROL_CATEGORIES = ('Positive Control', 'Negative Control')


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A directory with the layout of a natural-instructions checkout.

  Made by `open_corpus`. Files are read on demand; the most recent ones are
  cached. A corpus for evaluation only has no training tasks.

  Attributes:
    directory: Directory of `tasks/NAME.json` and `splits/TRACK/*_tasks.txt`.
    train_tasks: Names of training tasks, in the order of the split file.
    test_tasks: Names of test tasks, in the order of the split file.
    overrides: Task name to kind, where the rule for kinds does not apply.
    warnings: Harmless irregularities of the split files.
    exclusions: Tasks and instances in no split. Other instances keep their
      positions; kind and label space depend on the remaining ones.
    test_instances: Maximum number of instances of each test task that are
      tested, from 1 to 100. Kind and label space do not depend on it.
  """

  directory: pathlib.Path
  train_tasks: tuple[str, ...]
  test_tasks: tuple[str, ...]
  overrides: Mapping[str, str] = dataclasses.field(hash=False)
  warnings: tuple[str, ...] = ()
  exclusions: Exclusions = NO_EXCLUSIONS
  test_instances: int = TEST_INSTANCES

  def tasks_of(self, split: str) -> tuple[str, ...]:
    """Returns the names of the tasks whose instances are in `split`."""
    check_split(split)
    return self.test_tasks if split == 'test' else self.train_tasks

  def check_has(self, split: str) -> None:
    """Raises `InputError` if a split is unknown or has no tasks."""
    if not self.tasks_of(split):
      raise InputError(no_training_tasks(f'corpus {self.directory}', split))

  def load(self, name: str) -> TaskFile:
    """Parses a task's file. Raises `InputError` if it cannot be used."""
    names = (*self.train_tasks, *self.test_tasks)
    if name not in names:
      raise InputError(
        f'corpus {self.directory}: no task {name!r} in its splits.'
        f'{self._why_missing(name) or nearest(name, names)}'
      )
    path = files.task_path(self.directory, name)
    try:
      status = path.stat()
    except OSError as error:
      raise files.unreadable(path, error) from None
    return _load(
      path,
      (status.st_mtime_ns, status.st_size),
      name in self.test_tasks,
      self.overrides.get(name),
      self.exclusions.instances_of(name),
    )

  def load_broken(
    self, name: str
  ) -> tuple[TaskFile, tuple[TaskFileError, ...]]:
    """Parses a task's file without its faulty instances.

    Returns:
      The file and the faults.

    Raises:
      TaskFileError: If the rest of the file cannot be used.
      UnreadableError: If the file cannot be read.
      InputError: If an excluded instance does not exist.
    """
    path = files.task_path(self.directory, name)
    faults: list[TaskFileError] = []
    file = parse_task(
      files.read_text(path),
      name=name,
      path=str(path),
      is_test=name in self.test_tasks,
      override=self.overrides.get(name),
      excluded=self.exclusions.instances_of(name),
      faults=faults,
    )
    return file, tuple(faults)

  def lazy_tasks(self, split: str) -> LazyTasks:
    """Returns the tasks on a split's side, the same object in each call."""
    return _lazy_tasks(self, split == 'test')

  def instances(self, name: str, split: str) -> tuple[Instance, ...]:
    """Returns a task's instances in `split`.

    Training and validation are in the order of the stable hash, so that the
    first n do not depend on the order of the file. Test is in the order of the
    file and has the instances at the first 100 positions, except excluded ones,
    which are not replaced. Of these, `test_instances` are the first by stable
    hash: labels are listed in the order of the file, in which the first
    instance has the first label. Validation has 10 instances that are not
    excluded.
    """
    check_split(split)
    instances = self.load(name).instances
    if split == 'test':
      tested = [i for i in instances if i.position < TEST_INSTANCES]
      drawn = set(stable_order(i.id for i in tested)[: self.test_instances])
      return tuple(i for i in tested if i.id in drawn)
    by_id = {instance.id: instance for instance in instances}
    ordered = [by_id[id_] for id_ in stable_order(by_id)]
    if split == 'validation':
      return tuple(ordered[:VALIDATION_INSTANCES])
    return tuple(ordered[VALIDATION_INSTANCES:])

  def rows(self, split: str) -> Iterator[tuple[Task, Instance]]:
    """Yields every instance of a split with its task, sorted by task."""
    for name in sorted(self.tasks_of(split)):
      task = self.load(name).task
      for instance in self.instances(name, split):
        yield task, instance

  def fingerprint(self) -> str:
    """Returns a hash of splits, overrides, exclusions and all task files.

    Files are read only if they have changed since they were last hashed.
    """
    digest = hashlib.sha256()
    for part in (
      self.train_tasks,
      self.test_tasks,
      sorted(self.overrides.items()),
      self.exclusions.entries,
    ):
      digest.update(repr(part).encode())
    names = sorted((*self.train_tasks, *self.test_tasks))
    try:
      hashes = files.sha256_of_files(
        [f'{name}.json' for name in names], directory=self.directory / 'tasks'
      )
    except OSError as error:
      raise files.unreadable(pathlib.Path(error.filename), error) from None
    for name, file_hash in hashes.items():
      digest.update(f'{name}\n{file_hash}\n'.encode())
    return digest.hexdigest()

  def _why_missing(self, name: str) -> str:
    if name not in self.exclusions.tasks:
      return ''
    return f' It is left out by {self.exclusions.path}.'


def open_corpus(
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  overrides: Mapping[str, str] | None = None,
  exclusions: str | pathlib.Path | Exclusions | None = None,
) -> Corpus:
  """Reads the split files of a corpus and checks that its tasks exist.

  Args:
    directory: Directory with the layout of a natural-instructions checkout.
    track: Name of a folder in `splits`.
    overrides: Task name to kind; None for the checked-in table.
    exclusions: Exclusions, or the path of an exclusion list; None for the
      track's `exclusions.txt`, if it exists.

  Raises:
    InputError: If a directory or file is missing, there are no test tasks, a
      task is in both splits, an override is not a kind, or an excluded task
      does not exist. Excluded instances are checked when their file is read.
  """
  corpus, splits = _open(directory, track, overrides, exclusions)
  for path, names in splits.items():
    missing = files.missing(corpus.directory, names)
    if missing:
      raise InputError(
        f'{path}: {len(missing)} of {len(names)} tasks have no file in '
        f'{corpus.directory / "tasks"}, the first being {shown(missing[0])}.'
        f'{nearest(missing[0], files.present(corpus.directory))}'
      )
  both = sorted(set(corpus.train_tasks) & set(corpus.test_tasks))
  if both:
    are = 'task is' if len(both) == 1 else 'tasks are'
    raise InputError(
      f'corpus {corpus.directory}: {len(both)} {are} in both train_tasks.txt '
      f'and test_tasks.txt, the first being {both[0]!r}. Remove it from one.'
    )
  return corpus


def check_test_instances(number: int | None) -> int:
  """Returns the number of instances to test of a task; None is the most.

  Raises:
    InputError: If it is not from 1 to 100.
  """
  if number is None:
    return TEST_INSTANCES
  if type(number) is not int or not 1 <= number <= TEST_INSTANCES:
    raise InputError(
      f'INSTANCES_PER_TEST_TASK is {number!r}: give a whole number from 1 to '
      f'{TEST_INSTANCES}, or None for all.'
    )
  return number


def survey_corpus(
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  overrides: Mapping[str, str] | None = None,
  exclusions: str | pathlib.Path | Exclusions | None = None,
) -> tuple[Corpus, list[CorpusFinding]]:
  """Opens a corpus whose split files may be wrong.

  Returns:
    The corpus, of tasks that have a file, with those in both splits in test
    only; and what `open_corpus` would refuse or warn of.

  Raises:
    InputError: If a directory or split file is missing.
  """
  corpus, splits = _open(directory, track, overrides, exclusions)
  findings = [
    CorpusFinding(
      severity=NOTE,
      code='task-named-twice',
      task=None,
      where='splits',
      message=warning,
    )
    for warning in corpus.warnings
  ]
  if not corpus.train_tasks:
    findings.append(
      CorpusFinding(
        severity=NOTE,
        code='no-training-tasks',
        task=None,
        where='splits',
        message='no training tasks; the corpus can only be evaluated on',
      )
    )
  present = files.present(corpus.directory)
  missing: set[str] = set()
  for path, names in splits.items():
    for name in files.missing(corpus.directory, names):
      missing.add(name)
      findings.append(
        CorpusFinding(
          severity=ERROR,
          code='missing-file',
          task=name,
          where=str(path),
          message=f'no file of this name in {corpus.directory / "tasks"}.'
          f'{nearest(name, present)}',
        )
      )
  both = set(corpus.train_tasks) & set(corpus.test_tasks)
  findings += [
    CorpusFinding(
      severity=ERROR,
      code='task-in-both-splits',
      task=name,
      where='splits',
      message='in train_tasks.txt and test_tasks.txt; remove it from one',
    )
    for name in sorted(both)
  ]
  corpus = dataclasses.replace(
    corpus,
    train_tasks=tuple(
      name for name in corpus.train_tasks if name not in both | missing
    ),
    test_tasks=tuple(name for name in corpus.test_tasks if name not in missing),
  )
  return corpus, findings


def check_split(split: str) -> None:
  """Raises `InputError` unless `split` is one of `SPLITS`."""
  if split not in SPLITS:
    raise InputError(
      f'split {split!r} is unknown; available: {", ".join(SPLITS)}.'
      f'{nearest(split, SPLITS)}'
    )


def no_training_tasks(corpus: str, split: str) -> str:
  """Returns the error for a split of training tasks that a corpus lacks."""
  return (
    f'{corpus}: no training tasks, so no split {split!r}; it can be predicted '
    'and scored on test, not trained on. List its training tasks in '
    'train_tasks.txt, or name another corpus.'
  )


def check_num_tasks(
  num_tasks: int | None, available: int, *, setting: str = 'num_tasks'
) -> None:
  """Raises `InputError` if more training tasks are requested than exist."""
  if num_tasks is not None and num_tasks > available:
    raise InputError(
      f'{setting}: {num_tasks:,} training tasks requested, but the corpus has '
      f'{available:,}. Use fewer (NUM_TASKS of a sweep), None for all, or a '
      'larger corpus.'
    )


def _open(
  directory: str | pathlib.Path,
  track: str,
  overrides: Mapping[str, str] | None,
  exclusions: str | pathlib.Path | Exclusions | None,
) -> tuple[Corpus, dict[pathlib.Path, tuple[str, ...]]]:
  """Returns a corpus of all listed tasks, and the tasks of each split file."""
  directory = pathlib.Path(expanded(directory))
  splits = directory / 'splits' / track
  files.check_track(directory, track)
  for folder, contents in (
    (directory, 'tasks/ and splits/'),
    (directory / 'tasks', 'one NAME.json per task'),
    (splits, 'train_tasks.txt and test_tasks.txt'),
  ):
    if not folder.is_dir():
      problem = f'no directory {folder}'
      if folder.exists():
        problem = f'{folder} is not a directory'
      hint = nearest_path(directory)
      if (directory.parent / 'splits' / track).is_dir():
        hint = f' Did you mean {directory.parent}?'
      raise InputError(
        f'corpus {directory}: {problem}; expected one that holds {contents}. '
        f"'it-study corpus mini DIR' writes a small corpus to start with.{hint}"
      )
  if exclusions is None:
    own = splits / EXCLUSIONS_FILE
    exclusions = own if own.is_file() else NO_EXCLUSIONS
  if not isinstance(exclusions, Exclusions):
    exclusions = exclusion_lists.read(exclusions)
  warnings: list[str] = []
  listed = {}
  for split in ('train', 'test'):
    path = splits / f'{split}_tasks.txt'
    listed[path] = files.read_split(
      path, directory, warnings, optional=split == 'train'
    )
  _check_excluded(exclusions, directory, listed.values())
  remaining = {
    path: tuple(name for name in names if name not in exclusions.tasks)
    for path, names in listed.items()
  }
  for path, names in remaining.items():
    if listed[path] and not names:
      raise InputError(
        f'{path}: {exclusions.path} leaves out every task in it. Keep at least '
        'one.'
      )
  if overrides is None:
    overrides = task_kinds.load_overrides()
  for kind in overrides.values():
    task_kinds.check_kind(kind)
  train, test = remaining.values()
  return (
    Corpus(directory, train, test, overrides, tuple(warnings), exclusions),
    remaining,
  )


def _check_excluded(
  exclusions: Exclusions,
  directory: pathlib.Path,
  splits: Iterable[tuple[str, ...]],
) -> None:
  """Refuses unknown tasks; tasks of another track are allowed."""
  listed = {name for names in splits for name in names}
  for name in exclusions.names:
    if name not in listed and not files.has_file(directory, name):
      raise InputError(
        f'{exclusions.path}: no task {shown(name)} in corpus {directory}.'
        f'{nearest(name, listed)}'
      )


@functools.lru_cache(maxsize=16)
def _lazy_tasks(corpus: Corpus, is_test: bool) -> LazyTasks:
  names = corpus.tasks_of('test' if is_test else 'train')
  return LazyTasks(names, lambda name: corpus.load(name).task)


@functools.lru_cache(maxsize=64)
def _load(
  path: pathlib.Path,
  version: tuple[int, int],
  is_test: bool,
  override: str | None,
  excluded: frozenset[str],
) -> TaskFile:
  """Parses a file; `version` is part of the cache key."""
  del version
  return parse_task(
    files.read_text(path),
    name=path.stem,
    path=str(path),
    is_test=is_test,
    override=override,
    excluded=excluded,
  )
