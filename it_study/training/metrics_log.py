"""The lines of metrics.jsonl, checked to be finite."""

from collections.abc import Callable, Iterable, Mapping
import contextlib
import json
import logging
import math
import pathlib
import time

import jax
import numpy as np

from it_study.errors import InputError
from it_study.storage import text_files

_logger = logging.getLogger(__name__)


class MetricsLog:
  """Keeps the metrics of steps on the device until a line is due.

  A line is a JSON object:

    step: Last step of the line.
    steps: Number of steps since the line before.
    loss, z_loss, accuracy: Means over the target tokens of these steps; the
      loss includes the z-loss.
    num_target_tokens: Number of these tokens.
    gradient_norm: Mean over the steps.
    learning_rate: Learning rate of the last step.
    tokens_per_second: Inputs and targets, without padding.
    seconds: Time of the steps, compiling and evaluating not included.
    model_flops_utilization: Share of what the devices can compute at most;
      absent if that is not known.
    compile_seconds: Time to compile; only in the line after a compilation.
    validation_loss, validation_accuracy, validation_seconds: Result of
      `Validation`; only in the line of an evaluation.
  """

  def __init__(
    self,
    path: pathlib.Path,
    *,
    start: int,
    step_flops: float = 0.0,
    peak_flops: float | None = None,
    events: bool = False,
    writes: bool = True,
  ):
    """Drops the lines of steps after `start`, and an incomplete last line.

    Args:
      path: Path of metrics.jsonl.
      start: Step that the training resumes from.
      step_flops: Floating-point operations per step, from
        `flops.training_flops`.
      peak_flops: Floating-point operations per second of all devices together;
        None to leave the utilization out.
      events: Whether to write the same for TensorBoard, to `events/` beside
        `path`.
      writes: Whether to write anything; only one process of a training does.
    """
    self._path = path
    self._writes = writes
    self._step_flops = step_flops
    self._peak_flops = peak_flops
    self._writer = None
    if events and writes:
      # Only here, as it takes seconds.
      import tensorflow as tf

      folder = path.parent / 'events'
      self._writer = tf.summary.create_file_writer(str(folder))
      self._scalar = tf.summary.scalar
    self._pending: list[tuple[Mapping[str, jax.Array], float]] = []
    self._compile_seconds = 0.0
    self.restart_clock()
    if writes:
      drop_lines_after(path, start)

  def restart_clock(self, *, compile_seconds: float = 0.0) -> None:
    """Excludes the time since the last line from the next one."""
    self._compile_seconds = compile_seconds
    self._before = time.perf_counter()

  def add(self, metrics: Mapping[str, jax.Array], *, num_tokens: float) -> None:
    """Adds the metrics of the next step, without waiting for them.

    Args:
      metrics: Float32 scalars from `train_step.make_train_step`.
      num_tokens: Number of tokens in the step's batch, inputs and targets
        without padding.
    """
    self._pending.append((metrics, num_tokens))

  def write(
    self,
    step: int,
    *,
    held_out: Callable[[], Mapping[str, float]] | None = None,
  ) -> dict[str, float]:
    """Waits for the device, writes the line up to `step` and returns it.

    Args:
      step: Last step of the line.
      held_out: Function that evaluates, called after the steps' time is taken;
        its result is added to the line.

    Raises:
      FloatingPointError: If a value is not finite; names the first such step.
    """
    num_steps = len(self._pending)
    fetched = jax.device_get([metrics for metrics, _ in self._pending])
    for number, metrics in enumerate(fetched, start=step - num_steps + 1):
      for name in ('loss', 'gradient_norm'):
        if not math.isfinite(metrics[name]):
          raise FloatingPointError(
            f'{name.replace("_", " ")} is {metrics[name]} at step {number}'
          )
    seconds = time.perf_counter() - self._before
    columns = {
      name: np.array([metrics[name] for metrics in fetched], np.float64)
      for name in fetched[0]
    }
    weights = columns['num_target_tokens']
    num_target_tokens = weights.sum()
    line: dict[str, float] = {'step': step, 'steps': num_steps}
    for name in ('loss', 'z_loss', 'accuracy'):
      line[name] = float(columns[name] @ weights / max(num_target_tokens, 1))
    line |= {
      'num_target_tokens': int(num_target_tokens),
      'gradient_norm': float(columns['gradient_norm'].mean()),
      'learning_rate': float(columns['learning_rate'][-1]),
      'tokens_per_second': sum(n for _, n in self._pending) / seconds,
      'seconds': seconds,
    }
    if self._peak_flops:
      line['model_flops_utilization'] = (
        num_steps * self._step_flops / seconds / self._peak_flops
      )
    if self._compile_seconds:
      line['compile_seconds'] = self._compile_seconds
    if held_out is not None:
      line |= held_out()
      if not math.isfinite(line['validation_loss']):
        raise FloatingPointError(
          f'validation loss is {line["validation_loss"]} at step {step}'
        )
    if self._writes:
      with self._path.open('a') as file:
        file.write(json.dumps(line) + '\n')
    if self._writer is not None:
      scalars = {n: v for n, v in line.items() if n not in ('step', 'steps')}
      with self._writer.as_default(step):
        for name, value in scalars.items():
          self._scalar(name, value)
      self._writer.flush()
    self._pending = []
    self.restart_clock()
    return line


def drop_lines_after(path: pathlib.Path, step: int) -> None:
  """Drops the lines after a step, and an incomplete last line.

  Warns if lines up to that step are missing or damaged; damaged ones are
  dropped, too.

  Raises:
    InputError: If the file cannot be read.
  """
  lines = [line for line in lines_of(path) if line['step'] <= step]
  covered = sum(line.get('steps', 0) for line in lines)
  if covered < step:
    _logger.warning(
      '%s is incomplete: it lacks %d of %d steps. The loss curve and '
      'train_seconds leave them out.',
      path,
      step - covered,
      step,
    )
  if path.exists():
    _replace(path, lines)


def lines_of(path: pathlib.Path) -> list[dict[str, float]]:
  """Returns the lines of a metrics.jsonl, without incomplete ones.

  Raises:
    InputError: If the file cannot be read.
  """
  if not path.exists():
    return []
  lines = []
  for content in text_files.read_bytes(path).splitlines():
    # A killed process may leave half a line, a crash of the machine NUL bytes.
    with contextlib.suppress(InputError):
      line = text_files.parse_object(content, where=str(path))
      if 'step' in line and all(map(_is_number, line.values())):
        lines.append(line)
  return lines


def add_to_last_line(path: pathlib.Path, values: Mapping[str, float]) -> None:
  """Adds values to the last line of a metrics.jsonl."""
  lines = lines_of(path)
  lines[-1] |= values
  _replace(path, lines)


def total_seconds(path: pathlib.Path) -> float:
  """Sums the seconds of all lines of a metrics.jsonl, over all restarts.

  Does not include compiling, nor steps that were lost in a kill.
  """
  return math.fsum(line.get('seconds', 0.0) for line in lines_of(path))


def _replace(path: pathlib.Path, lines: Iterable[Mapping[str, float]]) -> None:
  text = ''.join(f'{json.dumps(line)}\n' for line in lines)
  text_files.write_file(path, text.encode())


def _is_number(value: object) -> bool:
  return isinstance(value, int | float) and math.isfinite(value)
