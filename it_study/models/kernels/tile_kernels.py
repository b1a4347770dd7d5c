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
from it_study.models.kernels.distance_bias import Place, Steps


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
  query = queries.query[...].T  # [q, D]
  segments = queries.segments[...].T  # [q, 1]

  def add(tile, place, carry):
    largest, total, mixed = carry
    _, scores = _scores(settings, steps, place, query, keys.key[:, tile])
    scores = jnp.where(segments == keys.segments[:, tile], scores, MASKED)
    former = largest
    largest = jnp.maximum(former, scores.max(axis=1, keepdims=True))
    decay = jnp.exp(former - largest)
    weights = jnp.exp(scores - largest)
    total = decay * total + weights.sum(axis=1, keepdims=True)
    value = keys.value[:, tile].T
    mixed = decay * mixed + _dot(weights.astype(value.dtype), value)
    return largest, total, mixed

  zeros = jnp.zeros(query.shape, jnp.float32)
  column = jnp.zeros(segments.shape, jnp.float32)
  largest, total, mixed = _over_tiles(
    settings,
    steps,
    add,
    (column + MASKED, column, zeros),
    shape=(query.shape[0], key_tile),
    length=keys.key.shape[1],
    key_axis=1,
  )
  mixed_ref[...] = (mixed / total).astype(mixed_ref.dtype).T
  normalizer_ref[...] = (largest + jnp.log(total)).T


def backward_of_queries(
  settings, key_tile, bias, queries, keys, d_values_ref, d_query_ref
):
  """Writes the gradients of the bias's values and of a tile of queries."""
  steps = _steps(settings, bias)
  segments, query, gradient, normalizer, shared = (
    ref[...].T for ref in queries
  )  # [q, 1] or [q, D]

  def add(tile, place, carry):
    d_values, d_query = carry
    key = keys.key[:, tile]
    products, scores = _scores(settings, steps, place, query, key)
    scores = jnp.where(segments == keys.segments[:, tile], scores, MASKED)
    weights = jnp.exp(scores - normalizer)
    d_scores = weights * (_dot(gradient, keys.value[:, tile]) - shared)
    if settings.is_learned:
      d_values = steps.add_gradient(d_values, d_scores, place)
    d_products = _before_cap(settings, products, d_scores)
    d_query += _dot(d_products.astype(key.dtype), key.T)
    return d_values, d_query

  d_values, d_query = _over_tiles(
    settings,
    steps,
    add,
    (
      jnp.zeros(d_values_ref.shape, jnp.float32),
      jnp.zeros(query.shape, jnp.float32),
    ),
    shape=(query.shape[0], key_tile),
    length=keys.key.shape[1],
    key_axis=1,
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
  segments, key, value = (ref[...].T for ref in keys)  # [k, 1] or [k, D]

  def add(tile, place, carry):
    d_key, d_value = carry
    query, gradient = queries.query[:, tile], queries.gradient[:, tile]
    products, scores = _scores(settings, steps, place, key, query)
    scores = jnp.where(segments == queries.segments[:, tile], scores, MASKED)
    weights = jnp.exp(scores - queries.normalizer[:, tile])  # [k, q]
    d_value += _dot(weights.astype(gradient.dtype), gradient.T)
    d_scores = weights * (_dot(value, gradient) - queries.shared[:, tile])
    d_products = _before_cap(settings, products, d_scores)
    d_key += _dot(d_products.astype(query.dtype), query.T)
    return d_key, d_value

  zeros = jnp.zeros(key.shape, jnp.float32)
  d_key, d_value = _over_tiles(
    settings,
    steps,
    add,
    (zeros, zeros),
    shape=(key.shape[0], query_tile),
    length=queries.query.shape[1],
    key_axis=0,
  )
  d_key_ref[...] = d_key.astype(d_key_ref.dtype).T
  d_value_ref[...] = d_value.astype(d_value_ref.dtype).T


def _over_tiles(settings, steps, add, carry, *, shape, length, key_axis):
  """Calls `carry = add(tile, place, carry)` for all tiles in reach.

  A compiler can overlap loading and computing in a loop that has no loop
  inside. So tiles that are all in the first or in the last step have loops of
  their own, unless the bias is looked up by diagonal.

  Args:
    settings: Settings of the kernel.
    steps: Steps of the bias.
    add: Function of the tile's positions, its place and the carry.
    carry: Initial carry.
    shape: Sides of a tile of scores; those of its other side are looped over.
    length: Length of the other side.
    key_axis: Axis of the keys in a tile.
  """
  own_size, size = shape
  start = pl.program_id(2) * own_size

  def tiles(smallest, largest):
    """Returns the range of tiles that hold some of these distances."""
    if key_axis == 0:
      smallest, largest = -largest, -smallest
    first = jnp.maximum(start + smallest, 0)
    last = jnp.clip(start + own_size - 1 + largest, -1, length - 1)
    return lax.div(first, size), lax.div(last + size, size)

  def far(step):
    place = Place(step)
    return lambda index, carry: add(_positions(index, size), place, carry)

  def near(index, state):
    step, carry = state
    if key_axis == 0:
      # From the last tile to the first, so that distances rise.
      index = near_low + near_high - 1 - index
    offset = index * size - start
    place = steps.place(
      shape, offset if key_axis else -offset, step, key_axis=key_axis
    )
    return place.step, add(_positions(index, size), place, carry)

  low, high = tiles(*steps.reach())
  before, after = 0, steps.num_steps - 1
  if before == after:
    return lax.fori_loop(low, high, far(0), carry)
  near_low, near_high = low, high
  if not steps.by_diagonal:
    near_low, near_high = tiles(settings.starts[1] - 1, settings.starts[-1])
    near_low = jnp.clip(near_low, low, high)
    near_high = jnp.clip(near_high, near_low, high)
    if key_axis == 0:
      before, after = after, before
    carry = lax.fori_loop(low, near_low, far(before), carry)
  _, carry = lax.fori_loop(near_low, near_high, near, (0, carry))
  if not steps.by_diagonal:
    carry = lax.fori_loop(near_high, high, far(after), carry)
  return carry


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


def _positions(index, size):
  return pl.ds(pl.multiple_of(index * size, size), size)
