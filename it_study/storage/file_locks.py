"""Locks on files; leases where the file system has no locks."""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import os
import pathlib
import tempfile
import time
from typing import TextIO

from it_study.errors import InputError
from it_study.storage import leases
from it_study.storage.leases import Holder, Lease, LeaseRenewer

# What Lustre without `-o flock`, some NFS, FUSE and autofs say. The last is the
# kernel's ENOTSUPP, which it should not show to programs.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, 524)
# Lease to its last generation, and the time when that was first seen.
_seen: dict[str, tuple[int, float]] = {}


@contextlib.contextmanager
def held(lock: str | os.PathLike[str], *, waits: bool) -> Iterator[bool]:
  """Holds the lock of a file while the block runs.

  The lock is released when the process ends, however it ends. Where the file
  system has no locks, a lease beside the file serves: a killed process keeps
  it for `leases.LEASE_SECONDS`.

  Args:
    lock: Lock file in an existing folder; created if missing, and left behind.
    waits: Whether to wait until the lock is free.

  Yields:
    Whether the lock was acquired.

  Raises:
    InputError: If the lease was lost during the block.
  """
  with open(lock, 'a+', encoding='utf-8') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
      yield False
      return
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        raise
    else:
      _sign(file)
      yield True
      return
  with _leased(pathlib.Path(lock), waits=waits) as acquired:
    yield acquired


def find_holder(lock: str | os.PathLike[str]) -> Holder:
  """Returns who holds the lock of a file, to be called while it is held."""
  generation, record = _LeaseFiles().read_small(os.path.abspath(lock))
  if not generation:
    with contextlib.suppress(OSError):
      record = pathlib.Path(lock).read_text(encoding='utf-8')
  return Holder(generation, leases.describe(record))


def are_supported(folder: str | os.PathLike[str]) -> bool:
  """Returns whether the file system of a writable folder has locks.

  Raises:
    OSError: If no file can be created there.
  """
  with tempfile.TemporaryFile(dir=folder) as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        raise
      return False
  return True


def _sign(file: TextIO) -> None:
  """Writes who holds the lock, for those who find it held."""
  # A full disk does not keep anybody from holding it.
  with contextlib.suppress(OSError):
    file.truncate(0)
    file.write(leases.describe_self())
    file.flush()


@contextlib.contextmanager
def _leased(lock: pathlib.Path, *, waits: bool) -> Iterator[bool]:
  lease = Lease(_LeaseFiles(), os.path.abspath(lock), _seen)
  while not lease.take():
    if not waits:
      yield False
      return
    time.sleep(leases.LEASE_SECONDS / 60)
  with LeaseRenewer(lease, publish=None) as keeper:
    yield True
    keeper.finish()


class _LeaseFiles:
  """A `LeaseStore` on a file system; generation N of a file is `FILE-N`.

  Only the creation of a file that must not exist is relied upon, which every
  network file system does for one client alone.
  """

  def read_small(self, name: str) -> tuple[int, str]:
    """See `LeaseStore`."""
    while generations := self._generations(name):
      with contextlib.suppress(FileNotFoundError), self._errors(name):
        path = pathlib.Path(f'{name}-{generations[-1]}')
        return generations[-1], path.read_text(encoding='utf-8')
    return 0, ''

  def write_small(
    self, name: str, content: str, *, generation: int
  ) -> int | None:
    """See `LeaseStore`."""
    new = generation + 1
    with self._errors(name):
      try:
        with open(f'{name}-{new}', 'x', encoding='utf-8') as file:
          file.write(content)
      except FileExistsError:
        return None
      *old, newest = self._generations(name)
      if newest != new:
        os.unlink(f'{name}-{new}')
        return None
      # The last one stays, so that a worker that read it cannot repeat `new`.
      for number in old:
        if number < generation:
          pathlib.Path(f'{name}-{number}').unlink(missing_ok=True)
    return new

  def delete(self, name: str, *, generation: int) -> None:
    """See `LeaseStore`."""
    generations = self._generations(name)
    if generations[-1:] == [generation]:
      with self._errors(name):
        for number in generations:
          pathlib.Path(f'{name}-{number}').unlink(missing_ok=True)

  def _generations(self, name: str) -> list[int]:
    folder, prefix = os.path.split(f'{name}-')
    with self._errors(name):
      return sorted(
        int(found.removeprefix(prefix))
        for found in os.listdir(folder)
        if found.startswith(prefix) and found.removeprefix(prefix).isdecimal()
      )

  @contextlib.contextmanager
  def _errors(self, name: str) -> Iterator[None]:
    """Turns errors of the system into one-line messages."""
    try:
      yield
    except FileNotFoundError:
      raise
    except OSError as error:
      raise InputError(
        f'{name}: the lease cannot be written: {error.strerror or error}. Free '
        'some space, or name a folder on another disk.'
      ) from None
