"""The files of a corpus: where they are, and reading them."""

from collections.abc import Iterable, Mapping
import concurrent.futures
import hashlib
import json
import os
import pathlib
import time

from it_study.errors import InputError, nearest
from it_study.storage import local_folders, text_files

# A file may change again within one tick of its file system's clock and look
# the same. The coarsest ones in use tick every two seconds.
RECENT_NS = 2_000_000_000
_HASHES_FORMAT = 1
_THREADS = 8


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


def sha256_of_files(
  names: Iterable[str], *, directory: str | os.PathLike
) -> dict[str, str]:
  """Hashes files, or looks up their hashes where they have not changed.

  What is known of a directory's files stands in the cache folder, one JSON file
  a directory. A hash counts as long as device, inode, size and the times of
  modification and status change, in nanoseconds, are those of the file; it is
  kept only if both times were at least `RECENT_NS` old when it was made, as
  git does with its index. A cache that cannot be read or written is done
  without.

  Args:
    names: of files, relative to `directory`.
    directory: of the files.

  Returns:
    Name to hexadecimal SHA-256, in the order of `names`.

  Raises:
    OSError: if a file cannot be read; `filename` names it.
  """
  directory = pathlib.Path(directory).resolve()
  cache = _hashes_path(directory)
  known = _read_hashes(cache)
  names = list(dict.fromkeys(names))
  found: dict[str, str] = {}
  for name in names:
    state, digest = known.get(name, (None, None))
    if state is not None and state == _file_state(os.stat(directory / name)):
      found[name] = digest
  missing = [name for name in names if name not in found]
  if missing:
    fresh = _hash_files(missing, directory)
    found.update((name, digest) for name, (_, digest) in fresh.items())
    _write_hashes(cache, {n: entry for n, entry in fresh.items() if entry[0]})
  return {name: found[name] for name in names}


def _hash_files(
  names: list[str], directory: pathlib.Path
) -> dict[str, tuple[list[int] | None, str]]:
  """Name to state, None where it cannot be trusted, and SHA-256."""
  paths = [directory / name for name in names]
  # Hashing lets go of the interpreter's lock, so threads do.
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
    # What fails while it is read does not say which file it is.
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
    stored = json.loads(path.read_bytes())
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
  # Another process may have added its own since; what two write at the same
  # moment is lost to one of them and hashed again.
  files = {**_read_hashes(path), **entries}
  try:
    content = json.dumps({'format': _HASHES_FORMAT, 'files': files})
    text_files.write_file(path, content.encode())
  except OSError:
    pass
