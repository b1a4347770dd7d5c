"""Opens TensorStore tensors and reads them in bounded memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorstore as ts

from it_study.errors import InputError
from it_study.storage.storage_path import StoragePath, reason

# Bytes read or written at once: enough that small tensors do not wait for each
# other, and few enough that a large one is not in memory three times, as bytes,
# as chunks and whole.
BYTES_AT_ONCE = 32_000_000


def open_tensors(
  folder: StoragePath, tensors: Mapping[str, np.ndarray | dict]
) -> dict[str, ts.TensorStore]:
  """Opens tensors without reading their values.

  Args:
    folder: Folder of the tensors, for error messages.
    tensors: Tensors from `t5x.tensors.find_tensors`, by name.

  Raises:
    InputError: If a tensor cannot be opened.
  """
  opening = {
    name: ts.open(
      # Otherwise a missing file would be read as zeros.
      {**tensor, 'fill_missing_data_reads': False},
      open=True,
      read=True,
    )
    for name, tensor in tensors.items()
    if isinstance(tensor, dict)
  }
  opened = {}
  for name, tensor in tensors.items():
    try:
      if name in opening:
        opened[name] = opening[name].result()
      else:
        opened[name] = ts.array(np.asarray(tensor))
    except (TypeError, ValueError) as error:
      raise unreadable(folder, name, error) from None
  return opened


def groups(sizes: Sequence[int]) -> Iterator[slice]:
  """Yields slices that split items of these sizes into groups, in order.

  No group is larger than `BYTES_AT_ONCE`, unless a single item is.
  """
  start, total = 0, 0
  for end, size in enumerate(sizes):
    if total and total + size > BYTES_AT_ONCE:
      yield slice(start, end)
      start, total = end, 0
    total += size
  yield slice(start, len(sizes))


def start_reading(store: ts.TensorStore) -> Callable[[], np.ndarray]:
  """Starts reading a small tensor; the returned function waits for it.

  A large tensor is read, in parts, only when that function is called.
  """
  if num_bytes(store) <= BYTES_AT_ONCE:
    read = store.read()
    return lambda: np.asarray(read.result())
  rows = BYTES_AT_ONCE * store.shape[0] // num_bytes(store)
  return lambda: _read_in_parts(store, rows)


def read(folder: StoragePath, name: str, store: ts.TensorStore) -> np.ndarray:
  """Reads a tensor.

  Args:
    folder: Folder of the tensor, for error messages.
    name: Name of the tensor, for error messages.
    store: The tensor, opened.

  Raises:
    InputError: If it cannot be read.
  """
  try:
    return start_reading(store)()
  except ValueError as error:
    raise unreadable(folder, name, error) from None


def num_bytes(store: ts.TensorStore) -> int:
  """Returns the size of a tensor's values in memory, in bytes."""
  return store.size * store.dtype.numpy_dtype.itemsize


def unreadable(folder: StoragePath, name: str, error: Exception) -> InputError:
  """Returns the error for a tensor that cannot be opened or read."""
  return InputError(
    f'{folder}: {name} cannot be read: {reason(error)}. Download the folder '
    'again.'
  )


def _read_in_parts(store: ts.TensorStore, rows: int) -> np.ndarray:
  """Reads a tensor by about `rows` rows at a time, in whole chunks."""
  value = np.empty(store.shape, store.dtype.numpy_dtype)
  chunk_shape = store.chunk_layout.read_chunk.shape
  chunk = chunk_shape[0] if chunk_shape and chunk_shape[0] else 1
  rows = max(rows // chunk, 1) * chunk
  first, last = store.domain[0].inclusive_min, store.domain[0].exclusive_max
  for start in range(first, last, rows):
    part = store[start : min(start + rows, last)]
    place = value[start - first : start - first + rows]
    ts.array(place)[ts.d[:].translate_to[part.domain.origin]].write(
      part
    ).result()
  return value
