"""The loss on held-out instances, looked at while a training runs."""

import functools
import time
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from it_study.input_pipeline.feed import Feed
from it_study.models import partitioning
from it_study.models.t5 import T5
from it_study.training import losses


class Validation:
  """Loss and accuracy over every example of a feed, each once.

  Without dropout, and in the same order each time, so that equal parameters
  give equal numbers.
  """

  def __init__(self, *, feed: Feed, model: T5, mesh: Mesh):
    """Args: `feed` of the held-out examples, not packed; `model`; `mesh`."""
    assert not feed.pack
    self._feed = feed
    self._mesh = mesh
    self._step = _make_step(model, mesh)

  def __call__(self, params: Any) -> dict[str, float]:
    """Computes both for the parameters of now.

    Returns:
      `validation_loss`, the mean per target token, z-loss not included;
      `validation_accuracy`, the share of target tokens that are the likeliest;
      and `validation_seconds`, what it took, compiling included.
    """
    before = time.perf_counter()
    sums = [
      self._step(params, self._batch(step))
      for step in range(self._feed.num_steps(epochs=1))
    ]
    loss, accuracy, num_tokens = np.array(jax.device_get(sums), np.float64).T
    return {
      'validation_loss': float(loss @ num_tokens / num_tokens.sum()),
      'validation_accuracy': float(accuracy @ num_tokens / num_tokens.sum()),
      'validation_seconds': time.perf_counter() - before,
    }

  def _batch(self, step: int) -> dict[str, jax.Array]:
    batch = held_out_batch(self._feed, step)
    sharding = partitioning.batch_sharding(self._mesh)
    return {
      name: jax.make_array_from_callback(
        array.shape, sharding, lambda index, array=array: array[index]
      )
      for name, array in batch.items()
    }


def held_out_batch(
  feed: Feed, step: int, *, rows: slice | None = None
) -> dict[str, np.ndarray]:
  """A batch of the one epoch that is looked at.

  The last one is filled up with rows of zeros, which do not count.

  Args:
    feed: of the held-out examples, not packed.
    step: which batch.
    rows: of the batch, those to return; None returns all.
  """
  rows = rows or slice(0, feed.batch_size)
  batch = feed.batch(step, rows=rows)
  left = len(feed.cache) - step * feed.batch_size - rows.start
  if left < rows.stop - rows.start:
    for array in batch.values():
      array[max(left, 0) :] = 0
  return batch


@functools.lru_cache(maxsize=16)
def _make_step(model: T5, mesh: Mesh):
  """The jitted `(params, batch) -> (loss, accuracy, num_target_tokens)`."""

  def step(params, batch):
    features = dict(batch)
    weights = features.pop('decoder_loss_weights')
    with partitioning.activation_sharding(mesh):
      hidden, kernel = model.apply(
        {'params': params}, **features, method='before_logits'
      )
      _, metrics = losses.cross_entropy(
        hidden=hidden,
        kernel=kernel,
        targets=features['decoder_target_tokens'],
        weights=weights,
        z_loss=0.0,
        num_parts=losses.count_parts(hidden, kernel, mesh.shape),
      )
    return metrics['loss'], metrics['accuracy'], metrics['num_target_tokens']

  return jax.jit(step, out_shardings=partitioning.replicated(mesh))
