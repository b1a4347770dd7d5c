"""What a person sees of a study that runs: a bar, or a line now and then."""

import sys
import time

from rich import console, progress

from it_study.study import Step

# Seconds between lines where there is no terminal to draw a bar on.
_LINE_PERIOD = 20.0


class StudyProgress:
  """Shows the steps of a study; a context manager to call with each."""

  def __init__(self, *, quiet: bool = False):
    self._console = console.Console(stderr=True)
    self._quiet = quiet
    self._bars = None
    self._cell = ''
    self._started = self._last_line = time.monotonic()
    if not quiet and sys.stderr.isatty():
      self._bars = progress.Progress(
        progress.TextColumn('{task.description}'),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(),
        progress.TextColumn('{task.fields[note]}'),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=self._console,
      )
      self._all = self._bars.add_task('study', note='')
      self._piece = self._bars.add_task('', note='')

  def __enter__(self) -> 'StudyProgress':
    if self._bars is not None:
      self._bars.start()
    return self

  def __exit__(self, *error) -> None:
    if self._bars is not None:
      self._bars.stop()

  def __call__(self, step: Step) -> None:
    if self._quiet:
      return
    if self._bars is not None:
      self._draw(step)
      return
    now = time.monotonic()
    if step.phase == 'done' or now - self._last_line > _LINE_PERIOD:
      self._last_line = now
      print(self._line(step), file=sys.stderr, flush=True)

  def _draw(self, step: Step) -> None:
    self._bars.update(self._all, completed=step.finished, total=step.planned)
    if step.cell != self._cell:
      self._cell = step.cell
      self._bars.reset(self._piece)
    self._bars.update(
      self._piece,
      description=f'{step.phase} {_short(step.cell)}',
      completed=step.done,
      total=step.total or None,
      note=_note(step),
    )

  def _line(self, step: Step) -> str:
    share = f'{step.done}/{step.total} ' if step.total else ''
    return (
      f'[{time.monotonic() - self._started:6.0f} s] '
      f'{step.finished}/{step.planned} {step.phase} {step.cell} {share}'
      f'{_note(step)}'
    ).rstrip()


def _note(step: Step) -> str:
  metrics = step.metrics
  if 'loss' not in metrics:
    return ''
  rate = metrics['steps'] / metrics['seconds'] if metrics['seconds'] else 0.0
  left = (step.total - step.done) / rate if rate else 0.0
  return f'loss {metrics["loss"]:.3f}, {rate:.1f} steps/s, {left:.0f} s left'


def _short(name: str) -> str:
  """A name that leaves room for the bar.

  >>> _short('natinst_def_empty_ex_original2_seed0')
  'def_empty_ex_original2_seed0'
  """
  return name.replace('natinst_', '').replace('baseline_', '')
