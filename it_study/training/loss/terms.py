"""Logits, the terms of the loss that they give, and its gradients.

Shape letters, as in `it_study.models`:
  B batch     T target length     E emb_dim     V vocab_size
"""

import dataclasses
from typing import NamedTuple

from flax.linen.spmd import with_logical_constraint
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Shaped

from it_study.models import AnyArray, layers
from it_study.models.dot_product_attention import capped
from it_study.training.loss.division import Division

# Weighted sums of losses, of their z-losses and of correct tokens.
Terms = tuple[Float32[Array, ''], Float32[Array, ''], Float32[Array, '']]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """Arguments of `losses.cross_entropy` that are not arrays.

  Attributes:
    vocab_size: Number of all tokens, V.
    z_loss: Coefficient of the squared log normaliser.
    label_smoothing: Probability taken from the target.
    soft_cap: Cap of the logits; None for no cap.
    division: How the work is divided. Where it has a length of parts, the rows
      are cut, and it also has their number.
  """

  vocab_size: int
  z_loss: float
  label_smoothing: float
  soft_cap: float | None
  division: Division


class Statistics(NamedTuple):
  """What the loss needs to know of the logits, for every token.

  Attributes:
    largest: Largest logit.
    total: Sum of exp(logit - largest).
    target: Logit of the target; 0 where the target is -1, in another block.
    sum: Sum of the logits.
  """

  largest: Float32[Array, '...']
  total: Float32[Array, '...']
  target: Float32[Array, '...']
  sum: Float32[Array, '...']


def gathered(kernel: Float[AnyArray, 'E V']) -> Float[AnyArray, 'E V']:
  """Tells the compiler to gather a kernel along E where it is used."""
  return layers.gather_embed(kernel, ('embed', 'vocab'))


def logits(
  hidden: Float[AnyArray, 'B T E'],
  kernel: Float[AnyArray, 'E V'],
  settings: Settings,
) -> Float32[Array, 'B T V']:
  """Returns the logits, capped."""
  product = jnp.matmul(
    # Flattened, as one product of two matrices.
    hidden.reshape(-1, hidden.shape[-1]),
    kernel,
    preferred_element_type=jnp.float32,
  ).reshape(*hidden.shape[:-1], -1)
  product = with_logical_constraint(product, ('batch', 'length', 'vocab'))
  return capped(product, settings.soft_cap)


def statistics(
  values: Float32[Array, 'B T V'], targets: Int[AnyArray, 'B T']
) -> Statistics:
  """Returns the statistics of logits; a target of -1 is in another block."""
  largest = values.max(axis=-1, keepdims=True)
  target = jnp.take_along_axis(values, targets[..., None], axis=-1)[..., 0]
  return Statistics(
    largest=largest[..., 0],
    total=jnp.exp(values - largest).sum(axis=-1),
    target=jnp.where(targets < 0, 0.0, target),
    sum=values.sum(axis=-1),
  )


def terms(
  found: Statistics, shares: Float32[AnyArray, '*tokens'], settings: Settings
) -> tuple[Terms, Float32[Array, '*tokens']]:
  """Returns the weighted sums, and log Z of every token."""
  log_z = jnp.log(found.total) + found.largest
  losses = log_z - found.target
  if settings.label_smoothing:
    vocab = settings.vocab_size
    confidence = 1.0 - settings.label_smoothing
    other_share = settings.label_smoothing / (vocab - 1)
    smooth = vocab * log_z - found.sum - losses
    entropy = -(
      confidence * jnp.log(confidence)
      + settings.label_smoothing * jnp.log(other_share)
    )
    losses = confidence * losses + other_share * smooth - entropy
  z_losses = settings.z_loss * jnp.square(log_z)
  correct = (found.target == found.largest).astype(jnp.float32)
  mean_z_loss = (z_losses * shares).sum()
  sums = (
    (losses * shares).sum() + mean_z_loss,
    mean_z_loss,
    (correct * shares).sum(),
  )
  return sums, log_z


