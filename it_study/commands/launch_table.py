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


LAUNCH_COMMANDS = (
  Command(
    'local',
    'launching:local',
    'run several processes on this machine, on its CPU: a rehearsal of a pod',
    f'it-study launch local --processes 2 --devices 4 -- {_TRAINING}',
    _local_arguments,
    continues=True,
    runs_another=True,
  ),
)
