"""The commands: what each does, its arguments, an example that runs."""

import argparse
from collections.abc import Callable
import dataclasses


@dataclasses.dataclass(frozen=True)
class Command:
  """A command: what it does, an example that runs, its own arguments."""

  name: str
  run: str
  summary: str
  example: str
  add_arguments: Callable[[argparse.ArgumentParser], None]


_GIN_HELP = (
  'Gin: --gin_file=F (repeatable; below the working directory or the shipped '
  'gin_configs), --gin_search_paths=A,B, --gin.NAME=VALUE.'
)


def _gin_arguments(parser: argparse.ArgumentParser) -> None:
  parser.description += f' {_GIN_HELP}'
  parser.add_argument('--gin_file', action='append', default=[], metavar='F')
  parser.add_argument(
    '--gin_search_paths', default='', metavar='A,B', help='comma-separated'
  )


def _study_arguments(parser: argparse.ArgumentParser) -> None:
  _gin_arguments(parser)
  parser.add_argument(
    '--study_dir', default='it_study_out', help='default %(default)s'
  )
  parser.add_argument(
    '--engine', default=None, help='native; wins over the gin macro ENGINE'
  )


def _plan_arguments(parser: argparse.ArgumentParser) -> None:
  _gin_arguments(parser)
  parser.add_argument(
    '--devices',
    type=int,
    metavar='N',
    help="virtual CPU devices; default: the product of the mesh's sizes",
  )
  parser.add_argument(
    '--topology',
    metavar='T',
    help='a TPU slice to compile for, such as v5e:4x4; needs libtpu',
  )


def _report_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('study_dir', metavar='STUDY_DIR')


def _score_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('predictions', metavar='PREDICTIONS')
  _corpus_argument(parser, required=False)
  _split_argument(parser, default=None)
  parser.add_argument('--out', metavar='F', help='where metrics.json goes')
  parser.add_argument('--per_task', action='store_true')


def _baseline_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'baseline',
    choices=('random', 'majority', 'prior', 'copy_input', 'copy_demo'),
  )
  _corpus_argument(parser, required=True)
  _split_argument(parser)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--out', metavar='F', help='predictions.jsonl')
  parser.add_argument('--metrics', metavar='F', help='metrics.json')


def _prompt_arguments(parser: argparse.ArgumentParser) -> None:
  _corpus_argument(parser, required=True)
  parser.add_argument('--condition', required=True, metavar='NAME')
  _split_argument(parser)
  parser.add_argument('--task', metavar='T', help='of this task alone')
  parser.add_argument(
    '--vocabulary',
    metavar='F',
    help="a SentencePiece model, 'byte' or 'miniature'",
  )
  parser.add_argument(
    '--max_input_length', type=int, metavar='N', help='in tokens'
  )
  parser.add_argument('--out', metavar='F.jsonl', help='default: the terminal')


def _corpus_argument(parser, *, required: bool) -> None:
  parser.add_argument(
    '--corpus',
    required=required,
    metavar='DIR',
    help="task files, or 'miniature' for the embedded benchmark",
  )


def _split_argument(parser, default: str | None = 'test') -> None:
  parser.add_argument(
    '--split', default=default, help='train, validation or test'
  )


def _directory_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR')


def _mini_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument('--seed', type=int, default=0)


def _build_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument(
    '--data_dir', metavar='DIR', help='default: the cache folder'
  )
  parser.add_argument('--max_instances_per_task', type=int, default=1000)


COMMANDS = (
  Command(
    'study',
    'runs:study',
    'run a grid of trainings and report on it; the miniature by default',
    'it-study study --study_dir=it_study_out',
    _study_arguments,
  ),
  Command(
    'report',
    'runs:report',
    'write the report of a study and print its table',
    'it-study report it_study_out',
    _report_arguments,
  ),
  Command(
    'train',
    'runs:train',
    'fine-tune one model',
    'it-study train --gin_file=models/t5_1_1_tiny.gin '
    '--gin_file=runs/finetune.gin --gin.CORPUS=miniature '
    '--gin.IT_STUDY_VOCABULARY=miniature --gin.TRAIN_STEPS=20 '
    '--gin.BATCH_SIZE=8 --gin.MODEL_DIR=/tmp/it_study_model '
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
    _gin_arguments,
  ),
  Command(
    'plan',
    'planning:plan',
    'compile a training step for devices that are not here: memory, FLOPs, '
    'bytes sent',
    'it-study plan --gin_file=models/t5_1_1_tiny.gin '
    '--gin_file=runs/finetune.gin --gin.MESH_FSDP=8',
    _plan_arguments,
  ),
  Command(
    'predict',
    'runs:predict',
    'decode a split with one model',
    'it-study predict --gin_file=models/t5_1_1_tiny.gin '
    '--gin_file=runs/predict.gin --gin.CORPUS=miniature '
    '--gin.IT_STUDY_VOCABULARY=miniature --gin.CHECKPOINT_PATH=None '
    '--gin.INFER_OUTPUT_DIR=/tmp/it_study_predictions '
    "--gin.TASK_FEATURE_LENGTHS=\"{'inputs': 128, 'targets': 16}\" "
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
    _gin_arguments,
  ),
  Command(
    'score',
    'scoring:score',
    "score predictions: ours, Tk-Instruct's or T5X's",
    'it-study baseline random --corpus miniature --out /tmp/random.jsonl && '
    'it-study score /tmp/random.jsonl --corpus miniature',
    _score_arguments,
  ),
  Command(
    'baseline',
    'scoring:baseline',
    'predict without a model, and score',
    'it-study baseline random --corpus miniature',
    _baseline_arguments,
  ),
  Command(
    'prompt',
    'prompting:prompt',
    'show what the model sees',
    'it-study prompt --corpus miniature '
    '--condition natinst_def_simplified_ex_original2',
    _prompt_arguments,
  ),
)

CORPUS_COMMANDS = (
  Command(
    'mini',
    'corpus:mini',
    'write the miniature, a small benchmark with controls',
    'it-study corpus mini /tmp/mini',
    _mini_arguments,
  ),
  Command(
    'check',
    'auditing:check',
    'validate every task file of a corpus',
    'it-study corpus check miniature',
    _directory_argument,
  ),
  Command(
    'stats',
    'corpus:stats',
    'describe a corpus and the ways to choose classification tasks',
    'it-study corpus stats miniature',
    _directory_argument,
  ),
  Command(
    'build',
    'corpus:build',
    'build the rows that SeqIO and T5X read',
    'it-study corpus build miniature --data_dir /tmp/rows',
    _build_arguments,
  ),
)
