"""Folders that a run needs: made, checked, or found."""

from collections.abc import Iterator
import contextlib
import fcntl
import os
import pathlib
import tempfile

from it_study.errors import InputError


def make_directory(path: str | os.PathLike) -> None:
  """Makes a directory. Raises `InputError` if it cannot be written to."""
  from etils import epath

  try:
    epath.Path(path).mkdir(parents=True, exist_ok=True)
    if '://' not in os.fspath(path):
      with tempfile.TemporaryFile(dir=path):
        pass
  except OSError as error:
    raise InputError(
      f'cannot write to {os.fspath(path)}: {error.strerror or error}. Name a '
      'directory that can be written.'
    ) from None


@contextlib.contextmanager
def locked(directory: str | os.PathLike) -> Iterator[None]:
  """Keeps a second process out of a directory while the block runs.

  The lock goes with the process, however it ends.

  Raises:
    InputError: if another process holds it.
  """
  with try_locked(directory) as acquired:
    if not acquired:
      raise InputError(
        f'{os.fspath(directory)}: another run is at work there. Wait for it, '
        'stop it, or name another directory.'
      )
    yield


@contextlib.contextmanager
def try_locked(directory: str | os.PathLike) -> Iterator[bool]:
  """As `locked`, but the block is told whether the lock was to be had.

  On a network file system it holds between machines where that has locks, as
  NFS from version 4 on has.
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
  """Lets processes of one machine into the block one after another.

  Args:
    lock: a file, made if it is not there and left behind; on a local disk. The
      turn ends with the block, or with the process.
  """
  with open(lock, 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def cache_directory() -> pathlib.Path:
  """`IT_STUDY_CACHE`, or `~/.cache/it_study`."""
  folder = os.environ.get('IT_STUDY_CACHE')
  if folder:
    return pathlib.Path(folder).expanduser()
  return pathlib.Path.home() / '.cache' / 'it_study'
