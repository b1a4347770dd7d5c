"""The kernels: a tile of queries or of keys, against all tiles of the others.

A kernel takes references. Length comes last in what they refer to: a TPU then
stores heads of fewer than 128 dimensions without padding.

Shape letters, as in `it_study.models`:
  B batch          H num_heads      D head_dim
  Q query length   K key length     J num_kv_heads
  q queries of a tile               k keys of a tile
"""

from typing import Any, NamedTuple

from jax import lax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from it_study.models.dot_product_attention import MASKED, capped
from it_study.models.kernels.distance_bias import Steps


class Settings(NamedTuple):
  """What is known when a kernel is compiled.

  Attributes:
    starts: Starts of the bias.
    is_learned: Whether the bias gets a gradient.
    soft_cap: Cap of the scores; None for none.
    by_diagonal: As in `Steps`.
  """

  starts: tuple[int, ...]
  is_learned: bool
  soft_cap: float | None
  by_diagonal: bool = False


class Bias(NamedTuple):
  """The bias by distance.

  Attributes:
    starts: Starts of the steps, then `FAR`, [steps + 1].
    values: Values of the steps, [H, steps].
  """

  starts: Any
  values: Any


class Queries(NamedTuple):
  """What belongs to queries; a kernel gets one row and head of it.

  Attributes:
    segments: Segments, [B, 1, 1, Q].
    query: Queries, [B, H, D, Q].
    gradient: Gradient of the results, [B, H, D, Q].
    normalizer: Logarithm of the softmax's normalizer, [B, H, 1, Q].
    shared: Sum over D of the results times their gradient, [B, H, 1, Q].
  """

  segments: Any
  query: Any
  gradient: Any = None
  normalizer: Any = None
  shared: Any = None


class Keys(NamedTuple):
  """What belongs to keys; a kernel gets one row and head of it.

  Attributes:
    segments: Segments, [B, 1, 1, K].
    key: Keys, [B, J, D, K].
    value: Values, [B, J, D, K].
  """

  segments: Any
  key: Any
  value: Any


def forward(settings, key_tile, bias, queries, keys, mixed_ref, normalizer_ref):
  """Writes the results of a tile of queries, and their normalizers."""
  steps = _steps(settings, bias)
  num_queries = queries.query.shape[1]
  start = pl.program_id(2) * num_queries
  query = queries.query[...].T  # [q, D]
  segments = queries.segments[...].T  # [q, 1]

  def add(index, carry):
    step, largest, total, mixed = carry
    tile = _tile(index, key_tile)
    place = steps.place(
      *((num_queries, key_tile), index * key_tile - start, step), key_axis=1
    )
    _, scores = _scores(settings, steps, place, query, keys.key[:, tile])
    scores = jnp.where(segments == keys.segments[:, tile], scores, MASKED)
    former = largest
    largest = jnp.maximum(former, scores.max(axis=1, keepdims=True))
    decay = jnp.exp(former - largest)
    weights = jnp.exp(scores - largest)
    total = decay * total + weights.sum(axis=1, keepdims=True)
    value = keys.value[:, tile].T
    mixed = decay * mixed + _dot(weights.astype(value.dtype), value)
    return place.step, largest, total, mixed

  column = jnp.zeros((num_queries, 1), jnp.float32)
  low, high = _key_tiles(steps, start, num_queries, key_tile, keys)
  _, largest, total, mixed = lax.fori_loop(
    low,
    high,
    add,
    (0, column + MASKED, column, jnp.zeros(query.shape, jnp.float32)),
  )
  mixed_ref[...] = (mixed / total).astype(mixed_ref.dtype).T
  normalizer_ref[...] = (largest + jnp.log(total)).T


