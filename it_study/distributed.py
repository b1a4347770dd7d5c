"""Several processes that train as one, each with devices of its own."""

from collections.abc import Mapping
import os

import jax
from jax.experimental import multihost_utils
import numpy as np

from it_study.errors import InputError

# What JAX's own launchers set.
VARIABLES = (
  'JAX_COORDINATOR_ADDRESS',
  'JAX_NUM_PROCESSES',
  'JAX_PROCESS_ID',
)
# Set to DETECT by a launcher that knows of several where nothing else tells so,
# as on a Cloud TPU VM, whose shell has no variable for it.
DETECTION_VARIABLE = 'IT_STUDY_DISTRIBUTED'
DETECT = 'detect'
# The first process may read and hash a checkpoint, or wait for a lease.
_WAIT_SECONDS = 3600


def start(environment: Mapping[str, str] = os.environ) -> None:
  """Joins the other processes, if there are any; before JAX is used.

  They are told by `VARIABLES`, all of them or none. On a Cloud TPU slice of
  several hosts, and under SLURM with several tasks, JAX finds them by itself;
  so it does where `DETECTION_VARIABLE` says that there are some.

  Args:
    environment: of this process.

  Raises:
    InputError: only some of the variables are set, or they do not go together.
  """
  given = [name for name in VARIABLES if environment.get(name)]
  if given:
    _check(environment, given)
    address, count, index = (environment[name] for name in VARIABLES)
    if int(count) > 1:
      # Without it CPU devices of other processes cannot be reached.
      jax.config.update('jax_cpu_collectives_implementation', 'gloo')
      jax.distributed.initialize(
        coordinator_address=address,
        num_processes=int(count),
        process_id=int(index),
      )
  elif _is_detected(environment):
    jax.distributed.initialize()


def count() -> int:
  """Processes that run as one."""
  return jax.process_count()


def is_first() -> bool:
  """Whether this is the process that speaks and writes for all."""
  return jax.process_index() == 0


def broadcast_from_first(number: int) -> int:
  """The first process's number, in all processes, once all have come here."""
  if jax.process_count() == 1:
    return number
  _wait_for_all()
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def agree_on(array: np.ndarray) -> np.ndarray:
  """The first process's array, in all processes; of one shape in all."""
  if jax.process_count() == 1:
    return array
  _wait_for_all()
  return np.asarray(multihost_utils.broadcast_one_to_all(array))


def have_all_come(*, seconds: float) -> bool:
  """Whether all processes call this within so many seconds of each other.

  It takes no devices, so that one may ask whose devices are at something else.
  """
  try:
    _wait_for_all(seconds)
  except jax.errors.JaxRuntimeError as error:
    if 'DEADLINE_EXCEEDED' not in str(error):
      raise
    return False
  return True


def _wait_for_all(seconds: float = _WAIT_SECONDS) -> None:
  """Waits for the others, longer than the first collective of them would."""
  # Imported here: it takes long.
  from orbax.checkpoint import multihost

  wait = multihost.get_barrier_sync_fn()
  wait(key='it_study', timeout_ms=int(1000 * seconds))


def is_preempted(step: int) -> bool:
  """Whether any process got SIGTERM and this is the step to stop after.

  All processes give the same answer for the same step, without waiting for
  their devices: JAX's coordination service chooses the step. It watches the
  signal itself, so nobody else may handle it.
  """
  return multihost_utils.reached_preemption_sync_point(step)


def refuse(command: str) -> None:
  """Raises `InputError` where several processes were started for a command."""
  if jax.process_count() > 1:
    raise InputError(
      f'{command} runs in one process, found {jax.process_count()}: start it '
      f'without {", ".join(VARIABLES)}. Only train and predict run in several.'
    )


def _check(environment: Mapping[str, str], given: list[str]) -> None:
  missing = [name for name in VARIABLES if name not in given]
  if missing:
    raise InputError(
      f'{given[0]} is set and {missing[0]} is not: several processes need '
      f'{", ".join(VARIABLES)}, one needs none of them.'
    )
  count, index = (environment[name] for name in VARIABLES[1:])
  if not (count.isdecimal() and int(count) >= 1):
    raise InputError(
      f'JAX_NUM_PROCESSES is {count!r}: give a whole number from 1 up.'
    )
  if not (index.isdecimal() and int(index) < int(count)):
    raise InputError(
      f'JAX_PROCESS_ID is {index!r}: with JAX_NUM_PROCESSES={count} give a '
      f'whole number from 0 to {int(count) - 1}.'
    )
  if ':' not in environment[VARIABLES[0]]:
    raise InputError(
      f'JAX_COORDINATOR_ADDRESS is {environment[VARIABLES[0]]!r}: give host '
      'and port of process 0, such as 10.0.0.1:1234.'
    )


def _is_detected(environment: Mapping[str, str]) -> bool:
  hosts = environment.get('TPU_WORKER_HOSTNAMES', '')
  tasks = environment.get('SLURM_NTASKS', '')
  asked = environment.get(DETECTION_VARIABLE, '')
  if asked not in ('', DETECT):
    raise InputError(
      f'{DETECTION_VARIABLE} is {asked!r}: {DETECT!r} lets JAX look for the '
      'other processes; leave it unset where there are none.'
    )
  return bool(asked) or ',' in hosts or (tasks.isdecimal() and int(tasks) > 1)
