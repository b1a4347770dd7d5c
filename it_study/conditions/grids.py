"""Grids of conditions: the experiments, sweeps, and named ones."""

from collections.abc import Collection, Sequence
import itertools
from typing import Any

from it_study.conditions.condition import DEFAULTS, Condition
from it_study.conditions.levels import check_known
from it_study.errors import InputError, nearest


def definition_experiments(**fields: Any) -> tuple[Condition, ...]:
  """Returns definition x {original, simplified, empty}, 2 examples each."""
  return tuple(
    Condition(definition=level, **fields)
    for level in ('original', 'simplified', 'empty')
  )


def example_experiments(**fields: Any) -> tuple[Condition, ...]:
  """Returns examples x {original, delusive, empty}, at most 1 example each."""
  return tuple(
    Condition(examples=level, num_examples=count, **fields)
    for level, count in (('original', 1), ('delusive', 1), ('empty', 0))
  )


def standard_grid(**fields: Any) -> tuple[Condition, ...]:
  """Returns both experiments; `fields` set attributes of every condition.

  Raises:
    InputError: If a field is unknown, or one that the experiments vary.
  """
  _check_fields(fields, grid='standard_grid')
  return definition_experiments(**fields) + example_experiments(**fields)


def sweep(
  *,
  experiments: Sequence[str] = ('definitions', 'examples'),
  instances_per_task: Sequence[int] = (100,),
  num_tasks: Sequence[int | None] = (None,),
  **fields: Any,
) -> tuple[Condition, ...]:
  """Returns experiments at several amounts of training data.

  Args:
    experiments: Names of experiments: 'definitions', 'examples' or 'original',
      the real instructions only.
    instances_per_task: Numbers of training instances per task.
    num_tasks: Numbers of training tasks; None for all.
    **fields: Other attributes of every condition.

  Raises:
    InputError: If an argument is not a non-empty tuple, or a name is unknown,
      also that of a field.
  """
  _check_fields(fields, grid='sweep')
  check_several(experiments, setting='sweep.experiments')
  check_several(instances_per_task, setting='sweep.instances_per_task')
  check_several(num_tasks, setting='sweep.num_tasks')
  if not (experiments and instances_per_task and num_tasks):
    raise InputError('sweep: each setting needs at least one value.')
  grid: list[Condition] = []
  for tasks, instances, name in itertools.product(
    num_tasks, instances_per_task, experiments
  ):
    check_known('experiment', name, _EXPERIMENTS)
    sizes = {'num_tasks': tasks, 'instances_per_task': instances}
    grid += _EXPERIMENTS[name](**sizes, **fields)
  return tuple(dict.fromkeys(grid))


def named_conditions(*, names: Sequence[str]) -> tuple[Condition, ...]:
  """Returns conditions by name, for a custom grid."""
  check_several(names, setting='named_conditions.names')
  return tuple(Condition.from_name(name) for name in names)


def _check_fields(fields: Collection[str], *, grid: str) -> None:
  """Raises `InputError` for what a grid does not take; gin lets it through."""
  varied = ('definition', 'examples', 'num_examples')
  allowed = [name for name in DEFAULTS if name not in varied]
  for name in fields:
    if name not in allowed:
      is_varied = name.rstrip('s') in ('definition', 'example')
      hint = '' if is_varied else nearest(name, allowed)
      raise InputError(
        f'{grid} has no parameter {name!r}.{hint} Besides '
        f'its own it takes {", ".join(allowed)}; for other grids, name '
        'conditions with @named_conditions().'
      )


def check_several(values: object, *, setting: str) -> None:
  """Raises `InputError` for a single value; a string is a sequence, too."""
  if not isinstance(values, list | tuple):
    raise InputError(
      f"{setting} is {values!r}; give values in brackets, such as ('A', 'B'), "
      "or ('A',) for one."
    )


_EXPERIMENTS = {
  'definitions': definition_experiments,
  'examples': example_experiments,
  'original': lambda **fields: (Condition(**fields),),
}
