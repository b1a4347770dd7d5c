"""One slice of a Cloud TPU: its commands, by gcloud."""

from collections.abc import Sequence
import dataclasses
import os
import time

from it_study.errors import InputError
from launch.accelerators import Accelerator
from launch.tools import LaunchError, Tools, why

READY = 'READY'
# No such slice, or none any more.
GONE = 'GONE'
UNKNOWN = 'UNKNOWN'
_LOST = ('PREEMPTED', 'TERMINATED', 'STOPPED', 'SUSPENDED', 'FAILED', GONE)
_WAITING = ('CREATING', 'STARTING', 'RESTARTING', 'REPAIRING')
_QUEUE_ENDS = ('FAILED', 'SUSPENDED', 'SUSPENDING', 'DELETING')
# What gcloud says where there is no such slice.
_NOT_FOUND = ('NOT_FOUND', 'was not found', 'could not be found')
# A dead connection is noticed within two minutes.
_SSH_FLAGS = (
  '--ssh-flag=-oServerAliveInterval=30',
  '--ssh-flag=-oServerAliveCountMax=4',
)
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """Seconds that things may take."""

  ask: float = 120.0
  create: float = 1800.0
  # In the queue, or from its creation to its being ready.
  wait: float = 86_400.0
  copy: float = 900.0
  set_up: float = 1800.0
  delete: float = 900.0
  poll: float = 15.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What slice is asked for.

  Attributes:
    name: of the slice.
    accelerator: its type.
    zone: of Google Cloud.
    project: of Google Cloud; None is gcloud's own default.
    is_spot: cheaper, and may be taken away.
    is_queued: asked for by a queued resource, which waits for its turn.
    runtime: the software version; None is the type's.
  """

  name: str
  accelerator: Accelerator
  zone: str
  project: str | None = None
  is_spot: bool = False
  is_queued: bool = False
  runtime: str | None = None


class NameTakenError(InputError):
  """There is a slice of that name, which is not this launch's."""


class Slice:
  """One slice, there or not."""

  def __init__(
    self, request: Request, *, tools: Tools, limits: Limits | None = None
  ):
    self._request = request
    self._tools = tools
    self._limits = limits or Limits()

  def state(self) -> str:
    """Its state in the words of Google Cloud, GONE, or UNKNOWN."""
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
    """Whether it was taken away."""
    return self.state() in _LOST

  def check_free(self) -> None:
    """Raises unless its name is free, and gcloud can say so."""
    if self._tools.is_dry:
      return
    words = self._words('tpu-vm', 'describe', '--format=value(state)')
    done = self._tools.try_run(words, seconds=self._limits.ask)
    if done.status == 0:
      raise InputError(
        f'{self._request.name} is there already, {done.output.strip()}: give '
        'another --name, use it as it is with --reuse, or delete it: '
        f'{self.delete_line()}'
      )
    text = f'{done.errors}{done.output}'
    if not any(part in text for part in _NOT_FOUND):
      raise LaunchError(
        f'gcloud does not answer: {why(done, self._limits.ask)}{_advice(text)}'
      )

  def create(self) -> None:
    """Asks for the slice."""
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
        f'{request.name} is there already, or in the queue: give another '
        f'--name, or delete it: {self.delete_line()}'
      )
    if done.status != 0:
      raise LaunchError(
        f'creating {request.name} failed: {why(done, self._limits.create)}'
        f'{_advice(done.errors)}'
      )

  def wait(self) -> None:
    """Waits until it is ready.

    Raises:
      LaunchError: it will not be, or is not in time.
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
    """Copies a folder here, from its first host or a bucket."""
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
    """The command that runs a line of shell on one host, or on 'all'."""
    return self._words(
      *('tpu-vm', 'ssh', f'--worker={worker}', *_SSH_FLAGS),
      f'--command={line}',
    )

  def set_up(self, line: str) -> None:
    """Runs a line of shell on every host, which may be run again."""
    self._tools.run(
      self.shell_words(line, worker='all'),
      what=f'setting up {self._request.name}',
      seconds=self._limits.set_up,
      # A machine that has just started may not take a connection yet.
      attempts=_ATTEMPTS,
      pause=self._limits.poll,
    )

  def delete(self) -> bool:
    """Deletes it, and returns whether it is gone."""
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
    """What deletes it, to be typed."""
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

  def _wait_for(self, wanted, state, ends: Sequence[str], limit) -> None:
    name = self._request.name
    told = None
    while True:
      found = state()
      if found == wanted:
        return
      if found in ends:
        raise LaunchError(f'{name} is {found} and will not be {wanted}')
      if time.monotonic() > limit:
        raise LaunchError(
          f'{name} is {found}, not {wanted}, after {self._limits.wait:g} s: '
          'wait longer by --wait_hours, or ask for another --type or --zone'
        )
      if found != told:
        self._tools.say(f'{name} is {found}, waiting for {wanted}')
        told = found
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
  """What to do about an error of gcloud's, empty if it is not known."""
  for words, advice in (
    ('Quota', 'ask for more quota, or take another --zone or --type'),
    ('RESOURCE_EXHAUSTED', 'none is free: try --queued, or another --zone'),
    ('no more capacity', 'none is free: try --queued, or another --zone'),
    ('PERMISSION_DENIED', 'see that the account may use TPUs in the project'),
    ('auth login', 'run gcloud auth login'),
    ('not enabled', 'enable the service tpu.googleapis.com in the project'),
  ):
    if words in text:
      return f' ({advice})'
  return ''
