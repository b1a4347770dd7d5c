"""study, train, predict and plan: their flags; the bodies load JAX."""

import argparse

from it_study.commands import flags
from it_study.commands.flags import GIN_DETAILS, Command
from it_study.engines import ENGINES

# A training that takes seconds on a CPU.
SMALL_TRAINING = (
  'train --gin_file=models/t5_1_1_tiny.gin --gin_file=runs/finetune.gin '
  '--gin.CORPUS=miniature --gin.IT_STUDY_VOCABULARY=miniature '
  '--gin.TRAIN_STEPS=20 --gin.BATCH_SIZE=8 --gin.MODEL_DIR={model_dir} '
  '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2'
)


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
  flags.add_gin_flags(parser)
  parser.add_argument(
    '--engine',
    choices=ENGINES,
    help='training and decoding engine, same as --gin.ENGINE; default: the gin '
    "files' choice, native",
  )


def _add_study_flags(parser: argparse.ArgumentParser) -> None:
  _add_run_flags(parser)
  parser.add_argument(
    '--study_dir',
    default='it_study_out',
    metavar='DIR',
    help='folder for models, predictions and the report, or gs://...; default '
    '%(default)s',
  )
  parser.add_argument(
    '--workers',
    type=int,
    default=1,
    metavar='N',
    help='processes of two threads each that share the study on a CPU: faster '
    'for small models, which cannot use all processors; default: one process '
    'with all processors or accelerators',
  )


def _study(options: argparse.Namespace) -> None:
  from it_study.commands.runs import runs

  runs.study(options)


STUDY = Command(
  name='study',
  run=_study,
  summary='train and evaluate a grid of conditions, then report; default: the '
  'miniature study',
  example='it-study study --study_dir=it_study_out',
  add_flags=_add_study_flags,
  details=GIN_DETAILS,
  continues=True,
  computes=True,
)


def _train(options: argparse.Namespace) -> None:
  from it_study.commands.runs import runs

  runs.train(options)


TRAIN = Command(
  name='train',
  run=_train,
  summary='fine-tune one model',
  example=f'it-study {SMALL_TRAINING.format(model_dir="/tmp/it_study_model")}',
  add_flags=_add_run_flags,
  details=GIN_DETAILS,
  continues=True,
  computes=True,
)


def _add_plan_flags(parser: argparse.ArgumentParser) -> None:
  flags.add_gin_flags(parser)
  parser.add_argument(
    '--devices',
    type=int,
    metavar='N',
    help='number of virtual CPU devices to compile for; default: product of '
    'the mesh sizes',
  )
  parser.add_argument(
    '--vocabulary_size',
    type=int,
    metavar='N',
    help="rows of the model's embedding table; default: as many as "
    "IT_STUDY_VOCABULARY has tokens, else T5's",
  )
  parser.add_argument(
    '--topology',
    metavar='T',
    help='TPU slice to compile for, such as v5e:4x4; needs libtpu',
  )


def _plan(options: argparse.Namespace) -> None:
  from it_study.commands.runs import planning

  planning.plan(options)


PLAN = Command(
  name='plan',
  run=_plan,
  summary='compile a training step for absent devices: memory, FLOPs, '
  'communication',
  example='it-study plan --gin_file=models/t5_1_1_tiny.gin '
  '--gin_file=runs/finetune.gin --gin.MESH_FSDP=8',
  add_flags=_add_plan_flags,
  details=GIN_DETAILS,
)


def _predict(options: argparse.Namespace) -> None:
  from it_study.commands.runs import runs

  runs.predict(options)


PREDICT = Command(
  name='predict',
  run=_predict,
  summary='decode one split with one model',
  example='it-study predict --gin_file=models/t5_1_1_tiny.gin '
  '--gin_file=runs/predict.gin --gin.CORPUS=miniature '
  '--gin.IT_STUDY_VOCABULARY=miniature --gin.CHECKPOINT_PATH=None '
  '--gin.INFER_OUTPUT_DIR=/tmp/it_study_predictions '
  "--gin.TASK_FEATURE_LENGTHS=\"{'inputs': 128, 'targets': 16}\" "
  '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
  add_flags=_add_run_flags,
  details=GIN_DETAILS,
  continues=True,
  computes=True,
)
