"""The lines of metrics.jsonl, and the watch that they are finite."""

from collections.abc import Callable, Iterable, Iterator, Mapping
import json
import math
import pathlib
import time

import jax
import numpy as np

from it_study.storage import text_files


class MetricsLog:
  """Holds the metrics of steps on the device until a line is due.

  `trainer.train` describes the lines.
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
    """Drops the lines of steps after `start`, and a line that was cut off.

    Args:
      path: of metrics.jsonl.
      start: the step that a training goes on from.
      step_flops: operations of a step, from `flops.training_flops`.
      peak_flops: operations a second of all devices together; None leaves the
        utilisation out.
      events: whether to write the same for TensorBoard, in `events/` beside
        `path`.
      writes: whether anything is written at all; of several processes that
        train as one, one does.
    """
    self._path = path
    self._writes = writes
    self._step_flops = step_flops
    self._peak_flops = peak_flops
    self._writer = None
    if events and writes:
      # Imported here: it takes TensorFlow.
      from clu import metric_writers

      folder = path.parent / 'events'
      self._writer = metric_writers.SummaryWriter(str(folder))
    self._pending: list[tuple[Mapping[str, jax.Array], int]] = []
    self._compile_seconds = 0.0
    self.restart_clock()
    if writes:
      drop_lines_after(path, start)

  def restart_clock(self, *, compile_seconds: float = 0.0) -> None:
    """Leaves the time since the last line out of the next one."""
    self._compile_seconds = compile_seconds
    self._before = time.perf_counter()

  def add(self, metrics: Mapping[str, jax.Array], *, num_tokens: int) -> None:
    """Takes the metrics of the next step, without waiting for them.

    Args:
      metrics: float32 scalars of `train_step.make_train_step`.
      num_tokens: inputs and targets in the step's batch, without padding.
    """
    self._pending.append((metrics, num_tokens))

  def write(
    self,
    step: int,
    *,
    held_out: Callable[[], Mapping[str, float]] | None = None,
  ) -> dict[str, float]:
    """Waits for the device and writes the line of the steps up to `step`.

    Args:
      step: the last one.
      held_out: called when the steps' time is taken; what it returns goes into
        the line as well.

    Raises:
      FloatingPointError: names the first step that is not finite.
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
    line = {'step': step, 'steps': num_steps}
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
      self._writer.write_scalars(step, scalars)
      self._writer.flush()
    self._pending = []
    self.restart_clock()
    return line


def drop_lines_after(path: pathlib.Path, step: int) -> None:
  """Takes out what a training will write again, and a line that was cut off."""
  if path.exists():
    _replace(path, _lines_up_to(step, path.read_text()))


def lines_of(path: pathlib.Path) -> list[dict[str, float]]:
  """The lines of a metrics.jsonl, an unfinished one apart."""
  if not path.exists():
    return []
  return [json.loads(line) for line in _lines_up_to(math.inf, path.read_text())]


def add_to_last_line(path: pathlib.Path, more: Mapping[str, float]) -> None:
  """Puts further numbers into the last line of a metrics.jsonl."""
  lines = lines_of(path)
  lines[-1] |= more
  _replace(path, map(json.dumps, lines))


def total_seconds(path: pathlib.Path) -> float:
  """Seconds of training in all lines of a metrics.jsonl, over all restarts.

  Compiling is not counted, nor are steps that a kill took back.
  """
  lines = path.read_text().splitlines()
  return math.fsum(json.loads(line)['seconds'] for line in lines)


def _replace(path: pathlib.Path, lines: Iterable[str]) -> None:
  text = ''.join(f'{line}\n' for line in lines)
  text_files.write_file(path, text.encode())


def _lines_up_to(step: float, text: str) -> Iterator[str]:
  """Yields the lines of metrics.jsonl up to a step, an unfinished one apart."""
  for line in text.splitlines():
    try:
      if json.loads(line)['step'] <= step:
        yield line
    except ValueError:
      continue
