"""Tests of arrays that are read only when they are written."""

import jax
import numpy as np
import orbax.checkpoint as ocp

from it_study.checkpoints import lazy_arrays, tensor_reading


def test_an_array_is_read_when_numpy_asks_for_it():
  reads = []

  def read():
    reads.append(None)
    return np.arange(6).reshape(2, 3)

  lazy = lazy_arrays.LazyArray(
    shape=(2, 3), dtype=np.dtype(np.int64), read=read
  )
  as_float = lazy_arrays.cast(lazy, np.float32)
  assert (as_float.shape, as_float.ndim, as_float.size) == ((2, 3), 2, 6)
  assert as_float.dtype == np.float32
  assert not reads
  assert np.asarray(as_float).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
  assert np.asarray(as_float).dtype == np.float32
  assert len(reads) == 2


def test_small_arrays_are_written_together(tmp_path, monkeypatch):
  monkeypatch.setattr(tensor_reading, 'BYTES_AT_ONCE', 100)
  groups = []
  serialize = ocp.type_handlers.NumpyHandler.serialize

  async def watched(self, values, infos, args=None):
    groups.append([value.size for value in values])
    return await serialize(self, values, infos, args)

  monkeypatch.setattr(ocp.type_handlers.NumpyHandler, 'serialize', watched)
  sizes = (10, 15, 20, 40, 2, 2)
  tree = {
    str(number): {'kernel': np.full(size, number, np.float32)}
    for number, size in enumerate(sizes)
  }
  lazy = jax.tree.map(lambda leaf: lazy_arrays.cast(leaf, leaf.dtype), tree)
  with ocp.Checkpointer(lazy_arrays.orbax_handler()) as checkpointer:
    checkpointer.save(tmp_path / 'tree', args=ocp.args.PyTreeSave(lazy))
  assert groups == [[10, 15], [20], [40], [2, 2]]
  with ocp.StandardCheckpointer() as checkpointer:
    found = checkpointer.restore(tmp_path / 'tree', tree)
  jax.tree.map(np.testing.assert_array_equal, found, tree)
