"""Gin, with the checks that gin lacks."""

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
import contextlib
import copy
import inspect
import logging
import os
import pathlib
import re

import gin

from it_study.errors import InputError, nearest, nearest_path

CONFIG_DIRECTORY = pathlib.Path(__file__).resolve().parents[1] / 'gin_configs'
# Files for T5X alone, which import modules by name, as ours may not.
T5X_DIRECTORY = CONFIG_DIRECTORY / 't5x'

_DEFINITION = re.compile(r'^([A-Za-z_]\w*) *=', re.MULTILINE)
_REFERENCE = re.compile(r'%([A-Za-z_]\w*)(?![\w.])')
_INCLUDE = re.compile(r"""^include +['"](.+?)['"]""", re.MULTILINE)
_STRING_OR_COMMENT = re.compile(
  r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|#[^\n]*"""
)
_BINDING = re.compile(r'^([\w./]+)\s*=\s*(.*)$', re.DOTALL)
_logger = logging.getLogger(__name__)


def load(
  *,
  files: Sequence[str],
  bindings: Sequence[str] = (),
  search_paths: Sequence[str] = (),
  configurables: Sequence[Callable],
  defaults: Sequence[str] = (),
  read: Collection[str] = (),
  supplied: Collection[str] = (),
  texts: Collection[str] = (),
) -> str:
  """Parses gin files and bindings, and checks every macro.

  Gin has one configuration per process, which this replaces.

  Args:
    files: Paths of gin files, absolute or relative to the working directory, a
      search path or the shipped `gin_configs`.
    bindings: Bindings 'NAME=value', applied in order after the files.
    search_paths: Folders that are searched before the shipped one.
    configurables: Functions and classes that may be configured.
    defaults: Bindings that come before the files.
    read: Macros that the caller reads with `macro`.
    supplied: Macros that the caller supplies itself, so that they may be unset.
    texts: Macros that are paths or names, also where they look like numbers.

  Returns:
    The whole configuration as text. Parsing it gives the same configuration.

  Raises:
    InputError: If a file or folder does not exist, files include each other in
      a loop, a file does not parse, a binding names something unknown, or a
      macro is misspelt or required but unset.
  """
  _check_folders(search_paths)
  paths = _checked_paths(files, search_paths)
  quoted = [quote_binding(binding, texts=texts) for binding in bindings]
  _logger.info(
    'gin files: %s; bindings: %s', ', '.join(files), '; '.join(quoted) or 'none'
  )
  gin.clear_config()
  for configurable in configurables:
    _register(configurable)
  # Set directly: gin has no function that removes a search path.
  gin.config._LOCATION_PREFIXES[:] = paths
  # Gin's second reader looks for models/t5.gin in a Python package `models`,
  # and fails if a folder of that name is on Python's path.
  readers = list(gin.config._FILE_READERS)
  gin.config._FILE_READERS[:] = readers[:1]
  known = {function.__name__: function for function in configurables}
  try:
    with _silent_logging(), gin.unlock_config():
      gin.parse_config(list(defaults))
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
  # A parameter that is bound twice leaves the macro of its old value behind.
  mentioned = _references('\n'.join((*sources, *quoted)))
  # A default need not be used.
  mentioned |= {binding.partition(' ')[0] for binding in defaults}
  mentioned |= set(read)
  return _check_macros(
    text,
    mentioned=mentioned,
    read=read,
    supplied=supplied,
    files=own_files(files, search_paths),
  )


def sources(
  *, files: Sequence[str], bindings: Sequence[str], search_paths: Sequence[str]
) -> str:
  """Returns the statements that `load` would parse, as they are written.

  Args:
    files: See `load`.
    bindings: See `load`.
    search_paths: See `load`.

  Raises:
    InputError: If a file does not exist, or a binding is not NAME=value.
  """
  paths = _checked_paths(files, search_paths)
  return '\n'.join(
    (*(_source(name, paths) for name in files), *map(quote_binding, bindings))
  )


def own_files(
  files: Sequence[str], search_paths: Sequence[str]
) -> dict[str, str]:
  """Returns the texts of the files that are not shipped, by name.

  Args:
    files: See `load`; files that they include are left out.
    search_paths: See `load`.
  """
  paths = _paths(search_paths)
  found = {name: _find(name, paths) for name in files}
  return {
    name: file.read_text('utf-8')
    for name, file in found.items()
    if file is not None and CONFIG_DIRECTORY not in file.resolve().parents
  }


