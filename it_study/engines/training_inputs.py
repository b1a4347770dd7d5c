"""The batches of a training, the same whichever engine takes them."""

from collections.abc import Callable, Mapping
import pathlib

from it_study.engines import arguments
from it_study.input_pipeline import training_tokens
from it_study.input_pipeline.feed import Feed
from it_study.storage import local_folders
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
  arguments.check_duration(train_steps=train_steps, epochs=epochs)
  arguments.check_whole(BATCH_SIZE=batch_size, SEED=seed)
  arguments.check_lengths(task_feature_lengths)
  arguments.import_tasks(mixture_or_task_module)
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