def backward_of_queries(
  settings, key_tile, bias, queries, keys, d_values_ref, d_query_ref
):
  """Writes the gradients of the bias's values and of a tile of queries."""
  steps = _steps(settings, bias)
  num_queries = queries.query.shape[1]
  start = pl.program_id(2) * num_queries
  segments, query, gradient, normalizer, shared = (
    ref[...].T for ref in queries
  )  # [q, 1] or [q, D]

  def add(index, carry):
    step, d_values, d_query = carry
    tile = _tile(index, key_tile)
    place = steps.place(
      *((num_queries, key_tile), index * key_tile - start, step), key_axis=1
    )
    key = keys.key[:, tile]
    products, scores = _scores(settings, steps, place, query, key)
    scores = jnp.where(segments == keys.segments[:, tile], scores, MASKED)
    weights = jnp.exp(scores - normalizer)
    d_scores = weights * (_dot(gradient, keys.value[:, tile]) - shared)
    if settings.is_learned:
      d_values = steps.add_gradient(d_values, d_scores, place)
    d_products = _before_cap(settings, products, d_scores)
    d_query += _dot(d_products.astype(key.dtype), key.T)
    return place.step, d_values, d_query

  low, high = _key_tiles(steps, start, num_queries, key_tile, keys)
  _, d_values, d_query = lax.fori_loop(
    low,
    high,
    add,
    (
      0,
      jnp.zeros(d_values_ref.shape, jnp.float32),
      jnp.zeros(query.shape, jnp.float32),
    ),
  )
  d_values_ref[...] = d_values
  d_query_ref[...] = d_query.astype(d_query_ref.dtype).T


def backward_of_keys(
  settings, query_tile, bias, keys, queries, d_key_ref, d_value_ref
):
  """Writes the gradients of a tile of keys and values.

  Scores are transposed here, so that the queries' numbers need not be.
  """
  steps = _steps(settings, bias)
  num_keys = keys.key.shape[1]
  start = pl.program_id(2) * num_keys
  segments, key, value = (ref[...].T for ref in keys)  # [k, 1] or [k, D]
  smallest, largest = steps.reach()
  low, high = _tiles_between(
    start - largest,
    start + num_keys - 1 - smallest,
    query_tile,
    queries.query.shape[1],
  )

  def add(index, carry):
    step, d_key, d_value = carry
    # From the last tile to the first, so that distances rise.
    index = low + high - 1 - index
    tile = _tile(index, query_tile)
    place = steps.place(
      *((num_keys, query_tile), start - index * query_tile, step), key_axis=0
    )
    query, gradient = queries.query[:, tile], queries.gradient[:, tile]
    products, scores = _scores(settings, steps, place, key, query)
    scores = jnp.where(segments == queries.segments[:, tile], scores, MASKED)
    weights = jnp.exp(scores - queries.normalizer[:, tile])  # [k, q]
    d_value += _dot(weights.astype(gradient.dtype), gradient.T)
    d_scores = weights * (_dot(value, gradient) - queries.shared[:, tile])
    d_products = _before_cap(settings, products, d_scores)
    d_key += _dot(d_products.astype(query.dtype), query.T)
    return place.step, d_key, d_value

  zeros = jnp.zeros(key.shape, jnp.float32)
  _, d_key, d_value = lax.fori_loop(low, high, add, (0, zeros, zeros))
  d_key_ref[...] = d_key.astype(d_key_ref.dtype).T
  d_value_ref[...] = d_value.astype(d_value_ref.dtype).T


def _steps(settings, bias):
  return Steps(
    starts=bias.starts,
    values=bias.values,
    head=pl.program_id(1),
    num_steps=len(settings.starts),
    by_diagonal=settings.by_diagonal,
  )


def _scores(settings, steps, place, left, right):
  """Returns a tile's capped products, and their sums with the bias."""
  products = capped(_dot(left, right), settings.soft_cap)
  return products, products + steps.bias(place)


def _before_cap(settings, capped_products, d_scores):
  """Returns the gradient of the products before their cap."""
  if settings.soft_cap is None:
    return d_scores
  # The derivative of c tanh(s / c) is 1 - tanh(s / c)^2.
  return d_scores * (1 - jnp.square(capped_products / settings.soft_cap))


def _dot(left, right):
  return jnp.dot(left, right, preferred_element_type=jnp.float32)


def _tile(index, size):
  return pl.ds(pl.multiple_of(index * size, size), size)


def _key_tiles(steps, start, num_queries, key_tile, keys):
  """Returns the range of tiles that some of the queries see."""
  smallest, largest = steps.reach()
  return _tiles_between(
    start + smallest,
    start + num_queries - 1 + largest,
    key_tile,
    keys.key.shape[1],
  )


def _tiles_between(first, last, size, length):
  """Returns the range of tiles that hold the positions from first to last."""
  low = lax.div(jnp.maximum(first, 0), size)
  high = lax.div(jnp.clip(last, -1, length - 1) + size, size)
  return low, high
