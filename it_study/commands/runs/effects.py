"""Refuses settings of the command line that a command does not read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
import re

from it_study import gin_utils
from it_study.errors import InputError

# Parameters that every command sets itself, and what the user sets instead.
_SET_HERE = {
  'T5Config.dtype': 'Set DTYPE.',
  'T5Config.vocab_size': 'It follows from the vocabulary and the weights.',
  'DecoderConfig.dtype': 'Set DTYPE.',
  'DecoderConfig.vocab_size': 'It follows from the weights.',
}
# Functions that each command calls, with the parameters that it sets itself.
_CALLS: Mapping[str, Mapping[str, Collection[str]]] = {
  'study': {
    'ControlMargins': (),
    'run_study': ('corpus', 'study_dir', 'engine', 'record', 'on_step'),
    'finetune': ('mixture_or_task_name', 'model_dir', 'seed', 'on_progress'),
    'predict': (
      *('mixture_or_task_name', 'checkpoint_path', 'infer_output_dir'),
      *('answer_dir', 'split', 'seed', 'on_progress'),
    ),
  },
  'train': {'finetune': ('model_dir', 'checkpoint_folder', 'on_progress')},
  'predict': {'predict': ('infer_output_dir', 'on_progress')},
}
# What the network of T5X decides itself.
_NATIVE_ONLY = (
  'T5Config.attention_implementation',
  'T5Config.remat_policy',
  'T5Config.scan_layers',
)
# The macro that holds the folder that each command writes to.
_FOLDER = {'train': 'MODEL_DIR', 'predict': 'INFER_OUTPUT_DIR'}


def check_names(bindings: Sequence[str]) -> None:
  """Raises `InputError` for a parameter that every command sets itself."""
  for binding in bindings:
    name = binding.partition('=')[0].strip()
    for own, advice in _SET_HERE.items():
      # T5X names the module as well, as in network.T5Config.dtype.
      if re.fullmatch(rf'(.*[./])?{re.escape(own)}', name):
        raise InputError(f'{name} has no effect. {advice}')


def check(
  bindings: Sequence[str], *, command: str | None, read: Collection[str]
) -> None:
  """Checks that every setting takes effect.

  A macro takes effect if a parameter that the command leaves to gin refers to
  it, directly or through others; a parameter, if its function is called. Gin
  files may hold settings of several commands, so only what the command line
  sets is checked, and parameters that no command leaves to gin; see
  `unused_in_files` for the others.

  Args:
    bindings: Bindings 'NAME=value' of the command line.
    command: Name of the command; None for one that reads only some settings.
    read: Macros that every command reads itself.

  Raises:
    InputError: If a setting has no effect.
  """
  for name, advice in _SET_HERE.items():
    if gin_utils.references(name) is not None:
      raise InputError(f'{name} has no effect. {advice}')
  if command is None:
    return
  used = _used(_CALLS[command], _read_by(command, read))
  for binding in bindings:
    name = binding.partition('=')[0].strip().rpartition('/')[2]
    function, _, parameter = name.rpartition('.')
    reason = _reason(name, used, by=command)
    if reason is None and parameter in _CALLS[command].get(
      function.rpartition('.')[2], ()
    ):
      reason = f'{command} sets it itself'
    if reason is not None:
      raise InputError(f'{name} has no effect: {reason}.')


def unused_in_files(
  files: Mapping[str, str], *, read: Collection[str]
) -> list[str]:
  """Finds settings of gin files that no command would read.

  A file may hold settings of several commands, and overrides others, so that
  this is no error. What shipped files say too is not reported.

  Args:
    files: Texts of gin files that are not shipped, by name.
    read: Macros that every command reads itself.

  Returns:
    A sentence for each.
  """
  used: set[str] = set()
  for command, calls in _CALLS.items():
    used |= _used(calls, _read_by(command, read))
  shipped = (
    (gin_utils.CONFIG_DIRECTORY / name).read_text('utf-8')
    for name in gin_utils.shipped_files()
  )
  known = {line for text in shipped for line in _statements(text)}
  found = []
  for file, text in files.items():
    for statement in dict.fromkeys(_statements(text)):
      name = statement.partition('=')[0].strip()
      reason = _reason(name.rpartition('/')[2], used, by='any command')
      if reason is not None and statement not in known:
        found.append(f'{name} in {file} has no effect: {reason}.')
  return found


def _read_by(command: str, read: Collection[str]) -> tuple[str, ...]:
  folder = (_FOLDER[command],) if command in _FOLDER else ()
  return (*read, *folder)


def _reason(name: str, used: Collection[str], *, by: str) -> str | None:
  """Returns why a setting has no effect, None if it may have one.

  Args:
    name: Macro, or parameter as 'configurable.parameter'.
    used: Result of `_used`.
    by: Commands that `used` holds for.
  """
  # It imports JAX, which commands that end at once need not wait for.
  from it_study.inference import decoding

  method = str(gin_utils.bound('Decoding', ('method',)).get('method'))
  for setting, (macro, methods) in decoding.SETTINGS.items():
    if name in (macro, f'Decoding.{setting}') and method not in methods:
      return (
        f'DECODING is {method!r}, and the setting is for '
        f'{" and ".join(methods)}'
      )
  if name in _NATIVE_ONLY and gin_utils.macro('ENGINE') == 't5x':
    return "the engine is 't5x'"
  function = name.rpartition('.')[0].rpartition('.')[2]
  if function and f'@{function}' not in used:
    return f'nothing in this configuration uses {function}'
  if not function and f'%{name}' not in used:
    return f'no setting that {by} reads refers to it'
  return None


def _statements(text: str) -> list[str]:
  """Returns the bindings in a gin file's text, of long ones the first line.

  >>> _statements("A = 1  # one\\nimport x\\nf.b = {\\n  'c': 2,\\n}\\n")
  ['A = 1', 'f.b = {']
  """
  return [
    f'{name} = {value.strip()}'
    for name, value in re.findall(
      r'^([\w./]+)[ \t]*=[ \t]*([^#\n]*)', text, re.MULTILINE
    )
  ]


def _used(
  calls: Mapping[str, Collection[str]], read: Collection[str]
) -> set[str]:
  """Returns the macros, as '%NAME', and functions, '@name', that are used."""
  used = {f'@{function}' for function in calls}
  found = [f'%{name}' for name in read]
  for function, supplied in calls.items():
    found += _of_function(function, without=supplied)
  while found:
    name = found.pop()
    if name in used:
      continue
    used.add(name)
    if name[0] == '@':
      found += _of_function(name[1:])
    else:
      found += gin_utils.references(name[1:]) or ()
  return used


def _of_function(name: str, *, without: Collection[str] = ()) -> Iterator[str]:
  """Yields what the parameters of a function refer to."""
  for parameter in gin_utils.bound_parameters(name):
    if parameter not in without:
      yield from gin_utils.references(f'{name}.{parameter}') or ()
