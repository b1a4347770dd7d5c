"""A folder that workers share: on a file system, or in a bucket."""

from collections.abc import Collection, Sequence
import contextlib
import os
import pathlib
from typing import Protocol

from it_study.storage import bucket_leases, buckets, local_folders
from it_study.storage.storage_path import StoragePath


class SharedFolder(Protocol):
  """What the workers of a study need of its folder.

  Attributes:
    path: of the folder on this machine. Elsewhere it may be another one, and
      holds what was fetched.
  """

  path: pathlib.Path

  def exists(self, name: str) -> bool:
    """Whether all see a file of that name."""

  def fetch(self, *names: str, exclude: Collection[str] = ()) -> None:
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
  """A shared folder by its path, local or `gs://…`.

  Raises:
    InputError: if it cannot be made, or is in a bucket and the library for that
      is missing.
  """
  if StoragePath(path).local is not None:
    local_folders.make_directory(path)
    return LocalFolder(path)
  return bucket_leases.BucketFolder(path)


def open_to_read(path: str | os.PathLike) -> SharedFolder:
  """A study's folder, all of it but checkpoints and answers fetched.

  It is not the copy that a worker on this machine may be at work in.

  Raises:
    InputError: if it is in a bucket that cannot be read.
  """
  if StoragePath(path).local is not None:
    return LocalFolder(path)
  folder = bucket_leases.BucketFolder(path, copies=buckets.READING)
  folder.fetch(
    *('study.gin', 'run.json', 'results.jsonl', 'cells', 'trainings', 'report'),
    exclude=('checkpoints', 'events'),
  )
  return folder
