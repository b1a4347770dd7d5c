"""The command line `it-study`: parses it, and prints errors in one line."""

import argparse
import codecs
from collections.abc import Callable, Iterator, Sequence
import io
import logging
import os
import re
import sys
import traceback
from typing import IO, Any, NoReturn

import it_study
from it_study.commands import flags, registry
from it_study.commands.flags import Command
from it_study.data import tensorflow_setup, user_module
from it_study.errors import InputError, nearest, visible
from it_study.processes import graceful_exit, host_memory
from it_study.storage import write_errors

_EXAMPLE = 'Example: '
_NUMBERS = {'int': 'whole number', 'float': 'number'}
_FORMAT = '%(levelname)s: %(message)s'
_DEBUG_FORMAT = '%(asctime)s %(levelname)s %(name)s: %(message)s'
# JAX logs every compilation, most of them of tiny programs.
_COMPILE_LOGGER = 'jax._src.dispatch'
_COMPILATION = re.compile(r'Finished XLA compilation of .* in ([\d.]+) sec')
_SLOW_COMPILE_SECONDS = 1.0
_PLAIN_ERRORS = 'it_study.plain'
# What our tables and sentences hold besides ASCII.
_PLAIN = str.maketrans(
  {'–': '-', '−': '-', '…': '...', '±': '+/-', '×': 'x', '→': '->', '•': '*'}
)
_logger = logging.getLogger('it_study.cli')


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command and returns the exit status.

  Args:
    arguments: Words of the command line; None for those of the process.

  Returns:
    0 for success, 2 for bad input, 1 for an internal error. After SIGTERM, 75
    where the same command resumes, else 143; after Ctrl-C, 75 for a training
    that saved a checkpoint, else 130.
  """
  _accept_all_text(sys.stdout, sys.stderr)
  parser = _parser()
  words, rest = _split_rest(
    sys.argv[1:] if arguments is None else list(arguments)
  )
  options = _parse(parser, words)
  if options.run is None:
    options.help_parser.print_help()
    return 2
  _take_rest(options, rest, parser)
  _set_up_logging(debug=options.debug, quiet=options.quiet)
  # It restarts the process, so never in one that belongs to a caller.
  if arguments is None and options.computes:
    host_memory.start_with_huge_pages()
  _logger.info(
    'it-study %s, Python %s: %s',
    it_study.__version__,
    sys.version.split()[0],
    options.help_parser.prog,
  )
  advice = (
    'run the same command to resume' if options.continues else 'run it again'
  )
  stopped = f'it-study: stopped; {advice}.'
  status = graceful_exit.TERMINATED_STATUS
  if options.continues:
    status = graceful_exit.RESUMABLE_STATUS
  try:
    with graceful_exit.graceful_exit(status=status, message=stopped):
      return _run(options)
  except InputError as error:
    if options.debug:
      traceback.print_exc()
    # Gin appends lines to errors raised inside a configurable.
    return _fail(str(error).split('\n  In call to configurable')[0])
  except KeyboardInterrupt:
    print(stopped, file=sys.stderr)
    return graceful_exit.INTERRUPTED_STATUS
  except graceful_exit.Terminated:
    print(stopped, file=sys.stderr)
    return status
  except SystemExit as stop:
    _explain_status(stop.code)
    raise
  except BrokenPipeError:
    # The reader closed the pipe, as `head` does.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except Exception as error:
    if options.debug:
      traceback.print_exc()
    full = write_errors.lacks_space(error)
    if full is not None:
      path = getattr(error, 'filename', None) or 'a file'
      return _fail(
        f'{path}: cannot be written: {full}.{write_errors.FREE_SPACE}'
      )
    name = type(error).__name__
    first_line = (str(error).splitlines() or [''])[0]
    _fail(f'{name}: {first_line} (run again with --debug for the traceback)')
    return 1


def run_and_exit() -> None:
  """Runs the command line of the process: the installed command."""
  sys.exit(main())


def _accept_all_text(*streams: IO[str]) -> None:
  """Lets streams write characters that the encoding of a console lacks.

  They are written as similar ASCII, such as - for a dash, else as an escape
  such as \\u65e5.
  """
  codecs.register_error(_PLAIN_ERRORS, _plain)
  for stream in streams:
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors=_PLAIN_ERRORS)


def _plain(error: UnicodeError) -> tuple[str, int]:
  """Replaces what cannot be encoded; an error handler of codecs."""
  assert isinstance(error, UnicodeEncodeError)
  text = error.object[error.start : error.end].translate(_PLAIN)
  return text.encode('ascii', 'backslashreplace').decode(), error.end


def _run(options: argparse.Namespace) -> int:
  """Runs a command and returns its exit status."""
  run: Callable[[argparse.Namespace], int | None] = options.run
  flags.expand_paths(options)
  if getattr(options, 'seqio_task', None):
    # The module that registers the task imports it.
    tensorflow_setup.import_tensorflow()
  if getattr(options, 'module', None):
    user_module.load(options.module, setting='--module')
  return run(options) or 0


def _set_up_logging(*, debug: bool, quiet: bool) -> None:
  """Sends log messages to standard error.

  With --debug, our loggers log everything and JAX its slow compilations. Other
  libraries still log warnings only, as their debug messages would drown ours.

  Args:
    debug: Whether --debug is given.
    quiet: Whether --quiet is given; then only errors are logged.
  """
  logging.basicConfig(
    level=logging.ERROR if quiet and not debug else logging.WARNING,
    force=True,
  )
  for handler in logging.root.handlers:
    handler.setFormatter(_VisibleFormatter(_DEBUG_FORMAT if debug else _FORMAT))
  detail = logging.DEBUG if debug else logging.NOTSET
  for name in ('it_study', 'launch', _COMPILE_LOGGER):
    logging.getLogger(name).setLevel(detail)
  logging.getLogger(_COMPILE_LOGGER).addFilter(_is_slow_compilation)
  logging.getLogger('absl').setLevel(
    logging.WARNING if debug else logging.ERROR
  )


def _is_slow_compilation(record: logging.LogRecord) -> bool:
  """Filters JAX's messages: those on slow compilations, and warnings."""
  match = _COMPILATION.match(record.getMessage())
  return record.levelno >= logging.WARNING or (
    match is not None and float(match[1]) >= _SLOW_COMPILE_SECONDS
  )


