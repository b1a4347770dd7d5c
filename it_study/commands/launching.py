"""launch: starts every process of a run, wherever they are to be."""

import argparse
from collections.abc import Callable
import os
import sys

from it_study.errors import InputError
from launch import local as local_lib
from launch import workers


def local(options: argparse.Namespace) -> int:
  """Several processes on this machine."""
  _check_grace(options)
  planned = local_lib.plan(
    [sys.executable, '-P', '-m', 'it_study.cli', *options.rest],
    processes=options.processes,
    devices=options.devices,
    environment=os.environ,
  )
  if options.dry_run:
    print(
      '\n'.join(local_lib.shell_lines(planned, environment=os.environ)),
    )
    return 0
  say = _speaker(options)
  status = local_lib.launch(
    planned, say=say, grace_seconds=options.grace_seconds
  )
  return _told(status, say)


def _told(status: int, say: Callable[[str], None]) -> int:
  if status == workers.PREEMPTED_STATUS:
    say('stopped with a checkpoint; the same command continues')
  return status


def _check_grace(options: argparse.Namespace) -> None:
  if options.grace_seconds <= 0:
    raise InputError(
      f'--grace_seconds is {options.grace_seconds:g}; give a number above 0, '
      'such as 60.'
    )


def _speaker(options: argparse.Namespace) -> Callable[[str], None]:
  """Prints what happens to the errors, not among the program's output."""
  if options.quiet:
    return lambda line: None
  return lambda line: print(f'it-study launch: {line}', file=sys.stderr)
