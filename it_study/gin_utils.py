"""Gin, and the checks that gin itself does not make."""

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
import contextlib
import copy
import inspect
import logging
import pathlib
import re

import gin

from it_study.errors import InputError, nearest, nearest_path

CONFIG_DIRECTORY = pathlib.Path(__file__).resolve().parents[1] / 'gin_configs'
# Files that T5X reads by itself, in a dialect of gin that imports by name.
T5X_DIRECTORY = CONFIG_DIRECTORY / 't5x'

_DEFINITION = re.compile(r'^([A-Za-z_]\w*) *=', re.MULTILINE)
_REFERENCE = re.compile(r'%([A-Za-z_]\w*)(?![\w.])')
_INCLUDE = re.compile(r"""^include +['"](.+?)['"]""", re.MULTILINE)
_QUOTATION_OR_REMARK = re.compile(
  r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|#[^\n]*"""
)
_BINDING = re.compile(r'^([\w./]+)\s*=\s*(.*)$', re.DOTALL)


def load(
  *,
  files: Sequence[str],
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = (),
  configurables: Sequence[Callable],
  read: Collection[str] = (),
  supplied: Collection[str] = (),
) -> str:
  """Parses gin files and bindings, and checks every macro.

  Gin keeps one configuration a process; this replaces it.

  Args:
    files: paths, absolute, or below the working directory, a search path or the
      shipped `gin_configs`.
    bindings: 'NAME=value', in order, after the files.
    search_paths: folders to look in before the shipped one.
    configurables: functions and classes that the files may bind.
    read: macros that the caller looks at through `macro`.
    supplied: macros that the caller fills in itself, so may be unset.

  Returns:
    The whole configuration as text, macros last given winning: parsing it
    again gives the same configuration.

  Raises:
    InputError: for a file or folder that is not there, a file that does not
      parse, a binding of something unknown, a misspelt macro, or one that is
      required and unset.
  """
  for path in search_paths:
    if not pathlib.Path(path).is_dir():
      raise InputError(
        f'--gin_search_paths: no folder {path!r}. Name folders, with commas '
        f'between them.{nearest_path(path)}'
      )
  paths = ['', *search_paths, str(CONFIG_DIRECTORY)]
  for name in files:
    _check_file(name, paths)
  quoted = [quote_binding(binding) for binding in bindings]
  gin.clear_config()
  for configurable in configurables:
    _register(configurable)
  # Gin offers no way to take a path out again, and searches in order of entry.
  gin.config._LOCATION_PREFIXES[:] = paths
  # Its second reader takes models/t5.gin for a file of a package `models`, and
  # fails where a folder of that name is on Python's path.
  readers = list(gin.config._FILE_READERS)
  gin.config._FILE_READERS[:] = readers[:1]
  known = {function.__name__: function for function in configurables}
  try:
    with _silent_logging(), gin.unlock_config():
      for name in files:
        with _explained(f'gin file {name}', paths=paths, known=known):
          gin.parse_config_file(name)
      for binding in quoted:
        with _explained(f'--gin.{binding}', paths=paths, known=known):
          gin.parse_config(binding)
  finally:
    gin.config._LOCATION_PREFIXES[:] = ['']
    gin.config._FILE_READERS[:] = readers
  text = gin.config_str(max_line_length=100)
  sources = [_source(name, paths) for name in files]
  return _check_macros(
    text,
    # A parameter that is bound anew leaves the macro of its old value behind.
    mentioned=_references('\n'.join((*sources, *quoted))) | set(read),
    read=read,
    supplied=supplied,
  )


def macro(name: str) -> object:
  """The value of a macro, None if it is not defined."""
  try:
    return gin.query_parameter(f'{name}/gin.macro.value')
  except ValueError:
    return None


def configured(name: str) -> Callable:
  """The configurable of that name, its bindings applied when called."""
  return gin.get_configurable(name)


def bound(name: str, parameters: Collection[str]) -> dict[str, object]:
  """What the configuration gives to some parameters of a configurable.

  The others are left alone, so that they may be unset. A parameter without a
  binding is left out.
  """
  given = gin.get_bindings(name, resolve_references=False)
  # Copying is how gin itself turns a reference into its value.
  return {
    parameter: copy.deepcopy(given[parameter])
    for parameter in parameters
    if parameter in given
  }


def check_bound(parameter: str, what: str) -> None:
  """Raises `InputError` unless 'configurable.parameter' has a value."""
  try:
    gin.query_parameter(parameter)
  except ValueError:
    raise InputError(
      f'the configuration lacks {what} ({parameter} is not set). Add it with '
      '--gin_file.'
    ) from None


def shipped_files() -> list[str]:
  """The gin files that come along, as --gin_file takes them."""
  return sorted(
    str(path.relative_to(CONFIG_DIRECTORY))
    for path in CONFIG_DIRECTORY.rglob('*.gin')
    if path.parent != T5X_DIRECTORY
  )


def shipped_macros(name: str) -> list[str]:
  """The macros that a shipped file and what it includes set."""
  text = _source(name, [str(CONFIG_DIRECTORY)])
  return sorted(set(_DEFINITION.findall(text)))


def quote_binding(binding: str) -> str:
  """Quotes the value of 'NAME=value' where it is a bare string.

  >>> quote_binding('MODEL_DIR=/tmp/out')
  "MODEL_DIR = '/tmp/out'"
  >>> quote_binding('BATCH_SIZE=8')
  'BATCH_SIZE = 8'

  Raises:
    InputError: if it does not read NAME=value.
  """
  match = _BINDING.fullmatch(binding.strip())
  if match is None or not match[2]:
    raise InputError(f'--gin.{binding}: a binding reads --gin.NAME=value.')
  name, value = match.groups()
  # What begins like a reference, a quotation or a list is gin's own; a path or
  # a name is text, whatever is in the middle of it.
  if value[0] not in '@%([{\'"':
    try:
      ast.literal_eval(value)
    except (ValueError, SyntaxError):
      value = repr(value)
  return f'{name} = {value}'


