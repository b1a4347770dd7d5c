"""The commands below `launch`: their arguments, examples that run."""

import argparse

from it_study.commands.flags import Command

_TRAINING = (
  'train --gin_file=models/t5_1_1_tiny.gin --gin_file=runs/finetune.gin '
  '--gin.CORPUS=miniature --gin.IT_STUDY_VOCABULARY=miniature '
  '--gin.TRAIN_STEPS=20 --gin.BATCH_SIZE=8 '
  '--gin.MODEL_DIR=/tmp/it_study_launched '
  '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2'
)


def _common_arguments(parser: argparse.ArgumentParser) -> None:
  parser.description += (
    ' What to run, a command of it-study, stands behind --. Exit status: that '
    'of the first process that failed; 75 where all were stopped with a '
    'checkpoint.'
  )
  parser.add_argument(
    '--dry_run',
    action='store_true',
    help='print every command with its environment, and start nothing',
  )
  parser.add_argument(
    '--grace_seconds',
    type=float,
    default=60.0,
    metavar='N',
    help='from being asked to stop to being ended; default %(default)g',
  )


def _local_arguments(parser: argparse.ArgumentParser) -> None:
  _common_arguments(parser)
  parser.add_argument(
    '--processes', type=int, default=2, metavar='N', help='default %(default)s'
  )
  parser.add_argument(
    '--devices',
    type=int,
    default=1,
    metavar='N',
    help='virtual CPU devices of each process; default %(default)s',
  )


def _remote_arguments(parser: argparse.ArgumentParser) -> None:
  _common_arguments(parser)
  parser.add_argument(
    '--env',
    action='append',
    default=[],
    metavar='NAME=VALUE',
    help='in the environment of every process; repeatable',
  )


def _tpu_arguments(parser: argparse.ArgumentParser) -> None:
  _remote_arguments(parser)
  parser.description += (
    ' The slice is deleted at the end, however it comes, unless --keep. If it '
    'is taken away before, the run goes on from the last checkpoint, if '
    'MODEL_DIR is still there.'
  )
  parser.set_defaults(grace_seconds=300.0)
  parser.add_argument(
    '--type', required=True, metavar='T', help='such as v5litepod-16'
  )
  parser.add_argument('--zone', required=True, metavar='Z')
  parser.add_argument(
    '--name', default='it-study', metavar='N', help='default %(default)s'
  )
  parser.add_argument('--project', metavar='P', help="default: gcloud's")
  parser.add_argument(
    '--spot', action='store_true', help='cheaper; may be taken away'
  )
  parser.add_argument(
    '--queued', action='store_true', help='wait in the queue of Google Cloud'
  )
  parser.add_argument(
    '--wait_hours',
    type=float,
    default=24.0,
    metavar='N',
    help='for the slice to be ready; default %(default)g',
  )
  parser.add_argument(
    '--runtime_version',
    metavar='V',
    help="default: the type's",
  )
  parser.add_argument(
    '--ref',
    default='HEAD',
    metavar='COMMIT',
    help='of this checkout, that goes along; default %(default)s',
  )
  parser.add_argument(
    '--compile_cache',
    metavar='gs://B/D',
    help='where compiled programs outlive the slice',
  )
  parser.add_argument(
    '--results', metavar='DIR', help='collect what was written, into DIR here'
  )
  parser.add_argument(
    '--price_per_hour',
    type=float,
    metavar='X',
    help='of one chip; shows what the slice costs before it is created',
  )
  parser.add_argument(
    '--keep', action='store_true', help='do not delete the slice at the end'
  )
  parser.add_argument(
    '--reuse', action='store_true', help='use a slice that was kept'
  )
  parser.add_argument(
    '--max_restarts',
    type=int,
    default=20,
    metavar='N',
    help='when it is taken away; default %(default)s',
  )
  parser.add_argument(
    '--skip_memory_check',
    action='store_true',
    help='do not compile for the slice beforehand',
  )


