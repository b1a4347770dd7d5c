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


def _report_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('study_dir', metavar='STUDY_DIR')
  _module_argument(parser)


def _score_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('predictions', metavar='PREDICTIONS')
  _module_argument(parser)
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
  _module_argument(parser)
  _split_argument(parser, default=None)
  parser.add_argument('--task', metavar='T', help='of this task alone')
  parser.add_argument('--id', metavar='ID', help='of this instance alone')
  parser.add_argument(
    '--limit', type=int, metavar='N', help='no more than so many prompts'
  )
  _length_arguments(parser)
  _selection_arguments(parser)
  parser.add_argument('--out', metavar='F.jsonl', help='default: the terminal')


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('id', metavar='ID', help='of the instance')
  _module_argument(parser)
  _corpus_argument(parser, required=True)
  _conditions_argument(parser)
  _split_argument(parser, default=None)
  _length_arguments(parser)
  _selection_arguments(parser)
  parser.add_argument('--tokens', action='store_true', help='show them too')


def _conditions_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--condition',
    action='extend',
    nargs='+',
    default=[],
    metavar='NAME',
    help="default: the six of the study's two experiments",
  )


def _length_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--vocabulary',
    metavar='F',
    help="a SentencePiece model, 'byte' or 'miniature'",
  )
  parser.add_argument(
    '--max_input_length', type=int, metavar='N', help='in tokens'
  )


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


def _module_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--module',
    metavar='NAME',
    help="imported first; registers levels of one's own",
  )


def _directory_argument(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('directory', metavar='DIR')


def _mini_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument('--seed', type=int, default=0)


def _fetch_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument(
    '--track', metavar='T', help='only the tasks of this track; default: all'
  )
  parser.add_argument(
    '--source',
    metavar='S',
    help='a git repository, or a .tar.gz or .zip of a checkout; default: the '
    'public repository',
  )
  parser.add_argument(
    '--commit', metavar='ID', help='in full; default: the pinned one'
  )
  parser.add_argument(
    '--sha256', metavar='HEX', help="what the archive's should be"
  )


def _selection_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--track', default='default', help='folder below splits; default default'
  )
  parser.add_argument(
    '--exclude',
    metavar='F',
    help='leave out what this exclusion list names; default: the '
    "track's own splits/TRACK/exclusions.txt",
  )


def _stats_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  _module_argument(parser)
  _selection_arguments(parser)
  group = parser.add_argument_group(
    'what is left of the prompts', 'measured if any of these is given'
  )
  _conditions_argument(group)
  _split_argument(group, default=None)
  _length_arguments(group)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  _module_argument(parser)
  _selection_arguments(parser)
  parser.add_argument(
    '--severity',
    choices=('error', 'warning', 'note'),
    default='note',
    help='print what is as bad or worse; default: everything',
  )
  parser.add_argument(
    '--out', metavar='F', help='all findings, as JSON lines, or F.csv'
  )
  parser.add_argument(
    '--write_exclusions',
    metavar='F',
    help='the exclusion list with which no error is left',
  )


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
  _check_arguments(parser)
  parser.add_argument('--allow_overlap', action='store_true', help='warn only')


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  _module_argument(parser)
  _selection_arguments(parser)
  parser.add_argument(
    '--data_dir', metavar='DIR', help='of the rows; default: the cache folder'
  )
  parser.add_argument(
    '--condition',
    action='extend',
    nargs='+',
    metavar='NAME',
    help='default: every definition with 0 to 2 examples, real and delusive',
  )
  parser.add_argument(
    '--split', action='extend', nargs='+', help='default: all three'
  )
  parser.add_argument(
    '--prompts', metavar='F.jsonl', help='certify these instead of stored rows'
  )
  _length_arguments(parser)
  parser.add_argument(
    '--out', metavar='F.jsonl', help='the certificate, then every failure'
  )
  parser.add_argument(
    '--num_workers', type=int, metavar='N', help='processes; default 2 at most'
  )


def _build_arguments(parser: argparse.ArgumentParser) -> None:
  _directory_argument(parser)
  parser.add_argument(
    '--data_dir', metavar='DIR', help='default: the cache folder'
  )
  parser.add_argument(
    '--max_instances_per_task',
    type=int,
    default=1000,
    metavar='N',
    help='of training tasks; default %(default)s',
  )
  _selection_arguments(parser)
  parser.add_argument(
    '--allow_overlap',
    action='store_true',
    help='build although test instances are trained on',
  )


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
  Command(
    'explain',
    'prompting:explain',
    'show one instance under several conditions, with what stands where',
    'it-study explain task9301-2ae12d915c72fb738337244ae9841f13 '
    '--corpus miniature --vocabulary miniature --max_input_length 128',
    _explain_arguments,
  ),
)

CORPUS_COMMANDS = (
  Command(
    'fetch',
    'fetching:fetch',
    'get the public collection, or continue to; some 3 GB',
    'it-study corpus fetch natural-instructions',
    _fetch_arguments,
  ),
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
    'validate every task of a corpus and lint its output spaces',
    'it-study corpus check miniature',
    _check_arguments,
  ),
  Command(
    'audit',
    'auditing:audit',
    'tell what training tasks have in common with test tasks',
    'it-study corpus audit miniature',
    _audit_arguments,
  ),
  Command(
    'stats',
    'corpus:stats',
    'describe a corpus and the ways to choose classification tasks',
    'it-study corpus stats miniature',
    _stats_arguments,
  ),
  Command(
    'build',
    'corpus:build',
    'build the rows that SeqIO and T5X read',
    'it-study corpus build miniature --data_dir /tmp/rows',
    _build_arguments,
  ),
  Command(
    'verify',
    'verifying:verify',
    'certify that altered instructions are what they claim to be',
    'it-study corpus verify miniature --split test '
    '--condition natinst_def_simplified_ex_delusive2',
    _verify_arguments,
  ),
)
