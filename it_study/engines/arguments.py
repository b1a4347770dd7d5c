"""What an engine is given, checked before anything is done."""

from collections.abc import Mapping

from it_study.data import user_module
from it_study.errors import InputError
from it_study.training.settings import check_settings, check_whole


def check_study(
  *,
  train_steps: int | None,
  epochs: int | None,
  batch_size: int,
  infer_batch_size: int,
  task_feature_lengths: Mapping[str, int],
  **settings,
) -> None:
  """Refuses what neither a training nor a prediction of a study can have.

  A study's folder is claimed by its configuration and its baselines are scored
  before the first training looks at its own.

  Args:
    train_steps: and the others are those of an engine's two calls.
    epochs: passes over the data.
    batch_size: of a training.
    infer_batch_size: of a prediction.
    task_feature_lengths: of both.
    **settings: further ones, as `check_settings` takes them.

  Raises:
    InputError: if one does not fit.
  """
  check_settings(**settings)
  check_duration(train_steps=train_steps, epochs=epochs)
  check_whole(BATCH_SIZE=batch_size, INFER_BATCH_SIZE=infer_batch_size)
  check_lengths(task_feature_lengths)


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
  user_module.load(module, setting='MIXTURE_OR_TASK_MODULE')
