"""launch ssh: a process on each of several machines."""

import argparse

from it_study.commands.flags import Command
from it_study.commands.launch import common


def _add_flags(parser: argparse.ArgumentParser) -> None:
  common.add_remote_flags(parser)
  common.add_program_flag(parser)
  parser.add_argument(
    '--hosts', required=True, metavar='A,B', help='machines, as ssh names them'
  )
  parser.add_argument(
    '--folder',
    default='.',
    metavar='REMOTE_DIR',
    help='working directory on the machines; default: the home folder',
  )
  parser.add_argument(
    '--port',
    type=int,
    default=12_321,
    metavar='N',
    help='port of the first host that the others connect to; default '
    '%(default)s',
  )


def ssh(options: argparse.Namespace) -> int:
  """Runs a process on each of several machines."""
  from it_study.commands.launch import checks, running
  from launch import remote, ssh as ssh_lib

  running.check_positive(options, 'grace_seconds')
  hosts = ssh_lib.parse_hosts(options.hosts)
  checks.check_processes(
    options.rest_options.command, len(hosts), where='the list of hosts'
  )
  return running.run_outside(
    options,
    lambda tools: ssh_lib.launch(
      ssh_lib.Run(
        hosts=hosts,
        words=options.rest,
        program=options.program,
        folder=options.folder,
        port=options.port,
        environment=remote.parse_environment(options.env),
        grace_seconds=options.grace_seconds,
      ),
      tools=tools,
    ),
  )


COMMAND = Command(
  name='ssh',
  run=ssh,
  summary='run on several machines over ssh (experimental)',
  example='it-study launch ssh --hosts node1,node2 --dry_run -- '
  f'{common.EXAMPLE_COMMAND}',
  add_flags=_add_flags,
  details=(
    f'{common.EXPERIMENTAL.format(target="cluster")} {common.DETAILS} '
    'Each host runs one process with all its GPUs and needs it-study '
    'installed; the first host coordinates. The processes stop when the '
    'connection ends.'
  ),
  continues=True,
  runs_another=True,
)
