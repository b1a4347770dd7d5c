"""The output folder of one run, in one process or several."""

from collections.abc import Callable, Collection, Iterator
import contextlib
import logging
import os
import pathlib
import time

from it_study import distributed
from it_study.errors import InputError
from it_study.storage import bucket_leases, local_folders
from it_study.storage.storage_path import StoragePath

_WAIT_SECONDS = 5.0
_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def working(
  path: str | os.PathLike, *, exclude: Collection[str] = ()
) -> Iterator[tuple[pathlib.Path, Callable[[], None]]]:
  """Opens a folder for one run to write to.

  A folder in a bucket is locked against other runs. The run works in a local
  copy, which starts from what an earlier run published, and is published from
  time to time and at the end. With several processes all of them must call
  this. Only the first one's copy is fetched and published.

  Args:
    path: Folder, local or `gs://…`.
    exclude: Names of folders inside that are not part of the copy.

  Yields:
    The local folder, and a function that publishes it immediately, to be called
    in the first process.

  Raises:
    InputError: In all processes, if the folder cannot be written to, or if it
      is in a bucket and another run is using it.
  """
  stored = StoragePath(path)
  if stored.local is not None:
    local_folders.make_directory(path)
    yield pathlib.Path(path), lambda: None
    return
  folder = bucket_leases.BucketFolder(str(stored.parent))
  with contextlib.ExitStack() as stack:
    error = None
    if distributed.is_first():
      try:
        stack.enter_context(_waited_for(folder, stored, exclude))
      except InputError as claim_error:
        error = claim_error
    else:
      local_folders.make_directory(folder.path / stored.name)
    if not distributed.broadcast_from_first(int(error is None)):
      raise error or InputError(
        f'{path}: the first process cannot use it; see its error.'
      )
    yield (
      folder.path / stored.name,
      lambda: folder.publish_claimed(stored.name),
    )


@contextlib.contextmanager
def _waited_for(
  folder: bucket_leases.BucketFolder,
  stored: StoragePath,
  exclude: Collection[str],
) -> Iterator[None]:
  """Claims a folder, waiting until the lease of a killed run expires."""
  lease_seconds = bucket_leases.LEASE_SECONDS
  started = time.monotonic()
  while True:
    with folder.claimed(stored.name, exclude=exclude) as acquired:
      if acquired:
        yield
        return
    # A killed run leaves its lease behind.
    waited = time.monotonic() - started
    if waited > 1.5 * lease_seconds:
      raise InputError(
        f'{stored}: another run is using it. Wait for that run, stop it, or '
        'name another folder.'
      )
    if waited < _WAIT_SECONDS:
      _logger.warning(
        '%s: an earlier run left its lease, or is still running; waiting up to '
        '%.0f s.',
        stored,
        1.5 * lease_seconds,
      )
    time.sleep(_WAIT_SECONDS)
