"""Our batches in the form that T5X takes them in."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from it_study.engines.t5x import decoder
from it_study.errors import InputError
from it_study.input_pipeline.feed import Feed
from it_study.training import validation


def dataset_config(
  name: str, *, lengths: Mapping[str, int], split: str, batch_size: int
) -> Any:
  """Returns T5X's configuration of a dataset."""
  from t5x import utils

  return utils.DatasetConfig(
    mixture_or_task_name=name,
    # By default, T5X sets no limit when it evaluates.
    task_feature_lengths=dict(lengths),
    split=split,
    batch_size=batch_size,
    shuffle=False,
    seed=0,
    # By default, T5X expects tasks that SeqIO has cached.
    use_cached=False,
    pack=False,
  )


def feed_iterator(
  feed: Feed,
  *,
  start: int,
  index: int,
  count: int,
  tokens: dict[int, int],
  has_shares: bool = False,
) -> Any:
  """Returns the batches from a step on, as a `clu` iterator.

  Args:
    feed: All batches.
    start: Step that the training resumes from.
    index: Index of this host's share of each batch.
    count: Number of shares.
    tokens: Dict to add the number of tokens by step to; the shares are assumed
      to hold equally many.
    has_shares: Whether the weights of a batch's target tokens add up to 1.
  """
  from clu.data import dataset_iterator

  rows = _rows(feed, index, count)

  class FeedIterator(dataset_iterator.DatasetIterator):
    """Batches by step; the position follows from the checkpoint's step."""

    def __init__(self):
      self._step = start

    def __next__(self) -> dict[str, np.ndarray]:
      batch = feed.batch(self._step, rows=rows)
      if has_shares:
        whole = batch if count == 1 else feed.batch(self._step)
        batch['decoder_loss_weights'] /= whole['decoder_loss_weights'].sum()
      self._step += 1
      tokens[self._step] = count * feed.layout.count_tokens(batch)
      return decoder.t5x_batch(batch)

    def reset(self) -> None:
      self._step = start

    @property
    def element_spec(self) -> dict[str, Any]:
      return {
        name: dataset_iterator.ArraySpec(dtype=array.dtype, shape=array.shape)
        for name, array in feed.batch(start, rows=rows).items()
      }

  return FeedIterator()


def validation_batches(feed: Feed | None, index: int, count: int) -> Any:
  """Returns one pass over the held-out instances, as a `tf.data.Dataset`."""
  import tensorflow as tf

  if feed is None:
    raise ValueError('there is no validation feed to evaluate on')

  rows = _rows(feed, index, count)
  example = feed.batch(0, rows=rows)
  return tf.data.Dataset.from_generator(
    lambda: (
      decoder.t5x_batch(validation.held_out_batch(feed, step, rows=rows))
      for step in range(feed.num_steps(epochs=1))
    ),
    output_signature={
      name: tf.TensorSpec(array.shape, array.dtype)
      for name, array in example.items()
    },
  )


def _rows(feed: Feed, index: int, count: int) -> slice:
  """Returns the rows of one of `count` equal shares of every batch."""
  if feed.batch_size % count:
    raise InputError(
      f'BATCH_SIZE is {feed.batch_size}: T5X splits a batch evenly over '
      f'{count} shares of data. Give a multiple.'
    )
  share = feed.batch_size // count
  return slice(index * share, (index + 1) * share)
