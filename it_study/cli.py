"""The command line `it-study`: parsing, and errors in one line."""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import importlib
import logging
import os
import sys
import traceback

import it_study
from it_study.errors import InputError, nearest

_GIN_HELP = (
  'Gin: --gin_file=F (repeatable; below the working directory or the shipped '
  'gin_configs), --gin_search_paths=A,B, --gin.NAME=VALUE.'
)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command and returns the exit status.

  0 is success, 2 bad input, 1 a fault of the program, 75 a training that was
  asked to stop and wrote a checkpoint, 130 an interrupt.
  """
  parser = _parser()
  words, bindings = _split_bindings(
    sys.argv[1:] if arguments is None else list(arguments)
  )
  # Not the parser's defaults, which a command's own would win over.
  options = parser.parse_args(
    words, argparse.Namespace(debug=False, quiet=False, json=False)
  )
  if options.run is None:
    options.help_parser.print_help()
    return 2
  if bindings and not hasattr(options, 'gin_file'):
    return _fail(f'{options.command} takes no --gin.{bindings[0]}.')
  options.gin_bindings = bindings
  logging.basicConfig(
    level=logging.DEBUG if options.debug else logging.WARNING,
    format='%(levelname)s: %(message)s',
    force=True,
  )
  if not options.debug:
    logging.getLogger('absl').setLevel(logging.ERROR)
  try:
    module, function = options.run.split(':')
    run = getattr(importlib.import_module(module), function)
    return run(options) or 0
  except InputError as error:
    if options.debug:
      traceback.print_exc()
    # Gin adds lines of its own to what is raised below a configurable.
    return _fail(str(error).split('\n  In call to configurable')[0])
  except KeyboardInterrupt:
    print('it-study: stopped; the same command continues.', file=sys.stderr)
    return 130
  except BrokenPipeError:
    # The reader of our output has seen enough.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except Exception as error:
    if options.debug:
      traceback.print_exc()
    name = type(error).__name__
    first_line = (str(error).splitlines() or [''])[0]
    print(
      f'it-study: {name}: {first_line} (run again with --debug for the whole '
      'trace)',
      file=sys.stderr,
    )
    return 1


def run_and_exit() -> None:
  """The entry point of the installed command."""
  sys.exit(main())


class _Parser(argparse.ArgumentParser):
  """Says what is wrong in one line, with the nearest match."""

  def __init__(self, **settings):
    # A flag is one thing everywhere, not whatever it is short for today.
    super().__init__(allow_abbrev=False, **settings)

  def error(self, message: str):
    if 'invalid choice' in message:
      found = message.split("'")[1]
      choices = [
        choice
        for action in self._actions
        for choice in action.choices or ()
        if isinstance(choice, str)
      ]
      message += nearest(found, choices)
    if 'unrecognized arguments' in message:
      found = message.split(': ')[1].split()[0].split('=')[0]
      message += '.' + nearest(found, _flags(self))
    message = message if message[-1] in '.?)' else f'{message}.'
    sys.exit(_fail(f'{message} See {self.prog} --help.'))


@dataclasses.dataclass(frozen=True)
class _Command:
  """A command: what it does, an example that runs, its own arguments."""

  name: str
  run: str
  summary: str
  example: str
  add_arguments: Callable[[argparse.ArgumentParser], None]


def _flags(parser: argparse.ArgumentParser) -> list[str]:
  """Every flag of a parser and of its commands."""
  flags = list(parser._option_string_actions)
  for action in parser._actions:
    if isinstance(action, argparse._SubParsersAction):
      for command in action.choices.values():
        flags += _flags(command)
  return flags


def _fail(message: str) -> int:
  print(f'it-study: {" ".join(message.split())}', file=sys.stderr)
  return 2


def _split_bindings(words: Sequence[str]) -> tuple[list[str], list[str]]:
  """Takes --gin.NAME=VALUE out of the words."""
  bindings = [word[6:] for word in words if word.startswith('--gin.')]
  return [w for w in words if not w.startswith('--gin.')], bindings


def _parser() -> _Parser:
  common = argparse.ArgumentParser(add_help=False)
  group = common.add_argument_group('common')
  for flag, meaning in (
    ('--debug', 'log everything, show traces'),
    ('--quiet', 'print errors only'),
    ('--json', 'print results as JSON'),
  ):
    group.add_argument(
      flag, action='store_true', default=argparse.SUPPRESS, help=meaning
    )
  parser = _Parser(
    prog='it-study',
    description=it_study.__doc__,
    epilog='Example: it-study study',
    parents=[common],
  )
  parser.add_argument(
    '--version', action='version', version=f'it-study {it_study.__version__}'
  )
  parser.set_defaults(run=None, help_parser=parser)
  commands = parser.add_subparsers(dest='command', metavar='COMMAND')
  for command in _COMMANDS:
    _add(commands, command, common)
  corpus = commands.add_parser(
    'corpus',
    help='write, check, describe or build a corpus',
    parents=[common],
    description='Corpora: directories laid out like natural-instructions.',
    epilog='Example: it-study corpus mini /tmp/mini',
  )
  corpus.set_defaults(help_parser=corpus)
  corpus.add_argument(
    '--version', action='version', version=f'it-study {it_study.__version__}'
  )
  corpus_commands = corpus.add_subparsers(dest='corpus', metavar='COMMAND')
  for command in _CORPUS_COMMANDS:
    _add(corpus_commands, command, common)
  return parser


def _add(commands, command: _Command, common) -> None:
  parser = commands.add_parser(
    command.name,
    help=command.summary,
    description=f'{command.summary[0].upper()}{command.summary[1:]}.',
    epilog=f'Example: {command.example}',
    parents=[common],
  )
  parser.set_defaults(
    run=f'it_study.commands.{command.run}', help_parser=parser
  )
  parser.add_argument(
    '--version', action='version', version=f'it-study {it_study.__version__}'
  )
  command.add_arguments(parser)


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


_COMMANDS = (
  _Command(
    'study',
    'runs:study',
    'run a grid of trainings and report on it; the miniature by default',
    'it-study study --study_dir=it_study_out',
    _study_arguments,
  ),
  _Command(
    'report',
    'runs:report',
    'write the report of a study and print its table',
    'it-study report it_study_out',
    _report_arguments,
  ),
  _Command(
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
  _Command(
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
  _Command(
    'score',
    'scoring:score',
    "score predictions: ours, Tk-Instruct's or T5X's",
    'it-study baseline random --corpus miniature --out /tmp/random.jsonl && '
    'it-study score /tmp/random.jsonl --corpus miniature',
    _score_arguments,
  ),
  _Command(
    'baseline',
    'scoring:baseline',
    'predict without a model, and score',
    'it-study baseline random --corpus miniature',
    _baseline_arguments,
  ),
  _Command(
    'prompt',
    'data:prompt',
    'show what the model sees',
    'it-study prompt --corpus miniature '
    '--condition natinst_def_simplified_ex_original2',
    _prompt_arguments,
  ),
)

_CORPUS_COMMANDS = (
  _Command(
    'mini',
    'data:mini',
    'write the miniature, a small benchmark with controls',
    'it-study corpus mini /tmp/mini',
    _mini_arguments,
  ),
  _Command(
    'check',
    'data:check',
    'validate every task file of a corpus',
    'it-study corpus check miniature',
    _directory_argument,
  ),
  _Command(
    'stats',
    'data:stats',
    'describe a corpus and the ways to choose classification tasks',
    'it-study corpus stats miniature',
    _directory_argument,
  ),
  _Command(
    'build',
    'data:build',
    'build the rows that SeqIO and T5X read',
    'it-study corpus build miniature --data_dir /tmp/rows',
    _build_arguments,
  ),
)

if __name__ == '__main__':
  run_and_exit()
