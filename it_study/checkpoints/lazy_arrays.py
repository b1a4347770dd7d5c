"""Arrays that are read only when they are written, a few at a time."""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

from it_study.checkpoints import tensor_reading


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LazyArray:
  """A stored array that is read on every conversion to NumPy, never cached.

  >>> array = np.arange(2)
  >>> lazy = LazyArray(shape=(2,), dtype=array.dtype, read=lambda: array)
  >>> np.asarray(lazy, np.float32)
  array([0., 1.], dtype=float32)

  Attributes:
    shape: Shape of the array.
    dtype: Dtype of the array.
    read: Function that reads the whole array on every call.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]

  @property
  def ndim(self) -> int:
    return len(self.shape)

  @property
  def size(self) -> int:
    return math.prod(self.shape)

  def __array__(
    self, dtype: Any = None, copy: bool | None = None
  ) -> np.ndarray:
    del copy
    return np.asarray(self.read(), self.dtype if dtype is None else dtype)


def cast(array: Any, dtype: Any) -> LazyArray:
  """Returns an array, lazy or not, as a lazy one of another dtype."""
  return LazyArray(
    shape=tuple(array.shape),
    dtype=np.dtype(dtype),
    read=lambda: np.asarray(array, dtype),
  )


def orbax_handler() -> ocp.PyTreeCheckpointHandler:
  """Returns a handler that writes lazy arrays as Orbax writes NumPy's.

  By default Orbax holds all arrays of a tree in memory at once.
  """
  handler = _InGroups(deepcopy_host_arrays=False)
  registry = type_handlers.create_type_handler_registry((LazyArray, handler))
  return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


class _InGroups(type_handlers.NumpyHandler):
  """Reads a group of arrays, writes it to disk and frees it before the next.

  Small arrays are grouped, since each group waits for the disk.
  """

  async def serialize(
    self,
    values: Sequence[LazyArray],
    infos: Sequence[Any],
    args: Sequence[Any] | None = None,
  ) -> Sequence[ocp.future.Future]:
    args = args or [ocp.SaveArgs()] * len(values)
    sizes = [value.size * value.dtype.itemsize for value in values]
    for group in tensor_reading.groups(sizes):
      await self._write(values[group], infos[group], args[group])
    return []

  # A function of its own, because the futures keep the arrays alive.
  async def _write(
    self,
    values: Sequence[LazyArray],
    infos: Sequence[Any],
    args: Sequence[Any],
  ) -> None:
    arrays = [np.asarray(value) for value in values]
    for future in await super().serialize(arrays, infos, args):
      future.result()
