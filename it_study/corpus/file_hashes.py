"""SHA-256 of a corpus's files, read anew only when a file has changed."""

from collections.abc import Iterable, Mapping
import concurrent.futures
import hashlib
import json
import os
import pathlib
import tempfile
import time

from it_study.storage import cache_folder

# A file may change again within one tick of its file system's clock and look
# the same. The coarsest ones in use tick every two seconds.
RECENT_NS = 2_000_000_000
_FORMAT = 1
_THREADS = 8


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
  cache = _cache_path(directory)
  known = _read(cache)
  names = list(dict.fromkeys(names))
  found: dict[str, str] = {}
  for name in names:
    state, digest = known.get(name, (None, None))
    if state is not None and state == _state(os.stat(directory / name)):
      found[name] = digest
  missing = [name for name in names if name not in found]
  if missing:
    fresh = _hash_files(missing, directory)
    found.update((name, digest) for name, (_, digest) in fresh.items())
    _write(cache, {n: entry for n, entry in fresh.items() if entry[0]})
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
  unchanged = _state(before) == _state(after)
  return (_state(before) if settled and unchanged else None), digest


def _state(status: os.stat_result) -> list[int]:
  return [
    status.st_dev,
    status.st_ino,
    status.st_size,
    status.st_mtime_ns,
    status.st_ctime_ns,
  ]


def _cache_path(directory: pathlib.Path) -> pathlib.Path:
  key = hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
  return cache_folder.cache_directory() / 'file_hashes' / f'{key}.json'


def _read(path: pathlib.Path) -> dict[str, tuple[list[int], str]]:
  try:
    stored = json.loads(path.read_bytes())
    if stored['format'] != _FORMAT:
      return {}
    return {
      n: (state, digest) for n, (state, digest) in stored['files'].items()
    }
  except (OSError, ValueError, TypeError, KeyError, AttributeError):
    return {}


def _write(
  path: pathlib.Path, entries: Mapping[str, tuple[list[int] | None, str]]
) -> None:
  if not entries:
    return
  # Another process may have added its own since; what two write at the same
  # moment is lost to one of them and hashed again.
  files = {**_read(path), **entries}
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
      with open(descriptor, 'w', encoding='utf-8') as file:
        json.dump({'format': _FORMAT, 'files': files}, file)
      os.replace(temporary, path)
    except BaseException:
      os.unlink(temporary)
      raise
  except OSError:
    pass
