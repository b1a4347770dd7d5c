"""Softmax attention with T5's biases, and its gradient.

Shape letters, as in `it_study.models`:
  B batch          H num_heads      D head_dim
  Q query length   K key length
"""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

# Added to the scores of masked keys. It is far below any real score, and finite
# so that a row whose keys are all masked has no NaN.
MASKED = -1e10
# Name of what the backward pass needs besides its inputs, for `jax.checkpoint`
# policies that save it. It is small next to the scores.
SAVED_NAME = 'attention'
# Bytes of float32 scores that a CPU computes at once, few enough for its cache.
_CPU_BLOCK_BYTES = 4 * 2**20
# A CPU computes causal scores in at most this many blocks of queries, each with
# the keys up to its last query. Four compute 62.5% of all scores, and every
# block is compiled on its own.
_CAUSAL_BLOCKS = 4
# Queries of a block; smaller products are slow.
_SHORTEST_CAUSAL_BLOCK = 64


def capped(
  products: Float32[Array, ' *shape'], soft_cap: float | None
) -> Float32[Array, ' *shape']:
  """Returns c tanh(s / c) of products s and a cap c; None for no cap."""
  if soft_cap is None:
    return products
  return soft_cap * jnp.tanh(products / soft_cap)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def attend(
  query: Float[Array, 'B H Q D'],
  key: Float[Array, 'B H K D'],
  value: Float[Array, 'B H K D'],
  position_bias: Float32[Array, 'H Q K'] | None,
  mask_bias: Float32[Array, 'B 1 #Q K'],
  keep_weights: bool = False,
  soft_cap: float | None = None,
  is_causal: bool = False,
) -> Float[Array, 'B H Q D']:
  """Computes `softmax(query @ key^T + position_bias + mask_bias) @ value`.

  The softmax is in float32, the result in the values' dtype. A single CPU
  device computes a few rows of the batch at a time.

  Args:
    query: Queries.
    key: Keys.
    value: Values.
    position_bias: Bias of every pair of positions, shared by all rows.
    mask_bias: Bias that hides keys; has no gradient.
    keep_weights: Whether the backward pass is given the weights, [B, H, Q, K]
      in the values' dtype, instead of recomputing them from their normaliser
      (Dao et al., "FlashAttention", 2022, appendix B). Worthwhile where the
      whole layer is recomputed just before, so that they are short-lived.
    soft_cap: Cap c that turns products s into c tanh(s / c) before the biases
      are added (Gemma 2); None for no cap.
    is_causal: Whether `mask_bias` hides, from every query, all keys after its
      own place. They need not be computed.
  """
  return _attend_forward(
    query,
    key,
    value,
    position_bias,
    mask_bias,
    keep_weights,
    soft_cap,
    is_causal,
  )[0]


