"""launch slurm: a job of a SLURM cluster."""

import argparse

from it_study.commands.flags import Command
from it_study.commands.launch import common


def _add_flags(parser: argparse.ArgumentParser) -> None:
  common.add_remote_flags(parser)
  common.add_program_flag(parser)
  parser.set_defaults(grace_seconds=300.0)
  for flag, default, meaning in (
    ('--nodes', 1, 'number of nodes'),
    ('--gpus_per_node', 1, 'number of GPUs of each node; 0 for none'),
    ('--lead_seconds', 300, 'seconds for a checkpoint before the time limit'),
    ('--max_restarts', 20, 'maximum number of restarts from a checkpoint'),
  ):
    parser.add_argument(
      flag,
      type=int,
      default=default,
      metavar='N',
      help=f'{meaning}; default %(default)s',
    )
  parser.add_argument(
    '--process_per',
    default='gpu',
    metavar='gpu|node',
    help='one process per GPU or per node; only train and predict run in '
    'several; default %(default)s',
  )
  parser.add_argument(
    '--hours',
    type=float,
    default=24.0,
    metavar='N',
    help='time limit of the job, after which it is requeued; default '
    '%(default)g',
  )
  parser.add_argument(
    '--partition', metavar='NAME', help="default: the cluster's"
  )
  parser.add_argument('--account', metavar='NAME', help='default: your own')
  parser.add_argument(
    '--sbatch',
    action='append',
    default=[],
    metavar='OPTION',
    help='further option of sbatch, as in --sbatch=--constraint=h100; '
    'repeatable',
  )
  parser.add_argument(
    '--name',
    default='it-study',
    metavar='N',
    help='name of the job; default %(default)s',
  )
  parser.add_argument(
    '--folder',
    metavar='DIR',
    help='working directory of the job; default: this one',
  )
  parser.add_argument(
    '--log_dir',
    default='it_study_slurm',
    metavar='DIR',
    help='folder for the batch script and its output, visible to all nodes; '
    'default %(default)s',
  )
  parser.add_argument(
    '--detach', action='store_true', help='submit the job, do not follow it'
  )
  parser.add_argument(
    '--keep', action='store_true', help='leave the job running after Ctrl-C'
  )


def slurm(options: argparse.Namespace) -> int:
  """Submits a job to a SLURM cluster and follows it."""
  from it_study.commands.launch import checks, running
  from launch import remote, slurm as slurm_lib

  running.check_positive(options, 'grace_seconds', 'hours')
  job = slurm_lib.Job(
    words=options.rest,
    name=options.name,
    nodes=options.nodes,
    gpus_per_node=options.gpus_per_node,
    process_per=options.process_per,
    hours=options.hours,
    partition=options.partition,
    account=options.account,
    options=options.sbatch,
    program=options.program,
    folder=options.folder,
    log_dir=options.log_dir,
    environment=remote.parse_environment(options.env),
    lead_seconds=options.lead_seconds,
    max_restarts=options.max_restarts,
  )
  # Before gin files are parsed, which takes seconds.
  slurm_lib.check(job)
  checks.check_gpus(
    options.rest_options,
    nodes=job.nodes,
    gpus_per_node=job.gpus_per_node,
    processes=job.nodes * job.tasks_per_node,
  )
  return running.run_outside(
    options,
    lambda tools: slurm_lib.launch(
      job,
      tools=tools,
      limits=slurm_lib.Limits(grace=options.grace_seconds),
      is_followed=not options.detach,
      is_kept=options.keep,
    ),
  )


COMMAND = Command(
  name='slurm',
  run=slurm,
  summary='submit a job to a SLURM cluster and follow it (experimental)',
  example='it-study launch slurm --nodes 2 --gpus_per_node 4 --dry_run -- '
  f'{common.EXAMPLE_COMMAND}',
  add_flags=_add_flags,
  details=(
    f'{common.EXPERIMENTAL.format(target="cluster")} {common.DETAILS} A job '
    'that is preempted, or reaches its time limit, writes a checkpoint, is '
    'requeued and resumes. Ctrl-C stops the job, unless --keep is given.'
  ),
  continues=True,
  runs_another=True,
)
