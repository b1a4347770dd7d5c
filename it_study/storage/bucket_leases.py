"""A folder in a bucket, shared by workers through local copies and leases.

A worker holds a lease on the part that it works on: an object that is written
only if it has not changed since it was read (Google Cloud Storage's generation
preconditions, https://cloud.google.com/storage/docs/request-preconditions).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
import contextlib
import os
import pathlib
import re
import time
from typing import TypeVar

from it_study.storage import buckets, leases, local_folders
from it_study.storage.leases import Holder, Lease, LeaseRenewer
from it_study.storage.manifest import DONE, MANIFEST
from it_study.storage.storage_path import StoragePath

_LEASES = 'leases'
# Files that mark a folder as complete, and are written last.
_LAST = (MANIFEST, DONE, 'inference.json')
# Temporary names of ours, Orbax's and T5X's.
_UNFINISHED = re.compile(r'\.partial$|\.orbax-checkpoint-tmp|\.tmp-\d+$')
_File = TypeVar('_File')


class BucketFolder:
  """A `SharedFolder` in a bucket."""

  def __init__(self, path: str | os.PathLike, *, copies: str = buckets.WORKING):
    """Creates the folder of the copy; nothing is read yet.

    Args:
      path: Folder in a bucket, `gs://BUCKET/…`.
      copies: Kind of copy, as in `buckets.place_of`.
    """
    folder = StoragePath(path)
    self._bucket = buckets.Bucket(folder)
    self.path = buckets.place_of(folder, copies=copies)
    self.location = str(folder)
    local_folders.make_directory(self.path)
    # Lease to its last generation, and the time when that was first seen.
    self._seen: dict[str, tuple[int, float]] = {}
    self._keepers: dict[str, LeaseRenewer] = {}

  def exists(self, name: str) -> bool:
    """See `SharedFolder`."""
    return name in self._bucket.files(name)

  def fetch(self, *names: str, exclude: Collection[str] = ()) -> None:
    """See `SharedFolder`."""
    for name in names:
      self._fetch(name, exclude)

  def publish(self, *names: str) -> None:
    """See `SharedFolder`."""
    for name in names:
      self._publish(name)

  @contextlib.contextmanager
  def claimed(
    self,
    name: str,
    *,
    adds_to: Sequence[str] = (),
    exclude: Collection[str] = (),
  ) -> Iterator[bool]:
    """See `SharedFolder`; folders named by `exclude` are not part of a copy."""

    def publish() -> None:
      for folder in adds_to:
        self._publish(folder, only_adds=True)
      self._publish(name, exclude=exclude)

    with local_folders.try_locked(self.path / name) as acquired:
      lease = Lease(self._bucket, f'{_LEASES}/{name}', self._seen)
      if not (acquired and lease.take()):
        yield False
        return
      with LeaseRenewer(lease, publish=publish) as keeper:
        self.fetch(*adds_to)
        published = self._fetch(name, exclude)
        # Every worker resumes from the published state.
        for file, path in self._files_here(name, exclude).items():
          if file not in published:
            path.unlink()
        self._keepers[name] = keeper
        try:
          yield True
        finally:
          del self._keepers[name]
        keeper.finish()

  def holder(self, name: str) -> Holder:
    """Returns who holds the lock of a folder."""
    generation, record = self._bucket.read_small(f'{_LEASES}/{name}')
    return Holder(generation, leases.describe(record))

  def publish_claimed(self, name: str) -> None:
    """Publishes a claimed part immediately.

    Raises:
      InputError: If another worker has taken it over.
    """
    self._keepers[name].publish()

  @contextlib.contextmanager
  def one_at_a_time(self) -> Iterator[None]:
    """See `SharedFolder`."""
    lease = Lease(self._bucket, f'{_LEASES}/folder', self._seen)
    while not lease.take():
      time.sleep(leases.LEASE_SECONDS / 60)
    with LeaseRenewer(lease, publish=None):
      yield

  def _fetch(self, name: str, exclude: Collection[str] = ()) -> set[str]:
    """Like `fetch`, and returns the names of all published files."""
    with local_folders.one_at_a_time(self.path / '.lock'):
      files = self._bucket.files(name)
      self._bucket.download(
        _leave_out(files, name, exclude).values(), to=self.path
      )
    return set(files)

  def _publish(
    self,
    name: str,
    *,
    only_adds: bool = False,
    exclude: Collection[str] = (),
  ) -> None:
    """Makes a part in the bucket equal to the local one."""
    there = _leave_out(self._bucket.files(name), name, exclude)
    here = {
      file: path
      for file, path in self._files_here(name, exclude).items()
      if _is_whole(self.path / name, path)
    }
    # Completion markers are uploaded last and deleted first.
    for file in sorted(here, key=lambda n: n.endswith(_LAST)):
      self._bucket.upload(here[file], file, known=there.get(file))
    if only_adds:
      return
    for file in sorted(
      set(there) - set(here), key=lambda n: not n.endswith(_LAST)
    ):
      self._bucket.delete(file, generation=there[file].generation)

  def _files_here(
    self, name: str, exclude: Collection[str]
  ) -> dict[str, pathlib.Path]:
    below = _files_below(self.path / name)
    files = {str(path.relative_to(self.path)): path for path in below}
    return _leave_out(files, name, exclude)


def _leave_out(
  files: Mapping[str, _File], name: str, exclude: Collection[str]
) -> dict[str, _File]:
  """Returns the files of a part that are not in an excluded folder."""
  return {
    file: value
    for file, value in files.items()
    if set(exclude).isdisjoint(file.removeprefix(name).split('/'))
  }


def _files_below(path: pathlib.Path) -> list[pathlib.Path]:
  if path.is_file():
    return [path]
  return sorted(
    file
    for file in path.rglob('*')
    if file.is_file() and not file.name.startswith('.')
  )


def _is_whole(part: pathlib.Path, path: pathlib.Path) -> bool:
  """Returns whether a file, and its checkpoint if any, is fully written."""
  below = path.relative_to(part).parts
  if any(_UNFINISHED.search(name) for name in below):
    return False
  if below[:1] != ('checkpoints',):
    return True
  return part.joinpath(*below[:2], MANIFEST).exists()