def _register(configurable: Callable) -> None:
  # A second call in one process finds it registered.
  with contextlib.suppress(ValueError):
    gin.external_configurable(configurable, module='it_study')


def _check_file(name: str, paths: Sequence[str]) -> None:
  files = [pathlib.Path(path) / name for path in paths]
  found = next((file for file in files if file.is_file()), None)
  if found is not None:
    if found.resolve().parent == T5X_DIRECTORY:
      raise InputError(
        f'gin file {name} is for T5X by itself: give it to python -m t5x.main, '
        'as its first lines show. With --engine t5x, T5X runs the same files '
        'as the native engine.'
      )
    return
  shipped = shipped_files()
  raise InputError(
    f'no gin file {name!r}: looked in the working directory and in '
    f'{", ".join(paths[1:])}.{nearest(name, shipped) or nearest_path(name)} '
    f'Shipped are {", ".join(shipped)}.'
  )


@contextlib.contextmanager
def _silent_logging() -> Iterator[None]:
  """Gin logs an error for every search path that does not have a file."""
  before = logging.root.manager.disable
  logging.disable(logging.ERROR)
  try:
    yield
  finally:
    logging.disable(before)


def _source(name: str, paths: Sequence[str]) -> str:
  """The text of a file and of all that it includes."""
  files = [pathlib.Path(path) / name for path in paths]
  text = next(file for file in files if file.is_file()).read_text('utf-8')
  included = [_source(other, paths) for other in _INCLUDE.findall(text)]
  return '\n'.join((text, *included))


def _references(text: str) -> set[str]:
  # In a quotation or a remark, % is a character like others.
  return set(_REFERENCE.findall(_QUOTATION_OR_REMARK.sub("''", text)))


def _check_macros(
  text: str,
  *,
  mentioned: Collection[str],
  read: Collection[str],
  supplied: Collection[str],
) -> str:
  """Raises what is wrong; returns the text without macros left behind."""
  referenced = _references(text) | set(read)
  bare = _QUOTATION_OR_REMARK.sub("''", text)
  defined = set(_DEFINITION.findall(bare))
  for name in sorted(defined - referenced - set(mentioned)):
    raise InputError(
      f'gin macro {name!r} is set, but nothing reads it.'
      f'{nearest(name, sorted(referenced))} Macros that are read: '
      f'{", ".join(sorted(referenced))}.'
    )
  for name in sorted(referenced - defined - set(supplied)):
    hint = nearest(name, sorted(defined))
    if hint:
      raise InputError(
        f'gin macro {name!r} is read, but nothing sets it.{hint}'
      )
  unset = set(re.findall(r'^(\w+) = %gin\.REQUIRED$', bare, re.MULTILINE))
  missing = sorted(
    (unset & referenced | (referenced - defined)) - set(supplied)
  )
  if missing:
    # What no file mentions is most likely in one that is not named.
    advice = (
      ' The files under runs/ set what has a default: name one with --gin_file.'
      if set(missing) - unset
      else ''
    )
    raise InputError(
      f'gin macro {missing[0]!r} is required and not set'
      + (f' (likewise {", ".join(missing[1:])})' if missing[1:] else '')
      + f'. Set it with --gin.{missing[0]}=VALUE or in a gin file.{advice}'
    )
  for name in defined - referenced:
    text = re.sub(
      rf'^{name} =.*\n(?:[ )}}\]].*\n)*', '', text, flags=re.MULTILINE
    )
  return text


@contextlib.contextmanager
def _explained(
  where: str, *, paths: Sequence[str], known: Mapping[str, Callable]
) -> Iterator[None]:
  """Turns whatever gin raises into an `InputError`.

  It raises what befell it: SyntaxError, IOError, ValueError for an unknown
  name, ModuleNotFoundError, the tokenizer's own error.
  """
  try:
    yield
  except Exception as error:
    raise InputError(
      f'{where}: {_explain(error, paths=paths, known=known)}'
    ) from error


def _explain(
  error: Exception, *, paths: Sequence[str], known: Mapping[str, Callable]
) -> str:
  text = ' '.join(str(error).split())
  missing = re.search(r'Unable to open file: (.+?)\. Searched', text)
  if missing:
    return (
      f'no file {missing[1]!r} to include; looked in the working directory and '
      f'in {", ".join(paths[1:])}.{nearest(missing[1], shipped_files())}'
    )
  unknown = re.search(
    r"No configurable matching (?:reference )?'@?([\w./]+)(?:\(\))?'", text
  )
  if unknown:
    name = unknown[1].split('/')[-1]
    return (
      f'nothing called {name!r} can be configured.{nearest(name, known)} There '
      f'are {", ".join(known)}.'
    )
  parameter = re.search(
    r"'([\w./]+)' doesn't have a parameter named '(\w+)'", text
  )
  if parameter:
    name = parameter[1].split('/')[-1]
    # Of the function itself: gin's own wrapper takes anything.
    names = inspect.signature(known[name]).parameters
    return (
      f'{name} has no parameter {parameter[2]!r}.{nearest(parameter[2], names)}'
    )
  if 'EOF in multi-line' in text:
    return 'a bracket or a quotation is opened and not closed.'
  if isinstance(error, UnicodeDecodeError):
    return 'not UTF-8 text.'
  return text
