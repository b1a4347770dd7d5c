"""What a person sees of work that is counted: a bar, or a line now and then."""

import sys
import time

from rich import console, progress

# Seconds between lines where there is no terminal to draw a bar on.
_LINE_PERIOD = 20.0


class CountProgress:
  """Shows how much is done; a context manager to call with (done, total).

  Attributes:
    note: what is shown beside the count.
  """

  def __init__(self, noun: str, *, quiet: bool = False):
    """Makes one; `noun` says what is counted, as 'task files'."""
    self.note = ''
    self._noun = noun
    self._quiet = quiet
    self._bars = None
    self._started = self._last_line = time.monotonic()
    if not quiet and sys.stderr.isatty():
      self._bars = progress.Progress(
        progress.TextColumn('{task.description}'),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(),
        progress.TextColumn('{task.fields[note]}'),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=console.Console(stderr=True),
        # The command's own output is what stays.
        transient=True,
      )
      self._bar = self._bars.add_task(noun, total=None, note='')

  def __enter__(self) -> 'CountProgress':
    return self

  def __exit__(self, *error) -> None:
    if self._bars is not None:
      self._bars.stop()

  def __call__(self, done: int, total: int) -> None:
    if self._quiet:
      return
    if self._bars is not None:
      # Not before: what is done at once needs no bar.
      self._bars.start()
      self._bars.update(self._bar, completed=done, total=total, note=self.note)
      return
    now = time.monotonic()
    if now - self._last_line > _LINE_PERIOD:
      self._last_line = now
      left = (total - done) * (now - self._started) / done if done else 0.0
      note = f', {self.note}' if self.note else ''
      print(
        f'{done}/{total} {self._noun}{note}, {left:.0f} s left',
        file=sys.stderr,
        flush=True,
      )
