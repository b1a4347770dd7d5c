"""What is said to a shell on another machine."""

from collections.abc import Mapping, Sequence
import re
import shlex

from it_study.errors import InputError

_NAME = re.compile(r'[A-Za-z_]\w*')


def run_line(
  words: Sequence[str],
  *,
  label: str,
  folder: str,
  environment: Mapping[str, str],
) -> str:
  """A line of shell that runs a program and lets `stop_line` find it.

  Args:
    words: the program and its arguments.
    label: of the run; letters, digits, '-' and '_'.
    folder: to run in, below the home folder or absolute.
    environment: added to the machine's own.
  """
  assignments = [f'{n}={shlex.quote(v)}' for n, v in environment.items()]
  # The shell becomes the program, and its number the program's.
  return (
    f'echo $$ > {_file(label)} && cd {shlex.quote(folder)} && '
    + ' '.join(['exec', *(['env', *assignments] if assignments else [])])
    + f' {shlex.join(words)}'
  )


def stop_line(label: str) -> str:
  """A line of shell that asks what `run_line` runs to stop."""
  return f'kill -TERM "$(cat {_file(label)})"'


def parse_environment(given: Sequence[str]) -> dict[str, str]:
  """The pairs of NAME=VALUE.

  Raises:
    InputError: one is not of this form.
  """
  pairs = {}
  for text in given:
    name, equals, value = text.partition('=')
    if not equals or not _NAME.fullmatch(name):
      raise InputError(f'--env {text!r}: give NAME=VALUE.')
    pairs[name] = value
  return pairs


def _file(label: str) -> str:
  return f'"$HOME"/.it_study_{label}.pid'
