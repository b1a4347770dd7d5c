"""Leases: locks that end when their holder no longer renews them.

A lease is a small file that its holder rewrites as long as it lives. One that
stops changing is taken over by another worker. Clocks of machines are not
compared: every worker measures for itself how long a lease has not changed.
"""

from collections.abc import Callable, Iterator
import contextlib
import datetime
import json
import logging
import os
import socket
import threading
import time
from typing import NamedTuple, Protocol
import uuid

from it_study.errors import InputError

# A lease that has not changed for this long has expired.
LEASE_SECONDS = 120.0
# Interval between two uploads of a claimed part.
PUBLISH_SECONDS = 60.0
# Pause between two attempts to claim a folder.
_WAIT_SECONDS = 5.0
_logger = logging.getLogger(__name__)


class LeaseStore(Protocol):
  """Small files whose every version has a number, its generation."""

  def read_small(self, name: str) -> tuple[int, str]:
    """Returns a file's generation and content; 0 and '' if it is missing."""

  def write_small(
    self, name: str, content: str, *, generation: int
  ) -> int | None:
    """Writes a file if its generation is still the given one; 0 if missing.

    Returns:
      The new generation; None if the file had another one.
    """

  def delete(self, name: str, *, generation: int) -> None:
    """Deletes a file if its generation is still the given one."""


class Holder(NamedTuple):
  """The holder of a lock, as another process sees it.

  Attributes:
    generation: Generation of its lease; 0 for a lock that ends with its
      process, so that its holder is alive.
    text: Description of the holder; empty if unknown.
  """

  generation: int
  text: str


def describe_self() -> str:
  """Returns a record of this process, for the lock that it holds."""
  now = datetime.datetime.now(datetime.UTC)
  return json.dumps(
    {
      'host': socket.gethostname(),
      'pid': os.getpid(),
      'since': f'{now:%Y-%m-%d %H:%M:%S} UTC',
    }
  )


def describe(record: str) -> str:
  """Returns a record of a process as text; empty if it is not one.

  >>> describe('{"host": "a", "pid": 7, "since": "2026-01-31 12:00:00 UTC"}')
  'process 7 on a, since 2026-01-31 12:00:00 UTC'
  """
  try:
    fields = json.loads(record)
    return (
      f'process {fields["pid"]} on {fields["host"]}, since {fields["since"]}'
    )
  except (ValueError, LookupError, TypeError):
    return ''


@contextlib.contextmanager
def waited_for(
  path: str,
  *,
  claim: Callable[[], contextlib.AbstractContextManager[bool]],
  find_holder: Callable[[], Holder],
) -> Iterator[None]:
  """Claims a folder, waiting until the lease of a killed run expires.

  Args:
    path: Path of the folder, for messages.
    claim: Function that claims it, and yields whether it could.
    find_holder: Function that returns the folder's holder.

  Raises:
    InputError: If another run is using the folder.
  """
  first: Holder | None = None
  started = time.monotonic()
  while True:
    with claim() as acquired:
      if acquired:
        yield
        return
    holder = find_holder()
    waited = time.monotonic() - started
    if (
      not holder.generation
      or holder.generation != (first or holder).generation
      or waited > 1.5 * LEASE_SECONDS
    ):
      who = f' ({holder.text})' if holder.text else ''
      raise InputError(
        f'{path}: another run is using it{who}. Wait for that run, stop it, or '
        'name another folder.'
      )
    if first is None:
      first = holder
      # A killed run leaves its lease behind.
      _logger.warning(
        '%s: an earlier run left its lease, or is still running%s; waiting up '
        'to %.0f s.',
        path,
        f' ({holder.text})' if holder.text else '',
        1.5 * LEASE_SECONDS,
      )
    time.sleep(_WAIT_SECONDS)


class Lease:
  """One worker's lock on a part, stored as a small file."""

  def __init__(
    self, store: LeaseStore, name: str, seen: dict[str, tuple[int, float]]
  ):
    self.name = name
    self._store = store
    self._seen = seen
    # Only this object writes this content.
    self._content = json.dumps(
      {**json.loads(describe_self()), 'token': uuid.uuid4().hex}
    )
    self._generation = 0
    self._renewed = 0.0

  def take(self) -> bool:
    """Acquires the lease if it is free or expired; returns whether it did."""
    generation, _ = self._store.read_small(self.name)
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
    self._store.delete(self.name, generation=self._generation)

  def is_fresh(self) -> bool:
    """Returns whether no other worker can have taken the lease over yet."""
    return time.monotonic() - self._renewed < LEASE_SECONDS

  def _write(self, generation: int) -> bool:
    started = time.monotonic()
    written = self._store.write_small(
      self.name, self._content, generation=generation
    )
    if written is None:
      # A retried request of our own may have succeeded the first time.
      written, text = self._store.read_small(self.name)
      if text != self._content:
        return False
    self._generation, self._renewed = written, started
    return True


class LeaseRenewer:
  """Renews a lease and publishes its part while a block runs."""

  def __init__(self, lease: Lease, *, publish: Callable[[], None] | None):
    self._lease = lease
    self._publish = publish
    self._publishing = threading.Lock()
    self._stop = threading.Event()
    self._is_lost = False
    tasks = [(self._renew, LEASE_SECONDS / 4)]
    if publish is not None:
      tasks.append((self._publish_if_fresh, PUBLISH_SECONDS))
    self._threads = [
      threading.Thread(target=self._repeat, args=task, daemon=True)
      for task in tasks
    ]

  def __enter__(self) -> 'LeaseRenewer':
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
        f'its lease could not be renewed for {LEASE_SECONDS:.0f} s. Restart '
        'this worker; finished work is kept.'
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
