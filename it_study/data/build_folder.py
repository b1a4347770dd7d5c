"""Where a build works: alone, and rid of what a killed one has left."""

from collections.abc import Callable, Iterator
import contextlib
import errno
import os
import pathlib
import tempfile

from etils import epath
import tensorflow as tf

from it_study.errors import InputError
from it_study.storage import local_folders

# TFDS gives it to a folder that is not finished, and drops it at the end.
_INCOMPLETE = 'incomplete.'


@contextlib.contextmanager
def working_folder(
  directory: epath.Path, *, clear: Callable[[epath.Path], None]
) -> Iterator[pathlib.Path]:
  """A folder for what a build needs meanwhile, removed at the end.

  While the block runs no other process is in such a block for the same
  directory: who comes later waits. A bucket has no locks, so nobody waits
  there, and what is needed meanwhile goes to the local disk.

  Args:
    directory: to be made by the block. What builds that were killed have left
      beside it is removed.
    clear: called with the directory once no other process is at work there, to
      remove one that is not finished.
  """
  if '://' in os.fspath(directory):
    clear(directory)
    with tempfile.TemporaryDirectory() as folder:
      yield pathlib.Path(folder)
    return
  beside = directory.parent
  beside.mkdir(parents=True, exist_ok=True)
  with local_folders.one_at_a_time(beside / '.lock'):
    for path in beside.glob(f'{_INCOMPLETE}*_{directory.name}'):
      path.rmtree()
    clear(directory)
    with tempfile.TemporaryDirectory(
      prefix=_INCOMPLETE, suffix=f'_{directory.name}', dir=beside
    ) as folder:
      yield pathlib.Path(folder)


@contextlib.contextmanager
def disk_full_as_input_error(directory: str | os.PathLike) -> Iterator[None]:
  """Turns a full disk into one clear line.

  Raises:
    InputError: if what is written in the block finds no room.
  """
  try:
    yield
  except (OSError, tf.errors.ResourceExhaustedError) as error:
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError) and error.errno not in full:
      raise
    raise InputError(
      f'no room for the rows in {os.fspath(directory)}. Free some, name '
      'another directory, or ask for fewer instances a task.'
    ) from None