def literal(name: str, statements: str) -> object:
  """Returns the last value that statements give a macro, if it is a literal.

  None if the value is a reference, or spans several lines.
  """
  values = re.findall(rf'^{name} *= *(.+)$', statements, re.MULTILINE)
  try:
    return ast.literal_eval(values[-1]) if values else None
  except (ValueError, SyntaxError):
    return None


def macro(name: str) -> object:
  """Returns the value of a macro, None if it is undefined."""
  try:
    return gin.query_parameter(f'{name}/gin.macro.value')
  except ValueError:
    return None


def configured(name: str) -> Callable:
  """Returns the configurable of a name; calls apply its bindings."""
  return gin.get_configurable(name)


def bound(name: str, parameters: Collection[str]) -> dict[str, object]:
  """Returns the values bound to some parameters of a configurable.

  Other parameters are not evaluated, so their macros may be unset.

  Args:
    name: Name of the configurable.
    parameters: Names of the parameters; those without a binding are omitted.
  """
  bindings = gin.get_bindings(name, resolve_references=False)
  # Gin resolves references in __deepcopy__.
  return {
    parameter: copy.deepcopy(bindings[parameter])
    for parameter in parameters
    if parameter in bindings
  }


def bound_parameters(name: str) -> list[str]:
  """Returns the parameters of a configurable that have a binding."""
  return list(gin.get_bindings(name, resolve_references=False))


def references(name: str) -> set[str] | None:
  """Returns what the value of a macro or a parameter refers to.

  Args:
    name: Macro, or parameter as 'configurable.parameter'.

  Returns:
    Macros as '%NAME' and configurables as '@name'; None without a value.
  """
  try:
    value = gin.query_parameter(name if '.' in name else f'{name}/macro.value')
  except ValueError:
    return None
  text = _STRING_OR_COMMENT.sub("''", repr(value))
  return set(re.findall(r'%[A-Za-z_]\w*(?![\w.])', text)) | {
    f'@{found}' for found in re.findall(r'@(?:[\w.]+[/.])*(\w+)', text)
  }


def check_bound(parameter: str, what: str) -> None:
  """Raises `InputError` unless a parameter is bound.

  Args:
    parameter: Parameter, as 'configurable.parameter'.
    what: Purpose of the parameter and a file that binds it, for the message.
  """
  try:
    gin.query_parameter(parameter)
  except ValueError:
    raise InputError(
      f'the configuration lacks {what} ({parameter} is not set). Add the file '
      'with --gin_file.'
    ) from None


def shipped_files() -> list[str]:
  """Returns the shipped gin files, in the form that --gin_file accepts."""
  return sorted(
    str(path.relative_to(CONFIG_DIRECTORY))
    for path in CONFIG_DIRECTORY.rglob('*.gin')
    if path.parent != T5X_DIRECTORY
  )


def shipped_macros(name: str) -> list[str]:
  """Returns the macros that a shipped file and its includes set."""
  text = _source(name, [str(CONFIG_DIRECTORY)])
  return sorted(set(_DEFINITION.findall(text)))


def quote_binding(binding: str, *, texts: Collection[str] = ()) -> str:
  """Quotes the value of 'NAME=value' if it is a bare string.

  >>> quote_binding('MODEL_DIR=/tmp/out')
  "MODEL_DIR = '/tmp/out'"
  >>> quote_binding('BATCH_SIZE=8')
  'BATCH_SIZE = 8'
  >>> quote_binding('MODEL_DIR=2024_01_15', texts=('MODEL_DIR',))
  "MODEL_DIR = '2024_01_15'"

  Args:
    binding: Binding, as on the command line.
    texts: Macros that are paths or names, whatever they look like.

  Raises:
    InputError: If the binding does not have this form, or its value is a truth
      value or None in lower case.
  """
  match = _BINDING.fullmatch(binding.strip())
  if match is None or not match[2]:
    raise InputError(f'--gin.{binding}: expected --gin.NAME=value.')
  name, value = match.groups()
  # Values that begin like a reference, a string or a collection are gin's. Any
  # other value that is not a literal is text, such as a path or a name.
  if name in texts:
    if value[0] not in '@%\'"' and value != 'None':
      value = repr(value)
  elif value[0] not in '@%([{\'"':
    try:
      ast.literal_eval(value)
    except (ValueError, SyntaxError):
      if value in ('true', 'false', 'none'):
        # As text, even 'false' would be taken for true.
        raise InputError(
          f'--gin.{binding}: write --gin.{name}={value.capitalize()}.'
        ) from None
      value = repr(value)
  return f'{name} = {value}'