def _attend_forward(
  query: Float[Array, 'B H Q D'],
  key: Float[Array, 'B H K D'],
  value: Float[Array, 'B H K D'],
  position_bias: Float32[Array, 'H Q K'] | None,
  mask_bias: Float32[Array, 'B 1 #Q K'],
  keep_weights: bool,
  soft_cap: float | None,
  is_causal: bool,
) -> tuple[Float[Array, 'B H Q D'], tuple[Any, ...]]:
  """Returns the result and what `_attend_backward` needs."""

  def mix(_, rows):
    query, key, value, mask_bias = rows
    scores = _scores(query, key, position_bias, mask_bias, soft_cap)
    largest = scores.max(axis=-1, keepdims=True)
    # At most 1, and rounded before they are summed, so that they are only ever
    # stored in the smaller type.
    weights = jnp.exp(scores - largest).astype(value.dtype)
    total = weights.sum(axis=-1, keepdims=True, dtype=jnp.float32)
    mixed = jnp.einsum(
      'bhqk,bhkd->bhqd', weights, value, preferred_element_type=jnp.float32
    )
    mixed = (mixed / total).astype(value.dtype)
    if keep_weights:
      return None, (mixed, (weights, total))
    return None, (mixed, largest + jnp.log(total))

  def mix_visible(_, rows):
    query, key, value, mask_bias = rows
    length = query.shape[2]
    size = max(-(-length // _CAUSAL_BLOCKS), _SHORTEST_CAUSAL_BLOCK)
    results = []
    for start in range(0, length, size):
      own, visible = slice(start, start + size), slice(start + size)
      block = (
        query[:, :, own],
        key[:, :, visible],
        value[:, :, visible],
        mask_bias[:, :, own, visible],
      )
      results.append(mix(None, block)[1])
    return None, jax.tree.map(
      lambda *blocks: jnp.concatenate(blocks, axis=2), *results
    )

  skips_hidden = is_causal and position_bias is None and not keep_weights
  mixed, softmax = _by_blocks(
    mix,
    None,
    (query, key, value, mask_bias),
    _score_bytes(query, key),
    on_cpu=mix_visible if skips_hidden else mix,
  )[1]
  saved = checkpoint_name((mixed, softmax), SAVED_NAME)
  return saved[0], (query, key, value, position_bias, mask_bias, *saved)


def _attend_backward(
  keep_weights: bool,
  soft_cap: float | None,
  is_causal: bool,
  residuals: tuple[Any, ...],
  gradient: Float[Array, 'B H Q D'],
) -> tuple[
  Float[Array, 'B H Q D'],
  Float[Array, 'B H K D'],
  Float[Array, 'B H K D'],
  Float32[Array, 'H Q K'] | None,
  None,
]:
  """Returns the gradients of the five array arguments of `attend`."""
  del is_causal
  query, key, value, position_bias, mask_bias, mixed, softmax = residuals
  if not keep_weights:
    # Without the barrier the compiler reuses the forward pass's scores, which
    # keeps them in memory.
    query, key = lax.optimization_barrier((query, key))

  def differentiate(d_position_bias, rows):
    query, key, value, mask_bias, mixed, softmax, gradient = rows
    if keep_weights:
      # Dividing the gradient by the total is cheaper than dividing the weights.
      weights, total = softmax
      gradient = (gradient / total).astype(gradient.dtype)
    else:
      scores = _scores(query, key, position_bias, mask_bias, soft_cap)
      weights = jnp.exp(scores - softmax)
    d_value = _sum_over_queries(weights.astype(value.dtype), gradient)
    d_weights = jnp.einsum(
      'bhqd,bhkd->bhqk', gradient, value, preferred_element_type=jnp.float32
    )
    # The softmax's gradient needs sum_k weights * d_weights, which equals
    # sum_d gradient * mixed.
    shared = jnp.sum(
      (gradient * mixed).astype(jnp.float32), axis=-1, keepdims=True
    )  # [B, H, Q, 1]
    d_scores = (weights * (d_weights - shared)).astype(query.dtype)
    # Without the barrier the compiler keeps them in float32 as well.
    d_scores = lax.optimization_barrier(d_scores)
    if d_position_bias is not None:
      d_position_bias += _sum_over_rows(d_scores.astype(jnp.float32))
    if soft_cap is not None:
      # The derivative of c tanh(s / c) is 1 - tanh(s / c)^2.
      tanh = capped(_products(query, key), soft_cap) / soft_cap
      d_scores = (d_scores * (1 - tanh * tanh)).astype(query.dtype)
    d_query = jnp.einsum('bhqk,bhkd->bhqd', d_scores, key)
    d_key = _sum_over_queries(d_scores, query)
    return d_position_bias, (d_query, d_key, d_value)

  zeros = None if position_bias is None else jnp.zeros_like(position_bias)
  rows = (query, key, value, mask_bias, mixed, softmax, gradient)
  d_position_bias, d_rows = _by_blocks(
    differentiate, zeros, rows, _score_bytes(query, key)
  )
  return *d_rows, d_position_bias, None


attend.defvjp(_attend_forward, _attend_backward)


def _scores(
  query: Float[Array, 'B H Q D'],
  key: Float[Array, 'B H K D'],
  position_bias: Float32[Array, 'H Q K'] | None,
  mask_bias: Float32[Array, 'B 1 #Q K'],
  soft_cap: float | None,
) -> Float32[Array, 'B H Q K']:
  scores = capped(_products(query, key), soft_cap)
  # The biases are added to each other first: their sum is the same in all of a
  # stack's layers, so the compiler can compute it once.
  bias = mask_bias if position_bias is None else position_bias + mask_bias
  return scores + bias


def _products(
  query: Float[Array, 'B H Q D'], key: Float[Array, 'B H K D']
) -> Float32[Array, 'B H Q K']:
  return jnp.einsum(
    'bhqd,bhkd->bhqk', query, key, preferred_element_type=jnp.float32
  )


def _sum_over_queries(
  weights: Float[Array, 'B H Q K'], x: Float[Array, 'B H Q D']
) -> Float[Array, 'B H K D']:
  """Sums `x` over the queries, weighted for every key.

  Transposes the small operand and the result. The barriers keep XLA on CPUs
  from folding that back into a transpose of the large one.
  """
  x = lax.optimization_barrier(x.swapaxes(2, 3))  # [B, H, D, Q]
  summed = jnp.einsum('bhdq,bhqk->bhdk', x, weights)
  return lax.optimization_barrier(summed).swapaxes(2, 3)


def _sum_over_rows(
  d_scores: Float32[Array, 'B H Q K'],
) -> Float32[Array, 'H Q K']:
  def by_product(d_scores):
    # XLA's sum over the batch is 50 times slower on CPUs.
    ones = jnp.ones((1, d_scores.shape[0]), jnp.float32)
    flat = d_scores.reshape(d_scores.shape[0], -1)
    return (ones @ flat).reshape(d_scores.shape[1:])

  return lax.platform_dependent(
    d_scores, cpu=by_product, default=functools.partial(jnp.sum, axis=0)
  )


def _score_bytes(
  query: Float[Array, 'B H Q D'], key: Float[Array, 'B H K D']
) -> int:
  """Bytes of the float32 scores of one row of the batch."""
  return 4 * math.prod(query.shape[1:3]) * key.shape[2]


def _by_blocks(
  function: Callable[[Any, Any], tuple[Any, Any]],
  carry: Any,
  rows: tuple[Any, ...],
  row_bytes: int,
  *,
  on_cpu: Callable[[Any, Any], tuple[Any, Any]] | None = None,
) -> tuple[Any, Any]:
  """Calls `function(carry, rows)`, on one CPU in a loop over blocks of rows.

  Args:
    function: Function of the carry and of some rows.
    carry: Carry before the first rows.
    rows: Arrays whose first axis is the batch.
    row_bytes: Bytes that the function needs for one row.
    on_cpu: Function to call instead on one CPU; None for the same.

  Returns:
    The carry, and arrays whose first axis is the batch.
  """
  on_cpu = on_cpu or function
  batch = rows[0].shape[0]
  block = next(
    size
    for size in range(batch, 0, -1)
    if batch % size == 0 and (size == 1 or size * row_bytes <= _CPU_BLOCK_BYTES)
  )
  if not _on_one_device() or (block == batch and on_cpu is function):
    return function(carry, rows)

  def loop(carry, rows):
    if block == batch:
      return on_cpu(carry, rows)
    blocks = jax.tree.map(
      lambda array: array.reshape(-1, block, *array.shape[1:]), rows
    )
    carry, results = lax.scan(on_cpu, carry, blocks)
    return carry, jax.tree.map(
      lambda array: array.reshape(-1, *array.shape[2:]), results
    )

  return lax.platform_dependent(carry, rows, cpu=loop, default=function)


def _on_one_device() -> bool:
  """Whether the traced computation runs on one device, as far as is known."""
  mesh = jax.sharding.get_abstract_mesh()
  return mesh.empty or mesh.size == 1
