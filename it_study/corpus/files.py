"""Locates, reads and hashes the files of a corpus."""

from collections.abc import Iterable, Mapping
import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import time

from it_study.errors import InputError, is_plain_name, nearest, shown
from it_study.storage import local_folders, text_files

# A file may change within one tick of its file system's clock without a new
# time. The coarsest file systems in use have ticks of two seconds.
RECENT_NS = 2_000_000_000
_HASHES_FORMAT = 1
_THREADS = 8


class UnreadableError(InputError):
  """A file that is missing, unreadable or not text."""


def task_path(directory: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the path of a task's file."""
  return directory / 'tasks' / f'{name}.json'


def check_track(directory: pathlib.Path, track: str) -> None:
  """Raises `InputError` if the corpus has tracks, but not this one."""
  splits = directory / 'splits'
  if not splits.is_dir():
    return
  tracks = sorted(path.name for path in splits.iterdir() if path.is_dir())
  if tracks and track not in tracks:
    raise InputError(
      f'corpus {directory}: no track {track!r} in {splits}; available: '
      f'{", ".join(tracks)}.{nearest(track, tracks)}'
    )


def check_task_name(name: str, *, where: str) -> None:
  """Raises `InputError` if a task's name would be a path.

  Args:
    name: Name in a split file or an exclusion list.
    where: File and line, for the message.
  """
  if not is_plain_name(name):
    raise InputError(
      f'{where}: expected the name of a task, got the path {shown(name)}. '
      "Name a file of the corpus's tasks folder, without folder and .json."
    )


def has_file(directory: pathlib.Path, name: str) -> bool:
  """Returns whether a task has a file."""
  if not is_plain_name(name):
    return False
  try:
    return task_path(directory, name).is_file()
  except OSError:
    # A name may be too long for a file.
    return False


def missing(directory: pathlib.Path, names: Iterable[str]) -> list[str]:
  """Returns the names of tasks without a file."""
  return [name for name in names if not has_file(directory, name)]


def present(directory: pathlib.Path) -> list[str]:
  """Returns the names of all task files."""
  return [path.stem for path in (directory / 'tasks').glob('*.json')]


def read_split(
  path: pathlib.Path,
  directory: pathlib.Path,
  warnings: list[str],
  *,
  optional: bool = False,
) -> tuple[str, ...]:
  """Returns the unique names in a split file, in order; may add warnings.

  An optional file may be missing or empty.
  """
  if not path.is_file():
    if optional and not path.exists():
      return ()
    raise InputError(
      f'corpus {directory}: no split file {path}; expected one task name per '
      'line.'
    )
  lines = [line.strip() for line in read_text(path).splitlines()]
  for number, line in enumerate(lines, start=1):
    if line:
      check_task_name(line, where=f'{path}, line {number}')
  names = tuple(dict.fromkeys(line for line in lines if line))
  if not names and not optional:
    raise InputError(f'{path}: no tasks; expected one task name per line.')
  if len(names) != sum(map(bool, lines)):
    warnings.append(f'{path}: some tasks are listed more than once')
  return names


def read_text(path: pathlib.Path) -> str:
  """Returns a file's text. Raises `UnreadableError` if it cannot be read."""
  try:
    return path.read_bytes().decode('utf-8-sig')
  except OSError as error:
    raise unreadable(path, error) from None
  except UnicodeDecodeError as error:
    raise UnreadableError(
      f'{path}: not UTF-8 at byte {error.start}: {error.reason}.'
    ) from None


def unreadable(path: pathlib.Path, error: OSError) -> UnreadableError:
  """Returns the error for a file that cannot be read."""
  return UnreadableError(
    f'{path}: cannot be read: {error.strerror or error}. Restore the file, or '
    'remove its task from the split files.'
  )


def sha256_of_files(
  names: Iterable[str],
  *,
  directory: str | os.PathLike[str],
  reread: bool = False,
) -> dict[str, str]:
  """Hashes files, or looks up the hashes of unchanged files.

  The cache folder holds one JSON file of hashes per directory. A hash is valid
  while the file's device, inode, size and times of modification and status
  change, in nanoseconds, stay the same. It is stored only if both times were at
  least `RECENT_NS` old when it was computed, like entries of git's index. A
  cache that cannot be read or written is ignored.

  Args:
    names: Names of files, relative to `directory`.
    directory: Directory of the files.
    reread: Whether to hash unchanged files, too. A failing disk changes a file
      without changing its times.

  Returns:
    Name to hexadecimal SHA-256, in the order of `names`.

  Raises:
    OSError: If a file cannot be read; `filename` names it.
  """
  directory = pathlib.Path(directory).resolve()
  cache = _hashes_path(directory)
  known = {} if reread else _read_hashes(cache)
  names = list(dict.fromkeys(names))
  hashes: dict[str, str] = {}
  for name in names:
    if name in known:
      state, digest = known[name]
      if state == _file_state(os.stat(directory / name)):
        hashes[name] = digest
  missing = [name for name in names if name not in hashes]
  if missing:
    fresh = _hash_files(missing, directory)
    hashes.update((name, digest) for name, (_, digest) in fresh.items())
    _write_hashes(cache, {n: entry for n, entry in fresh.items() if entry[0]})
  return {name: hashes[name] for name in names}


def _hash_files(
  names: list[str], directory: pathlib.Path
) -> dict[str, tuple[list[int] | None, str]]:
  """Returns name to state, None if it must not be stored, and SHA-256."""
  paths = [directory / name for name in names]
  # Hashing releases the GIL.
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    try:
      return dict(zip(names, pool.map(_hash_file, paths), strict=True))
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise


def _hash_file(path: pathlib.Path) -> tuple[list[int] | None, str]:
  now = time.time_ns()
  try:
    with open(path, 'rb') as file:
      before = os.fstat(file.fileno())
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
      after = os.fstat(file.fileno())
  except OSError as error:
    # An error while reading does not name the file.
    error.filename = error.filename or os.fspath(path)
    raise
  settled = max(before.st_mtime_ns, before.st_ctime_ns) < now - RECENT_NS
  unchanged = _file_state(before) == _file_state(after)
  return (_file_state(before) if settled and unchanged else None), digest


def _file_state(status: os.stat_result) -> list[int]:
  return [
    status.st_dev,
    status.st_ino,
    status.st_size,
    status.st_mtime_ns,
    status.st_ctime_ns,
  ]


def _hashes_path(directory: pathlib.Path) -> pathlib.Path:
  key = hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
  return local_folders.cache_directory() / 'file_hashes' / f'{key}.json'


def _read_hashes(path: pathlib.Path) -> dict[str, tuple[list[int], str]]:
  try:
    stored = text_files.parse_object(path.read_bytes(), where=str(path))
    if stored['format'] != _HASHES_FORMAT:
      return {}
    return {
      n: (state, digest) for n, (state, digest) in stored['files'].items()
    }
  except (OSError, ValueError, TypeError, KeyError, AttributeError):
    return {}


def _write_hashes(
  path: pathlib.Path, entries: Mapping[str, tuple[list[int] | None, str]]
) -> None:
  if not entries:
    return
  # Another process may have added hashes since. If two write at the same time,
  # one loses its hashes and computes them again.
  files = {**_read_hashes(path), **entries}
  content = json.dumps({'format': _HASHES_FORMAT, 'files': files})
  with contextlib.suppress(OSError):
    text_files.write_file(path, content.encode())
