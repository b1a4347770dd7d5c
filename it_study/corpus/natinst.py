"""A natural-instructions corpus: its splits, tasks and instances."""

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
from it_study.seeding import stable_hash

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
# Beside a track's split files: every command and every engine then agrees.
EXCLUSIONS_FILE = 'exclusions.txt'
# Tasks made to test the study itself. They never enter a headline number.
CONTROL_CATEGORIES = ('Positive Control', 'Negative Control')


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A directory laid out like a checkout of natural-instructions.

  Made by `open_corpus`. Files are read when asked for, one at a time; the
  most recent ones are kept.

  Attributes:
    directory: holds `tasks/NAME.json` and `splits/TRACK/*_tasks.txt`.
    train_tasks: names, in the order of the split file.
    test_tasks: likewise.
    overrides: task name to kind, which wins over the rule.
    warnings: what is odd but harmless in the split files.
    exclusions: what is left out. Its tasks are in neither split; its instances
      are in none, and no others move up to their positions. Kind and label
      space go by what is left.
  """

  directory: pathlib.Path
  train_tasks: tuple[str, ...]
  test_tasks: tuple[str, ...]
  overrides: Mapping[str, str] = dataclasses.field(hash=False)
  warnings: tuple[str, ...] = ()
  exclusions: Exclusions = NO_EXCLUSIONS

  def tasks_of(self, split: str) -> tuple[str, ...]:
    """Names of the tasks whose instances are in `split`."""
    check_split(split)
    return self.test_tasks if split == 'test' else self.train_tasks

  def load(self, name: str) -> TaskFile:
    """Parses a task's file. Raises `InputError` for what cannot be used."""
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
    """Parses a task's file, leaving out what is wrong with single instances.

    Returns:
      The file, and the faults.

    Raises:
      TaskFileError: if nothing of it can be used.
      UnreadableError: if it cannot be read.
      InputError: if an excluded instance is not there.
    """
    path, faults = files.task_path(self.directory, name), []
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
    """The tasks on a split's side, the same table whenever asked for."""
    return _task_table(self, split == 'test')

  def instances(self, name: str, split: str) -> tuple[Instance, ...]:
    """A task's instances in `split`.

    In training and validation they come in the order of their stable hash, so
    that the first n are the same whatever the order of the file; in test in
    the order of the file. Test has those of the first 100 positions: where one
    of them is excluded there are fewer, and no later one takes its place.
    Validation has 10 of those that are not excluded.
    """
    check_split(split)
    instances = self.load(name).instances
    if split == 'test':
      return tuple(i for i in instances if i.position < TEST_INSTANCES)
    ordered = sorted(instances, key=lambda i: (stable_hash(i.id), i.id))
    if split == 'validation':
      return tuple(ordered[:VALIDATION_INSTANCES])
    return tuple(ordered[VALIDATION_INSTANCES:])

  def rows(self, split: str) -> Iterator[tuple[Task, Instance]]:
    """Every instance of a split with its task, tasks by name."""
    for name in sorted(self.tasks_of(split)):
      task = self.load(name).task
      for instance in self.instances(name, split):
        yield task, instance

  def fingerprint(self) -> str:
    """A hash of split files, overrides, exclusions and every file's content.

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
  """Reads the split files of a corpus and checks that its tasks are there.

  Args:
    directory: laid out like a checkout of natural-instructions.
    track: folder below `splits`.
    overrides: task name to kind; None takes the checked-in table.
    exclusions: what to leave out: an exclusion list's path, or what it says;
      None takes the track's own `exclusions.txt`, where there is one.

  Raises:
    InputError: if a directory or file is missing, a split is empty, a task is
      in both splits, an override is no kind, or an excluded task is none of the
      corpus's. An excluded instance that its file has not is told when the
      file is read.
  """
  corpus, splits = _open(directory, track, overrides, exclusions)
  for path, names in splits.items():
    missing = files.missing(corpus.directory, names)
    if missing:
      raise InputError(
        f'{path}: {len(missing)} of {len(names)} tasks have no file in '
        f'{corpus.directory / "tasks"}, {shown(missing[0])} first.'
        f'{nearest(missing[0], files.present(corpus.directory))}'
      )
  both = sorted(set(corpus.train_tasks) & set(corpus.test_tasks))
  if both:
    are = 'task is' if len(both) == 1 else 'tasks are'
    raise InputError(
      f'corpus {corpus.directory}: {len(both)} {are} in both train_tasks.txt '
      f'and test_tasks.txt, {both[0]!r} first; a task belongs to one of them.'
    )
  return corpus


def survey_corpus(
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  overrides: Mapping[str, str] | None = None,
  exclusions: str | pathlib.Path | Exclusions | None = None,
) -> tuple[Corpus, list[CorpusFinding]]:
  """Opens what there is of a corpus whose split files may be wrong.

  Returns:
    The corpus, of tasks that have a file; those in both splits are in test.
    And what `open_corpus` would refuse or warn of.

  Raises:
    InputError: if there is nothing to look at: no directory, no split file.
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
  present = files.present(corpus.directory)
  gone: set[str] = set()
  for path, names in splits.items():
    for name in files.missing(corpus.directory, names):
      gone.add(name)
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
      message='in train_tasks.txt and test_tasks.txt; a task belongs to one of '
      'them',
    )
    for name in sorted(both)
  ]
  corpus = dataclasses.replace(
    corpus,
    train_tasks=tuple(
      name for name in corpus.train_tasks if name not in both | gone
    ),
    test_tasks=tuple(name for name in corpus.test_tasks if name not in gone),
  )
  return corpus, findings


