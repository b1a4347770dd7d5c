"""A folder in a bucket, worked on in a copy on the local disk.

Whoever works on a part of it holds a lease: an object that is written only if
it is still the one that was seen (Google Cloud Storage's generation
preconditions, https://cloud.google.com/storage/docs/request-preconditions), and
written anew while its holder lives. One that does not change for a while is
taken over.
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

# A lease that stays the same for so many seconds has no holder any more.
LEASE_SECONDS = 120.0
# Between two times that a part at work is published.
_PUBLISH_SECONDS = 60.0
_LEASES = 'leases'
# Written when all else is.
_LAST = (MANIFEST, 'DONE', 'inference.json')
# Ours, Orbax's, T5X's.
_UNFINISHED = re.compile(r'\.partial$|\.orbax-checkpoint-tmp|\.tmp-\d+$')
_logger = logging.getLogger(__name__)
_File = TypeVar('_File')


class BucketFolder:
  """A `SharedFolder` in a bucket."""

  def __init__(self, path: str | os.PathLike, *, copies: str = buckets.WORKING):
    """Makes the copy's folder; nothing is read yet.

    Args:
      path: `gs://BUCKET/…`.
      copies: as for `buckets.place_of`.
    """
    folder = StoragePath(path)
    self._bucket = buckets.Bucket(folder)
    self.path = buckets.place_of(folder, copies=copies)
    local_folders.make_directory(self.path)
    # Lease to the generation that it had, and when that was first seen.
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
    """See `SharedFolder`; folders named by `without` are nobody's copy."""

    def publish():
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
        # All go on from the same.
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
    """Publishes a part that is claimed, without waiting for its time.

    Raises:
      InputError: another worker has taken it over.
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
    """As `fetch`, and returns the names of all files that are there."""
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
    """Makes a part in the bucket what it is here."""
    there = _leave_out(self._bucket.files(name), name, exclude)
    here = {
      file: path
      for file, path in self._files_here(name, exclude).items()
      if _is_whole(self.path / name, path)
    }
    # What others wait for comes last, and goes first.
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
  """The files of a part but those in folders in it of some names."""
  return {
    file: found
    for file, found in files.items()
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
  """Whether nobody is in the midst of writing a file, or its checkpoint."""
  below = path.relative_to(part).parts
  if any(_UNFINISHED.search(name) for name in below):
    return False
  if below[:1] != ('checkpoints',):
    return True
  return part.joinpath(*below[:2], MANIFEST).exists()


class _Lease:
  """One worker's right to a part, as an object in the bucket."""

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
    """Whether it is ours now: it was nobody's, or its holder is gone."""
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
    """Whether it is ours still."""
    return self._write(self._generation)

  def release(self) -> None:
    """Lets others have it at once."""
    self._bucket.delete(self.name, generation=self._generation)

  def is_fresh(self) -> bool:
    """Whether no other can have taken it over yet."""
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
      # It may be that our own request came through twice.
      found, text = self._bucket.read_small(self.name)
      if text != content:
        return False
      written = found
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
    works = [(self._renew, LEASE_SECONDS / 4)]
    if publish is not None:
      works.append((self._publish_now, _PUBLISH_SECONDS))
    self._threads = [
      threading.Thread(target=self._repeat, args=work, daemon=True)
      for work in works
    ]

  def __enter__(self) -> '_LeaseRenewer':
    for thread in self._threads:
      thread.start()
    return self

  def __exit__(self, kind, *_) -> None:
    self._join()
    # Stopped from outside, with work that another machine can go on from.
    if kind is SystemExit and self._publish is not None and not self._is_lost:
      self._publish()
    if not self._is_lost:
      self._lease.release()

  def finish(self) -> None:
    """Publishes for the last time.

    Raises:
      InputError: another worker has taken the part over meanwhile.
    """
    self._join()
    self.publish()

  def publish(self) -> None:
    """Publishes now; raises as `finish` does."""
    self._renew()
    if self._is_lost:
      raise InputError(
        f'{self._lease.name}: another worker has taken this part over, since '
        f'the bucket was out of reach for {LEASE_SECONDS:.0f} s. Start this '
        'worker again; what is done stays done.'
      )
    self._publish_alone()

  def _publish_alone(self) -> None:
    with self._publishing:
      self._publish()

  def _join(self) -> None:
    self._stop.set()
    for thread in self._threads:
      thread.join()

  def _repeat(self, work: Callable[[], None], seconds: float) -> None:
    while not self._stop.wait(seconds):
      try:
        work()
      except InputError as error:
        _logger.warning('%s Trying again in %.0f s.', error, seconds)

  def _renew(self) -> None:
    if not self._is_lost and not self._lease.renew():
      self._is_lost = True

  def _publish_now(self) -> None:
    if not self._is_lost and self._lease.is_fresh():
      self._publish_alone()