def _register(configurable: Callable) -> None:
  # Raised by a second call in the same process.
  with contextlib.suppress(ValueError):
    gin.external_configurable(configurable, module='it_study')


def _find(name: str, paths: Sequence[str]) -> pathlib.Path | None:
  """Returns the first file of a name below the search paths, None for none."""
  files = (pathlib.Path(path) / name for path in paths)
  return next((file for file in files if file.is_file()), None)


def _paths(search_paths: Sequence[str]) -> list[str]:
  """Returns the folders in which files are looked up, in order."""
  return ['', *search_paths, str(CONFIG_DIRECTORY)]


def _checked_paths(
  files: Sequence[str], search_paths: Sequence[str]
) -> list[str]:
  """Returns `_paths`; raises `InputError` for a file that cannot be loaded."""
  paths = _paths(search_paths)
  for name in files:
    _check_file(name, paths)
    _check_includes(name, paths)
  return paths


def _check_folders(search_paths: Sequence[str]) -> None:
  for path in search_paths:
    if not pathlib.Path(path).is_dir():
      raise InputError(
        f'--gin_search_paths: no folder {path!r}. Separate folders by commas.'
        f'{nearest_path(path)}'
      )


def _check_file(name: str, paths: Sequence[str]) -> None:
  """Raises `InputError` unless a gin file exists and is one of ours."""
  file = _find(name, paths)
  if file is not None:
    if file.resolve().parent == T5X_DIRECTORY:
      raise InputError(
        f'gin file {name} is for T5X alone: pass it to python -m t5x.main, as '
        'its first lines show. With --engine t5x, T5X runs the same files as '
        'the native engine.'
      )
    return
  shipped = shipped_files()
  raise InputError(
    f'no gin file {name!r} in the working directory or '
    f'{", ".join(paths[1:])}.{nearest(name, shipped) or nearest_path(name)} '
    f'Shipped files: {", ".join(shipped)}.'
  )


def _check_includes(
  name: str,
  paths: Sequence[str],
  parents: Mapping[pathlib.Path, str] | None = None,
) -> None:
  """Raises `InputError` if a gin file's includes form a loop or are not found.

  Not found means here that a file is only beside the file that includes it.

  Args:
    name: Name of the file.
    paths: Search paths.
    parents: Files that include it, from the outermost, with their names; None
      for none.
  """
  parents = parents or {}
  file = _find(name, paths)
  if file is None:
    # Gin's own error names the file that includes it.
    for parent, included_by in list(parents.items())[-1:]:
      if (parent.parent / name).is_file():
        raise InputError(
          f'gin file {included_by}: included file {name!r} is beside it, but '
          'files are looked up in the working directory and in search paths. '
          f'Add --gin_search_paths={os.path.relpath(parent.parent)}.'
        )
    return
  file = file.resolve()
  if file in parents:
    names = list(parents.values())
    loop = [*names[list(parents).index(file) :], name]
    raise InputError(
      f'gin file {names[0]}: files include each other in a loop, '
      f'{" -> ".join(loop)}. Remove one of these includes.'
    )
  try:
    text = file.read_text('utf-8')
  except UnicodeDecodeError:
    # Gin's own error names the file.
    return
  for included in _INCLUDE.findall(text):
    _check_includes(included, paths, {**parents, file: name})


@contextlib.contextmanager
def _silent_logging() -> Iterator[None]:
  """Silences gin, which logs an error for each search path without a file."""
  previous = logging.root.manager.disable
  logging.disable(logging.ERROR)
  try:
    yield
  finally:
    logging.disable(previous)


def _source(name: str, paths: Sequence[str]) -> str:
  """Returns the text of a file and of all files that it includes."""
  file = _find(name, paths)
  assert file is not None, name
  text = file.read_text('utf-8')
  included = [_source(other, paths) for other in _INCLUDE.findall(text)]
  return '\n'.join((text, *included))


def _references(text: str) -> set[str]:
  # In a string or a comment, % has no meaning.
  return set(_REFERENCE.findall(_STRING_OR_COMMENT.sub("''", text)))


