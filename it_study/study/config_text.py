"""The configuration of a study as text, and what of it may grow later."""

from collections.abc import Sequence
import re

from it_study.conditions import is_condition_name

# Statements that only decide which conditions a study has.
_CONDITIONS = (
  r'run_study\.conditions|(?:named_conditions|standard_grid|sweep)\.\w+|'
  'EXPERIMENTS|INSTANCES|NUM_TASKS|INSTANCES_PER_TASK|TRAIN_TASKS'
)
_NAMED = r'run_study\.conditions|named_conditions\.names|TRAIN_TASKS'


def with_macro(config: str, name: str, value: tuple) -> str:
  """Replaces the value of a macro in a configuration that sets it."""
  return _statement(name).sub(
    lambda _: f'{name} = {value!r}\n', config, count=1
  )


def with_conditions(config: str, names: Sequence[str]) -> str:
  """Replaces what a study trains on, conditions or tasks, by these names.

  A configuration that does not set them is not gin's, and stays as it is.
  """
  if not _statement(r'run_study\.conditions').search(config):
    return config
  rest = _statement(_NAMED).sub('', config).rstrip('\n')
  listed = ''.join(f'    {name!r},\n' for name in names)
  if not all(map(is_condition_name, names)):
    return (
      f'{rest}\n\n# What to train on, some of which was added later.\n'
      f'run_study.conditions = (\n{listed})\n'
    )
  return (
    f'{rest}\n\n# Conditions, some of which were added later.\n'
    'run_study.conditions = @named_conditions()\n'
    f'named_conditions.names = (\n{listed})\n'
  )


def without_conditions(config: str) -> str:
  """Returns the statements that do not decide the conditions of a study."""
  rest = _statement(_CONDITIONS).sub('', config)
  lines = [line for line in rest.splitlines() if not line.startswith('#')]
  return '\n'.join(filter(None, lines))


def first_difference(before: str, after: str) -> str:
  """Names the first statement that differs, for an error message."""
  old, new = before.splitlines(), after.splitlines()
  for line in new:
    if line not in old:
      name = line.split(' = ')[0]
      same_name = [o for o in old if o.split(' = ')[0] == name]
      if same_name:
        return f'now {line!r}, there {same_name[0]!r}'
      return f'now {line!r}'
  gone = [line for line in old if line not in new]
  return f'there {gone[0]!r}' if gone else 'order of lines'


def _statement(names: str) -> re.Pattern[str]:
  """Matches statements that set one of `names`, with continuation lines."""
  return re.compile(rf'^(?:{names}) = .*\n(?:[ )\]].*\n)*', re.MULTILINE)
