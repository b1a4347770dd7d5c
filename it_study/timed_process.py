"""Runs a program that may hang, for so long and no longer."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import os
import signal
import subprocess

# Between being asked to end and being ended.
_LAST_SECONDS = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
  """How a program ended.

  Attributes:
    status: its exit status, -N after signal N, None if it ran out of time.
    output: what it wrote to its standard output.
    errors: what it wrote to its standard error.
  """

  status: int | None
  output: str
  errors: str

  @property
  def last_line(self) -> str:
    """The last line that says something, of its errors or else its output."""
    for text in (self.errors, self.output):
      lines = [line.strip() for line in text.splitlines() if line.strip()]
      if lines:
        return lines[-1]
    return ''


def run(
  words: Sequence[str | os.PathLike],
  *,
  seconds: float,
  environment: Mapping[str, str] | None = None,
  standard_input: str = '',
) -> Finished:
  """Runs a program to its end, or ends it and all that it started.

  Args:
    words: the program and its arguments.
    seconds: it may take.
    environment: in place of this process's own.
    standard_input: all that it is given to read.

  Raises:
    OSError: if there is no such program, or it cannot be run.
  """
  process = subprocess.Popen(
    [os.fspath(word) for word in words],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=environment,
    encoding='utf-8',
    errors='replace',
    # A group of its own: what it starts is ended with it, and a Ctrl-C at the
    # terminal is for us alone.
    start_new_session=True,
  )
  try:
    output, errors = process.communicate(standard_input, timeout=seconds)
    status = process.returncode
  except subprocess.TimeoutExpired:
    output, errors = _end(process)
    status = None
  except BaseException:
    _end(process)
    raise
  return Finished(status=status, output=output, errors=errors)


def _end(process: subprocess.Popen) -> tuple[str, str]:
  """Ends a group of processes, and returns what it had written."""
  for number in (signal.SIGTERM, signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
      return process.communicate(timeout=_LAST_SECONDS)
  # What left the group still holds the pipes; nothing more is read of it.
  return '', ''
