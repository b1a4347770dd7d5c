"""What launch commands share at run time: messages, dry runs, exit status."""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import io
import json
import sys

from it_study.errors import InputError
from launch import workers
from launch.tools import LaunchError, Tools


def run_outside(
  options: argparse.Namespace, launch: Callable[[Tools], int]
) -> int:
  """Runs something that depends on other systems; returns its exit status.

  Args:
    options: Options of the command.
    launch: Launches the processes and returns their exit status. A
      `LaunchError` is printed in one line and becomes status 1.
  """
  say = speaker(options)
  try:
    with dry_run_output(options):
      return explained(
        launch(Tools(say=say, warn=warn, is_dry=options.dry_run)), say
      )
  except LaunchError as error:
    warn(str(error))
    return 1


@contextlib.contextmanager
def dry_run_output(options: argparse.Namespace) -> Iterator[None]:
  """Applies --json and --quiet to what a dry run prints in the block."""
  if not options.dry_run or not (options.json or options.quiet):
    yield
    return
  with contextlib.redirect_stdout(io.StringIO()) as printed:
    yield
  if options.json:
    print(json.dumps({'lines': printed.getvalue().splitlines()}))


def explained(status: int, say: Callable[[str], None]) -> int:
  """Returns an exit status, and explains that of a stop by a signal."""
  if status == workers.PREEMPTED_STATUS:
    say('stopped; run the same command to resume')
  return status


def check_positive(options: argparse.Namespace, *names: str) -> None:
  """Raises `InputError` unless all options of these names are above 0."""
  for name in names:
    value = getattr(options, name)
    # `not value > 0` also rejects NaN.
    if not value > 0:
      raise InputError(
        f'--{name} is {value:g}; it must be above 0, such as 60.'
      )


def speaker(options: argparse.Namespace) -> Callable[[str], None]:
  """Returns a function that prints a line, or does nothing with --quiet."""
  return (lambda line: None) if options.quiet else warn


def warn(line: str) -> None:
  """Prints a line to standard error."""
  # The terminal may be gone, and cleanup must not fail because of that.
  with contextlib.suppress(OSError):
    print(f'it-study launch: {line}', file=sys.stderr, flush=True)
