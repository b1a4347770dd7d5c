"""Multi-process training: start, agreement among processes, preemption."""

from collections.abc import Callable, Iterable, Mapping
import itertools
import logging
import os

import jax
from jax.experimental import multihost_utils
import numpy as np

from it_study.errors import InputError
from it_study.processes import graceful_exit

# Set by JAX's launchers.
VARIABLES = (
  'JAX_COORDINATOR_ADDRESS',
  'JAX_NUM_PROCESSES',
  'JAX_PROCESS_ID',
)
# A launcher sets it to DETECT for several processes that nothing else reveals,
# as on a Cloud TPU VM, whose shell has no variable for them.
DETECTION_VARIABLE = 'IT_STUDY_DISTRIBUTED'
DETECT = 'detect'
# The first process may meanwhile hash a checkpoint, or wait for a lease.
_WAIT_SECONDS = 3600
# Of computations; the limit of a CPU device is 32.
_MAX_AT_ONCE = 16
# Processes agree on the check to stop at by its number.
_checks = itertools.count(1)
_logger = logging.getLogger(__name__)


def start(environment: Mapping[str, str] = os.environ) -> None:
  """Connects to the other processes, if there are any.

  Must be called before JAX is used. `VARIABLES` describe the processes; all or
  none must be set. JAX detects the processes itself on a Cloud TPU slice with
  several hosts, under SLURM with several tasks, and where `DETECTION_VARIABLE`
  requests it.

  Args:
    environment: Environment of this process.

  Raises:
    InputError: If only some variables are set, or a value is invalid.
  """
  set_names = [name for name in VARIABLES if environment.get(name)]
  if set_names:
    _check(environment, set_names)
    address, count, index = (environment[name] for name in VARIABLES)
    if int(count) > 1:
      _logger.info('joining as process %s of %s at %s', index, count, address)
      # Needed for collectives between CPU devices of several processes.
      jax.config.update('jax_cpu_collectives_implementation', 'gloo')
      jax.distributed.initialize(
        coordinator_address=address,
        num_processes=int(count),
        process_id=int(index),
      )
  elif _is_detected(environment):
    _logger.info('letting JAX detect the other processes')
    jax.distributed.initialize()


def is_expected(environment: Mapping[str, str] = os.environ) -> bool:
  """Returns whether `start` would look for other processes."""
  return any(map(environment.get, VARIABLES)) or _is_detected(environment)


def devices() -> list[jax.Device]:
  """Returns the devices of all processes.

  Raises:
    InputError: If JAX cannot start on the platform that the user named.
  """
  try:
    return jax.devices()
  except (AssertionError, RuntimeError) as error:
    # Without the plugin of a platform, JAX fails in an assertion without text.
    reason = str(error).split(' (set JAX_PLATFORMS')[0].rstrip('.')
    platforms = jax.config.values['jax_platforms']
    raise InputError(
      f'JAX_PLATFORMS is {platforms!r}, which JAX cannot use on this machine: '
      f'{reason or "no JAX for it is installed"}. Unset it, or set '
      "JAX_PLATFORMS=cpu; 'it-study doctor' shows the devices."
    ) from None


def count() -> int:
  """Returns the number of processes. Raises `InputError` as `devices` does."""
  devices()
  return jax.process_count()


def is_first() -> bool:
  """Returns whether this process prints and writes for all."""
  return jax.process_index() == 0


def broadcast_from_first(number: int) -> int:
  """Returns the first process's number in all processes; waits for all."""
  if jax.process_count() == 1:
    return number
  _wait_for_all()
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def agree_on(array: np.ndarray) -> np.ndarray:
  """Returns the first process's array in all processes; waits for all.

  Args:
    array: Array of the same shape and dtype in all processes.
  """
  if jax.process_count() == 1:
    return array
  _wait_for_all()
  return np.asarray(multihost_utils.broadcast_one_to_all(array))


