"""The commands: what each does, its arguments, an example that runs."""

import argparse

from it_study.commands import flags
from it_study.commands.corpus.table import CORPUS_COMMANDS
from it_study.commands.flags import Command, Group
from it_study.commands.launch.table import LAUNCH_COMMANDS
from it_study.engines import ENGINES

__all__ = [
  'COMMANDS',
  'CORPUS_COMMANDS',
  'GROUPS',
  'LAUNCH_COMMANDS',
  'Command',
]


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


def _run_arguments(parser: argparse.ArgumentParser) -> None:
  _gin_arguments(parser)
  parser.add_argument(
    '--engine',
    choices=ENGINES,
    help='the same as --gin.ENGINE; default: as the gin files say, native',
  )


def _study_arguments(parser: argparse.ArgumentParser) -> None:
  _run_arguments(parser)
  parser.add_argument(
    '--study_dir',
    default='it_study_out',
    metavar='DIR',
    help='default %(default)s',
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
  flags.module_argument(parser)


def _view_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('study_dir', metavar='STUDY_DIR')
  parser.add_argument(
    '--port', type=int, default=0, metavar='N', help='default: a free one'
  )
  flags.module_argument(parser)


def _score_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('predictions', metavar='PREDICTIONS')
  flags.module_argument(parser)
  flags.corpus_argument(parser, required=False)
  flags.split_argument(parser, default=None)
  parser.add_argument('--out', metavar='F', help='where metrics.json goes')
  parser.add_argument('--per_task', action='store_true')
  parser.add_argument(
    '--decomposition',
    metavar='F',
    help='where the parts of exact match go: in format, right, beyond a guess; '
    'by task, category and overall',
  )
  parser.add_argument(
    '--track',
    choices=('default', 'xlingual'),
    default='default',
    help='how ROUGE splits words: English stems, or pieces of GPT-2',
  )
  parser.add_argument(
    '--tokenizer', metavar='F', help="GPT-2's tokenizer.json, for xlingual"
  )


def _baseline_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    'baseline',
    choices=('random', 'majority', 'prior', 'copy_input', 'copy_demo'),
  )
  flags.corpus_argument(parser, required=True)
  flags.split_argument(parser)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--out', metavar='F', help='predictions.jsonl')
  parser.add_argument('--metrics', metavar='F', help='metrics.json')
  parser.add_argument(
    '--simulate',
    type=int,
    default=0,
    metavar='N',
    help='check the closed form against so many draws; 100000 take seconds',
  )


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
  parser.description += (
    ' The difference is A minus B, with 95% intervals for tasks like these '
    'and, with --seed_pair, for training seeds like these. Equivalence is '
    'tested on both sides at the margin, which is to be fixed before looking.'
  )
  parser.add_argument('first', metavar='A', help='predictions, any format')
  parser.add_argument('second', metavar='B', help='of the same instances')
  parser.add_argument(
    '--seed_pair',
    nargs=2,
    action='append',
    metavar=('A2', 'B2'),
    help='the same two, trained with another seed; repeatable',
  )
  parser.add_argument(
    '--margin',
    type=float,
    default=3.0,
    metavar='POINTS',
    help='largest difference that counts as none, above 0 and below 100; '
    'default %(default)s',
  )
  parser.add_argument('--per_category', action='store_true')
  flags.module_argument(parser)
  flags.corpus_argument(parser, required=False)
  flags.split_argument(parser, default=None)
  parser.add_argument('--out', metavar='F', help='where to write all as JSON')


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
  _gin_arguments(parser)
  parser.add_argument('checkpoint', metavar='CHECKPOINT')
  parser.add_argument(
    '--corpus', required=True, metavar='DIR', help='task files, or miniature'
  )
  parser.add_argument(
    '--condition',
    default='natinst_def_original_ex_original2',
    metavar='NAME',
    help='to test under; default %(default)s',
  )
  flags.split_argument(parser)
  parser.add_argument(
    '--out',
    default='it_study_audit',
    metavar='DIR',
    help='gets the predictions; default %(default)s',
  )


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
  parser.description += (
    ' hf is a folder of config.json and safetensors, or PyTorch shards, of any '
    'T5: v1.0, v1.1, LM-adapted, Flan-T5, T0, Tk-Instruct. t5x is a '
    'checkpoint_STEP of T5X, or the folder above it; its two layouts are read '
    'alike, and written as t5x, which any T5X restores, or '
    't5x_orbax. What is read also serves as INITIAL_CHECKPOINT_PATH and '
    'CHECKPOINT_PATH as it is, and may be in a bucket, gs://….'
  )
  parser.add_argument('source', metavar='SRC')
  parser.add_argument('destination', metavar='DST', help='a new folder')
  parser.add_argument(
    '--from',
    dest='source_format',
    choices=('hf', 't5x', 'it_study'),
    required=True,
  )
  parser.add_argument(
    '--to', choices=('hf', 't5x', 't5x_orbax', 'it_study'), required=True
  )


