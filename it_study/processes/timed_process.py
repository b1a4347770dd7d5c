"""Runs a program that may hang, with a time limit."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import os
import signal
import subprocess

# Between SIGTERM and SIGKILL.
_GRACE_SECONDS = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
  """How a program ended.

  Attributes:
    status: Exit status; -N after signal N, None after a timeout.
    output: Standard output.
    errors: Standard error.
  """

  status: int | None
  output: str
  errors: str

  @property
  def last_line(self) -> str:
    """The last non-empty line of standard error, else of standard output."""
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
  """Runs a program to its end, or kills it and its children.

  Args:
    words: Program and arguments.
    seconds: Time limit in seconds.
    environment: Environment of the program; None for that of this process.
    standard_input: Text on its standard input.

  Raises:
    OSError: If the program does not exist or cannot be run.
  """
  process = subprocess.Popen(
    [os.fspath(word) for word in words],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env=environment,
    encoding='utf-8',
    errors='replace',
    # A new process group: the program's children can be killed with it, and
    # Ctrl-C at the terminal reaches only us.
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
  """Kills a process group, and returns its output and errors."""
  for number in (signal.SIGTERM, signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, number)
    with contextlib.suppress(subprocess.TimeoutExpired):
      return process.communicate(timeout=_GRACE_SECONDS)
  # A process that left the group holds the pipes; their content is lost.
  return '', ''