def computed(
  function: Callable[[jax.Array], jax.Array], arrays: Iterable[jax.Array]
) -> list[jax.Array]:
  """Returns a function's result for each array, without waiting for the last.

  Only a few are computed at once: if they are added up over CPU devices, more
  than a device holds would wait for each other for ever.
  """
  results: list[jax.Array] = []
  for array in arrays:
    results.append(function(array))
    if len(results) > _MAX_AT_ONCE:
      results[-1 - _MAX_AT_ONCE].block_until_ready()
  return results


def have_all_come(*, seconds: float) -> bool:
  """Returns whether all processes call this within a time limit.

  Works while the devices are busy, since it does not use them.

  Args:
    seconds: Time limit in seconds.
  """
  try:
    _wait_for_all(seconds)
  except jax.errors.JaxRuntimeError as error:
    if 'DEADLINE_EXCEEDED' not in str(error):
      raise
    return False
  return True


def _wait_for_all(seconds: float = _WAIT_SECONDS) -> None:
  """Waits for all processes, longer than a first collective would."""
  # Imported here since it is slow to import.
  from orbax.checkpoint import multihost

  wait = multihost.get_barrier_sync_fn()
  wait(key='it_study', timeout_ms=int(1000 * seconds))


def is_preempted(step: int) -> bool:
  """Returns whether to stop after this step since a process got SIGTERM.

  All processes return the same for the same step, without waiting for their
  devices: JAX's coordination service chooses the step. It handles SIGTERM
  itself, so nothing else may.

  Args:
    step: Number of the step that ends.
  """
  return multihost_utils.reached_preemption_sync_point(step)


def exit_if_preempted() -> None:
  """Ends all of several processes if one got SIGTERM.

  To be called by all of them together, whenever what is done is stored. One
  process alone is not held up: SIGTERM ends it there and then.

  Raises:
    Terminated: With the status of a run that the same command resumes.
  """
  if jax.process_count() > 1 and is_preempted(next(_checks)):
    raise graceful_exit.Terminated(graceful_exit.RESUMABLE_STATUS)


def refuse(command: str) -> None:
  """Raises `InputError` if a single-process command runs in several."""
  if jax.process_count() > 1:
    raise InputError(
      f'{command} runs in a single process, found {jax.process_count()}. Start '
      f'it without {", ".join(VARIABLES)}; only train and predict run in '
      'several.'
    )


def _check(environment: Mapping[str, str], set_names: list[str]) -> None:
  missing = [name for name in VARIABLES if name not in set_names]
  if missing:
    raise InputError(
      f'{set_names[0]} is set, but {missing[0]} is not. Set all of '
      f'{", ".join(VARIABLES)} for several processes, none of them for one.'
    )
  count, index = (environment[name] for name in VARIABLES[1:])
  if not (count.isdecimal() and int(count) >= 1):
    raise InputError(
      f'JAX_NUM_PROCESSES is {count!r}; it must be a whole number from 1 up.'
    )
  if not (index.isdecimal() and int(index) < int(count)):
    raise InputError(
      f'JAX_PROCESS_ID is {index!r}; with JAX_NUM_PROCESSES={count} it must be '
      f'a whole number from 0 to {int(count) - 1}.'
    )
  if ':' not in environment[VARIABLES[0]]:
    raise InputError(
      f'JAX_COORDINATOR_ADDRESS is {environment[VARIABLES[0]]!r}; it must be '
      'host and port of process 0, such as 10.0.0.1:1234.'
    )


def _is_detected(environment: Mapping[str, str]) -> bool:
  hosts = environment.get('TPU_WORKER_HOSTNAMES', '')
  tasks = environment.get('SLURM_NTASKS', '')
  request = environment.get(DETECTION_VARIABLE, '')
  if request not in ('', DETECT):
    raise InputError(
      f'{DETECTION_VARIABLE} is {request!r}; set it to {DETECT!r} to let JAX '
      'detect other processes, or leave it unset.'
    )
  return bool(request) or ',' in hosts or (tasks.isdecimal() and int(tasks) > 1)
