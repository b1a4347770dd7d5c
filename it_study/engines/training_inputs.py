"""The batches of a training, the same whichever engine takes them."""

from collections.abc import Callable, Mapping
import pathlib

from it_study.data import user_module
from it_study.errors import InputError
from it_study.input_pipeline import training_tokens
from it_study.input_pipeline.feed import Feed
from it_study.storage import local_folders
from it_study.training.settings import check_settings, check_whole
from it_study.training.trainer import Progress

# Examples tokenised between two calls of `on_progress`.
_TOKENISED_PERIOD = 1000


def make_feeds(
  *,
  mixture_or_task_name: str,
  mixture_or_task_module: str,
  task_feature_lengths: Mapping[str, int],
  model_dir: pathlib.Path,
  batch_size: int,
  train_steps: int | None,
  epochs: int | None,
  seed: int,
  pack: bool,
  validates: bool,
  on_progress: Callable[[Progress], None] | None,
) -> tuple[Feed, Feed | None, int]:
  """Checks what is asked for and tokenises it, unless that is done.

  Args are those of an engine's `finetune`, and whether instances held out are
  looked at.

  Returns:
    The training batches, those of the split validation or None, and the number
    of steps.

  Raises:
    InputError: if an argument does not fit.
  """
  check_duration(train_steps=train_steps, epochs=epochs)
  check_whole(BATCH_SIZE=batch_size, SEED=seed)
  check_lengths(task_feature_lengths)
  import_tasks(mixture_or_task_module)
  local_folders.make_directory(model_dir)
  batches = Feed(
    training_tokens.training_tokens(
      mixture_or_task_name=mixture_or_task_name,
      task_feature_lengths=task_feature_lengths,
      fallback_directory=model_dir,
      on_progress=on_progress and (lambda n: _tell_tokenised(n, on_progress)),
    ),
    batch_size=batch_size,
    lengths=task_feature_lengths,
    seed=seed,
    pack=pack,
  )
  held_out = None
  if validates:
    held_out = Feed(
      training_tokens.training_tokens(
        mixture_or_task_name=mixture_or_task_name,
        task_feature_lengths=task_feature_lengths,
        fallback_directory=model_dir,
        split='validation',
      ),
      batch_size=batch_size,
      lengths=task_feature_lengths,
      pack=False,
    )
  if train_steps is None:
    train_steps = batches.num_steps(epochs=epochs)
  return batches, held_out, train_steps


def _tell_tokenised(
  num_examples: int, on_progress: Callable[[Progress], None]
) -> None:
  if num_examples % _TOKENISED_PERIOD == 0:
    on_progress(
      Progress(phase='tokenising', step=num_examples, train_steps=0, metrics={})
    )


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
