"""The loss on held-out instances during a training."""

from collections.abc import Callable
import functools
import time
from typing import Any

import jax
from jax.sharding import Mesh
import numpy as np

from it_study.input_pipeline.feed import Feed
from it_study.models import Model, partitioning
from it_study.models.adapters import lora as lora_lib
from it_study.models.adapters.lora import Lora
from it_study.training import losses
from it_study.training.loss import division


class Validation:
  """Computes loss and accuracy over every example of a feed, once.

  Without dropout and in the same order each time, so that equal parameters give
  equal numbers.
  """

  def __init__(
    self, *, feed: Feed, model: Model, mesh: Mesh, lora: Lora | None = None
  ):
    """Makes the step; it is compiled at the first call.

    Args:
      feed: Held-out examples, not packed.
      model: Model to evaluate.
      mesh: Mesh of the parameters.
      lora: Settings of LoRA; None if all parameters are trained.
    """
    assert not feed.pack
    self._feed = feed
    self._mesh = mesh
    self._step = _make_step(model, mesh, lora)

  def __call__(self, params: Any, frozen: Any = None) -> dict[str, float]:
    """Evaluates parameters.

    Args:
      params: Trained parameters.
      frozen: Parameters of the model if LoRA's are trained.

    Returns:
      `validation_loss`, the mean per target token without z-loss;
      `validation_accuracy`, the share of target tokens that the model ranks
      first; and `validation_seconds`, the time it took, with compiling.
    """
    before = time.perf_counter()
    sums = [
      self._step(params, frozen, self._batch(step))
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
        array.shape, sharding, array.__getitem__
      )
      for name, array in batch.items()
    }


def held_out_batch(
  feed: Feed, step: int, *, rows: slice | None = None
) -> dict[str, np.ndarray]:
  """Returns a batch of the one epoch to evaluate.

  The last batch is padded with rows of zeros, which do not count.

  Args:
    feed: Held-out examples, not packed.
    step: Number of the batch, from 0.
    rows: Rows of the batch to return; None for all.
  """
  rows = rows or slice(0, feed.batch_size)
  batch = feed.batch(step, rows=rows)
  num_examples = len(feed.cache) - step * feed.batch_size - rows.start
  if num_examples < rows.stop - rows.start:
    for array in batch.values():
      array[max(num_examples, 0) :] = 0
  return batch


@functools.lru_cache(maxsize=16)
def _make_step(
  model: Model, mesh: Mesh, lora: Lora | None
) -> Callable[[Any, Any, dict[str, jax.Array]], tuple[jax.Array, ...]]:
  """Returns the jitted `(params, frozen, batch)`.

  Its result is a tuple `(loss, accuracy, num_target_tokens)` of scalars.
  """

  def step(
    params: Any, frozen: Any, batch: dict[str, jax.Array]
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    features: dict[str, Any] = dict(batch)
    weights = features.pop('decoder_loss_weights')
    with partitioning.activation_sharding(mesh):
      outputs: Any = model.apply(
        {'params': lora_lib.merge(lora, params, frozen)},
        **features,
        method='before_logits',
      )
      hidden, kernel = outputs
      _, metrics = losses.cross_entropy(
        hidden=hidden,
        kernel=kernel,
        targets=features['decoder_target_tokens'],
        weights=weights,
        z_loss=0.0,
        soft_cap=model.config.logits_soft_cap,
        division=division.divide(
          hidden,
          kernel,
          mesh.shape,
          platform=mesh.devices.flat[0].platform,
          has_sparse_targets=model.config.has_sparse_targets,
        ),
      )
    return metrics['loss'], metrics['accuracy'], metrics['num_target_tokens']

  return jax.jit(step, out_shardings=partitioning.replicated(mesh))
