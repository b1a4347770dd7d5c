"""The output folder of one run, in one process or several."""

from collections.abc import Callable, Collection, Iterator
import contextlib
import os
import pathlib

from it_study import distributed
from it_study.errors import InputError
from it_study.storage import bucket_leases, leases, local_folders
from it_study.storage.storage_path import StoragePath


@contextlib.contextmanager
def working(
  path: str | os.PathLike, *, exclude: Collection[str] = ()
) -> Iterator[tuple[pathlib.Path, Callable[[], None]]]:
  """Opens a folder for one run to write to.

  The folder is locked against other runs. For one in a bucket, the run works in
  a local copy, which starts from what an earlier run published, and is
  published from time to time and at the end. With several processes all of them
  must call this. Only the first one locks, fetches and publishes.

  Args:
    path: Folder, local or `gs://…`.
    exclude: Names of folders inside that are not part of the copy.

  Yields:
    The local folder, and a function that publishes it immediately, to be called
    in the first process.

  Raises:
    InputError: In all processes, if the folder cannot be written to, or another
      run is using it.
  """
  stored = StoragePath(path)
  if stored.local is not None:
    local = stored.local
    with _locked_by_first(
      local, lambda: local_folders.locked(local), copy=local
    ):
      yield local, lambda: None
    return
  folder = bucket_leases.BucketFolder(str(stored.parent))
  copy = folder.path / stored.name
  with _locked_by_first(
    path,
    lambda: leases.waited_for(
      str(stored),
      claim=lambda: folder.claimed(stored.name, exclude=exclude),
      find_holder=lambda: folder.holder(stored.name),
    ),
    copy=copy,
  ):
    yield copy, lambda: folder.publish_claimed(stored.name)


@contextlib.contextmanager
def _locked_by_first(
  path: str | os.PathLike,
  lock: Callable[[], contextlib.AbstractContextManager[None]],
  *,
  copy: pathlib.Path,
) -> Iterator[None]:
  """Holds a folder's lock in the first process; raises in all without it.

  Args:
    path: Path of the folder, for a message.
    lock: Function that locks the folder.
    copy: Local folder to work in.
  """
  with contextlib.ExitStack() as stack:
    error = None
    if distributed.is_first():
      try:
        stack.enter_context(lock())
      except InputError as lock_error:
        error = lock_error
    else:
      local_folders.make_directory(copy)
    if not distributed.broadcast_from_first(int(error is None)):
      raise error or InputError(
        f'{path}: the first process cannot use it; see its error.'
      )
    yield
