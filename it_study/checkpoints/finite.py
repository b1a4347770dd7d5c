"""Refuses parameters that are not finite, once after they are read."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32
import numpy as np

from it_study import distributed
from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.errors import InputError


def check(params: Any, *, source: str) -> None:
  """Checks parameters on their devices.

  With several processes, each must call it.

  Args:
    params: Tree of arrays.
    source: Where they come from, for error messages.

  Raises:
    InputError: If a value is not finite; names the first such parameter.
  """
  leaves = jax.tree_util.tree_leaves_with_path(params)
  counts = distributed.computed(_count, (leaf for _, leaf in leaves))
  for (keys, leaf), count in zip(leaves, counts, strict=True):
    _refuse(int(count), keys, leaf.size, source)


def checked(params: Any, *, source: str) -> Any:
  """Returns lazy parameters that are checked whenever one is read.

  Args:
    params: Tree of `LazyArray`.
    source: Where they come from, for error messages.
  """

  def with_check(keys: Any, leaf: LazyArray) -> LazyArray:
    def read() -> np.ndarray:
      value = leaf.read()
      num_finite = int(np.count_nonzero(np.isfinite(value)))
      _refuse(value.size - num_finite, keys, value.size, source)
      return value

    return dataclasses.replace(leaf, read=read)

  return jax.tree_util.tree_map_with_path(with_check, params)


@jax.jit
def _count(array: Float[Array, '...']) -> Int32[Array, '']:
  return jnp.sum(~jnp.isfinite(array), dtype=jnp.int32)


def _refuse(count: int, keys: Any, size: int, source: str) -> None:
  if count:
    name = jax.tree_util.keystr(keys, simple=True, separator='/')
    raise InputError(
      f'{source}: {count} of {size} values of {name} are not finite (NaN or '
      'infinity). Use other weights, such as an earlier checkpoint, or a copy '
      'in float32 or bfloat16 where float16 overflowed.'
    )
