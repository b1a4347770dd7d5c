"""A folder that workers share: on a file system, or in a bucket."""

from collections.abc import Collection, Sequence
import contextlib
import os
import pathlib
from typing import Protocol

from it_study.storage import bucket_leases, buckets, local_folders
from it_study.storage.storage_path import StoragePath


class SharedFolder(Protocol):
  """The operations that the workers of a study need on its folder.

  Attributes:
    path: Local path of the folder, or of the copy that holds what was fetched.
      It may differ between machines.
    location: Path of the folder itself, for messages.
  """

  path: pathlib.Path
  location: str

  def exists(self, name: str) -> bool:
    """Returns whether a file of that name is visible to all workers."""

  def fetch(self, *names: str, exclude: Collection[str] = ()) -> None:
    """Fetches what other workers have published.

    Args:
      *names: Files and folders to fetch; folders with everything in them.
      exclude: Names of folders inside them to leave out.
    """

  def publish(self, *names: str) -> None:
    """Makes the local state of files or folders visible to all workers."""

  def claimed(
    self, name: str, *, adds_to: Sequence[str] = ()
  ) -> contextlib.AbstractContextManager[bool]:
    """Holds the lock of one folder inside while the block runs.

    Yields whether the lock was acquired. If so, the folder is fetched first,
    and published at the end and from time to time.

    Args:
      name: Folder to lock.
      adds_to: Append-only folders, to which any worker adds files at any time;
        fetched and published together with the folder.
    """

  def one_at_a_time(self) -> contextlib.AbstractContextManager[None]:
    """Lets workers run the block one at a time."""


class LocalFolder:
  """A folder on a disk or network file system that all workers share."""

  def __init__(self, path: str | os.PathLike):
    self.path = pathlib.Path(path)
    self.location = str(self.path)

  def exists(self, name: str) -> bool:
    return (self.path / name).exists()

  def fetch(self, *names: str, exclude: Collection[str] = ()) -> None:
    del names, exclude

  def publish(self, *names: str) -> None:
    del names

  def claimed(
    self, name: str, *, adds_to: Sequence[str] = ()
  ) -> contextlib.AbstractContextManager[bool]:
    del adds_to
    return local_folders.try_locked(self.path / name)

  def one_at_a_time(self) -> contextlib.AbstractContextManager[None]:
    return local_folders.one_at_a_time(self.path / '.lock')


def open_folder(path: str | os.PathLike) -> SharedFolder:
  """Opens the shared folder at a path, local or `gs://…`.

  Raises:
    InputError: If it cannot be created, or if it is in a bucket and the library
      for buckets is missing.
  """
  local = StoragePath(path).local
  if local is not None:
    local_folders.make_directory(local)
    return LocalFolder(local)
  return bucket_leases.BucketFolder(path)


def open_to_read(path: str | os.PathLike) -> SharedFolder:
  """Opens a study's or a prediction's folder, without checkpoints and answers.

  Of a folder in a bucket, this is not the copy that a worker on this machine
  may be working in.

  Raises:
    InputError: If it is in a bucket that cannot be read.
  """
  local = StoragePath(path).local
  if local is not None:
    return LocalFolder(local)
  folder = bucket_leases.BucketFolder(path, copies=buckets.READING)
  folder.fetch(
    *('study.gin', 'run.json', 'results.jsonl', 'cells', 'trainings', 'report'),
    'predictions.jsonl',
    exclude=('checkpoints', 'events'),
  )
  return folder
