"""What every engine asks of a training's settings."""

from typing import Any

from it_study.errors import InputError
from it_study.training.optimizers import Optimizer


def check_settings(
  *,
  optimizer: Optimizer,
  seed: int,
  checkpoint_period: int,
  eval_period: int | None,
  keep_best: bool,
  log_period: int,
) -> None:
  """Refuses settings that no training can have, by the macros' names.

  Raises:
    InputError: a period below 1, a seed out of range, `keep_best` where a
      checkpoint to choose from would have no loss, or an optimizer that is
      none: gin takes a name without @ for text.
  """
  if not isinstance(optimizer, Optimizer):
    raise InputError(
      f'OPTIMIZER is {optimizer!r}; give a call, such as @adafactor() or '
      '@adamw().'
    )
  check_whole(
    CHECKPOINT_PERIOD=checkpoint_period,
    EVAL_PERIOD=eval_period,
    LOG_PERIOD=log_period,
    SEED=seed,
  )
  if seed >= 2**32:
    raise InputError(f'SEED is {seed}; give a number from 0 to 2**32 - 1.')
  if keep_best and (eval_period is None or checkpoint_period % eval_period):
    raise InputError(
      'KEEP_BEST needs the validation loss of every checkpoint: EVAL_PERIOD '
      f'is {eval_period}, CHECKPOINT_PERIOD {checkpoint_period}. Give an '
      'EVAL_PERIOD of which CHECKPOINT_PERIOD is a multiple.'
    )


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
