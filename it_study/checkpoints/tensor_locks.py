"""Lets TensorStore write to a file system that has no file locks."""

import os

from orbax.checkpoint._src.serialization import tensorstore_utils
import tensorstore as ts

from it_study.storage import file_locks

# Files that exist while TensorStore writes stand in for locks.
_LOCK_FILES = {'file_io_locking': {'mode': 'lockfile'}}


def make_writable(folder: str | os.PathLike[str]) -> bool:
  """Lets Orbax write to a folder, whether or not it has file locks.

  Without locks, every save of Orbax fails. It has no parameter for them, so
  this changes the contexts that orbax-checkpoint 0.12.8 keeps for TensorStore,
  for this process.

  Args:
    folder: Writable folder, local or `gs://…`.

  Returns:
    Whether the contexts were changed.
  """
  if _has_locks(folder):
    return False
  for context in (
    tensorstore_utils._BASE_TS_CONTEXT,
    tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT,
  ):
    context.update(_LOCK_FILES)
  return True


def context(folder: str | os.PathLike[str]) -> ts.Context:
  """Returns the context to write to a local folder with."""
  return ts.Context({} if _has_locks(folder) else _LOCK_FILES)


def _has_locks(folder: str | os.PathLike[str]) -> bool:
  return '://' in os.fspath(folder) or file_locks.are_supported(folder)
