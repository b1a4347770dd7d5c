"""Divides the rows of a batch into parts, and loops over them.

Shape letters, as in `it_study.models`:
  B batch     T target length     E emb_dim
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int, Shaped

from it_study.models import AnyArray
from it_study.training.loss.division import Division


def targets_first(
  hidden: Float[Array, 'B T E'],
  targets: Int[AnyArray, 'B T'],
  shares: Float32[AnyArray, 'B T'],
  num_columns: int,
) -> tuple[
  Float[Array, 'rows columns E'],
  Int[Array, 'rows columns'],
  Float32[Array, 'rows columns'],
]:
  """Moves the tokens that count to the front of their rows, then cuts the rows.

  Shares [[0, 0, 3], [0, 4, 5]] become [[3, 0], [0, 0], [4, 5], [0, 0]] with 2
  columns: the first parts of all rows, then their second parts, are what
  `split` takes together.
  """
  order = jnp.argsort(shares == 0, axis=1, stable=True)  # [B, T]

  def cut(array: Shaped[AnyArray, 'B T ...']) -> Shaped[Array, '...']:
    index = order.reshape(*order.shape, *(1,) * (array.ndim - 2))
    array = jnp.take_along_axis(jnp.asarray(array), index, axis=1)
    missing = -array.shape[1] % num_columns
    padding = ((0, 0), (0, missing), *((0, 0),) * (array.ndim - 2))
    array = jnp.pad(array, padding)
    return array.reshape(-1, num_columns, *array.shape[2:])

  return cut(hidden), cut(targets), cut(shares)


def split(
  arrays: tuple[Shaped[AnyArray, 'B ...'], ...], num_parts: int
) -> tuple[Shaped[AnyArray, '...'], ...]:
  """Reshapes [B, ...] to [parts, B / parts, ...] if there are several parts.

  A part takes every `num_parts`th row, so that rows stay on their devices.
  """
  if num_parts == 1:
    return arrays
  return jax.tree.map(
    lambda array: array.reshape(-1, num_parts, *array.shape[1:]).swapaxes(0, 1),
    arrays,
  )


def join(array: Shaped[Array, '...'], num_parts: int) -> Shaped[Array, '...']:
  """Reverses `split`."""
  if num_parts == 1:
    return array
  return array.swapaxes(0, 1).reshape(-1, *array.shape[2:])


def loop(
  body: Callable[[Any, Any], tuple[Any, Any]],
  carry: Any,
  parts: tuple[Shaped[AnyArray, '...'], ...],
  division: Division,
) -> tuple[Any, Any]:
  """Scans parts; skips those without a share, the last of each, if asked to."""
  if division.num_parts == 1:
    return body(carry, parts)

  def unless_empty(carry: Any, part: Any) -> tuple[Any, Any]:
    def skip(carry: Any, part: Any) -> tuple[Any, Any]:
      _, output = jax.eval_shape(body, carry, part)
      return carry, jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), output
      )

    return lax.cond(jnp.any(part[-1]), body, skip, carry, part)

  skips = division.num_columns is not None
  return lax.scan(unless_empty if skips else body, carry, parts)
