"""Runs the tools of clouds and clusters, or prints what it would run."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import shlex
import shutil
import time

from it_study import timed_process
from it_study.errors import InputError
from launch import workers

# Of a line that tells of an error.
_LONGEST = 400


class LaunchError(Exception):
  """Something outside failed: what, why, what was done about it, in one line.

  The command line prints the message alone and exits with status 1.
  """


class Tools:
  """Runs tools, each for so long and no longer.

  Attributes:
    is_dry: whether commands are printed, not run.
    say: is called with a line whenever something happens.
    warn: is called with a line where something is wrong.
  """

  def __init__(
    self,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None] | None = None,
    is_dry: bool = False,
  ):
    self.is_dry = is_dry
    self.say = say
    self.warn = warn or say

  def need(self, program: str, how: str) -> None:
    """Raises `InputError` unless a program is on PATH; `how` to get it."""
    if not self.is_dry and shutil.which(program) is None:
      raise InputError(f'{program} is not on PATH: {how}')

  def try_run(
    self, words: Sequence[str], *, seconds: float, text: str = ''
  ) -> timed_process.Finished:
    """Runs a tool and returns how it ended, whatever that is.

    Args:
      words: the program and its arguments.
      seconds: it may take.
      text: that it is given to read.
    """
    if self.is_dry:
      self.show(words)
      return timed_process.Finished(status=0, output='', errors='')
    try:
      return timed_process.run(words, seconds=seconds, standard_input=text)
    except OSError as error:
      raise LaunchError(f'cannot run {words[0]}: {error.strerror}') from error

  def run(
    self,
    words: Sequence[str],
    *,
    what: str,
    seconds: float,
    attempts: int = 1,
    pause: float = 10.0,
  ) -> str:
    """Runs a tool and returns its output.

    Args:
      words: the program and its arguments.
      what: it does, for the messages, such as 'creating t1'.
      seconds: it may take.
      attempts: how often it may be tried.
      pause: seconds between attempts.

    Raises:
      LaunchError: it fails, or takes too long, every time.
    """
    for attempt in range(1, attempts + 1):
      done = self.try_run(words, seconds=seconds)
      if done.status == 0:
        return done.output
      reason = why(done, seconds)
      if attempt < attempts:
        self.say(f'{what}: {reason}; trying again in {pause:g} s')
        time.sleep(pause)
    raise LaunchError(f'{what} failed: {reason}')

  def show(self, words: Sequence[str]) -> None:
    """Prints a command as a shell would take it."""
    print(shlex.join(words))


def why(done: timed_process.Finished, seconds: float) -> str:
  """Why a tool failed, in a line."""
  if done.status is None:
    return f'no end within {seconds:g} s'
  # An error may be several lines of JSON, of which the last is a bracket.
  found = done.errors.rfind('ERROR:')
  if found >= 0:
    return _short(' '.join(done.errors[found:].split()))
  return _short(done.last_line) or f'exit status {done.status}'


def _short(text: str) -> str:
  return text if len(text) <= _LONGEST else f'{text[:_LONGEST]} ...'


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
  """Lets other signals do what Ctrl-C does: clean up on the way out."""

  def stop(number, frame):
    raise KeyboardInterrupt

  with workers.handled(stop):
    yield


@contextlib.contextmanager
def unstoppable(say: Callable[[str], None], line: str) -> Iterator[None]:
  """Says a line in place of stopping, while what must be done is done."""
  with workers.handled(lambda *_: say(line)):
    yield