def _program_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--program',
    default='it-study',
    metavar='P',
    help='it-study there, such as .venv/bin/it-study; default %(default)s',
  )


def _slurm_arguments(parser: argparse.ArgumentParser) -> None:
  _remote_arguments(parser)
  _program_argument(parser)
  parser.description += (
    ' A job that is preempted, or reaches its time, writes a checkpoint, is '
    'queued anew and goes on from there. Ctrl-C stops the job, unless --keep.'
  )
  parser.set_defaults(grace_seconds=300.0)
  for flag, default, meaning in (
    ('--nodes', 1, 'of the cluster'),
    ('--gpus_per_node', 1, 'of each; 0 is none'),
    ('--lead_seconds', 300, 'for a checkpoint before the time is up'),
    ('--max_restarts', 20, 'after a checkpoint'),
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
    help='train can run one a GPU, the rest needs one in all; default '
    '%(default)s',
  )
  parser.add_argument(
    '--hours',
    type=float,
    default=24.0,
    metavar='N',
    help='before it is queued anew; default %(default)g',
  )
  parser.add_argument('--partition', metavar='NAME')
  parser.add_argument('--account', metavar='NAME')
  parser.add_argument(
    '--sbatch',
    action='append',
    default=[],
    metavar='OPTION',
    help='a further one, as --sbatch=--constraint=h100; repeatable',
  )
  parser.add_argument(
    '--name', default='it-study', metavar='N', help='default %(default)s'
  )
  parser.add_argument(
    '--folder', metavar='DIR', help='to run in; default: here'
  )
  parser.add_argument(
    '--log_dir',
    default='it_study_slurm',
    metavar='DIR',
    help='for the script and its output, that all nodes see; default '
    '%(default)s',
  )
  parser.add_argument(
    '--detach', action='store_true', help='submit, and do not follow'
  )
  parser.add_argument(
    '--keep', action='store_true', help='let the job go on after Ctrl-C'
  )


def _ssh_arguments(parser: argparse.ArgumentParser) -> None:
  _remote_arguments(parser)
  _program_argument(parser)
  parser.description += (
    ' Each host runs one process, with all its GPUs, and needs it-study; the '
    'first one coordinates. What it runs stops when the connection ends.'
  )
  parser.add_argument(
    '--hosts', required=True, metavar='A,B', help='as ssh takes them'
  )
  parser.add_argument(
    '--folder', default='.', metavar='DIR', help='to run in; default: home'
  )
  parser.add_argument(
    '--port',
    type=int,
    default=12_321,
    metavar='N',
    help='of the first host, that the others reach; default %(default)s',
  )


LAUNCH_COMMANDS = (
  Command(
    'local',
    'launch.launching:local',
    'run several processes on this machine, on its CPU: a rehearsal of a pod',
    f'it-study launch local --processes 2 --devices 4 -- {_TRAINING}',
    _local_arguments,
    continues=True,
    runs_another=True,
  ),
  Command(
    'tpu_vm',
    'launch.launching:tpu_slice',
    'run on every host of a Cloud TPU: create, set up, run, collect, delete',
    'it-study launch tpu_vm --type v5litepod-8 --zone us-west4-a --results '
    f'/tmp/it_study_results --dry_run -- {_TRAINING}',
    _tpu_arguments,
    continues=True,
    runs_another=True,
  ),
  Command(
    'slurm',
    'launch.launching:slurm',
    'submit a job to a SLURM cluster and follow it',
    'it-study launch slurm --nodes 2 --gpus_per_node 4 --dry_run -- '
    f'{_TRAINING}',
    _slurm_arguments,
    continues=True,
    runs_another=True,
  ),
  Command(
    'ssh',
    'launch.launching:ssh',
    'run on several machines that ssh reaches',
    f'it-study launch ssh --hosts node1,node2 --dry_run -- {_TRAINING}',
    _ssh_arguments,
    continues=True,
    runs_another=True,
  ),
)
