"""Flags and texts that all launch commands share."""

import argparse

from it_study.commands.runs.flags import SMALL_TRAINING

DETAILS = (
  'The command to run, any other command of it-study, follows --. Exit status: '
  'that of the first process that failed; 75 if all processes stopped with a '
  'checkpoint.'
)
EXPERIMENTAL = 'This has not been tested on a real {target} yet.'
EXAMPLE_COMMAND = SMALL_TRAINING.format(model_dir='/tmp/it_study_launched')


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of every launch command."""
  parser.add_argument(
    '--dry_run',
    action='store_true',
    help='print every command with its environment; start nothing',
  )
  parser.add_argument(
    '--grace_seconds',
    type=float,
    default=60.0,
    metavar='N',
    help='seconds that processes have to stop before they are killed; default '
    '%(default)g',
  )


def add_remote_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of every command that runs on other machines."""
  add_flags(parser)
  parser.add_argument(
    '--env',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='environment variable of every process; repeatable',
  )


def add_program_flag(parser: argparse.ArgumentParser) -> None:
  """Adds --program, for machines that have it-study installed."""
  parser.add_argument(
    '--program',
    default='it-study',
    metavar='P',
    help='it-study on the remote machines, such as .venv/bin/it-study; default '
    '%(default)s',
  )
