"""The folder that one run writes to, in one process or several."""

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
  """A folder for one run to write to, alone where it is in a bucket.

  There it is worked on in a copy, which begins with what a run before has
  published, and is published now and then and in the end. Of several processes
  all call this; the copy of the first one counts, the others' are fetched and
  published by nobody.

  Args:
    path: local, or `gs://…`.
    without: names of folders in it that are no part of such a copy.

  Yields:
    The folder, and what publishes it at once, in the first process.

  Raises:
    InputError: if it cannot be written to, or is in a bucket and another run is
      at work there; in all processes.
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
      except InputError as found:
        error = found
    else:
      local_folders.make_directory(folder.path / stored.name)
    if not distributed.broadcast_from_first(int(error is None)):
      raise error or InputError(
        f'{path}: the first process cannot work there, and says why.'
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
  """Claims a part, once whoever was killed there counts as gone."""
  lease_seconds = bucket_leases.LEASE_SECONDS
  started = time.monotonic()
  while True:
    with folder.claimed(stored.name, exclude=exclude) as acquired:
      if acquired:
        yield
        return
    # One that was killed leaves its lease behind.
    waited = time.monotonic() - started
    if waited > 1.5 * lease_seconds:
      raise InputError(
        f'{stored}: another run is at work there. Wait for it, stop it, or '
        'name another folder.'
      )
    if waited < _WAIT_SECONDS:
      _logger.warning(
        '%s: a run before has left its lease, or is at work; waiting for up to '
        '%.0f s.',
        stored,
        1.5 * lease_seconds,
      )
    time.sleep(_WAIT_SECONDS)
