"""Arrays that are read only when they are written, one after another."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import math
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

# Written at once, as `tensor_reading` reads.
BYTES_AT_ONCE = 32_000_000


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LazyArray:
  """An array that lies elsewhere; NumPy reads it, and keeps nothing.

  >>> array = np.arange(2)
  >>> lazy = LazyArray(shape=(2,), dtype=array.dtype, read=lambda: array)
  >>> np.asarray(lazy, np.float32)
  array([0., 1.], dtype=float32)

  Attributes:
    shape: of what is read.
    dtype: likewise.
    read: reads all of it, anew with every call.
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

  def __array__(self, dtype: Any = None, copy: bool | None = None):
    del copy
    return np.asarray(self.read(), self.dtype if dtype is None else dtype)


def cast(array: Any, dtype: Any) -> LazyArray:
  """An array, lazy or not, in another type once it is read."""
  return LazyArray(
    shape=tuple(array.shape),
    dtype=np.dtype(dtype),
    read=lambda: np.asarray(array, dtype),
  )


def orbax_handler() -> ocp.PyTreeCheckpointHandler:
  """Writes trees of lazy arrays, as Orbax does those of NumPy.

  Left to itself Orbax has all arrays of a tree in memory at once.
  """
  handler = _InGroups(deepcopy_host_arrays=False)
  registry = type_handlers.create_type_handler_registry((LazyArray, handler))
  return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


class _InGroups(type_handlers.NumpyHandler):
  """Reads some arrays, writes them, waits until they are on disk, lets them go.

  Small ones together, since each waits for the disk.
  """

  async def serialize(
    self,
    values: Sequence[LazyArray],
    infos: Sequence[Any],
    args: Sequence[Any] | None = None,
  ) -> Sequence[ocp.future.Future]:
    args = args or [ocp.SaveArgs()] * len(values)
    for group in _groups(values):
      await self._write(values[group], infos[group], args[group])
    return []

  # Apart, since the futures hold the arrays.
  async def _write(
    self,
    values: Sequence[LazyArray],
    infos: Sequence[Any],
    args: Sequence[Any],
  ) -> None:
    arrays = [np.asarray(value) for value in values]
    for future in await super().serialize(arrays, infos, args):
      future.result()


def _groups(arrays: Sequence[LazyArray]) -> Iterator[slice]:
  """Of arrays in their order, none larger unless one array is."""
  start, size = 0, 0
  for end, array in enumerate(arrays):
    more = array.size * array.dtype.itemsize
    if size and size + more > BYTES_AT_ONCE:
      yield slice(start, end)
      start, size = end, 0
    size += more
  yield slice(start, len(arrays))
