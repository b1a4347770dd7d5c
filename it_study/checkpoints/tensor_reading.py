"""Opens tensors of TensorStore and reads them in bounded memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorstore as ts

from it_study.errors import InputError
from it_study.storage.storage_path import StoragePath, reason

# Read or written at once: small tensors do not wait for one another, and large
# ones are not in memory three times, as bytes, as chunks and whole.
BYTES_AT_ONCE = 32_000_000


def open_tensors(
  folder: StoragePath, tensors: Mapping[str, np.ndarray | dict]
) -> dict[str, ts.TensorStore]:
  """Opens tensors, none of them read.

  Args:
    folder: whose they are, for an error.
    tensors: as `t5x_tensors.find_tensors` finds them.

  Raises:
    InputError: one cannot be opened.
  """
  opening = {
    name: ts.open(
      # A file that is missing would be read as zeros.
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
  """What to take at once of things of so many bytes, in their order.

  None is larger than `BYTES_AT_ONCE`, unless one thing is.
  """
  start, total = 0, 0
  for end, size in enumerate(sizes):
    if total and total + size > BYTES_AT_ONCE:
      yield slice(start, end)
      start, total = end, 0
    total += size
  yield slice(start, len(sizes))


def start_reading(store: ts.TensorStore) -> Callable[[], np.ndarray]:
  """Begins to read a small tensor; what is returned waits for the value."""
  if num_bytes(store) <= BYTES_AT_ONCE:
    read = store.read()
    return lambda: np.asarray(read.result())
  rows = BYTES_AT_ONCE * store.shape[0] // num_bytes(store)
  return lambda: _read_in_parts(store, rows)


def read(folder: StoragePath, name: str, store: ts.TensorStore) -> np.ndarray:
  """A tensor's values.

  Args:
    folder: whose it is, for an error.
    name: likewise.
    store: the tensor, opened.

  Raises:
    InputError: it cannot be read.
  """
  try:
    return start_reading(store)()
  except ValueError as error:
    raise unreadable(folder, name, error) from None


def num_bytes(store: ts.TensorStore) -> int:
  """Of a tensor's values in memory."""
  return store.size * store.dtype.numpy_dtype.itemsize


def unreadable(folder: StoragePath, name: str, error: Exception) -> InputError:
  """What to raise for a tensor that cannot be opened or read."""
  return InputError(
    f'{folder}: {name} cannot be read: {reason(error)}. Fetch the folder again.'
  )


def _read_in_parts(store: ts.TensorStore, rows: int) -> np.ndarray:
  """Reads a tensor by so many rows at a time, whole chunks if it can be."""
  value = np.empty(store.shape, store.dtype.numpy_dtype)
  chunk = store.chunk_layout.read_chunk.shape[0] or 1
  rows = max(rows // chunk, 1) * chunk
  first, last = store.domain[0].inclusive_min, store.domain[0].exclusive_max
  for start in range(first, last, rows):
    part = store[start : min(start + rows, last)]
    place = value[start - first : start - first + rows]
    ts.array(place)[ts.d[:].translate_to[part.domain.origin]].write(
      part
    ).result()
  return value
