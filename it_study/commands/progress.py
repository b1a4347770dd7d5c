"""Progress of long work: bars on a terminal, occasional lines elsewhere."""

import argparse
from collections.abc import Sequence
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
  from rich import progress

  from it_study.corpus.fetch import fetched_files
  from it_study.study.worker import Step
  from it_study.training import trainer

# Seconds between lines where there is no terminal.
_LINE_PERIOD = 20.0
_BUILD_NOUNS = {
  'parse': 'files parsed',
  'compare': 'files compared',
  'write': 'rows written',
}


class ProgressBars:
  """Draws bars on a terminal, else prints occasional lines, to standard error.

  A context manager, and the base of the classes below.
  """

  def __init__(
    self, *, quiet: bool = False, transient: bool = False, has_left: bool = True
  ):
    """Prepares the display; nothing is drawn before the first bar.

    Args:
      quiet: Whether to show nothing at all.
      transient: Whether bars disappear when they are done.
      has_left: Whether bars show the time left; otherwise their notes may.
    """
    self._started = self._last_line = time.monotonic()
    self._quiet = quiet
    self._tasks: dict[str, progress.TaskID] = {}
    self._bars: progress.Progress | None = None
    if not quiet and sys.stderr.isatty():
      from rich import console, progress as rich_progress

      self._bars = rich_progress.Progress(
        rich_progress.TextColumn('{task.description}'),
        rich_progress.BarColumn(bar_width=20),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn('{task.fields[note]}'),
        rich_progress.TimeElapsedColumn(),
        *([rich_progress.TimeRemainingColumn()] if has_left else []),
        console=console.Console(stderr=True),
        transient=transient,
      )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error: object) -> None:
    if self._bars is not None and self._bars.live.is_started:
      self._bars.stop()

  def _draw(
    self,
    name: str,
    done: int,
    total: int,
    *,
    description: str,
    note: str = '',
    restart: bool = False,
  ) -> None:
    """Draws a bar, if on a terminal.

    Args:
      name: Name of the bar; an unknown name adds a bar.
      done: Number of items that are done.
      total: Number of all items; 0 if unknown.
      description: Text before the bar.
      note: Text after the bar.
      restart: Whether the bar now measures other work, timed from zero.
    """
    if self._bars is None:
      return
    if restart and name in self._tasks:
      # A reset would keep the old total.
      self._bars.remove_task(self._tasks.pop(name))
    if name not in self._tasks:
      self._tasks[name] = self._bars.add_task(description, total=None, note='')
    self._bars.update(
      self._tasks[name],
      description=description,
      completed=done,
      total=total or None,
      note=note,
    )
    # Started late: work that takes no time needs no bar.
    self._bars.start()

  def _say(self, line: str, *, at_once: bool = False) -> None:
    """Prints a line if not on a terminal and one is due, or `at_once`."""
    if self._quiet or self._bars is not None:
      return
    now = time.monotonic()
    if at_once or now - self._last_line >= _LINE_PERIOD:
      self._last_line = now
      print(line, file=sys.stderr, flush=True)


class CountProgress(ProgressBars):
  """Shows a count; called with the number done and the total.

  Attributes:
    note: Text shown beside the count.
  """

  def __init__(self, noun: str, *, quiet: bool = False):
    """Prepares the display.

    Args:
      noun: Plural noun of what is counted, such as 'task files'.
      quiet: Whether to show nothing at all.
    """
    # Only the command's own output stays on the screen.
    super().__init__(quiet=quiet, transient=True)
    self.note = ''
    self._noun = noun

  def __call__(self, done: int, total: int) -> None:
    self._draw('count', done, total, description=self._noun, note=self.note)
    seconds = time.monotonic() - self._started
    left = (total - done) * seconds / done if done else 0.0
    note = f', {self.note}' if self.note else ''
    self._say(f'{done}/{total} {self._noun}{note}, {left:.0f} s left')


class BuildProgress(ProgressBars):
  """Shows the progress of a build, or of other work on every task file.

  Called with a phase, the number done and the total.
  """

  def __init__(self, *, quiet: bool = False):
    super().__init__(quiet=quiet)
    self._phases: dict[str, float] = {}

  def __call__(self, phase: str, done: int, total: int) -> None:
    now = time.monotonic()
    seconds = now - self._phases.setdefault(phase, now)
    rate = done / seconds if seconds else 0.0
    noun, speed = _BUILD_NOUNS[phase], f'{rate:,.0f}/s'
    self._draw(phase, done, total, description=noun, note=speed)
    left = f', {(total - done) / rate:.0f} s left' if rate else ''
    self._say(f'{done}/{total} {noun}, {speed}{left}')


class FetchProgress(ProgressBars):
  """Shows the progress of a download; called with each step."""

  def __init__(self, *, quiet: bool = False):
    super().__init__(quiet=quiet, has_left=False)
    self._phase = ''
    self._before = 0

  def __call__(self, step: 'fetched_files.Progress') -> None:
    now = time.monotonic()
    is_new = step.phase != self._phase
    if is_new:
      self._phase, self._started = step.phase, now
      # Files that were present before do not count towards the speed.
      self._before = step.done
    note = self._note(step, now - self._started)
    self._draw(
      'files',
      step.done,
      step.total,
      description=step.phase,
      note=note,
      restart=is_new,
    )
    total = f'/{step.total}' if step.total else ''
    self._say(f'{step.phase}: {step.done}{total} files{note and ", "}{note}')

  def _note(self, step: 'fetched_files.Progress', seconds: float) -> str:
    """Returns the rate and the time left, where known."""
    notes = []
    if step.num_bytes and seconds:
      notes.append(f'{step.num_bytes / seconds / 1e6:.1f} MB/s')
    done = step.done - self._before
    if step.total and done and seconds:
      left = (step.total - step.done) * seconds / done
      notes.append(f'{left:.0f} s left')
    return ', '.join(notes)


