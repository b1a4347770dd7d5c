"""Writes a T5 as a checkpoint that stock T5X restores, without T5X."""

from collections.abc import Mapping
import math
import os
import pathlib
import shutil
from typing import Any

from flax import serialization, traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from it_study.checkpoints import lazy_arrays, tensor_locks
from it_study.checkpoints.t5x.tensors import MSGPACK, STATE
from it_study.errors import InputError
from it_study.storage import write_errors
from it_study.storage.manifest import write_manifest
from it_study.storage.storage_path import expanded

LAYOUTS = ('msgpack', 'orbax')
_PREFIX = 'checkpoint'
# T5X's version number of the msgpack layout since June 2021.
_VERSION = 3
_CHUNK_BYTES = 64 * 1024 * 1024
# Minimum second largest axis of a matrix that T5X's Adafactor factors.
_MIN_FACTORED = 128


def save_params(
  directory: str | os.PathLike[str],
  params: Mapping[str, Any],
  *,
  step: int = 0,
  layout: str = 'msgpack',
) -> pathlib.Path:
  """Writes `directory/checkpoint_STEP` atomically.

  Includes the initial state of T5X's Adafactor, all zeros, since T5X's training
  restores nothing without it. Other optimizers need `state_transformation_fns`
  and `fallback_to_scratch`. Arrays are written one after another.

  Args:
    directory: Folder on a local disk; created if missing.
    params: Nested dict of arrays, possibly lazy, of our T5; stored as float32.
    step: Step that T5X continues from.
    layout: Layout of the checkpoint: 'msgpack', which T5X restores with and
      without Orbax, or 'orbax', which it restores only with `use_orbax=True`,
      its default.

  Returns:
    The checkpoint's folder.

  Raises:
    InputError: If a checkpoint of that step exists, or it cannot be written.
  """
  final = pathlib.Path(expanded(directory)) / f'{_PREFIX}_{step}'
  if final.exists():
    raise InputError(
      f'{final} already exists; checkpoints are never overwritten. Name '
      'another folder.'
    )
  partial = final.with_name(f'.{final.name}.{os.getpid()}.partial')
  with write_errors.writing(final):
    try:
      partial.mkdir(parents=True)
      if layout == 'orbax':
        written = _write_orbax(partial, params, step)
      else:
        written = _write_msgpack(partial / final.name, params, step)
      write_manifest(written)
      written.rename(final)
    finally:
      # Also clean up after an interrupt.
      shutil.rmtree(partial, ignore_errors=True)
  return final


def fresh_state(params: Mapping[str, Any], *, step: int) -> dict[str, Any]:
  """Returns the initial state of T5X's Adafactor: zeros, except the step.

  A large matrix has the means of the second moments over its largest and its
  second largest axis; other parameters have all second moments. Unused entries
  are a single zero.

  >>> state = fresh_state({'kernel': np.ones((256, 1024))}, step=7)
  >>> jax.tree.map(np.shape, state['param_states'])
  {'kernel': {'m': (1,), 'v': (1,), 'v_col': (1024,), 'v_row': (256,)}}
  """

  def moments(leaf: Any) -> dict[str, np.ndarray]:
    shapes = dict.fromkeys(('m', 'v', 'v_col', 'v_row'), (1,))
    axes = np.argsort(leaf.shape)
    if leaf.ndim > 1 and leaf.shape[axes[-2]] >= _MIN_FACTORED:
      shapes['v_row'] = tuple(np.delete(leaf.shape, axes[-1]))
      shapes['v_col'] = tuple(np.delete(leaf.shape, axes[-2]))
    else:
      shapes['v'] = leaf.shape
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

  return {
    'step': np.asarray(step, np.int32),
    'param_states': jax.tree.map(moments, dict(params)),
  }


def _write_msgpack(
  folder: pathlib.Path, params: Mapping[str, Any], step: int
) -> pathlib.Path:
  folder.mkdir()
  target = {
    name: _write_array(folder, '.'.join(('target', *name)), value)
    for name, value in traverse_util.flatten_dict(params).items()
  }
  tree = {
    'target': traverse_util.unflatten_dict(target),
    'state': fresh_state(params, step=step),
  }
  content = serialization.msgpack_serialize(
    {'version': _VERSION, 'optimizer': tree}
  )
  (folder / MSGPACK).write_bytes(content)
  return folder


def _write_array(folder: pathlib.Path, name: str, value: Any) -> dict[str, Any]:
  """Writes an array and returns its specification for the msgpack file."""
  stored = {
    'driver': 'zarr',
    'dtype': 'float32',
    'kvstore': {'driver': 'file', 'path': f'{name}/'},
    'metadata': {
      'shape': list(value.shape),
      'chunks': _chunks(value.shape),
      # Detects damage when read, which Orbax's compressor does not.
      'compressor': {'id': 'gzip', 'level': 1},
    },
  }
  path = f'{folder.absolute() / name}/'
  store = ts.open(
    {**stored, 'kvstore': {'driver': 'file', 'path': path}},
    create=True,
    context=tensor_locks.context(folder),
  ).result()
  store.write(np.asarray(value, np.float32)).result()
  return stored


def _write_orbax(
  directory: pathlib.Path, params: Mapping[str, Any], step: int
) -> pathlib.Path:
  state = fresh_state(params, step=step)
  tree = {
    'target': jax.tree.map(
      lambda leaf: lazy_arrays.cast(leaf, np.float32), dict(params)
    ),
    'state': jax.tree.map(
      lambda leaf: lazy_arrays.cast(leaf, leaf.dtype), state
    ),
  }
  tensor_locks.make_writable(directory)
  options = ocp.CheckpointManagerOptions(
    step_prefix=_PREFIX, enable_async_checkpointing=False
  )
  with ocp.CheckpointManager(
    directory.absolute(),
    options=options,
    item_handlers={STATE: lazy_arrays.orbax_handler()},
  ) as manager:
    manager.save(
      step, args=ocp.args.Composite(**{STATE: ocp.args.PyTreeSave(tree)})
    )
  return directory / f'{_PREFIX}_{step}'


def _chunks(shape: tuple[int, ...]) -> list[int]:
  """Returns the largest allowed chunks along the first axis.

  Chunks are whole rows, so that part of a tensor can be read without the rest.
  """
  if not shape:
    return []
  row_bytes = max(4 * math.prod(shape[1:]), 1)
  rows = max(min(_CHUNK_BYTES // row_bytes, shape[0]), 1)
  return [rows, *shape[1:]]