def _prompt_arguments(parser: argparse.ArgumentParser) -> None:
  flags.corpus_argument(parser, required=True)
  parser.add_argument('--condition', required=True, metavar='NAME')
  flags.module_argument(parser)
  flags.split_argument(parser, default=None)
  parser.add_argument('--task', metavar='T', help='of this task alone')
  parser.add_argument('--id', metavar='ID', help='of this instance alone')
  parser.add_argument(
    '--limit', type=int, metavar='N', help='no more than so many prompts'
  )
  flags.length_arguments(parser)
  flags.selection_arguments(parser)
  parser.add_argument('--out', metavar='F.jsonl', help='default: the terminal')


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument('id', metavar='ID', help='of the instance')
  flags.module_argument(parser)
  flags.corpus_argument(parser, required=True)
  flags.conditions_argument(parser)
  flags.split_argument(parser, default=None)
  flags.length_arguments(parser)
  flags.selection_arguments(parser)
  parser.add_argument('--tokens', action='store_true', help='show them too')


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
  parser.description += (
    ' Exit status 1 if something is broken that every command needs, else 0.'
  )
  parser.add_argument(
    '--seconds',
    type=float,
    default=60.0,
    metavar='N',
    help='for what may hang: devices, vocabulary, T5X; default %(default)g',
  )


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
  parser.description += (
    ' For bash and zsh: eval "$(it-study completion bash)", or zsh, in the '
    'file that the shell starts with, in zsh behind compinit. For tcsh: source '
    'a file with what is printed.'
  )
  parser.add_argument('shell', choices=('bash', 'zsh', 'tcsh'))


COMMANDS = (
  Command(
    'study',
    'runs.runs:study',
    'run a grid of trainings and report on it; the miniature by default',
    'it-study study --study_dir=it_study_out',
    _study_arguments,
    continues=True,
    computes=True,
  ),
  Command(
    'report',
    'reporting:report',
    'write the report of a study and print its table',
    'it-study report it_study_out',
    _report_arguments,
  ),
  Command(
    'view',
    'reporting:view',
    'browse the predictions of a study on a local page; Ctrl-C ends it',
    'it-study view it_study_out',
    _view_arguments,
  ),
  Command(
    'train',
    'runs.runs:train',
    'fine-tune one model',
    'it-study train --gin_file=models/t5_1_1_tiny.gin '
    '--gin_file=runs/finetune.gin --gin.CORPUS=miniature '
    '--gin.IT_STUDY_VOCABULARY=miniature --gin.TRAIN_STEPS=20 '
    '--gin.BATCH_SIZE=8 --gin.MODEL_DIR=/tmp/it_study_model '
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
    _run_arguments,
    continues=True,
    computes=True,
  ),
  Command(
    'plan',
    'runs.planning:plan',
    'compile a training step for devices that are not here: memory, FLOPs, '
    'bytes sent',
    'it-study plan --gin_file=models/t5_1_1_tiny.gin '
    '--gin_file=runs/finetune.gin --gin.MESH_FSDP=8',
    _plan_arguments,
  ),
  Command(
    'predict',
    'runs.runs:predict',
    'decode a split with one model',
    'it-study predict --gin_file=models/t5_1_1_tiny.gin '
    '--gin_file=runs/predict.gin --gin.CORPUS=miniature '
    '--gin.IT_STUDY_VOCABULARY=miniature --gin.CHECKPOINT_PATH=None '
    '--gin.INFER_OUTPUT_DIR=/tmp/it_study_predictions '
    "--gin.TASK_FEATURE_LENGTHS=\"{'inputs': 128, 'targets': 16}\" "
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
    _run_arguments,
    computes=True,
  ),
  Command(
    'audit',
    'runs.decoding_audit:audit',
    'decode a checkpoint freely, kept to the label space, and ranked: does it '
    'lack the form or the knowledge?',
    'it-study audit /tmp/it_study_model --corpus miniature '
    '--out /tmp/it_study_audit',
    _audit_arguments,
    continues=True,
    computes=True,
  ),
  Command(
    'convert',
    'converting:convert',
    'convert weights: of Hugging Face, of T5X, or of a training of ours',
    'it-study convert /tmp/it_study_model /tmp/hf_model '
    '--from it_study --to hf',
    _convert_arguments,
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
    'compare',
    'scoring:compare',
    'compare two prediction files: difference, equivalence, what changes',
    'it-study baseline random --corpus miniature --out /tmp/a.jsonl && '
    'it-study baseline majority --corpus miniature --out /tmp/b.jsonl && '
    'it-study compare /tmp/a.jsonl /tmp/b.jsonl --margin 3',
    _compare_arguments,
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
  Command(
    'doctor',
    'doctor.doctoring:doctor',
    'what works on this machine, and what to do about the rest',
    'it-study doctor',
    _doctor_arguments,
  ),
  Command(
    'completion',
    'completing:completion',
    'print a script that completes command lines in a shell',
    'it-study completion bash',
    _completion_arguments,
  ),
)

GROUPS = (
  Group(
    'corpus',
    'write, check, describe or build a corpus',
    'Corpora: directories laid out like natural-instructions.',
    'it-study corpus mini /tmp/mini',
    CORPUS_COMMANDS,
  ),
  Group(
    'launch',
    'start every process of a run: here, on a cluster, in a cloud',
    'Starts every process of a run. What to run stands behind --.',
    LAUNCH_COMMANDS[0].example,
    LAUNCH_COMMANDS,
  ),
)
