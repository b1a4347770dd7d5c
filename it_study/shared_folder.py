"""A folder that workers share: on a file system, or in a bucket."""

from collections.abc import Collection, Iterator, Sequence
import contextlib
import logging
import os
import pathlib
import time
from typing import NoReturn, Protocol

from it_study import folders
from it_study.errors import InputError
from it_study.stored_folder import StoredFolder

_WAIT_SECONDS = 5.0
_logger = logging.getLogger(__name__)


class SharedFolder(Protocol):
  """What the workers of a study need of its folder.

  Attributes:
    path: of the folder on this machine. Elsewhere it may be another one, and
      holds what was fetched.
  """

  path: pathlib.Path

  def exists(self, name: str) -> bool:
    """Whether all see a file of that name."""

  def fetch(self, *names: str, without: Collection[str] = ()) -> None:
    """Brings here what others have published.

    Args:
      *names: of files, or of folders, with everything in them.
      without: names of folders in these that are left out.
    """

  def publish(self, *names: str) -> None:
    """Makes files, or folders, for all what they are here."""

  def claimed(
    self, name: str, *, adds_to: Sequence[str] = ()
  ) -> contextlib.AbstractContextManager[bool]:
    """Keeps other workers out of a folder in it while the block runs.

    The block is told whether the folder was to be had; if so, it is fetched
    first and published in the end, and now and then meanwhile.

    Args:
      name: of the folder.
      adds_to: folders to which anybody adds files at any time, and from which
        none goes; they are fetched and published along.
    """

  def one_at_a_time(self) -> contextlib.AbstractContextManager[None]:
    """Lets workers into the block one after another."""


class LocalFolder:
  """A folder that all workers see alike, on a disk or a network file system."""

  def __init__(self, path: str | os.PathLike):
    self.path = pathlib.Path(path)

  def exists(self, name: str) -> bool:
    return (self.path / name).exists()

  def fetch(self, *names: str, without: Collection[str] = ()) -> None:
    del names, without

  def publish(self, *names: str) -> None:
    del names

  def claimed(
    self, name: str, *, adds_to: Sequence[str] = ()
  ) -> contextlib.AbstractContextManager[bool]:
    del adds_to
    return folders.try_locked(self.path / name)

  def one_at_a_time(self) -> contextlib.AbstractContextManager[None]:
    return folders.one_at_a_time(self.path / '.lock')


def open_folder(path: str | os.PathLike) -> SharedFolder:
  """A shared folder by its path, local or `gs://…`.

  Raises:
    InputError: if it cannot be made, or is in a bucket and the library for that
      is missing.
  """
  if StoredFolder(path).local is not None:
    folders.make_directory(path)
    return LocalFolder(path)
  from it_study.bucket_folder import BucketFolder

  return BucketFolder(path)


def open_to_read(path: str | os.PathLike) -> SharedFolder:
  """A study's folder, all of it but checkpoints and answers fetched.

  It is not the copy that a worker on this machine may be at work in.

  Raises:
    InputError: if it is in a bucket that cannot be read.
  """
  if StoredFolder(path).local is not None:
    return LocalFolder(path)
  from it_study import buckets
  from it_study.bucket_folder import BucketFolder

  folder = BucketFolder(path, copies=buckets.READING)
  folder.fetch(
    *('study.gin', 'run.json', 'results.jsonl', 'cells', 'trainings', 'report'),
    without=('checkpoints', 'events'),
  )
  return folder


@contextlib.contextmanager
def working(
  path: str | os.PathLike, *, num_processes: int = 1
) -> Iterator[pathlib.Path]:
  """A folder for one run to write to, alone where it is in a bucket.

  There it is worked on in a copy, which begins with what a run before has
  published, and is published now and then and in the end.

  Args:
    path: local, or `gs://…`.
    num_processes: of the run.

  Raises:
    InputError: if it cannot be written to, or is in a bucket and another run is
      at work there, or this run has several processes.
  """
  stored = StoredFolder(path)
  if stored.local is not None:
    folders.make_directory(path)
    yield pathlib.Path(path)
    return
  from it_study.bucket_folder import LEASE_SECONDS, BucketFolder

  if num_processes > 1:
    refuse_bucket(stored)
  folder = BucketFolder(str(stored.parent))
  started = time.monotonic()
  while True:
    with folder.claimed(stored.name) as is_ours:
      if is_ours:
        yield folder.path / stored.name
        return
    # One that was killed leaves its lease behind.
    waited = time.monotonic() - started
    if waited > 1.5 * LEASE_SECONDS:
      raise InputError(
        f'{stored}: another run is at work there. Wait for it, stop it, or '
        'name another folder.'
      )
    if waited < _WAIT_SECONDS:
      _logger.warning(
        '%s: a run before has left its lease, or is at work; waiting for up to '
        '%.0f s.',
        stored,
        1.5 * LEASE_SECONDS,
      )
    time.sleep(_WAIT_SECONDS)


def refuse_bucket(path: object) -> NoReturn:
  """Refuses a folder in a bucket to a run of several processes."""
  raise InputError(
    f'{path}: several processes that train or predict together do not write '
    'to a bucket by themselves. Mount it on every host, with Cloud Storage '
    'FUSE, and name the mount.'
  )
