"""What every engine asks of a training's settings."""

from it_study.errors import InputError
from it_study.optimizers import Optimizer


def check_settings(*, optimizer: Optimizer, seed: int, **counts: int) -> None:
  """Raises `InputError` for a count below one or a seed out of range.

  So it does for an optimizer that is none: gin takes a name without @ for text.
  """
  if not isinstance(optimizer, Optimizer):
    raise InputError(
      f'optimizer is {optimizer!r}; give a call, such as @adafactor() or '
      '@adamw().'
    )
  for name, count in counts.items():
    if type(count) is not int or count < 1:
      raise InputError(f'{name} is {count!r}; give 1 or more.')
  if not 0 <= seed < 2**32:
    raise InputError(f'seed is {seed}; give a number from 0 to 2**32 - 1.')


def check_keep_best(
  keep_best: bool, checkpoint_period: int, eval_period: int | None
) -> None:
  """Raises `InputError` if a checkpoint to choose from would have no loss."""
  if keep_best and (eval_period is None or checkpoint_period % eval_period):
    raise InputError(
      'KEEP_BEST needs the validation loss of every checkpoint: EVAL_PERIOD '
      f'is {eval_period}, CHECKPOINT_PERIOD {checkpoint_period}. Give an '
      'EVAL_PERIOD of which CHECKPOINT_PERIOD is a multiple.'
    )
