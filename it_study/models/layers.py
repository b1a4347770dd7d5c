"""The parts that T5 layers are made of: dense, norm, MLP, position bias.

Shape letters:
  B batch          L any length     E emb_dim        M mlp_dim
  Q query length   K key length     H num_heads      R = Q + K - 1 distances
"""

import functools
import operator

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from it_study.models.initialization import partitioned, variance_scaling


def dense_init(scale: float = 1.0) -> nn.initializers.Initializer:
  """Truncated normal, variance `scale` / fan-in, as T5X's MLP and logits."""
  return variance_scaling(scale, 'fan_in', 'truncated_normal')


class Dense(nn.Module):
  """`x @ kernel` without a bias; `[..., in] -> [..., features]`."""

  features: int
  kernel_axes: tuple[str, str]
  kernel_init: nn.initializers.Initializer = dense_init()
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    kernel = self.param(
      'kernel',
      partitioned(self.kernel_init, self.kernel_axes),
      (x.shape[-1], self.features),
      jnp.float32,
    )
    # Flat, because the kernel's gradient then is one matrix product; with the
    # batch apart, XLA on CPUs transposes both of its operands first.
    flat = x.astype(self.dtype).reshape(-1, x.shape[-1])
    kernel = gather_embed(kernel.astype(self.dtype), self.kernel_axes)
    return (flat @ kernel).reshape(*x.shape[:-1], -1)


class RmsNorm(nn.Module):
  """Divides by the root mean square over E, then scales; no mean, no bias.

  Zhang & Sennrich, "Root Mean Square Layer Normalization" (2019), equation 4,
  with T5's epsilon of 1e-6 inside the root. Computed in float32 whatever the
  dtype, `[..., E] -> [..., E]`.
  """

  dtype: str = 'float32'
  epsilon: float = 1e-6

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    scale = self.param(
      'scale',
      partitioned(nn.initializers.ones, ('embed',)),
      (x.shape[-1],),
      jnp.float32,
    )
    return _normalize(x, scale, self.epsilon, self.dtype)


@functools.partial(jax.checkpoint, static_argnums=(2, 3))
def _normalize(
  x: jax.Array, scale: jax.Array, epsilon: float, dtype: str
) -> jax.Array:
  """`[..., E] -> [..., E]`; only `x` is kept for the backward pass."""
  x = x.astype(jnp.float32)
  inverse = lax.rsqrt(
    jnp.mean(lax.square(x), axis=-1, keepdims=True) + epsilon
  )  # [..., 1]
  return (x * inverse).astype(dtype) * scale.astype(dtype)


class Mlp(nn.Module):
  """`wo(act_0(wi_0 x) * act_1(wi_1 x) …)`; `[B, L, E] -> [B, L, E]`.

  One activation is T5 v1.0's MLP (one matrix, named `wi`), a gelu and a linear
  one are v1.1's gated GELU (Shazeer, "GLU Variants Improve Transformer", 2020;
  the tanh form of GELU).
  """

  mlp_dim: int
  emb_dim: int
  activations: tuple[str, ...]
  dropout_rate: float = 0.0
  dtype: str = 'float32'

  def setup(self):
    inner = [
      Dense(self.mlp_dim, ('embed', 'mlp'), dtype=self.dtype)
      for _ in self.activations
    ]
    # An attribute's name is its parameters' name: `wi`, or `wi_0`, `wi_1`.
    self.wi = inner[0] if len(inner) == 1 else inner
    self.wo = Dense(self.emb_dim, ('mlp', 'embed'), dtype=self.dtype)
    self.dropout = nn.Dropout(self.dropout_rate, broadcast_dims=(-2,))

  def __call__(self, x: jax.Array, *, deterministic: bool = True) -> jax.Array:
    inner = [self.wi] if len(self.activations) == 1 else self.wi
    hidden = _gate(self.activations, *[dense(x) for dense in inner])
    hidden = nn.with_logical_constraint(
      hidden, ('batch', *(None,) * (hidden.ndim - 2), 'mlp')
    )
    hidden = self.dropout(hidden, deterministic=deterministic)
    return self.wo(hidden)


@functools.partial(jax.checkpoint, static_argnums=0)
def _gate(activations: tuple[str, ...], *factors: jax.Array) -> jax.Array:
  """The product of the activated factors, all `[B, L, M]`.

  Only the factors are kept for the backward pass: GELU's gradient would keep
  several arrays more, and takes little to compute again.
  """
  return functools.reduce(
    operator.mul,
    [
      _ACTIVATIONS[name](factor)
      for name, factor in zip(activations, factors, strict=True)
    ],
  )


