"""The command line `it-study`: parsing, and errors in one line."""

import argparse
from collections.abc import Sequence
import importlib
import logging
import os
import re
import sys
import traceback

import it_study
from it_study.commands import table
from it_study.data import user_module
from it_study.errors import InputError, nearest
from it_study.training import host_memory

_EXAMPLE = 'Example: '
_NUMBERS = {'int': 'whole number', 'float': 'number'}


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command and returns the exit status.

  0 is success, 2 bad input, 1 a fault of the program, 75 a training that was
  asked to stop and wrote a checkpoint, 130 an interrupt.
  """
  parser = _parser()
  words, rest = _split_rest(
    sys.argv[1:] if arguments is None else list(arguments)
  )
  options = _parse(parser, words)
  if options.run is None:
    options.help_parser.print_help()
    return 2
  _take_rest(options, rest, parser)
  level = logging.ERROR if options.quiet else logging.WARNING
  logging.basicConfig(
    level=logging.DEBUG if options.debug else level,
    format='%(levelname)s: %(message)s',
    force=True,
  )
  if not options.debug:
    logging.getLogger('absl').setLevel(logging.ERROR)
  # Only where the process is this command's alone.
  if arguments is None and options.computes:
    host_memory.start_with_huge_pages()
  try:
    if getattr(options, 'module', None):
      user_module.load(options.module, setting='--module')
    module, function = options.run.split(':')
    run = getattr(importlib.import_module(module), function)
    return run(options) or 0
  except InputError as error:
    if options.debug:
      traceback.print_exc()
    # Gin adds lines of its own to what is raised below a configurable.
    return _fail(str(error).split('\n  In call to configurable')[0])
  except KeyboardInterrupt:
    next_ = (
      'the same command continues' if options.continues else 'run it again'
    )
    print(f'it-study: stopped; {next_}.', file=sys.stderr)
    return 130
  except SystemExit as stop:
    _tell_of_checkpoint(stop.code)
    raise
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
    super().__init__(
      allow_abbrev=False, formatter_class=_HelpFormatter, **settings
    )

  def error(self, message: str):
    if 'invalid choice' in message:
      found = message.split("'")[1]
      choices = [
        choice
        for action in self._actions
        for choice in action.choices or ()
        if isinstance(choice, str)
      ]
      message += f'.{nearest(found, choices)}'
    if 'unrecognized arguments' in message:
      found = message.split(': ')[1].split()[0].split('=')[0]
      message += '.' + nearest(found, _flags(self))
    # In argparse's words, a value is of a type.
    message = re.sub(
      'invalid (int|float) value: (.*)',
      lambda found: f'found {found[2]}, allowed is a {_NUMBERS[found[1]]}',
      message,
    )
    message = message if message[-1] in '.?)' else f'{message}.'
    sys.exit(_fail(f'{message} See {self.prog} --help.'))


class _HelpFormatter(argparse.HelpFormatter):
  """Leaves an example on one line, so that what is copied runs."""

  def _fill_text(self, text: str, width: int, indent: str) -> str:
    if text.startswith(_EXAMPLE):
      return indent + text
    return super()._fill_text(text, width, indent)


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


def _parse(parser: _Parser, words: Sequence[str]) -> argparse.Namespace:
  """The options of a command line; whatever is wrong with it ends here."""
  words, bindings = _split_bindings(words)
  # Not the parser's defaults, which a command's own would win over.
  options, unknown = parser.parse_known_args(
    words, argparse.Namespace(debug=False, quiet=False, json=False)
  )
  if unknown:
    message = f'unrecognized arguments: {" ".join(unknown)}'
    if getattr(options, 'runs_another', False) and unknown[0][0] != '-':
      message += '. What to run stands behind --'
    # Told by the parser of the command, whose help names its flags.
    options.help_parser.error(message)
  _refuse_empty(options)
  if bindings and not hasattr(options, 'gin_file'):
    takers = ', '.join(_with_gin(parser))
    sys.exit(
      _fail(
        f'{options.help_parser.prog} takes no --gin.{bindings[0]}. Give it '
        f'behind a command that does: {takers}.'
      )
    )
  options.gin_bindings = bindings
  return options


def _with_gin(parser: _Parser) -> list[str]:
  """Names of the commands that are configured by gin."""
  (commands,) = (
    action
    for action in parser._actions
    if isinstance(action, argparse._SubParsersAction)
  )
  return [
    name
    for name, command in commands.choices.items()
    if '--gin_file' in command._option_string_actions
  ]


def _refuse_empty(options: argparse.Namespace) -> None:
  """Refuses an empty value, as a variable of the shell that is not set gives.

  An empty folder would be the working directory, and be written to.
  """
  for action in options.help_parser._actions:
    found = getattr(options, action.dest, None)
    given = found if isinstance(found, list) else [found]
    if action.default == '' or not any(
      isinstance(value, str) and not value.strip() for value in given
    ):
      continue
    name = action.option_strings[0] if action.option_strings else action.metavar
    advice = '' if action.required else ' or leave it out'
    options.help_parser.error(f'{name} is empty; give it a value{advice}')


def _take_rest(
  options: argparse.Namespace, rest: list[str] | None, parser: _Parser
) -> None:
  """Gives a command the one behind --, which is checked before it is needed."""
  program = options.help_parser.prog
  if not options.runs_another:
    return
  if not rest:
    options.help_parser.error(
      f'what to run is missing: give a command behind --, as in {program} ... '
      '-- train --gin_file=F'
    )
  options.rest, options.rest_options = rest, _parse(parser, rest)
  if options.rest_options.run is None or options.rest_options.runs_another:
    options.help_parser.error(f'cannot run {" ".join(rest[:2])!r} behind --')


def _tell_of_checkpoint(status: object) -> None:
  """Says what the status of a training means that SIGTERM has stopped."""
  # What raised it has JAX in use; elsewhere JAX would have to be imported.
  preemption = sys.modules.get('it_study.training.preemption')
  if preemption is None or status != preemption.PREEMPTED_STATUS:
    return
  from it_study import distributed

  if distributed.is_first():
    print(
      'it-study: stopped with a checkpoint; the same command continues.',
      file=sys.stderr,
    )


def _split_rest(
  words: Sequence[str],
) -> tuple[Sequence[str], list[str] | None]:
  """Takes what stands behind the -- of launch out of the words, or None."""
  position = list(words).index('--') if '--' in words else 0
  if 'launch' not in words[:position]:
    # Elsewhere it says that no flags follow.
    return words, None
  return words[:position], list(words[position + 1 :])


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
    epilog=f'{_EXAMPLE}it-study study',
    parents=[common],
  )
  parser.add_argument(
    '--version', action='version', version=f'it-study {it_study.__version__}'
  )
  parser.set_defaults(run=None, help_parser=parser, root_parser=parser)
  commands = parser.add_subparsers(dest='command', metavar='COMMAND')
  for command in table.COMMANDS:
    _add(commands, command, common)
  for group in table.GROUPS:
    below = commands.add_parser(
      group.name,
      help=group.summary,
      parents=[common],
      description=group.description,
      epilog=f'{_EXAMPLE}{group.example}',
    )
    below.set_defaults(help_parser=below)
    below.add_argument(
      '--version', action='version', version=f'it-study {it_study.__version__}'
    )
    group_commands = below.add_subparsers(dest=group.name, metavar='COMMAND')
    for command in group.commands:
      _add(group_commands, command, common)
  return parser


def _sentence(summary: str) -> str:
  end = '' if summary[-1] in '.?' else '.'
  return f'{summary[0].upper()}{summary[1:]}{end}'


def _add(commands, command: table.Command, common) -> None:
  parser = commands.add_parser(
    command.name,
    help=command.summary,
    description=_sentence(command.summary),
    epilog=f'{_EXAMPLE}{command.example}',
    parents=[common],
  )
  parser.set_defaults(
    run=f'it_study.commands.{command.run}',
    help_parser=parser,
    continues=command.continues,
    runs_another=command.runs_another,
    computes=command.computes,
  )
  parser.add_argument(
    '--version', action='version', version=f'it-study {it_study.__version__}'
  )
  command.add_arguments(parser)


if __name__ == '__main__':
  run_and_exit()
