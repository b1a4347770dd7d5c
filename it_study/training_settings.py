"""What every engine asks of a training's settings."""

from it_study.errors import InputError
from it_study.optimizers import Optimizer


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
  periods = {'CHECKPOINT_PERIOD': checkpoint_period, 'LOG_PERIOD': log_period}
  if eval_period is not None:
    periods['EVAL_PERIOD'] = eval_period
  for name, period in periods.items():
    check_count(name, period)
  if not 0 <= seed < 2**32:
    raise InputError(f'SEED is {seed}; give a number from 0 to 2**32 - 1.')
  if keep_best and (eval_period is None or checkpoint_period % eval_period):
    raise InputError(
      'KEEP_BEST needs the validation loss of every checkpoint: EVAL_PERIOD '
      f'is {eval_period}, CHECKPOINT_PERIOD {checkpoint_period}. Give an '
      'EVAL_PERIOD of which CHECKPOINT_PERIOD is a multiple.'
    )


def check_count(name: str, count: int) -> None:
  """Raises `InputError` for what is no whole number from 1 up."""
  if type(count) is not int or count < 1:
    raise InputError(f'{name} is {count!r}; give 1 or more.')