def _check_macros(
  text: str,
  *,
  mentioned: Collection[str],
  read: Collection[str],
  supplied: Collection[str],
  files: Mapping[str, str],
) -> str:
  """Checks macros; returns the configuration without unused ones.

  Args:
    text: Configuration as text.
    mentioned: Macros that the sources refer to, also in overridden bindings.
    read: Macros that the caller reads.
    supplied: Macros that the caller supplies, so that they may be unset.
    files: Texts of the files that are not shipped, by name, for messages.

  Raises:
    InputError: If a macro is unused, undefined, or required but unset.
  """
  referenced = _references(text) | set(read)
  bare = _STRING_OR_COMMENT.sub("''", text)
  defined = set(_DEFINITION.findall(bare))
  for name in sorted(defined - referenced - set(mentioned)):
    raise InputError(
      f'gin macro {name!r} is set but not used.'
      f'{nearest(name, sorted(referenced))} Macros in use: '
      f'{", ".join(sorted(referenced))}.{_place(name, files)}'
    )
  for name in sorted(referenced - defined - set(supplied)):
    hint = nearest(name, sorted(defined))
    if hint:
      raise InputError(
        f'gin macro {name!r} is used but not set.{hint}{_place(name, files)}'
      )
  unset = set(re.findall(r'^(\w+) = %gin\.REQUIRED$', bare, re.MULTILINE))
  missing = sorted(
    (unset & referenced | (referenced - defined)) - set(supplied)
  )
  if missing:
    # A macro that no file mentions is most likely set in a file not named.
    advice = (
      ' The files under runs/ set defaults: add one with --gin_file.'
      if set(missing) - unset
      else ''
    )
    raise InputError(
      f'gin macro {missing[0]!r} is required but not set'
      + (f' (also missing: {", ".join(missing[1:])})' if missing[1:] else '')
      + f'. Set it with --gin.{missing[0]}=VALUE or in a gin file.{advice}'
      + _place(missing[0], files)
    )
  for name in defined - referenced:
    text = re.sub(
      rf'^{name} =.*\n(?:[ )}}\]].*\n)*', '', text, flags=re.MULTILINE
    )
  return text


def _place(macro: str, files: Mapping[str, str]) -> str:
  """Returns a sentence on the file that an error of a macro comes from.

  Args:
    macro: Name of the macro.
    files: Texts of the files that are not shipped, by name.

  Returns:
    The sentence, after a space; empty if no such file is the cause.
  """
  for name, text in files.items():
    if macro in _DEFINITION.findall(text):
      return f' It is set in {name}.'
  # The first line of a whole configuration, as gin writes it.
  first = '# Macros:\n'
  for name, text in files.items():
    if text.startswith(first) or first.startswith(text):
      return f' {name} may be cut short.'
  return ''


@contextlib.contextmanager
def _explained(
  where: str, *, paths: Sequence[str], known: Mapping[str, Callable]
) -> Iterator[None]:
  """Turns every error of gin into an `InputError`.

  Gin raises SyntaxError, IOError, ValueError for an unknown name,
  ModuleNotFoundError, and errors of Python's tokenizer.

  Args:
    where: File or binding that is parsed, for the message.
    paths: Search paths.
    known: Configurables by name.
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
  """Returns the message for an error of gin."""
  text = ' '.join(str(error).split())
  missing = re.search(r'Unable to open file: (.+?)\. Searched', text)
  if missing:
    return (
      f'included file {missing[1]!r} is neither in the working directory nor '
      f'in {", ".join(paths[1:])}.{nearest(missing[1], shipped_files())}'
    )
  unknown = re.search(
    r"No configurable matching (?:reference )?'@?([\w./]+)(?:\(\))?'", text
  )
  if unknown:
    name = unknown[1].split('/')[-1]
    hint = nearest(name, known)
    base = name.rpartition('.')[2]
    # T5X names the module as well, as in network.T5Config.dtype.
    binding = re.search(rf'{re.escape(name)}(\.\w+) *=', text)
    if base in known:
      hint = f" Did you mean '{base}{binding[1] if binding else ''}'?"
    return (
      f'{name!r} is not configurable.{hint} Configurables: {", ".join(known)}.'
    )
  parameter = re.search(
    r"'([\w./]+)' doesn't have a parameter named '(\w+)'", text
  )
  if parameter:
    name = parameter[1].split('/')[-1]
    # The signature of the function itself: gin's wrapper accepts anything.
    names = inspect.signature(known[name]).parameters
    return (
      f'{name} has no parameter {parameter[2]!r}.{nearest(parameter[2], names)}'
    )
  if 'EOF in multi-line' in text:
    return 'a bracket or a string is not closed.'
  if isinstance(error, UnicodeDecodeError):
    return 'the file is not UTF-8 text.'
  return text
