"""One Cloud TPU slice, controlled by gcloud."""

from collections.abc import Callable, Sequence
import dataclasses
import os
import time

from it_study.errors import InputError
from launch.accelerators import Accelerator
from launch.tools import LaunchError, Tools, why

READY = 'READY'
# The slice does not exist.
GONE = 'GONE'
UNKNOWN = 'UNKNOWN'
_LOST = ('PREEMPTED', 'TERMINATED', 'STOPPED', 'SUSPENDED', 'FAILED', GONE)
_WAITING = ('CREATING', 'STARTING', 'RESTARTING', 'REPAIRING')
_QUEUE_ENDS = ('FAILED', 'SUSPENDED', 'SUSPENDING', 'DELETING')
# Parts of gcloud's errors about a slice that does not exist.
_NOT_FOUND = ('NOT_FOUND', 'was not found', 'could not be found')
# Notices a dead connection within two minutes.
_SSH_FLAGS = (
  '--ssh-flag=-oServerAliveInterval=30',
  '--ssh-flag=-oServerAliveCountMax=4',
)
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Time limits and intervals, in seconds."""

  ask: float = 120.0
  create: float = 1800.0
  # In the queue, and from its creation until it is ready.
  wait: float = 86_400.0
  copy: float = 900.0
  set_up: float = 1800.0
  delete: float = 900.0
  poll: float = 15.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """A request for a slice.

  Attributes:
    name: Name of the slice.
    accelerator: Accelerator type.
    zone: Zone of Google Cloud.
    project: Project of Google Cloud; None for gcloud's default.
    is_spot: Whether to use cheaper capacity that may be preempted.
    is_queued: Whether to request a queued resource, which waits for capacity.
    runtime: TPU software version; None for that of the type.
  """

  name: str
  accelerator: Accelerator
  zone: str
  project: str | None = None
  is_spot: bool = False
  is_queued: bool = False
  runtime: str | None = None


class NameTakenError(InputError):
  """A slice of that name exists, and this launch did not create it."""


class Slice:
  """One slice, which may or may not exist."""

  def __init__(
    self, request: Request, *, tools: Tools, limits: Limits | None = None
  ):
    self._request = request
    self._tools = tools
    self._limits = limits or Limits()

  def state(self) -> str:
    """Returns the state as Google Cloud names it, GONE or UNKNOWN."""
    done = self._tools.try_run(
      self._words('tpu-vm', 'describe', '--format=value(state)'),
      seconds=self._limits.ask,
    )
    if self._tools.is_dry:
      return READY
    if done.status == 0:
      return done.output.strip() or UNKNOWN
    text = f'{done.errors}{done.output}'
    return GONE if any(words in text for words in _NOT_FOUND) else UNKNOWN

  def is_lost(self) -> bool:
    """Returns whether the slice was preempted or has failed."""
    return self.state() in _LOST

  def check_free(self) -> None:
    """Raises unless gcloud confirms that the name is free."""
    if self._tools.is_dry:
      return
    words = self._words('tpu-vm', 'describe', '--format=value(state)')
    done = self._tools.try_run(words, seconds=self._limits.ask)
    if done.status == 0:
      raise InputError(
        f'{self._request.name} already exists ({done.output.strip()}). Choose '
        'another --name, use it with --reuse, or delete it: '
        f'{self.delete_line()}'
      )
    text = f'{done.errors}{done.output}'
    if not any(part in text for part in _NOT_FOUND):
      raise LaunchError(
        f'gcloud failed: {why(done, self._limits.ask)}{_advice(text)}'
      )

  def create(self) -> None:
    """Requests the slice."""
    request = self._request
    spot = ['--spot'] if request.is_spot else []
    kind = f'--accelerator-type={request.accelerator.name}'
    runtime = request.runtime or request.accelerator.runtime
    if request.is_queued:
      words = self._words(
        *('queued-resources', 'create', f'--node-id={request.name}', kind),
        *(f'--runtime-version={runtime}', *spot),
      )
    else:
      words = self._words(
        'tpu-vm', 'create', kind, f'--version={runtime}', *spot
      )
    done = self._tools.try_run(words, seconds=self._limits.create)
    text = done.errors.lower().replace('_', ' ')
    if done.status is not None and 'already exists' in text:
      raise NameTakenError(
        f'{request.name} already exists or is queued. Choose another --name, '
        f'or delete it: {self.delete_line()}'
      )
    if done.status != 0:
      raise LaunchError(
        f'creating {request.name} failed: {why(done, self._limits.create)}'
        f'{_advice(done.errors)}'
      )

  def wait(self) -> None:
    """Waits until the slice is ready.

    Raises:
      LaunchError: If it cannot become ready, or the time is over.
    """
    limit = time.monotonic() + self._limits.wait
    if self._request.is_queued:
      self._wait_for('ACTIVE', self._queue_state, _QUEUE_ENDS, limit)
    self._wait_for(READY, self.state, _LOST, limit)

  def copy(self, path: str | os.PathLike, to: str) -> None:
    """Copies a file to every host."""
    self._tools.run(
      [
        *('gcloud', 'compute', 'tpus', 'tpu-vm', 'scp', os.fspath(path)),
        *(f'{self._request.name}:{to}', '--worker=all', *self._place()),
        '--quiet',
      ],
      what=f'copying {os.path.basename(path)} to {self._request.name}',
      seconds=self._limits.copy,
      attempts=_ATTEMPTS,
      pause=self._limits.poll,
    )

  def fetch(self, path: str, folder: str | os.PathLike) -> None:
    """Copies a folder from the first host or a bucket to this machine."""
    folder = os.fspath(folder)
    if path.startswith('gs://'):
      words = ['gcloud', 'storage', 'rsync', '--recursive', path, folder]
    else:
      words = [
        *('gcloud', 'compute', 'tpus', 'tpu-vm', 'scp', '--recurse'),
        *(f'{self._request.name}:{path}', folder, '--worker=0'),
        *(*self._place(), '--quiet'),
      ]
    self._tools.run(
      words,
      what=f'collecting {path}',
      seconds=self._limits.copy,
      attempts=_ATTEMPTS,
      pause=self._limits.poll,
    )

  def shell_words(self, line: str, *, worker: str) -> list[str]:
    """Returns the command that runs a line of shell on a host, or on 'all'."""
    return self._words(
      *('tpu-vm', 'ssh', f'--worker={worker}', *_SSH_FLAGS),
      f'--command={line}',
    )

  def set_up(self, line: str) -> None:
    """Runs a line of shell on every host; retries may run it twice."""
    self._tools.run(
      self.shell_words(line, worker='all'),
      what=f'setting up {self._request.name}',
      seconds=self._limits.set_up,
      # A machine that has just started may refuse connections.
      attempts=_ATTEMPTS,
      pause=self._limits.poll,
    )

  def delete(self) -> bool:
    """Deletes the slice, and returns whether it is gone."""
    words = self._delete_words()
    for attempt in range(1, _ATTEMPTS + 1):
      done = self._tools.try_run(words, seconds=self._limits.delete)
      if done.status == 0 or any(part in done.errors for part in _NOT_FOUND):
        return True
      self._tools.warn(
        f'deleting {self._request.name}: {why(done, self._limits.delete)}'
      )
      if attempt < _ATTEMPTS:
        time.sleep(self._limits.poll)
    return False

  def delete_line(self) -> str:
    """Returns the command that deletes the slice, to be typed."""
    return ' '.join(self._delete_words())

  def _delete_words(self) -> list[str]:
    if self._request.is_queued:
      return self._words('queued-resources', 'delete', '--force')
    return self._words('tpu-vm', 'delete')

  def _queue_state(self) -> str:
    done = self._tools.try_run(
      self._words(
        'queued-resources', 'describe', '--format=value(state.state)'
      ),
      seconds=self._limits.ask,
    )
    if self._tools.is_dry:
      return 'ACTIVE'
    return done.output.strip() if done.status == 0 else UNKNOWN

  def _wait_for(
    self,
    wanted: str,
    state: Callable[[], str],
    ends: Sequence[str],
    limit: float,
  ) -> None:
    """Waits for a state.

    Args:
      wanted: State to wait for.
      state: Returns the current state.
      ends: States from which the wanted one cannot be reached.
      limit: Deadline, a reading of `time.monotonic`.
    """
    name = self._request.name
    last = None
    while True:
      current = state()
      if current == wanted:
        return
      if current in ends:
        raise LaunchError(f'{name} is {current} and cannot become {wanted}')
      if time.monotonic() > limit:
        raise LaunchError(
          f'{name} is {current}, not {wanted}, after {self._limits.wait:g} s. '
          'Increase --wait_hours, or choose another --type or --zone'
        )
      if current != last:
        self._tools.say(f'{name} is {current}, waiting for {wanted}')
        last = current
      time.sleep(self._limits.poll)

  def _words(self, noun: str, verb: str, *flags: str) -> list[str]:
    return [
      *('gcloud', 'compute', 'tpus', noun, verb, self._request.name),
      *(*flags, *self._place(), '--quiet'),
    ]

  def _place(self) -> list[str]:
    project = self._request.project
    return [
      f'--zone={self._request.zone}',
      *([f'--project={project}'] if project else []),
    ]


def _advice(text: str) -> str:
  """Returns advice on an error of gcloud, empty if the error is unknown."""
  for words, advice in (
    ('Quota', 'request more quota, or choose another --zone or --type'),
    ('RESOURCE_EXHAUSTED', 'no capacity: use --queued, or another --zone'),
    ('no more capacity', 'no capacity: use --queued, or another --zone'),
    (
      'PERMISSION_DENIED',
      'the account needs permission to use TPUs in the project',
    ),
    ('auth login', 'run gcloud auth login'),
    ('not enabled', 'enable the service tpu.googleapis.com in the project'),
  ):
    if words in text:
      return f' ({advice})'
  return ''
