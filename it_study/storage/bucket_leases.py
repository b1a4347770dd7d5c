"""A folder in a bucket, shared by workers through local copies and leases.

A worker holds a lease on the part that it works on: an object that is written
only if it has not changed since it was read (Google Cloud Storage's generation
preconditions, https://cloud.google.com/storage/docs/request-preconditions), and
rewritten as long as its holder lives. A lease that stops changing is taken over
by another worker.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
import contextlib
import json
import logging
import os
import pathlib
import re
import socket
import threading
import time
from typing import TypeVar
import uuid

from it_study.errors import InputError
from it_study.storage import buckets, local_folders
from it_study.storage.manifest import MANIFEST
from it_study.storage.storage_path import StoragePath

# A lease that has not changed for this long has expired.
LEASE_SECONDS = 120.0
# Interval between two uploads of a claimed part.
_PUBLISH_SECONDS = 60.0
_LEASES = 'leases'
# Files that mark a folder as complete, and are written last.
_LAST = (MANIFEST, 'DONE', 'inference.json')
# Temporary names of ours, Orbax's and T5X's.
_UNFINISHED = re.compile(r'\.partial$|\.orbax-checkpoint-tmp|\.tmp-\d+$')
_logger = logging.getLogger(__name__)
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
    local_folders.make_directory(self.path)
    # Lease to its last generation, and the time when that was first seen.
    self._seen: dict[str, tuple[int, float]] = {}
    self._keepers: dict[str, _LeaseRenewer] = {}

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
      lease = _Lease(self._bucket, f'{_LEASES}/{name}', self._seen)
      if not (acquired and lease.take()):
        yield False
        return
      with _LeaseRenewer(lease, publish=publish) as keeper:
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

  def publish_claimed(self, name: str) -> None:
    """Publishes a claimed part immediately.

    Raises:
      InputError: If another worker has taken it over.
    """
    self._keepers[name].publish()

  @contextlib.contextmanager
  def one_at_a_time(self) -> Iterator[None]:
    """See `SharedFolder`."""
    lease = _Lease(self._bucket, f'{_LEASES}/folder', self._seen)
    while not lease.take():
      time.sleep(LEASE_SECONDS / 60)
    with _LeaseRenewer(lease, publish=None):
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


class _Lease:
  """One worker's lock on a part, stored as an object in the bucket."""

  def __init__(
    self, bucket: buckets.Bucket, name: str, seen: dict[str, tuple[int, float]]
  ):
    self.name = name
    self._bucket = bucket
    self._seen = seen
    self._token = uuid.uuid4().hex
    self._generation = 0
    self._renewed = 0.0

  def take(self) -> bool:
    """Acquires the lease if it is free or expired; returns whether it did."""
    generation, _ = self._bucket.read_small(self.name)
    if generation:
      before, since = self._seen.get(self.name, (0, 0.0))
      if before != generation:
        self._seen[self.name] = (generation, time.monotonic())
        return False
      if time.monotonic() - since < LEASE_SECONDS:
        return False
    return self._write(generation)

  def renew(self) -> bool:
    """Renews the lease; returns whether it is still ours."""
    return self._write(self._generation)

  def release(self) -> None:
    """Frees the lease for others."""
    self._bucket.delete(self.name, generation=self._generation)

  def is_fresh(self) -> bool:
    """Returns whether no other worker can have taken the lease over yet."""
    return time.monotonic() - self._renewed < LEASE_SECONDS

  def _write(self, generation: int) -> bool:
    started = time.monotonic()
    content = json.dumps(
      {'host': socket.gethostname(), 'pid': os.getpid(), 'token': self._token}
    )
    written = self._bucket.write_small(
      self.name, content, generation=generation
    )
    if written is None:
      # A retried request of our own may have succeeded the first time.
      written, text = self._bucket.read_small(self.name)
      if text != content:
        return False
    self._generation, self._renewed = written, started
    return True


class _LeaseRenewer:
  """Renews a lease and publishes its part while a block runs."""

  def __init__(self, lease: _Lease, *, publish: Callable[[], None] | None):
    self._lease = lease
    self._publish = publish
    self._publishing = threading.Lock()
    self._stop = threading.Event()
    self._is_lost = False
    tasks = [(self._renew, LEASE_SECONDS / 4)]
    if publish is not None:
      tasks.append((self._publish_if_fresh, _PUBLISH_SECONDS))
    self._threads = [
      threading.Thread(target=self._repeat, args=task, daemon=True)
      for task in tasks
    ]

  def __enter__(self) -> '_LeaseRenewer':
    for thread in self._threads:
      thread.start()
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    self._join()
    # A graceful shutdown leaves work that another machine can resume.
    if kind is SystemExit and self._publish is not None and not self._is_lost:
      self._publish()
    if not self._is_lost:
      self._lease.release()

  def finish(self) -> None:
    """Publishes for the last time.

    Raises:
      InputError: If another worker has taken the part over.
    """
    self._join()
    self.publish()

  def publish(self) -> None:
    """Publishes now; raises as `finish` does."""
    self._renew()
    if self._is_lost:
      raise InputError(
        f'{self._lease.name}: another worker has taken this part over, because '
        f'the bucket was unreachable for {LEASE_SECONDS:.0f} s. Restart this '
        'worker; finished work is kept.'
      )
    self._publish_alone()

  def _publish_alone(self) -> None:
    with self._publishing:
      if self._publish is not None:
        self._publish()

  def _join(self) -> None:
    self._stop.set()
    for thread in self._threads:
      thread.join()

  def _repeat(self, task: Callable[[], None], seconds: float) -> None:
    while not self._stop.wait(seconds):
      try:
        task()
      except InputError as error:
        _logger.warning('%s Retrying in %.0f s.', error, seconds)

  def _renew(self) -> None:
    if not self._is_lost and not self._lease.renew():
      self._is_lost = True

  def _publish_if_fresh(self) -> None:
    if not self._is_lost and self._lease.is_fresh():
      self._publish_alone()
