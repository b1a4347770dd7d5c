"""The record of a command, and the flags that several commands share."""

import argparse
from collections.abc import Callable
import dataclasses

from it_study.errors import InputError
from it_study.storage.storage_path import expanded

# A parser, or a group of its arguments.
Flags = argparse._ActionsContainer
# TASK_FEATURE_LENGTHS['inputs'] of runs/common.gin.
_INPUT_LENGTH = 1024

# Metavars of arguments that are local files, and of those that are folders.
FILES = ('F', 'F.jsonl', 'PREDICTIONS', 'A', 'B', ('A2', 'B2'))
FOLDERS = ('DIR', 'STUDY_DIR', 'CHECKPOINT', 'SRC', 'DST', 'OUT')
GIN_DETAILS = (
  'Configured by gin files (--gin_file) and by single bindings '
  '(--gin.NAME=VALUE), which override the files.'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
  """A command: its parser and its body.

  Attributes:
    name: Word that selects the command.
    run: Body of the command. Returns the exit status; None stands for 0.
    summary: Purpose of the command, for the list of commands.
    example: Command line that runs as printed.
    add_flags: Adds the command's arguments to its parser.
    details: Further sentences for the command's own help.
    aliases: Other names of the command.
    continues: Whether the same command resumes after an interrupt.
    runs_another: Whether another command of ours follows `--`.
    computes: Whether the command trains or decodes.
  """

  name: str
  run: Callable[[argparse.Namespace], int | None]
  summary: str
  example: str
  add_flags: Callable[[argparse.ArgumentParser], None]
  details: str = ''
  aliases: tuple[str, ...] = ()
  continues: bool = False
  runs_another: bool = False
  computes: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
  """Commands that share their first word.

  Attributes:
    name: The shared first word.
    summary: Purpose of the commands, for the list of commands.
    description: Opening sentences of the group's own help.
    example: Command line that runs as printed.
    commands: Commands of the group, in the order of the help.
  """

  name: str
  summary: str
  description: str
  example: str
  commands: tuple[Command, ...]


def add_gin_flags(parser: Flags) -> None:
  """Adds the flags that name gin files."""
  parser.add_argument(
    '--gin_file',
    action='append',
    default=[],
    metavar='F',
    help='gin file, in the working directory, a search path or the shipped '
    'gin_configs; repeatable',
  )
  parser.add_argument(
    '--gin_search_paths',
    default='',
    metavar='A,B',
    help='further folders with gin files, separated by commas',
  )


def add_condition_flag(parser: Flags) -> None:
  """Adds --condition, for one or more conditions."""
  parser.add_argument(
    '--condition',
    action='extend',
    nargs='+',
    default=[],
    metavar='NAME',
    help="condition names; default: the six of the study's two experiments",
  )


def add_length_flags(parser: Flags) -> None:
  """Adds the flags by which prompts are truncated."""
  parser.add_argument(
    '--vocabulary',
    metavar='F',
    help="SentencePiece model, folder of a decoder-only model, 'byte' or "
    "'miniature'; default: $IT_STUDY_VOCABULARY, else the corpus's own for "
    "'miniature', else T5's",
  )
  parser.add_argument(
    '--max_input_length',
    type=int,
    metavar='N',
    help='maximum prompt length in tokens; default: no limit, or '
    f'{_INPUT_LENGTH:,} with --vocabulary',
  )


def input_length(options: argparse.Namespace) -> int | None:
  """Returns the maximum prompt length in tokens; None for no limit.

  Whoever names a vocabulary means prompts as a model sees them.

  Raises:
    InputError: If --max_input_length is below 1.
  """
  return length_of(options, 'max_input_length', default=_INPUT_LENGTH)


def length_of(
  options: argparse.Namespace, name: str, *, default: int
) -> int | None:
  """Returns the length that an option sets, `default` with --vocabulary."""
  length: int | None = getattr(options, name)
  if length is None:
    return None if options.vocabulary is None else default
  if length < 1:
    raise InputError(f'--{name} is {length}; it must be at least 1.')
  return length


def add_corpus_flag(parser: Flags, *, required: bool) -> None:
  """Adds --corpus."""
  parser.add_argument(
    '--corpus',
    required=required,
    metavar='DIR',
    help="corpus directory, or 'miniature' for the embedded benchmark",
  )


def add_task_flag(parser: Flags) -> None:
  """Adds --task, a SeqIO task in place of a corpus."""
  parser.add_argument(
    '--task',
    dest='seqio_task',
    metavar='NAME',
    help='SeqIO task or mixture of your own, in place of a corpus; --module '
    'registers it',
  )


def add_split_flag(parser: Flags, default: str | None = 'test') -> None:
  """Adds --split, for one split."""
  shown = '' if default is None else '; default %(default)s'
  parser.add_argument(
    '--split', default=default, help=f'train, validation or test{shown}'
  )


def add_module_flag(parser: Flags) -> None:
  """Adds --module, which registers levels of the user's own."""
  parser.add_argument(
    '--module',
    metavar='NAME',
    help='Python module to import first; registers your own levels and tasks',
  )


def add_selection_flags(parser: Flags) -> None:
  """Adds the flags that choose tasks of a corpus."""
  add_track_flag(parser)
  parser.add_argument(
    '--exclude',
    metavar='F',
    help='exclusion list; its tasks and instances are left out; default: '
    'splits/TRACK/exclusions.txt of the corpus',
  )


def add_label_spaces_flag(parser: Flags) -> None:
  """Adds --label_spaces, for the author's baseline."""
  parser.add_argument(
    '--label_spaces',
    metavar='F',
    help="task_metadata.json of PlusLabNLP/Active-IT, for the author's own "
    'label spaces; default: those of the corpus, an approximation',
  )


def add_track_flag(parser: Flags) -> None:
  """Adds --track, which has a default."""
  parser.add_argument(
    '--track',
    default='default',
    help='folder under splits/ that lists the tasks; default %(default)s',
  )


def add_seed_flag(parser: Flags) -> None:
  """Adds --seed."""
  parser.add_argument(
    '--seed',
    type=int,
    default=0,
    help='seed of every random choice; default %(default)s',
  )


def expand_paths(options: argparse.Namespace) -> None:
  """Expands `~` in the values of a command's flags that are paths.

  No shell does so in --flag=~/x.

  Raises:
    InputError: If a path begins with the name of an unknown user.
  """
  for action in options.help_parser._actions:
    value = getattr(options, action.dest, None)
    if value is not None and action.metavar in (*FILES, *FOLDERS):
      setattr(options, action.dest, _expanded(value))


def _expanded(value: str | list) -> str | list:
  if isinstance(value, str):
    return expanded(value)
  return [_expanded(part) for part in value]
