"""T5's multi-head attention over a whole sequence or one step at a time.

Shape letters, as in `it_study.models`:
  B batch          E emb_dim        H num_heads      D head_dim
  Q query length   K key length     L any length
  N decoded rows   R decoded rows per prompt
"""

import functools

from flax import linen as nn
from flax.linen.spmd import with_logical_constraint
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from it_study.models import layers
from it_study.models.cudnn_attention import SegmentCodes, attend_fused
from it_study.models.dot_product_attention import attend
from it_study.models.initialization import variance_scaling
from it_study.models.kernels import flash_attention
from it_study.models.kernels.distance_bias import DistanceBias
from it_study.models.kernels.flash_attention import Segments


class Attention(nn.Module):
  """Multi-head attention whose scores are not divided by sqrt(D).

  T5 has no such factor at run time: it is part of the query kernel's initial
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
    x: Float[Array, 'B Q E'],
    attended: Float[Array, 'B K E']
    | tuple[Float[Array, 'B H K D'], Float[Array, 'B H K D']],
    *,
    mask: Float32[Array, 'B 1 #Q K'] | SegmentCodes | Segments,
    position_bias: Float32[Array, 'H Q K'] | DistanceBias | None = None,
    deterministic: bool = True,
  ) -> Float[Array, 'B Q E']:
    """Attends from every position of `x` to every position of `attended`.

    Args:
      x: Inputs of the queries.
      attended: Inputs of the keys and values, `x` itself in self-attention; or
        the result of `keys_and_values` for them.
      mask: 0, or `MASKED` where a query must not see a key; or segment codes,
        which select cuDNN's kernel; or segments, which select ours. Has no
        gradient.
      position_bias: Bias of every pair of positions, shared by all rows; with
        segments, of every distance.
      deterministic: Whether dropout is off.
    """
    query = self._split_heads(self.query(x))  # [B, H, Q, D]
    if not isinstance(attended, tuple):
      attended = self.keys_and_values(attended)
    key, value = attended  # [B, H, K, D]
    if self.dropout_rate and not deterministic:
      value = self._drop_keys(value)
    if isinstance(mask, Segments):
      assert not isinstance(position_bias, jax.Array), 'segments need steps'
      mixed = flash_attention.attend(query, key, value, mask, position_bias)
      return self._join_heads(mixed)
    assert not isinstance(position_bias, DistanceBias), 'steps need segments'
    if isinstance(mask, SegmentCodes):
      mixed = attend_fused(query, key, value, position_bias, mask)
    else:
      mixed = attend(query, key, value, position_bias, mask, self.keep_weights)
    return self._join_heads(mixed)

  def keys_and_values(
    self, attended: Float[Array, 'B K E']
  ) -> tuple[Float[Array, 'B H K D'], Float[Array, 'B H K D']]:
    """Projects the attended positions to keys and values."""
    return (
      self._split_heads(self.key(attended)),
      self._split_heads(self.value(attended)),
    )

  def stored(
    self, attended: Float[Array, 'B K E']
  ) -> tuple[Float[Array, 'B H D K'], Float[Array, 'B H K D']]:
    """Returns keys and values in the layouts that `step` reads."""
    key, value = self.keys_and_values(attended)
    # Products with few queries read keys in this layout. In any other one, XLA
    # on CPUs takes up to eight times as long.
    return key.swapaxes(2, 3), value

  def step(
    self,
    x: Float[Array, 'N E'],
    keys: Float[Array, 'B H D K'],
    values: Float[Array, 'B H K D'],
    *,
    bias: Float32[Array, '#B #H K'] | Float32[Array, 'H K'],
  ) -> Float[Array, 'N E']:
    """Attends from one query per row to stored keys and values.

    Each R consecutive rows share keys and values, where R is N / B.

    Args:
      x: Inputs of the queries.
      keys: Stored keys.
      values: Stored values.
      bias: Sum of mask and position bias.
    """
    query = self.query(x).reshape(
      keys.shape[0], -1, self.num_heads, self.head_dim
    )
    mixed = _mix(query.swapaxes(1, 2), keys, values, bias)  # [B, H, R, D]
    return self.out(mixed.swapaxes(1, 2).reshape(x.shape[0], -1))

  def _split_heads(self, x: Float[Array, 'B L HD']) -> Float[Array, 'B H L D']:
    # Heads before length: XLA on CPUs multiplies the batches of [B, L, H, D]
    # several times slower.
    x = x.reshape(*x.shape[:2], self.num_heads, self.head_dim).swapaxes(1, 2)
    return with_logical_constraint(x, ('batch', 'heads', 'length', 'kv'))

  def _join_heads(
    self, mixed: Float[Array, 'B H Q D']
  ) -> Float[Array, 'B Q E']:
    mixed = mixed.swapaxes(1, 2)  # [B, Q, H, D]
    return self.out(mixed.reshape(*mixed.shape[:2], -1))

  def _drop_keys(
    self, value: Float[Array, 'B H K D']
  ) -> Float[Array, 'B H K D']:
    """Drops attention weights, with one draw for all queries as in T5X.

    A weight is dropped for all queries at once, so dropping its key's value has
    the same effect: K draws per head instead of Q * K products.
    """
    keep = 1.0 - self.dropout_rate
    mask = jax.random.bernoulli(
      self.make_rng('dropout'), keep, (*value.shape[:3], 1)
    )
    return value * (mask.astype(value.dtype) / keep)


def _mix(
  query: Float[Array, 'B H R D'],
  keys: Float[Array, 'B H D K'],
  values: Float[Array, 'B H K D'],
  bias: Float32[Array, '#B #H K'] | Float32[Array, 'H K'],
) -> Float[Array, 'B H R D']:
  """Attends with few queries per row, in the way that suits the platform."""
  on_cpu = _mix_by_sums if query.shape[2] == 1 else _mix_by_products
  return lax.platform_dependent(
    *(query, keys, values, bias),
    cpu=on_cpu,
    tpu=_mix_padded_to_eight,
    default=_mix_by_products,
  )


def _mix_by_products(
  query: Float[Array, 'B H R D'],
  keys: Float[Array, 'B H D K'],
  values: Float[Array, 'B H K D'],
  bias: Float32[Array, '#B #H K'] | Float32[Array, 'H K'],
) -> Float[Array, 'B H R D']:
  scores = jnp.einsum(
    'bhrd,bhdk->bhrk', query, keys, preferred_element_type=jnp.float32
  )
  weights = jax.nn.softmax(scores + bias[..., None, :]).astype(query.dtype)
  return jnp.einsum('bhrk,bhkd->bhrd', weights, values)


def _mix_by_sums(
  query: Float[Array, 'B H 1 D'],
  keys: Float[Array, 'B H D K'],
  values: Float[Array, 'B H K D'],
  bias: Float32[Array, '#B #H K'] | Float32[Array, 'H K'],
) -> Float[Array, 'B H 1 D']:
  """Attends with one query per row, by sums instead of matrix products.

  XLA on CPUs runs such products one after another. In a sum all threads read
  the keys and values, which takes half the time.
  """
  dtype = query.dtype
  query, keys, values = (
    array.astype(jnp.float32) for array in (query, keys, values)
  )
  scores = jnp.sum(query.swapaxes(2, 3) * keys, axis=2)  # [B, H, K]
  weights = jax.nn.softmax(scores + bias).astype(dtype).astype(jnp.float32)
  mixed = jnp.sum(weights[..., None] * values, axis=2, keepdims=True)
  return mixed.astype(dtype)


def _mix_padded_to_eight(
  query: Float[Array, 'B H R D'],
  keys: Float[Array, 'B H D K'],
  values: Float[Array, 'B H K D'],
  bias: Float32[Array, '#B #H K'] | Float32[Array, 'H K'],
) -> Float[Array, 'B H R D']:
  """Attends with queries padded to a multiple of 8, a TPU register's rows.

  XLA on TPUs computes a product with a single row outside the matrix unit, in
  about three times the cycles. The barriers hide from it that there is only
  one row.
  """
  rows = query.shape[2]
  query = jnp.pad(query, ((0, 0), (0, 0), (0, -rows % 8), (0, 0)))
  query = lax.optimization_barrier(query)
  mixed = _mix_by_products(query, keys, values, bias)
  return lax.optimization_barrier(mixed)[:, :, :rows]
