"""A natural-instructions corpus: its splits, tasks and instances."""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import hashlib
import pathlib

from it_study import task_kinds
from it_study.errors import InputError, nearest, shown
from it_study.seeding import stable_hash
from it_study.task_files import (
  TEST_INSTANCES,
  Example,
  Instance,
  Task,
  TaskFile,
  parse_task,
)

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
]

SPLITS = ('train', 'validation', 'test')
VALIDATION_INSTANCES = 10
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
  """

  directory: pathlib.Path
  train_tasks: tuple[str, ...]
  test_tasks: tuple[str, ...]
  overrides: Mapping[str, str] = dataclasses.field(hash=False)
  warnings: tuple[str, ...] = ()

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
        f'{nearest(name, names)}'
      )
    path = _task_path(self.directory, name)
    try:
      status = path.stat()
    except OSError as error:
      raise _unreadable(path, error) from None
    return _load(
      path,
      (status.st_mtime_ns, status.st_size),
      name in self.test_tasks,
      self.overrides.get(name),
    )

  def instances(self, name: str, split: str) -> tuple[Instance, ...]:
    """A task's instances in `split`.

    In training and validation they come in the order of their stable hash, so
    that the first n are the same whatever the order of the file; in test in
    the order of the file.
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
    """A hash of the split files, overrides and every task file's content."""
    digest = hashlib.sha256()
    for part in (
      self.train_tasks,
      self.test_tasks,
      sorted(self.overrides.items()),
    ):
      digest.update(repr(part).encode())
    for name in sorted((*self.train_tasks, *self.test_tasks)):
      content = _read_bytes(_task_path(self.directory, name))
      # Its length keeps the end of one file apart from the next one's start.
      digest.update(f'{len(content)}\n'.encode())
      digest.update(content)
    return digest.hexdigest()


def open_corpus(
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  overrides: Mapping[str, str] | None = None,
) -> Corpus:
  """Reads the split files of a corpus and checks that its tasks are there.

  Args:
    directory: laid out like a checkout of natural-instructions.
    track: folder below `splits`.
    overrides: task name to kind; None takes the checked-in table.

  Raises:
    InputError: if a directory or file is missing, a split is empty, a task is
      in both splits, or an override is no kind.
  """
  directory = pathlib.Path(directory)
  splits = directory / 'splits' / track
  for folder, holds in (
    (directory, 'tasks/ and splits/'),
    (directory / 'tasks', 'NAME.json, one a task'),
    (splits, 'train_tasks.txt and test_tasks.txt'),
  ):
    if not folder.is_dir():
      raise InputError(
        f'corpus {directory}: no directory {folder}; it should hold {holds}. '
        "'it-study corpus mini DIR' writes a small corpus to start with."
      )
  warnings: list[str] = []
  names = {
    split: _read_split(splits / f'{split}_tasks.txt', directory, warnings)
    for split in ('train', 'test')
  }
  both = sorted(set(names['train']) & set(names['test']))
  if both:
    raise InputError(
      f'corpus {directory}: {len(both)} tasks are in both train_tasks.txt and '
      f'test_tasks.txt, {both[0]!r} first; a task belongs to one of them.'
    )
  if overrides is None:
    overrides = task_kinds.load_overrides()
  for kind in overrides.values():
    task_kinds.check_kind(kind)
  return Corpus(
    directory, names['train'], names['test'], overrides, tuple(warnings)
  )


def check_split(split: str) -> None:
  """Raises `InputError` unless `split` is one of `SPLITS`."""
  if split not in SPLITS:
    raise InputError(
      f'split {split!r} is unknown; there are {", ".join(SPLITS)}.'
      f'{nearest(split, SPLITS)}'
    )


def _read_split(
  path: pathlib.Path, directory: pathlib.Path, warnings: list[str]
) -> tuple[str, ...]:
  if not path.is_file():
    raise InputError(
      f'corpus {directory}: no split file {path}; it should hold one task name '
      'a line.'
    )
  lines = [line.strip() for line in _read_text(path).splitlines()]
  names = tuple(dict.fromkeys(line for line in lines if line))
  if not names:
    raise InputError(f'{path}: no task in it; it needs at least one a line.')
  if len(names) != sum(map(bool, lines)):
    warnings.append(f'{path}: some tasks are named twice')
  missing = [n for n in names if not _has_file(directory, n)]
  if missing:
    present = [p.stem for p in (directory / 'tasks').glob('*.json')]
    raise InputError(
      f'{path}: {len(missing)} of {len(names)} tasks have no file in '
      f'{directory / "tasks"}, {shown(missing[0])} first.'
      f'{nearest(missing[0], present)}'
    )
  return names


def _read_text(path: pathlib.Path) -> str:
  try:
    return _read_bytes(path).decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise InputError(
      f'{path}: not UTF-8 at byte {error.start}: {error.reason}.'
    ) from None


def _read_bytes(path: pathlib.Path) -> bytes:
  try:
    return path.read_bytes()
  except OSError as error:
    raise _unreadable(path, error) from None


def _unreadable(path: pathlib.Path, error: OSError) -> InputError:
  return InputError(
    f'{path}: cannot be read: {error.strerror or error}. Put the file back, or '
    'take its task out of the split files.'
  )


def _has_file(directory: pathlib.Path, name: str) -> bool:
  try:
    return _task_path(directory, name).is_file()
  except OSError:
    # Not every line is short enough to be a file's name.
    return False


def _task_path(directory: pathlib.Path, name: str) -> pathlib.Path:
  return directory / 'tasks' / f'{name}.json'


@functools.lru_cache(maxsize=64)
def _load(
  path: pathlib.Path,
  version: tuple[int, int],
  is_test: bool,
  override: str | None,
) -> TaskFile:
  """Parses a file; `version` makes a changed one another entry."""
  del version
  return parse_task(
    _read_text(path),
    name=path.stem,
    path=str(path),
    is_test=is_test,
    override=override,
  )
