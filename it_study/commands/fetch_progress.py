"""What a person sees of a fetch: a bar, or a line now and then."""

import sys
import time

from rich import console, progress

from it_study.fetch.fetched_files import Progress

# Seconds between lines where there is no terminal to draw a bar on.
_LINE_PERIOD = 20.0


class FetchProgress:
  """Shows how far a fetch is; a context manager to call with its progress."""

  def __init__(self, *, quiet: bool = False):
    self._quiet = quiet
    self._phase = ''
    self._started = self._last_line = time.monotonic()
    self._before = 0
    self._bars = None
    if not quiet and sys.stderr.isatty():
      self._bars = progress.Progress(
        progress.TextColumn('{task.description}'),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(),
        progress.TextColumn('{task.fields[note]}'),
        progress.TimeElapsedColumn(),
        console=console.Console(stderr=True),
      )
      self._bar = self._bars.add_task('', total=None, note='')

  def __enter__(self) -> 'FetchProgress':
    if self._bars is not None:
      self._bars.start()
    return self

  def __exit__(self, *error) -> None:
    if self._bars is not None:
      self._bars.stop()

  def __call__(self, step: Progress) -> None:
    if self._quiet:
      return
    now = time.monotonic()
    if step.phase != self._phase:
      self._phase = step.phase
      self._started = now
      # Files that were there already say nothing of the speed.
      self._before = step.done
      if self._bars is not None:
        self._bars.reset(self._bar)
    if self._bars is not None:
      self._bars.update(
        self._bar,
        description=step.phase,
        completed=step.done,
        total=step.total or None,
        note=self._note(step, now - self._started),
      )
    elif now - self._last_line > _LINE_PERIOD:
      self._last_line = now
      total = f'/{step.total}' if step.total else ''
      note = self._note(step, now - self._started)
      print(
        f'{step.phase}: {step.done}{total} files{note and ", "}{note}',
        file=sys.stderr,
        flush=True,
      )

  def _note(self, step: Progress, seconds: float) -> str:
    """Rate and time left, as far as they are known."""
    notes = []
    if step.num_bytes and seconds:
      notes.append(f'{step.num_bytes / seconds / 1e6:.1f} MB/s')
    done = step.done - self._before
    if step.total and done and seconds:
      left = (step.total - step.done) * seconds / done
      notes.append(f'{left:.0f} s left')
    return ', '.join(notes)
