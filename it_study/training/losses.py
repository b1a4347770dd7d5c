"""The training loss: cross entropy with z-loss, per real target token.

Shape letters, as in `it_study.models`:
  B batch     T target length     E emb_dim     V vocab_size
"""

import dataclasses
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Shaped

from it_study.models import AnyArray
from it_study.training.loss import blocks, parts, terms
from it_study.training.loss.division import UNDIVIDED, Division
from it_study.training.loss.terms import Settings, Terms

# T5's.
DEFAULT_Z_LOSS = 1e-4


def cross_entropy(
  *,
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  targets: Int[AnyArray, 'B T'],
  weights: Shaped[AnyArray, 'B T'],
  z_loss: float = DEFAULT_Z_LOSS,
  label_smoothing: float = 0.0,
  num_target_tokens: Float32[Array, ''] | None = None,
  soft_cap: float | None = None,
  division: Division = UNDIVIDED,
) -> tuple[Float32[Array, ''], dict[str, Float32[Array, '']]]:
  """Returns the mean loss over the weighted target tokens of a global batch.

  The logits are `hidden @ kernel`, capped if there is a cap. With Z their
  softmax's normaliser, a token's loss is

    -sum_v q_v log softmax(logits)_v - H(q) + z_loss * log(Z)^2

  where q puts 1 - label_smoothing on the target and shares the rest evenly
  among the other tokens, and H(q) is q's entropy, so that the first two terms
  are zero for a perfect prediction. Source: Mesh TensorFlow's
  `softmax_cross_entropy_with_logits` (z-loss), Szegedy et al. 2016, section 7
  (label smoothing); T5X's `compute_weighted_cross_entropy` gives the same sums.

  Logits are the largest array of a training step, so they are not kept for the
  backward pass. The gradient is computed along with the loss, for a part of the
  rows at a time, and only arrays shaped like `hidden` and `kernel` are kept.

  Args:
    hidden: Hidden states, in the type that products are computed in.
    kernel: Logits matrix, in the same type. Logits are summed and processed in
      float32.
    targets: Target tokens.
    weights: 1 for tokens that count, 0 for padding.
    z_loss: Coefficient of the squared log normaliser.
    label_smoothing: Probability taken from the target, in [0, 1).
    num_target_tokens: Divisor of the sums; None for the sum of `weights`. For a
      part of a batch it is that of the whole batch, so that losses and
      gradients of the parts add up to those of the batch.
    soft_cap: Cap c that turns logits s into c tanh(s / c); None for no cap.
    division: How the work is divided.

  Returns:
    The loss, and metrics: `loss` (the same number), `z_loss` (its share of the
    loss), `accuracy` (share of tokens whose target has the largest logit) and
    `num_target_tokens` (the sum of the weights). Sums run over the whole batch
    before they are divided, so the loss does not depend on how the batch is
    split over devices. If all weights are 0, so are loss and metrics. Only the
    loss has a gradient, and only with respect to `hidden` and `kernel`.
  """
  weights = weights.astype(jnp.float32)
  weighted_tokens = weights.sum()
  if num_target_tokens is None:
    num_target_tokens = weighted_tokens
  # Divided here, because the gradient is computed along with the sums.
  shares = weights / jnp.maximum(num_target_tokens, 1.0)
  if division.num_columns is not None:
    rows = hidden.shape[0]
    hidden, targets, shares = parts.targets_first(
      hidden, targets, shares, division.num_columns
    )
    division = dataclasses.replace(division, num_parts=hidden.shape[0] // rows)
  settings = Settings(
    vocab_size=kernel.shape[1],
    z_loss=z_loss,
    label_smoothing=label_smoothing,
    soft_cap=soft_cap,
    division=division,
  )
  loss, mean_z_loss, accuracy = _weighted_sums(
    hidden, kernel, targets, shares, settings
  )
  return loss, {
    'loss': loss,
    'z_loss': lax.stop_gradient(mean_z_loss),
    'accuracy': lax.stop_gradient(accuracy),
    'num_target_tokens': weighted_tokens,
  }


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _weighted_sums(
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[Array, 'B T'],
  settings: Settings,
) -> Terms:
  rows = parts.split((hidden, targets, shares), settings.division.num_parts)
  if settings.division.num_blocks > 1:
    return blocks.sums(rows, kernel, settings)[0]
  kernel = terms.gathered(kernel)

  def add(sums, part):
    hidden, targets, shares = part
    values = terms.logits(hidden, kernel, settings)
    new, _ = terms.terms(terms.statistics(values, targets), shares, settings)
    return jax.tree.map(jnp.add, sums, new), None

  zero = jnp.zeros((), jnp.float32)
  return parts.loop(add, (zero, zero, zero), rows, settings.division)[0]


def _forward(
  hidden: Float[Array, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[Array, 'B T'],
  settings: Settings,
) -> tuple[Terms, tuple[Float[Array, 'B T E'], Float[Array, 'E V']]]:
  """Returns the sums, and the loss's gradients in `hidden` and `kernel`."""
  num_parts = settings.division.num_parts
  rows = parts.split((hidden, targets, shares), num_parts)
  if num_parts == 1:
    # There is one product, which the compiler adds up over devices.
    settings = dataclasses.replace(
      settings, division=dataclasses.replace(settings.division, num_shards=1)
    )
  if settings.division.num_blocks > 1:
    sums, (d_hidden, d_kernel) = blocks.sums_and_gradients(
      rows, kernel, settings
    )
    return sums, (parts.join(d_hidden, num_parts), d_kernel)
  kernel = terms.gathered(kernel)

  def add(sums, part):
    found, d_kernel = sums
    hidden, targets, shares = part
    values = terms.logits(hidden, kernel, settings)
    new, log_z = terms.terms(
      terms.statistics(values, targets), shares, settings
    )
    d_hidden, d_kernel = terms.gradients(
      values, (hidden, targets, log_z, shares), kernel, d_kernel, settings
    )
    return (jax.tree.map(jnp.add, found, new), d_kernel), d_hidden

  zero = jnp.zeros((), jnp.float32)
  (sums, d_kernel), d_hidden = parts.loop(
    add,
    ((zero, zero, zero), terms.no_gradient(kernel, settings)),
    rows,
    settings.division,
  )
  if settings.division.num_shards > 1:
    d_kernel = d_kernel.sum(axis=0)
  return sums, (parts.join(d_hidden, num_parts), d_kernel.astype(kernel.dtype))


def _backward(
  settings: Settings,
  residuals: tuple[Float[Array, 'B T E'], Float[Array, 'E V']],
  cotangents: Terms,
) -> tuple[Float[Array, 'B T E'], Float[Array, 'E V'], None, None]:
  del settings
  factor = cotangents[0]
  d_hidden, d_kernel = (
    array * factor.astype(array.dtype) for array in residuals
  )
  return d_hidden, d_kernel, None, None


_weighted_sums.defvjp(_forward, _backward)
