"""A profiler trace of some training steps, on request."""

import os
from typing import Any

import jax

from it_study.errors import InputError


class StepTrace:
  """Traces a range of steps into a folder that TensorBoard reads."""

  def __init__(
    self, folder: str | os.PathLike, *, steps: tuple[int, int] | None
  ):
    """Checks the range; tracing starts with its first step.

    Args:
      folder: Folder to write to.
      steps: First and last step to trace; None for no trace.

    Raises:
      InputError: If `steps` is not such a pair.
    """
    self._folder = os.fspath(folder)
    self._running = False
    if steps is None:
      steps = (0, -1)
    elif not _is_pair(steps) or not 1 <= steps[0] <= steps[1]:
      raise InputError(
        f'PROFILE_STEPS is {steps!r}: give the first and the last step to '
        'trace, such as (10, 12), or None.'
      )
    self._first, self._last = steps

  def before(self, step: int) -> None:
    """Starts tracing if `step` is in the range, also after resuming in it."""
    if not self._running and self._first <= step <= self._last:
      jax.profiler.start_trace(self._folder)
      self._running = True

  def after(self, step: int, result: Any) -> None:
    """Stops after the last step, once the device has computed `result`."""
    if self._running and step >= self._last:
      jax.block_until_ready(result)
      self.close()

  def close(self) -> None:
    """Ends a trace that is running."""
    if self._running:
      self._running = False
      jax.profiler.stop_trace()


def _is_pair(steps: Any) -> bool:
  return (
    isinstance(steps, (tuple, list))
    and len(steps) == 2
    and all(isinstance(step, int) for step in steps)
  )
