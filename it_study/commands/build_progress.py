"""What a person sees of a build: bars, or a line now and then."""

import sys
import time

from rich import console, progress

# Seconds between lines where there is no terminal to draw bars on.
_LINE_PERIOD = 20.0
_NOUNS = {
  'parse': 'files parsed',
  'compare': 'files compared',
  'write': 'rows written',
}


class BuildProgress:
  """Shows how far a build is, or what else reads every task file.

  A context manager, to call with a phase, what is done of it, and all of it.
  """

  def __init__(self, *, quiet: bool = False):
    self._quiet = quiet
    self._bars = None
    self._tasks: dict[str, progress.TaskID] = {}
    self._started: dict[str, float] = {}
    self._last_line = time.monotonic()
    if not quiet and sys.stderr.isatty():
      self._bars = progress.Progress(
        progress.TextColumn('{task.description}'),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(),
        progress.TextColumn('{task.fields[rate]}'),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=console.Console(stderr=True),
      )

  def __enter__(self) -> 'BuildProgress':
    if self._bars is not None:
      self._bars.start()
    return self

  def __exit__(self, *error) -> None:
    if self._bars is not None:
      self._bars.stop()

  def __call__(self, phase: str, done: int, total: int) -> None:
    if self._quiet:
      return
    now = time.monotonic()
    seconds = now - self._started.setdefault(phase, now)
    rate = done / seconds if seconds else 0.0
    if self._bars is not None:
      if phase not in self._tasks:
        self._tasks[phase] = self._bars.add_task(
          _NOUNS[phase], total=total, rate=''
        )
      self._bars.update(
        self._tasks[phase], completed=done, rate=f'{rate:,.0f}/s'
      )
    elif now - self._last_line >= _LINE_PERIOD:
      self._last_line = now
      left = f', {(total - done) / rate:.0f} s left' if rate else ''
      print(
        f'{done}/{total} {_NOUNS[phase]}, {rate:,.0f}/s{left}',
        file=sys.stderr,
        flush=True,
      )
