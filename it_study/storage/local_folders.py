"""Creates, checks and locks local folders; finds the cache."""

from collections.abc import Iterator
import contextlib
import fcntl
import os
import pathlib
import tempfile

from it_study.errors import InputError


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

  The lock is released when the process ends, however it ends.

  Raises:
    InputError: If another process holds the lock.
  """
  with try_locked(directory) as acquired:
    if not acquired:
      raise InputError(
        f'{os.fspath(directory)}: another run is using it. Wait for that run, '
        'stop it, or name another directory.'
      )
    yield


@contextlib.contextmanager
def try_locked(directory: str | os.PathLike) -> Iterator[bool]:
  """Like `locked`, but yields whether the lock was acquired.

  On a network file system the lock holds across machines if the file system
  supports locks, as NFS does from version 4.
  """
  make_directory(directory)
  with open(pathlib.Path(directory) / '.lock', 'w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      yield False
    else:
      yield True


@contextlib.contextmanager
def one_at_a_time(lock: str | os.PathLike) -> Iterator[None]:
  """Lets the processes of one machine run the block one at a time.

  A process waits for the lock, and holds it until the block or the process
  ends.

  Args:
    lock: Lock file on a local disk; created if missing, and left behind.
  """
  with open(lock, 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def cache_directory() -> pathlib.Path:
  """Returns `IT_STUDY_CACHE`, by default `~/.cache/it_study`."""
  folder = os.environ.get('IT_STUDY_CACHE')
  if folder:
    return pathlib.Path(folder).expanduser()
  return pathlib.Path.home() / '.cache' / 'it_study'
