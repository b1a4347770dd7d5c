"""Softmax attention with T5's biases, and its gradient.

Shape letters:
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

# What the backward pass needs besides its inputs, for policies of
# `jax.checkpoint` that keep it: small next to the scores.
SAVED_NAME = 'attention'
# Scores that a CPU computes at once, in float32: few enough for its caches.
_CPU_BLOCK_BYTES = 4 * 2**20


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  position_bias: jax.Array | None,
  mask_bias: jax.Array,
  keep_weights: bool = False,
) -> jax.Array:
  """`softmax(query @ key^T + position_bias + mask_bias) @ value`.

  The softmax is in float32. A single CPU device computes a few rows of the
  batch at a time.

  Args:
    query: `[B, H, Q, D]`.
    key: `[B, H, K, D]`.
    value: `[B, H, K, D]`.
    position_bias: float32 `[H, Q, K]`, or None.
    mask_bias: float32 `[B, 1, Q, K]` or `[B, 1, 1, K]`; no gradient.
    keep_weights: whether the backward pass gets the weights, `[B, H, Q, K]` of
      the values' dtype, or computes them again from their normaliser (Dao et
      al., "FlashAttention", 2022, appendix B). Keeping them is right where a
      whole layer is computed again just before, so that they are not kept for
      long.

  Returns:
    `[B, H, Q, D]`, of the values' dtype.
  """
  return _attend_forward(
    query, key, value, position_bias, mask_bias, keep_weights
  )[0]


def _attend_forward(query, key, value, position_bias, mask_bias, keep_weights):
  def mix(rows):
    query, key, value, mask_bias = rows
    scores = _scores(query, key, position_bias, mask_bias)
    largest = scores.max(axis=-1, keepdims=True)
    # At most 1, and rounded before they are added up, so that all that is
    # stored of them is of the smaller type.
    weights = jnp.exp(scores - largest).astype(value.dtype)
    total = weights.sum(axis=-1, keepdims=True, dtype=jnp.float32)
    mixed = jnp.einsum(
      'bhqk,bhkd->bhqd', weights, value, preferred_element_type=jnp.float32
    )
    mixed = (mixed / total).astype(value.dtype)
    if keep_weights:
      return mixed, (weights, total)
    return mixed, largest + jnp.log(total)

  rows = (query, key, value, mask_bias)
  mixed, softmax = _by_blocks(
    lambda _, rows: (None, mix(rows)), None, rows, _score_bytes(query, key)
  )[1]
  saved = checkpoint_name((mixed, softmax), SAVED_NAME)
  return saved[0], (query, key, value, position_bias, mask_bias, *saved)


def _attend_backward(keep_weights, residuals, gradient):
  query, key, value, position_bias, mask_bias, mixed, softmax = residuals
  if not keep_weights:
    # Lest the compiler takes the forward pass's scores, and so keeps them.
    query, key = lax.optimization_barrier((query, key))

  def differentiate(d_position_bias, rows):
    query, key, value, mask_bias, mixed, softmax, gradient = rows
    if keep_weights:
      # Divided by the total are the smaller arrays that meet the weights.
      weights, total = softmax
      gradient = (gradient / total).astype(gradient.dtype)
    else:
      weights = jnp.exp(_scores(query, key, position_bias, mask_bias) - softmax)
    d_value = _sum_over_queries(weights.astype(value.dtype), gradient)
    d_weights = jnp.einsum(
      'bhqd,bhkd->bhqk', gradient, value, preferred_element_type=jnp.float32
    )
    # The softmax's gradient needs sum_k weights * d_weights, which is the same
    # as sum_d gradient * mixed.
    shared = jnp.sum(
      (gradient * mixed).astype(jnp.float32), axis=-1, keepdims=True
    )  # [B, H, Q, 1]
    d_scores = (weights * (d_weights - shared)).astype(query.dtype)
    # Lest the compiler keeps them in float32 as well.
    d_scores = lax.optimization_barrier(d_scores)
    if d_position_bias is not None:
      d_position_bias += _sum_over_rows(d_scores.astype(jnp.float32))
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


def _scores(query, key, position_bias, mask_bias):
  """Float32 `[B, H, Q, K]`."""
  scores = jnp.einsum(
    'bhqd,bhkd->bhqk', query, key, preferred_element_type=jnp.float32
  )
  # The biases are added to each other first: that sum is the same in all layers
  # of a stack, so the compiler may make it once.
  bias = mask_bias if position_bias is None else position_bias + mask_bias
  return scores + bias


def _sum_over_queries(weights: jax.Array, x: jax.Array) -> jax.Array:
  """`[B, H, Q, K]`, `[B, H, Q, D]` -> `[B, H, K, D]`.

  Transposes the small operand and the result; the barriers keep XLA on CPUs
  from folding that back into a transpose of the large one.
  """
  x = lax.optimization_barrier(x.swapaxes(2, 3))  # [B, H, D, Q]
  summed = jnp.einsum('bhdq,bhqk->bhdk', x, weights)
  return lax.optimization_barrier(summed).swapaxes(2, 3)


def _sum_over_rows(d_scores: jax.Array) -> jax.Array:
  """`[B, H, Q, K] -> [H, Q, K]`."""

  def by_product(d_scores):
    # XLA's sum over the batch is 50 times slower on CPUs.
    ones = jnp.ones((1, d_scores.shape[0]), jnp.float32)
    flat = d_scores.reshape(d_scores.shape[0], -1)
    return (ones @ flat).reshape(d_scores.shape[1:])

  # Elsewhere a plain sum does.
  return lax.platform_dependent(
    d_scores, cpu=by_product, default=functools.partial(jnp.sum, axis=0)
  )


def _score_bytes(query: jax.Array, key: jax.Array) -> int:
  """Of one row of the batch, in float32."""
  return 4 * math.prod(query.shape[1:3]) * key.shape[2]


def _by_blocks(
  function: Callable[[Any, Any], tuple[Any, Any]],
  carry: Any,
  rows: tuple[jax.Array, ...],
  row_bytes: int,
) -> tuple[Any, Any]:
  """`function(carry, rows)`, on one CPU by a loop over blocks of rows.

  The results are a carry and arrays `[B, ...]`.
  """
  batch = rows[0].shape[0]
  block = next(
    size
    for size in range(batch, 0, -1)
    if batch % size == 0 and (size == 1 or size * row_bytes <= _CPU_BLOCK_BYTES)
  )
  if block == batch or not _on_one_device():
    return function(carry, rows)

  def loop(carry, rows):
    blocks = jax.tree.map(
      lambda array: array.reshape(-1, block, *array.shape[1:]), rows
    )
    carry, results = lax.scan(function, carry, blocks)
    return carry, jax.tree.map(
      lambda array: array.reshape(-1, *array.shape[2:]), results
    )

  return lax.platform_dependent(carry, rows, cpu=loop, default=function)


def _on_one_device() -> bool:
  """Whether what is traced is not split over devices, as far as it is known."""
  mesh = jax.sharding.get_abstract_mesh()
  return mesh.empty or mesh.size == 1