class PhaseProgress(ProgressBars):
  """Shows which phase of a long call is running, and for how long.

  Called with each phase as it begins. Nothing reports from inside a phase, so a
  thread keeps the display going.
  """

  def __init__(self, phases: Sequence[str], *, quiet: bool = False):
    """Prepares the display.

    Args:
      phases: All phases, in order.
      quiet: Whether to show nothing at all.
    """
    super().__init__(quiet=quiet, transient=True, has_left=False)
    self._phases = tuple(phases)
    self._phase = ''
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._report, daemon=True)

  def __enter__(self) -> Self:
    self._thread.start()
    return self

  def __exit__(self, *error: object) -> None:
    self._ended.set()
    self._thread.join()
    super().__exit__(*error)

  def __call__(self, phase: str) -> None:
    self._phase = phase
    done = self._phases.index(phase)
    self._draw('phase', done, len(self._phases), description=phase)

  def _report(self) -> None:
    while not self._ended.wait(_LINE_PERIOD):
      seconds = time.monotonic() - self._started
      self._say(f'{self._phase}, {seconds:.0f} s so far', at_once=True)


class StudyProgress(ProgressBars):
  """Shows the progress of a study; called with each step."""

  def __init__(self, *, quiet: bool = False):
    super().__init__(quiet=quiet)
    self._cell = ''

  def __call__(self, step: 'Step') -> None:
    if step.phase == 'resume':
      if not self._quiet:
        print(_resumption(step), file=sys.stderr, flush=True)
      return
    note = _note(step)
    self._draw('study', step.finished, step.planned, description='study')
    self._draw(
      'cell',
      step.done,
      step.total,
      description=f'{step.phase} {_short(step.cell)}',
      note=note,
      restart=step.cell != self._cell,
    )
    self._cell = step.cell
    share = f'{step.done}/{step.total} ' if step.total else ''
    if step.done and not step.total:
      share = f'{step.done:,} '
    line = (
      f'[{time.monotonic() - self._started:6.0f} s] '
      f'{step.finished}/{step.planned} {step.phase} {step.cell} {share}{note}'
    )
    self._say(line.rstrip(), at_once=step.phase == 'done')


def _resumption(step: 'Step') -> str:
  if step.finished == step.planned:
    return f'already done: all {step.planned} cells; nothing to do'
  return f'continuing: {step.finished} of {step.planned} cells are done'


def _note(step: 'Step') -> str:
  if step.phase == 'tokenise':
    return 'examples'
  metrics = step.metrics
  if 'loss' not in metrics:
    return ''
  rate = metrics['steps'] / metrics['seconds'] if metrics['seconds'] else 0.0
  left = (step.total - step.done) / rate if rate else 0.0
  return f'loss {metrics["loss"]:.3f}, {rate:.1f} steps/s, {left:.0f} s left'


def _short(name: str) -> str:
  """Shortens a cell's name, to leave room for the bar.

  >>> _short('natinst_def_empty_ex_original2_seed0')
  'def_empty_ex_original2_seed0'
  """
  return name.replace('natinst_', '').replace('baseline_', '')


def print_progress(progress: 'trainer.Progress') -> None:
  """Prints the progress of a training to standard error."""
  line = None
  if progress.phase == 'tokenising' and progress.step % 10_000 == 0:
    line = f'tokenising: {progress.step:,} examples'
  elif progress.phase == 'resuming':
    where = f'step {progress.step} of {progress.train_steps}'
    line = f'continuing from {where}'
    if progress.step >= progress.train_steps:
      line = f'already trained: {where}; nothing to do'
  elif progress.phase == 'compiling':
    line = 'compiling the training step'
  elif progress.metrics:
    line = _training_line(progress)
  if line is not None:
    print(line, file=sys.stderr, flush=True)


def say(options: argparse.Namespace, line: str) -> None:
  """Prints a line on standard error, unless only results are wanted."""
  if not (options.quiet or options.json):
    print(line, file=sys.stderr, flush=True)


def _training_line(progress: 'trainer.Progress') -> str:
  metrics = progress.metrics
  parts = [
    f'step {progress.step}/{progress.train_steps}',
    f'loss {metrics["loss"]:.4f}',
    f'gradient {metrics["gradient_norm"]:.3g}',
    f'{metrics["tokens_per_second"]:,.0f} tokens/s',
  ]
  if 'model_flops_utilization' in metrics:
    parts.append(f'{metrics["model_flops_utilization"]:.1%} of peak')
  if 'compile_seconds' in metrics:
    parts.append(f'compiled in {metrics["compile_seconds"]:.0f} s')
  if 'validation_loss' in metrics:
    parts.append(
      f'held-out loss {metrics["validation_loss"]:.4f} '
      f'in {metrics["validation_seconds"]:.1f} s'
    )
  parts.append(f'{progress.seconds_left or 0:.0f} s left')
  return ', '.join(parts)