def split_batch(x: jax.Array) -> jax.Array:
  """Tells the compiler to split `x` by its rows alone, if it splits it.

  Nothing happens outside `partitioning.activation_sharding`.
  """
  return nn.with_logical_constraint(x, ('batch', *(None,) * (x.ndim - 1)))


def gather_embed(
  parameter: jax.Array, axes: tuple[str | None, ...]
) -> jax.Array:
  """Tells the compiler to gather a parameter along 'embed' where it is used.

  Left to itself it may gather the activations, which are larger. Nothing
  happens outside `partitioning.activation_sharding`.
  """
  return nn.with_logical_constraint(
    parameter, tuple(None if axis == 'embed' else axis for axis in axes)
  )


class RelativePositionBias(nn.Module):
  """T5's learned bias for each head and each bucket of distance.

  Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
  Text-to-Text Transformer" (2020), section 2.1. A stack computes it once and
  all its layers share it.
  """

  num_heads: int
  num_buckets: int
  max_distance: int
  bidirectional: bool

  def setup(self):
    self.rel_embedding = self.param(
      'rel_embedding',
      partitioned(
        variance_scaling(1.0, 'fan_avg', 'uniform'),
        ('heads', 'relpos_buckets'),
      ),
      (self.num_heads, self.num_buckets),
      jnp.float32,
    )

  def __call__(self, query_length: int, key_length: int) -> jax.Array:
    """The bias of every pair: float32 `[H, Q, K]`."""
    return spread_diagonals(
      self.by_distance(query_length, key_length), query_length, key_length
    )

  def by_distance(self, query_length: int, key_length: int) -> jax.Array:
    """The bias of every distance k - q, from 1 - Q to K - 1: `[H, R]`."""
    buckets = relative_position_bucket(
      np.arange(1 - query_length, key_length),
      bidirectional=self.bidirectional,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
    )  # [R]
    return jnp.take(self.rel_embedding, buckets, axis=1)


def spread_diagonals(
  values: jax.Array, query_length: int, key_length: int
) -> jax.Array:
  """`[H, R] -> [H, Q, K]`: output (q, k) is the value of distance k - q.

  The rows of the result are windows of `values`, each one step to the left of
  the row before. Copies of `values` laid end to end, read with one element
  fewer in a row, are just that: only broadcasts and reshapes, forward and
  backward, where a gather's gradient would be a scatter of Q * K elements.

  >>> spread_diagonals(jnp.array([[-1, 0, 1, 2]]), 2, 3).tolist()
  [[[0, 1, 2], [-1, 0, 1]]]
  """
  heads = values.shape[0]
  width = query_length + key_length  # R + 1
  values = jnp.pad(values, ((0, 0), (0, 1)))
  rows = jnp.broadcast_to(
    values[:, None, :], (heads, query_length, width)
  ).reshape(heads, -1)
  rows = rows[:, : query_length * (width - 1)]
  rows = rows.reshape(heads, query_length, width - 1)
  return rows[:, :, query_length - 1 : query_length - 1 + key_length]


def relative_position_bucket(
  distance: np.ndarray,
  *,
  bidirectional: bool,
  num_buckets: int = 32,
  max_distance: int = 128,
) -> np.ndarray:
  """The bucket of each distance (key position minus query position), int32.

  Half of a direction's buckets hold one distance each; the other half grow by
  a constant factor up to `max_distance`, and the last takes all beyond. With
  both directions, keys to the right have the upper half of the buckets;
  otherwise they share bucket 0, and a causal mask hides them.

  >>> relative_position_bucket(np.array([0, -1, 1, -200]), bidirectional=True)
  array([ 0,  1, 17, 15], dtype=int32)
  """
  distance = np.asarray(distance)
  if bidirectional:
    side = num_buckets // 2
    offset = np.where(distance > 0, side, 0)
    steps = np.abs(distance)
  else:
    side = num_buckets
    offset = np.zeros_like(distance)
    steps = np.maximum(-distance, 0)
  exact = side // 2
  # Nudged up: where the true value is a whole number, as at 16, 32, 64 steps
  # of the default, rounding must not lose it.
  growth = np.log(np.maximum(steps, 1) / exact) / np.log(max_distance / exact)
  grown = exact + np.floor(growth * (side - exact) + 1e-6)
  bucket = np.where(steps < exact, steps, np.minimum(grown, side - 1))
  return (offset + bucket).astype(np.int32)


_ACTIVATIONS = {
  'gelu': nn.gelu,
  'linear': lambda x: x,
  'relu': nn.relu,
  'silu': nn.silu,
}

ACTIVATIONS = tuple(_ACTIVATIONS)
