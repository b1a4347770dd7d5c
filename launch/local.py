"""Several processes on the CPU of this machine, like the hosts of a pod."""

from collections.abc import Callable, Mapping, Sequence
import re
import shlex
import socket

from it_study.errors import InputError
from launch import workers

_HOST = '127.0.0.1'
_DEVICE_COUNT = '--xla_force_host_platform_device_count'
# An empirical limit: a process with JAX and TensorFlow takes about 100 threads
# and 1 GiB.
_MAX_PROCESSES = 64
_MAX_DEVICES = 4096


def plan(
  words: Sequence[str],
  *,
  processes: int,
  devices: int,
  environment: Mapping[str, str],
  port: int | None = None,
) -> list[workers.Worker]:
  """Returns the processes to start, each with its own environment.

  Args:
    words: Program and arguments, the same for all.
    processes: Number of processes.
    devices: Number of virtual CPU devices of each process.
    environment: Environment of this process.
    port: Port of the coordinator; None for a free one.

  Raises:
    InputError: If a number is out of range.
  """
  for name, number, limit in (
    ('--processes', processes, _MAX_PROCESSES),
    ('--devices', devices, _MAX_DEVICES),
  ):
    if not 1 <= number <= limit:
      raise InputError(
        f'{name} is {number}; it must be from 1 to {limit}, such as 2.'
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
  """Returns each process as a line of shell, with its environment variables.

  Args:
    planned: Processes from `plan`.
    environment: Environment of the shell; variables that equal it are omitted.
  """
  return [
    ' '.join(
      [
        *(
          f'{name}={shlex.quote(value)}'
          for name, value in (worker.environment or {}).items()
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
  """Runs all processes to their end, and returns one exit status."""
  return workers.run(
    planned, say=say, warn=warn, grace_seconds=grace_seconds
  ).status


def _free_port() -> int:
  with socket.socket() as free:
    free.bind((_HOST, 0))
    return free.getsockname()[1]
