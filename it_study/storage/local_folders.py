"""Creates, checks and locks local folders; finds the cache."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import tempfile

from it_study.errors import InputError
from it_study.storage import file_locks, leases
from it_study.storage.storage_path import expanded

_LOCK = '.lock'


def make_directory(path: str | os.PathLike) -> None:
  """Creates a directory, unless it exists, and checks that it is writable.

  Raises:
    InputError: If it cannot be created or written to.
  """
  from etils import epath

  try:
    epath.Path(path).mkdir(parents=True, exist_ok=True)
    if '://' not in os.fspath(path):
      with tempfile.TemporaryFile(dir=os.fspath(path)):
        pass
  except OSError as error:
    raise InputError(
      f'cannot write to {os.fspath(path)}: {error.strerror or error}. Name a '
      'writable directory.'
    ) from None


@contextlib.contextmanager
def locked(directory: str | os.PathLike) -> Iterator[None]:
  """Holds a directory's lock while the block runs.

  The lock is released when the process ends, however it ends; see
  `file_locks.held`.

  Raises:
    InputError: If another process holds the lock.
  """
  lock = pathlib.Path(directory) / _LOCK
  with leases.waited_for(
    os.fspath(directory),
    claim=lambda: try_locked(directory),
    find_holder=lambda: file_locks.find_holder(lock),
  ):
    yield


@contextlib.contextmanager
def try_locked(directory: str | os.PathLike) -> Iterator[bool]:
  """Like `locked`, but yields whether the lock was acquired.

  On a network file system the lock holds across machines if the file system
  supports locks, as NFS does from version 4; otherwise a lease holds there.
  """
  make_directory(directory)
  with file_locks.held(
    pathlib.Path(directory) / _LOCK, waits=False
  ) as acquired:
    yield acquired


@contextlib.contextmanager
def one_at_a_time(lock: str | os.PathLike) -> Iterator[None]:
  """Lets the processes of one machine run the block one at a time.

  A process waits for the lock, and holds it until the block or the process
  ends.

  Args:
    lock: Lock file on a local disk; created if missing, and left behind.
  """
  with file_locks.held(lock, waits=True):
    yield


def cache_directory() -> pathlib.Path:
  """Returns `IT_STUDY_CACHE`, by default `~/.cache/it_study`."""
  folder = os.environ.get('IT_STUDY_CACHE')
  if folder:
    return pathlib.Path(expanded(folder))
  return pathlib.Path.home() / '.cache' / 'it_study'
