"""Runs command-line tools of clouds and clusters, or prints them (dry run)."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import shlex
import shutil
import time

from it_study.errors import InputError
from it_study.processes import timed_process
from launch import workers

# Maximum characters of a tool's error in a message.
_MAX_ERROR = 400


class LaunchError(Exception):
  """A failure outside of this program, described in one line.

  The command line prints only the message, and exits with status 1.
  """


class Tools:
  """Runs tools with time limits.

  Attributes:
    is_dry: Whether commands are printed, not run.
    say: Receives a line about each event.
    warn: Receives a line about each problem.
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
    """Raises `InputError` unless a program is on PATH.

    Args:
      program: Name of the program.
      how: Way to get it, for the message.
    """
    if not self.is_dry and shutil.which(program) is None:
      raise InputError(f'{program} is not on PATH: {how}')

  def try_run(
    self, words: Sequence[str], *, seconds: float, text: str = ''
  ) -> timed_process.Finished:
    """Runs a tool and returns how it ended, without judging it.

    Args:
      words: Program and arguments.
      seconds: Time limit in seconds.
      text: Standard input of the tool.
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
      words: Program and arguments.
      what: Description of the work for messages, such as 'creating t1'.
      seconds: Time limit of an attempt in seconds.
      attempts: Maximum number of attempts.
      pause: Seconds between attempts.

    Raises:
      LaunchError: If every attempt fails or takes too long.
    """
    for attempt in range(1, attempts + 1):
      done = self.try_run(words, seconds=seconds)
      if done.status == 0:
        return done.output
      reason = why(done, seconds)
      if attempt < attempts:
        self.say(f'{what}: {reason}; retrying in {pause:g} s')
        time.sleep(pause)
    raise LaunchError(f'{what} failed: {reason}')

  def show(self, words: Sequence[str]) -> None:
    """Prints a command, quoted for a shell."""
    print(shlex.join(words))


def why(done: timed_process.Finished, seconds: float) -> str:
  """Returns in one line why a tool failed."""
  if done.status is None:
    return f'timed out after {seconds:g} s'
  # The error may be JSON on several lines, the last of them a bracket.
  start = done.errors.rfind('ERROR:')
  if start >= 0:
    return _short(' '.join(done.errors[start:].split()))
  return _short(done.last_line) or f'exit status {done.status}'


def _short(text: str) -> str:
  return text if len(text) <= _MAX_ERROR else f'{text[:_MAX_ERROR]} ...'


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
  """Makes SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""

  def stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt

  with workers.handled(stop):
    yield


@contextlib.contextmanager
def unstoppable(say: Callable[[str], None], line: str) -> Iterator[None]:
  """Prints a line on a signal instead of stopping, during cleanup."""
  with workers.handled(lambda *_: say(line)):
    yield
