"""launch local: several processes on this machine."""

import argparse
import os
import sys

from it_study.commands.flags import Command
from it_study.commands.launch import common


def _add_flags(parser: argparse.ArgumentParser) -> None:
  common.add_flags(parser)
  parser.add_argument(
    '--processes',
    type=int,
    default=2,
    metavar='N',
    help='number of processes; default %(default)s',
  )
  parser.add_argument(
    '--devices',
    type=int,
    default=1,
    metavar='N',
    help='number of virtual CPU devices of each process; default %(default)s',
  )


def local(options: argparse.Namespace) -> int:
  """Runs several processes on this machine."""
  from it_study.commands.launch import checks, running
  from launch import local as local_lib

  running.check_positive(options, 'grace_seconds')
  checks.check_processes(
    options.rest_options.command, options.processes, where='--processes'
  )
  planned = local_lib.plan(
    [sys.executable, '-P', '-m', 'it_study.cli', *options.rest],
    processes=options.processes,
    devices=options.devices,
    environment=os.environ,
  )
  if options.dry_run:
    with running.dry_run_output(options):
      print('\n'.join(local_lib.shell_lines(planned, environment=os.environ)))
    return 0
  say = running.speaker(options)
  return running.explained(
    local_lib.launch(
      planned,
      say=say,
      warn=running.warn,
      grace_seconds=options.grace_seconds,
    ),
    say,
  )


COMMAND = Command(
  name='local',
  run=local,
  summary='run several processes on the CPU of this machine, to test a '
  'multi-process run',
  example='it-study launch local --processes 2 --devices 4 -- '
  f'{common.EXAMPLE_COMMAND}',
  add_flags=_add_flags,
  details=common.DETAILS,
  continues=True,
  runs_another=True,
)
