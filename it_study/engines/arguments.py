"""What an engine is given, checked before anything is done."""

from collections.abc import Mapping
from typing import Any

from it_study import user_module
from it_study.errors import InputError


def check_duration(*, train_steps: int | None, epochs: int | None) -> None:
  """Raises `InputError` unless exactly one of the two says how long."""
  if (train_steps is None) == (epochs is None):
    raise InputError(
      f'TRAIN_STEPS is {train_steps} and EPOCHS is {epochs}: set one of them, '
      'the other to None.'
    )
  check_whole(TRAIN_STEPS=train_steps, EPOCHS=epochs)


def check_whole(**values: Any) -> None:
  """Raises `InputError` for text, a fraction, or a count below one.

  Gin lets them through. The seed may be 0; what is None is not looked at.

  Args:
    **values: by the name of the macro that sets them.
  """
  for name, value in values.items():
    least = 0 if name == 'SEED' else 1
    if value is not None and (
      not isinstance(value, int) or isinstance(value, bool) or value < least
    ):
      raise InputError(
        f'{name} is {value!r}: give a whole number from {least} up.'
      )


def check_lengths(lengths: Mapping[str, int]) -> None:
  """Raises `InputError` unless there are lengths of inputs and targets."""
  if not isinstance(lengths, Mapping) or set(lengths) != {'inputs', 'targets'}:
    raise InputError(
      f'TASK_FEATURE_LENGTHS is {lengths!r}: give both lengths and no other, '
      "as in {'inputs': 1024, 'targets': 128}."
    )
  for name, length in lengths.items():
    check_whole(**{f'TASK_FEATURE_LENGTHS[{name!r}]': length})


def import_tasks(module: str) -> None:
  """Imports what registers the tasks. Raises `InputError` if it cannot."""
  user_module.load(module, given_as='MIXTURE_OR_TASK_MODULE')
