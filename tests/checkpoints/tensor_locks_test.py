"""Tests of it_study.checkpoints.tensor_locks."""

import errno
import fcntl
import importlib.metadata

import jax.numpy as jnp
import numpy as np
from orbax.checkpoint._src.serialization import tensorstore_utils
import pytest

from it_study.checkpoints import manager, tensor_locks
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.checkpoints.t5x import writing

_CONTEXTS = (
  tensorstore_utils._BASE_TS_CONTEXT,
  tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT,
)
_PARAMS = {'a': {'kernel': np.arange(6, dtype=np.float32).reshape(2, 3)}}


def modes():
  return [context.get('file_io_locking') for context in _CONTEXTS]


@pytest.fixture(name='no_locks')
def _no_locks(monkeypatch):
  """A file system without locks."""

  def refuse(*_):
    raise OSError(errno.ENOSYS, 'Function not implemented')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  for context in _CONTEXTS:
    monkeypatch.setitem(context, 'file_io_locking', {})


def test_orbax_is_left_alone_where_there_are_locks(tmp_path):
  assert not tensor_locks.make_writable(tmp_path)
  assert not tensor_locks.make_writable('gs://bucket/checkpoints')
  assert modes() == [None, None]
  assert 'lockfile' not in str(tensor_locks.context(tmp_path).spec)


def test_lock_files_serve_where_there_are_none(no_locks, tmp_path):
  assert tensor_locks.make_writable(tmp_path)
  assert modes() == [{'mode': 'lockfile'}] * 2
  assert 'lockfile' in str(tensor_locks.context(tmp_path).spec)
  # What is private in Orbax may change with its version.
  version = importlib.metadata.version('orbax-checkpoint')
  assert version in tensor_locks.make_writable.__doc__


def test_a_training_saves_without_locks(no_locks, tmp_path):
  params = {'a': jnp.ones((4, 4))}
  checkpoints = manager.Checkpoints(LocalCheckpoints(tmp_path / 'checkpoints'))
  checkpoints.save(step=3, params=params, opt_state=params, metadata={})
  checkpoints.close()
  assert modes() == [{'mode': 'lockfile'}] * 2
  restored = manager.restore_params(tmp_path / 'checkpoints')
  np.testing.assert_array_equal(restored['a'], params['a'])
  assert not list(tmp_path.rglob('*lock*'))


@pytest.mark.parametrize('layout', writing.LAYOUTS)
def test_t5x_checkpoints_are_written_without_locks(no_locks, tmp_path, layout):
  writing.save_params(tmp_path, _PARAMS, layout=layout)
  assert not list(tmp_path.rglob('*lock*'))
  assert modes() == [{'mode': 'lockfile'} if layout == 'orbax' else {}] * 2
