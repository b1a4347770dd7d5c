"""What a training starts from, the same for every engine."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable
import dataclasses
import functools
import pathlib
import time

import seqio

from it_study import seqio_lib
from it_study.checkpoints import weights_source
from it_study.checkpoints.weights_source import WeightsSource
from it_study.data import user_module
from it_study.engines import model_setup
from it_study.errors import InputError
from it_study.input_pipeline import training_tokens
from it_study.input_pipeline.feed import Feed
from it_study.input_pipeline.row_layouts import RowLayout
from it_study.storage import local_folders
from it_study.training.settings import (
  MAX_STEPS,
  DataSettings,
  TrainingSettings,
)
from it_study.training.trainer import Progress

# Examples tokenised between two calls of `on_progress`.
_TOKENISED_PERIOD = 1000

OnProgress = Callable[[Progress], None] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingInputs:
  """A training's data and model, ready for an engine.

  Attributes:
    data: Settings of the data.
    settings: Settings of the training, with the model's own z-loss.
    model_dir: Folder of the training; it exists.
    feed: Training batches.
    validation_feed: Held-out examples, not packed; None without evaluation.
    train_steps: Steps to train, also where epochs were asked for.
    config: Configuration of the model.
    vocabulary: Vocabulary of the task.
    initial_weights: Weights to start from; None to start from scratch.
    started: `time.monotonic()` at the beginning of the training.
  """

  data: DataSettings
  settings: TrainingSettings
  model_dir: pathlib.Path
  feed: Feed
  validation_feed: Feed | None
  train_steps: int
  config: model_setup.Config
  vocabulary: seqio.Vocabulary
  initial_weights: WeightsSource | None
  started: float


def prepare(
  data: DataSettings,
  settings: TrainingSettings,
  *,
  model_config: model_setup.MakeConfig,
  dtype: str,
  model_dir: pathlib.Path,
  initial_checkpoint_path: str | None,
  on_progress: OnProgress,
) -> TrainingInputs:
  """Imports the task's module, tokenises the data and configures the model.

  Tokens that are in the cache are not made again.

  Args:
    data: Settings of the data.
    settings: Settings of the training.
    model_config: Function that makes a `T5Config` or `DecoderConfig` from
      `vocab_size` and `dtype`.
    dtype: Type of matrix products, or 'auto'.
    model_dir: Folder of the training; made if it does not exist.
    initial_checkpoint_path: Weights to start from, also in a bucket; None to
      start from scratch.
    on_progress: Callback, called while examples are tokenised.

  Raises:
    InputError: If there is no such task or vocabulary, the folder cannot be
      written, or the initial weights were made with another vocabulary.
  """
  started = time.monotonic()
  source = weights_source.resolve(initial_checkpoint_path)
  user_module.load(
    data.mixture_or_task_module, setting='MIXTURE_OR_TASK_MODULE'
  )
  vocabulary = seqio_lib.vocabulary_of(data.mixture_or_task_name)
  if source is not None:
    model_setup.check_folder_vocabulary(source, vocabulary=vocabulary)
  config = model_setup.complete_config(
    model_config, dtype=dtype, source=source, vocabulary=vocabulary
  )
  model_setup.check_memory(config)
  local_folders.make_directory(model_dir)
  make_feed = functools.partial(
    _make_feed, data, model_dir, layout=model_setup.row_layout(config)
  )
  feed = make_feed('train', seed=settings.seed, on_progress=on_progress)
  validation_feed = None
  if settings.evaluation.period is not None:
    validation_feed = make_feed('validation')
  train_steps = data.train_steps
  if train_steps is None:
    assert data.epochs is not None, 'DataSettings has one of the two'
    _check_epochs(data.epochs, feed)
    train_steps = feed.num_steps(epochs=data.epochs)
  return TrainingInputs(
    data=data,
    settings=dataclasses.replace(settings, z_loss=config.z_loss),
    model_dir=model_dir,
    feed=feed,
    validation_feed=validation_feed,
    train_steps=train_steps,
    config=config,
    vocabulary=vocabulary,
    initial_weights=source,
    started=started,
  )


def _check_epochs(epochs: int, feed: Feed) -> None:
  """Raises `InputError` for more epochs than can be planned and counted."""
  # The other epochs have about as many rows.
  steps = epochs * feed.num_rows(epochs=1) // feed.batch_size
  if steps > MAX_STEPS:
    raise InputError(
      f'EPOCHS is {epochs}: some {steps:,} steps; at most {MAX_STEPS} can be '
      'counted.'
    )


def _make_feed(
  data: DataSettings,
  model_dir: pathlib.Path,
  split: str,
  *,
  layout: RowLayout,
  seed: int = 0,
  on_progress: OnProgress = None,
) -> Feed:
  """Returns the batches of a split; only those to train on may be packed."""
  return Feed(
    training_tokens.training_tokens(
      mixture_or_task_name=data.mixture_or_task_name,
      task_feature_lengths=data.task_feature_lengths,
      fallback_directory=model_dir,
      split=split,
      on_progress=on_progress and _tokenising(on_progress),
    ),
    batch_size=data.batch_size,
    lengths=data.task_feature_lengths,
    seed=seed,
    pack=data.pack and split == 'train',
    layout=layout,
  )


def _tokenising(
  on_progress: Callable[[Progress], None],
) -> Callable[[int], None]:
  """Returns a callback that reports every so many examples."""

  def report(num_examples: int) -> None:
    if num_examples % _TOKENISED_PERIOD == 0:
      on_progress(
        Progress(
          phase='tokenising', step=num_examples, train_steps=0, metrics={}
        )
      )

  return report
