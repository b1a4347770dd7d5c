"""A bias of attention's scores by distance, and its steps inside a kernel.

Shape letters, as in `it_study.models`:
  H num_heads      Q query length    K key length
  m, n  sides of a tile of scores: queries and keys, or keys and queries
"""

from collections.abc import Callable
import dataclasses
from typing import Any

from flax import struct
from jax import lax
from jax.experimental.pallas import tpu as pltpu
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32
import numpy as np

from it_study.models.dot_product_attention import MASKED

# A distance beyond all others; half of the largest int32, so that a position
# can be added to it.
FAR = np.iinfo(np.int32).max // 2


@struct.dataclass
class DistanceBias:
  """A bias that is a step function of the distance k - q; a pytree.

  T5's buckets, a causal mask and a window are all of this kind. A causal mask
  has `starts` (-1, 1) and values 0 and `MASKED`.

  Attributes:
    values: Value of each step, of each head or of all heads alike.
    starts: Smallest distance of each step, ascending. Smaller distances than
      the first belong to the first step as well.
    is_learned: Whether the values get a gradient.
  """

  values: Float32[Array, '#H steps']
  starts: tuple[int, ...] = struct.field(pytree_node=False)
  is_learned: bool = struct.field(pytree_node=False, default=False)


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a tile of scores lies.

  Attributes:
    step: Step of its smallest distance.
    shape: Sides of the tile; None, like the rest, if it has no other step.
    distances: Distances of its queries and keys, of each pair or by diagonal.
    largest: Largest of them.
  """

  step: Any
  shape: tuple[int, int] | None = None
  distances: Int32[Array, 'm n'] | Int32[Array, '1 diagonals'] | None = None
  largest: Any = None


@dataclasses.dataclass(frozen=True)
class Steps:
  """The steps of one head's bias inside a kernel.

  A tile of scores meets consecutive steps: one where it is far from the
  diagonal, all of them at most. They are walked through, with a comparison for
  each of all pairs of the tile; or, where the platform can rotate rows, of its
  diagonals alone.

  Attributes:
    starts: Reference to the starts, followed by `FAR`.
    values: Reference to the values of all heads.
    head: Index of the head.
    num_steps: Number of steps.
    by_diagonal: Whether rows can be rotated.
  """

  starts: Any
  values: Any
  head: Any
  num_steps: int
  by_diagonal: bool

  def reach(self) -> tuple[Any, Any]:
    """Returns the smallest and the largest distance that is not masked.

    Only the first and the last step may be masked.
    """
    last = self.num_steps - 1
    if not last:
      return -FAR, FAR
    return (
      jnp.where(self._value(0) == MASKED, self.starts[1], -FAR),
      jnp.where(self._value(last) == MASKED, self.starts[last] - 1, FAR),
    )

  def place(
    self, shape: tuple[int, int], offset: Any, step: Any, *, key_axis: int
  ) -> Place:
    """Returns where a tile lies.

    Args:
      shape: Sides of the tile.
      offset: Distance of its first query and its first key.
      step: A step that is not after the tile's.
      key_axis: Axis of the keys.
    """
    if self.by_diagonal:
      columns = lax.broadcasted_iota(jnp.int32, (1, sum(shape)), 1)
      distances = columns - (shape[0] - 1)
    else:
      rows, columns = (
        lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1)
      )
      distances = columns - rows
    if key_axis == 0:
      distances = -distances
    smallest = offset - (shape[1 - key_axis] - 1)
    step, _ = self._walk(step, smallest, lambda step, start, carry: carry, 0)
    return Place(
      step,
      shape=shape,
      distances=distances + offset,
      largest=offset + shape[key_axis] - 1,
    )

  def bias(self, place: Place) -> Float32[Array, 'm n'] | Float32[Array, '']:
    """Returns the bias of a tile; a scalar if it is the same everywhere."""
    if place.distances is None or place.shape is None:
      return self._value(place.step)

    def select(step, start, bias):
      return jnp.where(place.distances >= start, self._value(step), bias)

    bias = jnp.full(place.distances.shape, self._value(place.step), jnp.float32)
    bias = self._walk(place.step, place.largest, select, bias)[1]
    return _spread(bias, place.shape) if self.by_diagonal else bias

  def add_gradient(
    self,
    d_values: Float32[Array, '1 steps'],
    d_scores: Float32[Array, 'm n'],
    place: Place,
  ) -> Float32[Array, '1 steps']:
    """Adds a tile's part to the gradient of the values."""
    numbers = lax.broadcasted_iota(jnp.int32, d_values.shape, 1)
    d_values += jnp.where(numbers == place.step, _total(d_scores), 0.0)
    if place.distances is None:
      return d_values
    if self.by_diagonal:
      d_scores = _sum_diagonals(d_scores)

    def move(step, start, d_values):
      # What begins here is no longer of the step before.
      beyond = _total(jnp.where(place.distances >= start, d_scores, 0.0))
      d_values += jnp.where(numbers == step, beyond, 0.0)
      return d_values - jnp.where(numbers == step - 1, beyond, 0.0)

    return self._walk(place.step, place.largest, move, d_values)[1]

  def _value(self, step: Any) -> Any:
    return self.values[self.head, step]

  def _walk(
    self,
    step: Any,
    largest: Any,
    visit: Callable[[Any, Any, Any], Any],
    carry: Any,
  ) -> tuple[Any, Any]:
    """Calls `carry = visit(step, start, carry)` for the steps after `step`.

    Returns the last step whose start is at most `largest`, and the carry.
    """

    def body(state):
      step, start, carry = state
      return step + 1, self.starts[step + 1], visit(step, start, carry)

    step, _, carry = lax.while_loop(
      lambda state: state[1] <= largest,
      body,
      (step + 1, self.starts[step + 1], carry),
    )
    return step - 1, carry


def _spread(
  diagonals: Float32[Array, '1 diagonals'], shape: tuple[int, int]
) -> Float32[Array, 'm n']:
  """Returns the value of each pair's diagonal.

  >>> _spread(jnp.array([[10, 20, 30, 0]]), (2, 2)).tolist()
  [[20, 30], [10, 20]]
  """
  rows = jnp.broadcast_to(diagonals, (shape[0], sum(shape)))
  # Each row is rotated one place further to the right than the one above.
  rows = pltpu.roll(rows, shape[1] + 1, 1, stride=1, stride_axis=0)
  return rows[:, : shape[1]]


def _sum_diagonals(x: Float32[Array, 'm n']) -> Float32[Array, '1 diagonals']:
  """Returns the sum of each diagonal, in the order of `_spread`.

  >>> _sum_diagonals(jnp.array([[20, 30], [10, 20]])).tolist()
  [[10, 40, 30, 0]]
  """
  rows = x.shape[0]
  x = jnp.pad(x, ((0, 0), (0, rows)))
  while rows > 1:
    rows //= 2
    x = pltpu.roll(x[:rows], rows, 1) + x[rows:]
  return x


def _total(x: Float32[Array, 'm n']) -> Float32[Array, '1 1']:
  return x.sum(axis=1, keepdims=True).sum(axis=0, keepdims=True)
