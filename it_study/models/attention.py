"""Multi-head attention as T5 has it, over a sequence or one step at a time.

Shape letters:
  B batch          E emb_dim        H num_heads      D head_dim
  Q query length   K key length
"""

import functools

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from it_study.models import layers
from it_study.models.cudnn_attention import SegmentCodes, attend_fused
from it_study.models.dot_product_attention import attend
from it_study.models.initialization import variance_scaling

# Added to the score of a key that must not be seen: far below any real score,
# and finite, so that a row in which no key may be seen has no NaN.
MASKED = -1e10


class Attention(nn.Module):
  """Multi-head attention without a factor of 1/sqrt(D) on the scores.

  T5 has none when it runs: the factor is part of the query kernel's initial
  distribution, as in T5X.
  """

  num_heads: int
  head_dim: int
  emb_dim: int
  dropout_rate: float = 0.0
  dtype: str = 'float32'
  keep_weights: bool = False

  def setup(self):
    normal = functools.partial(
      variance_scaling, mode='fan_in', distribution='normal'
    )
    project = functools.partial(
      layers.Dense,
      self.num_heads * self.head_dim,
      ('embed', 'joined_kv'),
      dtype=self.dtype,
    )
    # Variance 1 / (E D): a standard deviation that is sqrt(D) times smaller.
    self.query = project(kernel_init=normal(1.0 / self.head_dim))
    self.key = project(kernel_init=normal(1.0))
    self.value = project(kernel_init=normal(1.0))
    self.out = layers.Dense(
      self.emb_dim,
      ('joined_kv', 'embed'),
      kernel_init=normal(1.0),
      dtype=self.dtype,
    )

  def __call__(
    self,
    x: jax.Array,
    attended: jax.Array | tuple[jax.Array, jax.Array],
    *,
    mask: jax.Array | SegmentCodes,
    position_bias: jax.Array | None = None,
    deterministic: bool = True,
  ) -> jax.Array:
    """Attends from every position of `x` to every one of `attended`.

    Args:
      x: `[B, Q, E]`.
      attended: `[B, K, E]`; `x` itself in self-attention. Or what
        `keys_and_values` gave for it.
      mask: float32 `[B, 1, Q, K]` or `[B, 1, 1, K]`: 0, or `MASKED` where a key
        must not be seen; or segments, for the fused kernel. It gets no
        gradient.
      position_bias: float32 `[H, Q, K]`, the same for every row.
      deterministic: no dropout.

    Returns:
      `[B, Q, E]`.
    """
    query = self._split_heads(self.query(x))  # [B, H, Q, D]
    if not isinstance(attended, tuple):
      attended = self.keys_and_values(attended)
    key, value = attended  # [B, H, K, D]
    if self.dropout_rate and not deterministic:
      value = self._drop_keys(value)
    inputs = (query, key, value, position_bias, mask)
    if isinstance(mask, SegmentCodes):
      mixed = attend_fused(*inputs)  # [B, H, Q, D]
    else:
      mixed = attend(*inputs, self.keep_weights)  # [B, H, Q, D]
    mixed = mixed.swapaxes(1, 2)  # [B, Q, H, D]
    return self.out(mixed.reshape(*mixed.shape[:2], -1))

  def keys_and_values(self, attended: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`[B, K, E]` -> keys and values, each `[B, H, K, D]`."""
    return (
      self._split_heads(self.key(attended)),
      self._split_heads(self.value(attended)),
    )

  def stored(self, attended: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`[B, K, E]` -> for `step` keys `[B, H, D, K]`, values `[B, H, K, D]`."""
    key, value = self.keys_and_values(attended)
    # Laid out as a product with few queries reads them: any other way, XLA on
    # CPUs takes up to eight times as long.
    return key.swapaxes(2, 3), value

  def step(
    self, x: jax.Array, keys: jax.Array, values: jax.Array, *, bias: jax.Array
  ) -> jax.Array:
    """One query a row against stored keys and values.

    Several rows in succession may share keys and values: R times as many rows
    as there are of these.

    Args:
      x: `[B R, E]`.
      keys: `[B, H, D, K]`.
      values: `[B, H, K, D]`.
      bias: float32 that broadcasts to `[B, H, K]`, mask and position together.

    Returns:
      `[B R, E]`.
    """
    query = self.query(x).reshape(
      keys.shape[0], -1, self.num_heads, self.head_dim
    )
    mixed = _mix(query.swapaxes(1, 2), keys, values, bias)  # [B, H, R, D]
    return self.out(mixed.swapaxes(1, 2).reshape(x.shape[0], -1))

  def _split_heads(self, x: jax.Array) -> jax.Array:
    """`[B, L, H * D] -> [B, H, L, D]`."""
    # Heads before length: left to itself, XLA on CPUs multiplies the batches
    # of [B, L, H, D] several times slower.
    x = x.reshape(*x.shape[:2], self.num_heads, self.head_dim).swapaxes(1, 2)
    return nn.with_logical_constraint(x, ('batch', 'heads', 'length', 'kv'))

  def _drop_keys(self, value: jax.Array) -> jax.Array:
    """Dropout of attention weights, one draw for all queries as in T5X.

    A weight is dropped for all queries at once, so its key's value can be
    dropped in its place: K draws a head in place of Q * K products.
    """
    keep = 1.0 - self.dropout_rate
    mask = jax.random.bernoulli(
      self.make_rng('dropout'), keep, (*value.shape[:3], 1)
    )
    return value * (mask.astype(value.dtype) / keep)


def _mix(
  query: jax.Array, keys: jax.Array, values: jax.Array, bias: jax.Array
) -> jax.Array:
  """Attends with few queries a row, as each kind of device does it best.

  `[B, H, R, D]`, `[B, H, D, K]`, `[B, H, K, D]`, `[B, H, K]` ->
  `[B, H, R, D]`.
  """
  with_one = query.shape[2] == 1
  return lax.platform_dependent(
    *(query, keys, values, bias),
    cpu=_mix_by_sums if with_one else _mix_by_products,
    tpu=_mix_by_eights,
    default=_mix_by_products,
  )


def _mix_by_products(query, keys, values, bias):
  scores = jnp.einsum(
    'bhrd,bhdk->bhrk', query, keys, preferred_element_type=jnp.float32
  )
  weights = jax.nn.softmax(scores + bias[..., None, :]).astype(query.dtype)
  return jnp.einsum('bhrk,bhkd->bhrd', weights, values)


def _mix_by_sums(query, keys, values, bias):
  """For R = 1: XLA on CPUs makes small products of these, one after another.

  As a sum all threads read the keys and values, in half the time.
  """
  dtype = query.dtype
  query, keys, values = (
    array.astype(jnp.float32) for array in (query, keys, values)
  )
  scores = jnp.sum(query.swapaxes(2, 3) * keys, axis=2)  # [B, H, K]
  weights = jax.nn.softmax(scores + bias).astype(dtype).astype(jnp.float32)
  mixed = jnp.sum(weights[..., None] * values, axis=2, keepdims=True)
  return mixed.astype(dtype)  # [B, H, 1, D]


def _mix_by_eights(query, keys, values, bias):
  """With queries of zeros up to R = 8, the rows of a TPU's registers.

  XLA on TPUs computes a product with a single row outside the matrix unit, in
  about three times the cycles. The barriers keep it from seeing that it is one.
  """
  rows = query.shape[2]
  query = jnp.pad(query, ((0, 0), (0, 0), (0, -rows % 8), (0, 0)))
  query = lax.optimization_barrier(query)
  mixed = _mix_by_products(query, keys, values, bias)
  return lax.optimization_barrier(mixed)[:, :, :rows]