def gradients(
  values: Float32[Array, 'B T V'],
  part: tuple[Shaped[AnyArray, 'B T ...'], ...],
  kernel: Float[AnyArray, 'E V'],
  d_kernel: Float32[Array, '... E V'] | None,
  settings: Settings,
) -> tuple[Float[Array, 'B T E'], Float32[Array, '... E V']]:
  """Returns a part's gradients in its hidden states and in the kernel.

  Args:
    values: Logits of the part, capped.
    part: Hidden states, targets, log Z and shares of the part.
    kernel: Logits matrix, or a block of it.
    d_kernel: Sum of the gradients of former parts, which this one's is added
      to, by shard; None for none.
    settings: Settings of the loss.
  """
  hidden, targets, log_z, shares = map(jnp.asarray, part)
  d_logits = _d_logits(values, targets, log_z, shares, settings)
  if settings.soft_cap is not None:
    d_logits *= 1.0 - jnp.square(values / settings.soft_cap)
  d_logits = d_logits.astype(hidden.dtype)
  flat = d_logits.reshape(-1, d_logits.shape[-1])
  # What blocks give is rounded once they are added up.
  dtype = hidden.dtype if settings.division.num_blocks == 1 else jnp.float32
  d_hidden = jnp.matmul(flat, kernel.T, preferred_element_type=dtype)
  new = _d_kernel(hidden, flat, settings.division.num_shards)
  return (
    d_hidden.reshape(hidden.shape),
    new if d_kernel is None else d_kernel + new,
  )


def no_gradient(
  kernel: Float[AnyArray, 'E V'], settings: Settings
) -> Float32[Array, '... E V'] | None:
  """Returns what `gradients` adds the first part's gradient to."""
  shards = settings.division.num_shards
  if settings.division.num_parts == 1:
    return None
  if shards == 1:
    return jnp.zeros(kernel.shape, jnp.float32)
  return _per_shard(jnp.zeros((shards, *kernel.shape), jnp.float32))


def _d_logits(
  values: Float32[Array, 'B T V'],
  targets: Int[AnyArray, 'B T'],
  log_z: Float32[Array, 'B T'],
  shares: Float32[Array, 'B T'],
  settings: Settings,
) -> Float32[Array, 'B T V']:
  """Returns the weighted loss's gradient in the logits.

  For a token with log normaliser z: `(1 + 2 z_loss z) softmax(logits) - q`.
  """
  other_share = settings.label_smoothing / (settings.vocab_size - 1)
  is_target = (
    lax.broadcasted_iota(targets.dtype, values.shape, values.ndim - 1)
    == targets[..., None]
  )
  target_shares = jnp.where(
    is_target, 1.0 - settings.label_smoothing, other_share
  )
  scale = (1.0 + 2.0 * settings.z_loss * log_z) * shares
  return (
    scale[..., None] * jnp.exp(values - log_z[..., None])
    - shares[..., None] * target_shares
  )


def _d_kernel(
  hidden: Float[Array, 'B T E'], d_logits: Float[Array, 'tokens V'], shards: int
) -> Float32[Array, '... E V']:
  """Returns a part's gradient in the kernel; [S, E, V] for S > 1 shards."""
  flat = hidden.reshape(-1, hidden.shape[-1])
  if shards == 1:
    return jnp.matmul(flat.T, d_logits, preferred_element_type=jnp.float32)
  by_shard = jnp.einsum(
    'ste,stv->sev',
    flat.reshape(shards, -1, flat.shape[-1]),
    d_logits.reshape(shards, -1, d_logits.shape[-1]),
    preferred_element_type=jnp.float32,
  )
  return _per_shard(by_shard)


def _per_shard(
  d_kernel: Float32[Array, 'S E V'],
) -> Float32[Array, 'S E V']:
  """Keeps each shard's gradient on the devices that hold its rows.

  Otherwise the compiler adds it up over devices in every iteration of the loop.
  """
  return with_logical_constraint(d_kernel, ('batch', None, 'vocab'))
