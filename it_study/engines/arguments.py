"""What an engine is given, checked before anything is done."""

from collections.abc import Mapping

from it_study import user_module
from it_study.errors import InputError
from it_study.training_settings import check_whole


def check_duration(*, train_steps: int | None, epochs: int | None) -> None:
  """Raises `InputError` unless exactly one of the two says how long."""
  if (train_steps is None) == (epochs is None):
    raise InputError(
      f'TRAIN_STEPS is {train_steps} and EPOCHS is {epochs}: set one of them, '
      'the other to None.'
    )
  check_whole(TRAIN_STEPS=train_steps, EPOCHS=epochs)


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