class _VisibleFormatter(logging.Formatter):
  """Shows what data holds, such as escape sequences in the name of a task."""

  def format(self, record: logging.LogRecord) -> str:
    return visible(super().format(record))


class _Parser(argparse.ArgumentParser):
  """A parser whose errors are one line, with the nearest match."""

  def __init__(self, **settings: Any):
    # Abbreviated flags would break when a flag is added.
    super().__init__(
      allow_abbrev=False, formatter_class=_HelpFormatter, **settings
    )

  def error(self, message: str) -> NoReturn:
    if 'invalid choice' in message:
      word = message.split("'")[1]
      choices = [
        choice
        for action in self._actions
        for choice in action.choices or ()
        if isinstance(choice, str)
      ]
      message += f'.{nearest(word, choices)}'
    if 'unrecognized arguments' in message:
      word = message.split(': ')[1].split()[0].split('=')[0]
      message += '.' + nearest(word, _flags(self))
    # argparse speaks of Python types here.
    message = re.sub(
      'invalid (int|float) value: (.*)',
      lambda match: f'expected a {_NUMBERS[match[1]]}, got {match[2]}',
      message,
    )
    message = message if message[-1] in '.?)' else f'{message}.'
    sys.exit(_fail(f'{message} See {self.prog} --help.'))


class _HelpFormatter(argparse.HelpFormatter):
  """Keeps an example on one line, so that it can be copied and run."""

  def _fill_text(self, text: str, width: int, indent: str) -> str:
    if text.startswith(_EXAMPLE):
      return indent + text
    return super()._fill_text(text, width, indent)


def _flags(parser: argparse.ArgumentParser) -> list[str]:
  """Returns every flag of a parser and of its commands."""
  flags = list(parser._option_string_actions)
  for action in parser._actions:
    if isinstance(action, argparse._SubParsersAction):
      for command in action.choices.values():
        flags += _flags(command)
  return flags


def _fail(message: str) -> int:
  """Prints an error in one line; returns the exit status for bad input."""
  print(f'it-study: {visible(" ".join(message.split()))}', file=sys.stderr)
  return 2


def _parse(parser: _Parser, words: Sequence[str]) -> argparse.Namespace:
  """Returns the options of a command line, or exits with an error."""
  words, bindings = _split_bindings(words)
  # Set here, since a command's parser would reset defaults of the main parser.
  options, unknown = parser.parse_known_args(
    words, argparse.Namespace(debug=False, quiet=False, json=False)
  )
  if unknown:
    message = f'unrecognized arguments: {" ".join(unknown)}'
    if getattr(options, 'runs_another', False) and unknown[0][0] != '-':
      message += '. The command to run follows --'
    # From the parser of the command, whose help lists its flags.
    options.help_parser.error(message)
  _refuse_empty(options)
  if bindings and not hasattr(options, 'gin_file'):
    sys.exit(
      _fail(
        f'{options.help_parser.prog} does not accept --gin.{bindings[0]}. '
        f'Commands that do: {", ".join(_gin_commands())}.'
      )
    )
  options.gin_bindings = bindings
  return options


def _gin_commands() -> Iterator[str]:
  """Yields the names of the commands that are configured by gin."""
  for command in registry.COMMANDS:
    parser = argparse.ArgumentParser()
    command.add_flags(parser)
    if '--gin_file' in parser._option_string_actions:
      yield command.name


