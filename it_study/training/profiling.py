"""A profiler's trace of some steps of a training, on request."""

import os
from typing import Any

import jax

from it_study.errors import InputError


class StepTrace:
  """Traces a stretch of steps into a folder that TensorBoard reads."""

  def __init__(
    self, folder: str | os.PathLike, *, steps: tuple[int, int] | None
  ):
    """Args: `folder` to write to; `steps`, the first and the last, or None.

    Raises:
      InputError: `steps` is no such pair.
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
    """Starts if it is time; a training that goes on later starts later."""
    if not self._running and self._first <= step <= self._last:
      jax.profiler.start_trace(self._folder)
      self._running = True

  def after(self, step: int, result: Any) -> None:
    """Stops after the last step, once the device is done with `result`."""
    if self._running and step >= self._last:
      jax.block_until_ready(result)
      self.close()

  def close(self) -> None:
    """Writes what there is."""
    if self._running:
      self._running = False
      jax.profiler.stop_trace()


def _is_pair(steps: Any) -> bool:
  return (
    isinstance(steps, (tuple, list))
    and len(steps) == 2
    and all(isinstance(step, int) for step in steps)
  )
