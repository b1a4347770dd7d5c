"""Several processes on this machine: a rehearsal of a pod, on its CPU."""

from collections.abc import Callable, Mapping, Sequence
import re
import shlex
import socket

from it_study.errors import InputError
from launch import workers

_HOST = '127.0.0.1'
_DEVICE_COUNT = '--xla_force_host_platform_device_count'
# What a run on this machine may take of it, found by trying: a process of JAX
# and TensorFlow has some 100 threads and 1 GiB.
_MOST_PROCESSES = 64


def plan(
  words: Sequence[str],
  *,
  processes: int,
  devices: int,
  environment: Mapping[str, str],
  port: int | None = None,
) -> list[workers.Worker]:
  """The processes to start, each with what makes it one of several.

  Args:
    words: the program and its arguments, the same in all.
    processes: how many.
    devices: virtual devices of the CPU that each has.
    environment: of this process.
    port: of the coordinator; None takes a free one.

  Raises:
    InputError: a number is out of range.
  """
  for name, number, most in (
    ('--processes', processes, _MOST_PROCESSES),
    ('--devices', devices, 4096),
  ):
    if not 1 <= number <= most:
      raise InputError(
        f'{name} is {number}; give a whole number from 1 to {most}, such as 2.'
      )
  if port is None:
    port = _free_port()
  flags = re.sub(rf'{_DEVICE_COUNT}=\S*', '', environment.get('XLA_FLAGS', ''))
  common = {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'{flags} {_DEVICE_COUNT}={devices}'.strip(),
    'JAX_COORDINATOR_ADDRESS': f'{_HOST}:{port}',
    'JAX_NUM_PROCESSES': str(processes),
  }
  return [
    workers.Worker(
      name=str(index),
      words=words,
      environment={**environment, **common, 'JAX_PROCESS_ID': str(index)},
      is_shown=index == 0,
    )
    for index in range(processes)
  ]


def shell_lines(
  planned: Sequence[workers.Worker], *, environment: Mapping[str, str]
) -> list[str]:
  """Each process as a line of shell: what is new in its environment, then it.

  Args:
    planned: by `plan`.
    environment: that it would be typed in.
  """
  return [
    ' '.join(
      [
        *(
          f'{name}={shlex.quote(value)}'
          for name, value in worker.environment.items()
          if environment.get(name) != value
        ),
        shlex.join(worker.words),
      ]
    )
    for worker in planned
  ]


def launch(
  planned: Sequence[workers.Worker],
  *,
  say: Callable[[str], None],
  grace_seconds: float,
  warn: Callable[[str], None] | None = None,
) -> int:
  """Runs all to their end and returns one exit status for them."""
  return workers.run(
    planned, say=say, warn=warn, grace_seconds=grace_seconds
  ).status


def _free_port() -> int:
  with socket.socket() as free:
    free.bind((_HOST, 0))
    return free.getsockname()[1]