def _refuse_empty(options: argparse.Namespace) -> None:
  """Exits with an error if a value is empty, as from an unset shell variable.

  An empty folder would mean the working directory, and be written to.
  """
  for action in options.help_parser._actions:
    value = getattr(options, action.dest, None)
    values = value if isinstance(value, list) else [value]
    if action.default == '' or not any(
      isinstance(value, str) and not value.strip() for value in values
    ):
      continue
    name = action.option_strings[0] if action.option_strings else action.metavar
    advice = '' if action.required else ' or leave it out'
    options.help_parser.error(f'{name} is empty: give it a value{advice}')


def _take_rest(
  options: argparse.Namespace, rest: list[str] | None, parser: _Parser
) -> None:
  """Parses the command after --, for a command that runs another."""
  if not options.runs_another:
    return
  if not rest:
    options.help_parser.error(
      'the command to run is missing: add it after --, as in '
      f'{options.help_parser.prog} ... -- train --gin_file=F'
    )
    return
  options.rest, options.rest_options = rest, _parse(parser, rest)
  if options.rest_options.run is None or options.rest_options.runs_another:
    options.help_parser.error(f'cannot run {" ".join(rest[:2])!r} after --')


def _explain_status(status: object) -> None:
  """Explains the exit status of a training that was stopped by SIGTERM."""
  # Not imported here: without it, JAX is not in use and there is no training.
  preemption = sys.modules.get('it_study.training.preemption')
  if preemption is None or status != preemption.PREEMPTED_STATUS:
    return
  from it_study import distributed

  if distributed.is_first():
    print(
      'it-study: stopped with a checkpoint; run the same command to resume.',
      file=sys.stderr,
    )


def _split_rest(
  words: Sequence[str],
) -> tuple[Sequence[str], list[str] | None]:
  """Splits words at the -- of launch; the second part is None without one."""
  position = list(words).index('--') if '--' in words else 0
  if 'launch' not in words[:position]:
    # Elsewhere, -- says that no flags follow.
    return words, None
  return words[:position], list(words[position + 1 :])


def _split_bindings(words: Sequence[str]) -> tuple[list[str], list[str]]:
  """Separates --gin.NAME=VALUE from the other words."""
  bindings = [word[6:] for word in words if word.startswith('--gin.')]
  return [w for w in words if not w.startswith('--gin.')], bindings


def _parser() -> _Parser:
  """Returns the parser of the whole command line."""
  common = _Parser(add_help=False)
  common_flags = common.add_argument_group('common options')
  for flag, meaning in (
    ('--debug', 'show log messages and tracebacks'),
    ('--quiet', 'print only errors'),
    ('--json', 'print results as JSON'),
  ):
    common_flags.add_argument(
      flag, action='store_true', default=argparse.SUPPRESS, help=meaning
    )
  parser = _Parser(
    prog='it-study',
    description=it_study.__doc__,
    epilog=f'{_EXAMPLE}it-study study',
    parents=[common],
  )
  _add_version(parser)
  parser.set_defaults(run=None, help_parser=parser, root_parser=parser)
  commands = parser.add_subparsers(
    dest='command', metavar='COMMAND', title='commands'
  )
  for command in registry.COMMANDS:
    _add(commands, command, common)
  for group in registry.GROUPS:
    group_parser = commands.add_parser(
      group.name,
      help=group.summary,
      parents=[common],
      description=group.description,
      epilog=f'{_EXAMPLE}{group.example}',
    )
    group_parser.set_defaults(help_parser=group_parser)
    _add_version(group_parser)
    group_commands = group_parser.add_subparsers(
      dest=group.name, metavar='COMMAND', title='commands'
    )
    for command in group.commands:
      _add(group_commands, command, common)
  return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    '--version',
    action='version',
    version=f'it-study {it_study.__version__}',
    help='show the version and exit',
  )


def _sentence(summary: str) -> str:
  end = '' if summary[-1] in '.?' else '.'
  return f'{summary[0].upper()}{summary[1:]}{end}'


def _add(
  commands: argparse._SubParsersAction,
  command: Command,
  common: _Parser,
) -> None:
  """Adds the parser of a command."""
  parser = commands.add_parser(
    command.name,
    aliases=command.aliases,
    help=command.summary,
    description=f'{_sentence(command.summary)} {command.details}',
    epilog=f'{_EXAMPLE}{command.example}',
    parents=[common],
  )
  parser.set_defaults(
    run=command.run,
    help_parser=parser,
    continues=command.continues,
    runs_another=command.runs_another,
    computes=command.computes,
  )
  _add_version(parser)
  command.add_flags(parser)


if __name__ == '__main__':
  run_and_exit()
