"""Places the feed's batches on devices; each process builds its own rows."""

from collections.abc import Iterator
import functools

import grain
import jax
from jax.sharding import Mesh
import numpy as np

from it_study.input_pipeline.feed import Feed
from it_study.models import partitioning

_PREFETCH = 4


def placed_batches(
  feed: Feed, *, start: int, stop: int, mesh: Mesh
) -> Iterator[tuple[dict[str, jax.Array], float]]:
  """Yields the batches of steps `start` to `stop - 1`, in order, prefetched.

  Args:
    feed: Source of the batches, the same in every process.
    start: First step.
    stop: Step after the last one.
    mesh: Mesh whose axes `data` and `fsdp` split the rows.

  Yields:
    Arrays `[batch size, length]` by name, split over the mesh, and the batch's
    number of tokens, inputs and targets without padding. Each process counts
    its own rows and assumes that the others' have as many tokens.
  """
  sharding = partitioning.batch_sharding(mesh)
  slices = _local_rows(sharding, feed.batch_size)
  share = sum(rows.stop - rows.start for rows in slices) / feed.batch_size

  def load(
    step: int,
  ) -> tuple[dict[tuple[int, int], dict[str, np.ndarray]], float]:
    parts = {
      (rows.start, rows.stop): feed.batch(int(step), rows=rows)
      for rows in slices
    }
    return parts, sum(map(feed.layout.count_tokens, parts.values())) / share

  options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=_PREFETCH)
  steps = grain.MapDataset.range(start, stop).map(load)
  for parts, num_tokens in steps.to_iter_dataset(options):
    yield _place(parts, feed.batch_size, sharding), num_tokens


def _place(
  parts: dict[tuple[int, int], dict[str, np.ndarray]],
  batch_size: int,
  sharding: jax.sharding.NamedSharding,
) -> dict[str, jax.Array]:
  whole = parts.get((0, batch_size))
  if whole is not None and sharding.is_fully_addressable:
    return jax.device_put(whole, sharding)

  def rows_of(index: tuple[slice, ...], *, name: str) -> np.ndarray:
    return parts[index[0].indices(batch_size)[:2]][name]

  first = next(iter(parts.values()))
  return {
    name: jax.make_array_from_callback(
      (batch_size, *array.shape[1:]),
      sharding,
      functools.partial(rows_of, name=name),
    )
    for name, array in first.items()
  }


def _local_rows(
  sharding: jax.sharding.NamedSharding, batch_size: int
) -> list[slice]:
  """The distinct ranges of rows that this process's devices hold."""
  if sharding.is_fully_addressable:
    return [slice(0, batch_size)]
  ranges = set()
  for index in sharding.addressable_devices_indices_map((batch_size,)).values():
    assert index is not None, 'an addressable device has an index'
    ranges.add(index[0].indices(batch_size)[:2])
  return [slice(start, stop) for start, stop in sorted(ranges)]