def check_split(split: str) -> None:
  """Raises `InputError` unless `split` is one of `SPLITS`."""
  if split not in SPLITS:
    raise InputError(
      f'split {split!r} is unknown; there are {", ".join(SPLITS)}.'
      f'{nearest(split, SPLITS)}'
    )


def check_num_tasks(
  found: int | None, available: int, *, setting: str = 'num_tasks'
) -> None:
  """Raises `InputError` if more training tasks are asked for than there are."""
  if found is not None and found > available:
    raise InputError(
      f'{setting}: found {found:,} training tasks, allowed are 1 to '
      f'{available:,}, which is what the corpus has, or None for all of them. '
      'Name fewer (NUM_TASKS of a sweep), or a larger corpus.'
    )


def _open(
  directory: str | pathlib.Path,
  track: str,
  overrides: Mapping[str, str] | None,
  exclusions: str | pathlib.Path | Exclusions | None,
) -> tuple[Corpus, dict[pathlib.Path, tuple[str, ...]]]:
  """Returns a corpus of whatever the split files name, and what each names."""
  directory = pathlib.Path(directory)
  splits = directory / 'splits' / track
  files.check_track(directory, track)
  for folder, holds in (
    (directory, 'tasks/ and splits/'),
    (directory / 'tasks', 'NAME.json, one a task'),
    (splits, 'train_tasks.txt and test_tasks.txt'),
  ):
    if not folder.is_dir():
      found = f'no directory {folder}'
      if folder.exists():
        found = f'{folder} is no directory'
      raise InputError(
        f'corpus {directory}: {found}; it should hold {holds}. '
        "'it-study corpus mini DIR' writes a small corpus to start with."
        f'{nearest_path(directory)}'
      )
  if exclusions is None:
    own = splits / EXCLUSIONS_FILE
    exclusions = own if own.is_file() else NO_EXCLUSIONS
  if not isinstance(exclusions, Exclusions):
    exclusions = exclusion_lists.read(exclusions)
  warnings: list[str] = []
  named = {}
  for split in ('train', 'test'):
    path = splits / f'{split}_tasks.txt'
    named[path] = files.read_split(path, directory, warnings)
  _check_excluded(exclusions, directory, named.values())
  left = {
    path: tuple(name for name in names if name not in exclusions.tasks)
    for path, names in named.items()
  }
  for path, names in left.items():
    if not names:
      raise InputError(
        f'{path}: {exclusions.path} leaves out every task in it; leave some.'
      )
  if overrides is None:
    overrides = task_kinds.load_overrides()
  for kind in overrides.values():
    task_kinds.check_kind(kind)
  train, test = left.values()
  return (
    Corpus(directory, train, test, overrides, tuple(warnings), exclusions),
    left,
  )


def _check_excluded(
  exclusions: Exclusions,
  directory: pathlib.Path,
  splits: Iterable[tuple[str, ...]],
) -> None:
  """A list may name tasks of another track, not what is no task at all."""
  named = {name for names in splits for name in names}
  for name in exclusions.names:
    if name not in named and not files.has_file(directory, name):
      raise InputError(
        f'{exclusions.path}: no task {shown(name)} in corpus {directory}.'
        f'{nearest(name, named)}'
      )


@functools.lru_cache(maxsize=16)
def _task_table(corpus: Corpus, is_test: bool) -> LazyTasks:
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
  """Parses a file; `version` makes a changed one another entry."""
  del version
  return parse_task(
    files.read_text(path),
    name=path.stem,
    path=str(path),
    is_test=is_test,
    override=override,
    excluded=excluded,
  )
