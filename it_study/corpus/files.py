"""The files of a corpus: where they are, and reading them."""

import pathlib

from it_study.errors import InputError, nearest


class UnreadableError(InputError):
  """A file that is not there, not to be read, or not text."""


def task_path(directory: pathlib.Path, name: str) -> pathlib.Path:
  """Where a task's file is."""
  return directory / 'tasks' / f'{name}.json'


def check_track(directory: pathlib.Path, track: str) -> None:
  """Raises `InputError` if there are tracks, but not this one."""
  splits = directory / 'splits'
  if (splits / track).is_dir() or not splits.is_dir():
    return
  tracks = sorted(path.name for path in splits.iterdir() if path.is_dir())
  if tracks:
    raise InputError(
      f'corpus {directory}: no track {track!r} in {splits}; there are '
      f'{", ".join(tracks)}.{nearest(track, tracks)}'
    )


def has_file(directory: pathlib.Path, name: str) -> bool:
  """Whether a task has a file."""
  try:
    return task_path(directory, name).is_file()
  except OSError:
    # Not every line is short enough to be a file's name.
    return False


def missing(directory: pathlib.Path, names: tuple[str, ...]) -> list[str]:
  """Those of the names that have no file."""
  return [name for name in names if not has_file(directory, name)]


def present(directory: pathlib.Path) -> list[str]:
  """Names of every task file there is."""
  return [path.stem for path in (directory / 'tasks').glob('*.json')]


def read_split(
  path: pathlib.Path, directory: pathlib.Path, warnings: list[str]
) -> tuple[str, ...]:
  """Names in a split file, each once, in its order; odd things are told."""
  if not path.is_file():
    raise InputError(
      f'corpus {directory}: no split file {path}; it should hold one task name '
      'a line.'
    )
  lines = [line.strip() for line in read_text(path).splitlines()]
  names = tuple(dict.fromkeys(line for line in lines if line))
  if not names:
    raise InputError(f'{path}: no task in it; it needs at least one a line.')
  if len(names) != sum(map(bool, lines)):
    warnings.append(f'{path}: some tasks are named twice')
  return names


def read_text(path: pathlib.Path) -> str:
  """A file's text. Raises `UnreadableError` if there is none."""
  try:
    return path.read_bytes().decode('utf-8-sig')
  except OSError as error:
    raise unreadable(path, error) from None
  except UnicodeDecodeError as error:
    raise UnreadableError(
      f'{path}: not UTF-8 at byte {error.start}: {error.reason}.'
    ) from None


def unreadable(path: pathlib.Path, error: OSError) -> UnreadableError:
  """What to raise for a file that cannot be read."""
  return UnreadableError(
    f'{path}: cannot be read: {error.strerror or error}. Put the file back, or '
    'take its task out of the split files.'
  )
