"""Reads a T5 from T5X checkpoints, without T5X.

Our parameters have T5X's names and shapes, so the mapping table is the
identity: `target/encoder/layers_0/mlp/wo/kernel` there is
`encoder/layers_0/mlp/wo/kernel` here.
"""

from collections.abc import Mapping
import dataclasses
import os
import re
from typing import Any

from flax import traverse_util
import jax
import numpy as np
import tensorstore as ts

from it_study.checkpoints import fitting, tensor_reading
from it_study.checkpoints.fitting import infer_config
from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.checkpoints.t5x import tensors as t5x_tensors
from it_study.errors import InputError, nearest
from it_study.models.config import T5Config
from it_study.storage.manifest import MANIFEST, find_damage
from it_study.storage.storage_path import StoragePath

_Path = str | os.PathLike[str]
_CHECKPOINT = re.compile(r'checkpoint_(\d+)')
# Prefix of the parameters in a checkpoint's tree.
_TARGET = 'target/'
_DTYPES = ('float32', 'bfloat16', 'float16')
# Prefixes of stacked layers, T5X's `scan_layers`.
_SCANNED = ('encoder/encoder/', 'decoder/decoder/')


def is_checkpoint(path: _Path) -> bool:
  """Returns whether a path is a T5X checkpoint or a folder of them.

  A checkpoint is recognized by its name `checkpoint_STEP`, or by T5X's files.
  """
  folder = StoragePath(path)
  if _CHECKPOINT.fullmatch(folder.name):
    # A training of ours may have such a name.
    return not folder.names() & {'params', 'checkpoints'}
  return _is_checkpoint(folder) or bool(_steps(folder))


def find_checkpoint(path: _Path) -> StoragePath:
  """Returns the checkpoint at a path, or the newest one in that folder.

  Args:
    path: Folder `checkpoint_STEP` or the one above, local or `gs://…`.

  Raises:
    InputError: If there is no checkpoint.
  """
  folder = StoragePath(path)
  if _CHECKPOINT.fullmatch(folder.name) or _is_checkpoint(folder):
    if not folder.names():
      siblings = folder.parent.names()
      raise InputError(
        f'{folder}: {"empty" if folder.name in siblings else "no such"} '
        'folder; expected a T5X checkpoint.'
        f'{nearest(folder.name, filter(_CHECKPOINT.fullmatch, siblings))}'
      )
    return folder
  steps = _steps(folder)
  if not steps:
    raise InputError(
      f'{folder}: no T5X checkpoint found. Name a folder checkpoint_STEP, or '
      'the one above it for the newest.'
    )
  return folder.child(steps[max(steps)])


def step_of(folder: StoragePath) -> int:
  """Returns the step in a checkpoint's name; 0 if there is none."""
  match = _CHECKPOINT.fullmatch(folder.name)
  return int(match[1]) if match else 0


def read_model_config(path: _Path, *, dtype: str = 'float32') -> T5Config:
  """Infers the model configuration from the shapes in a checkpoint.

  Raises:
    InputError: If there is no checkpoint, or not one of a supported T5.
  """
  folder = find_checkpoint(path)
  try:
    tensors = _open_params(folder)
    params = traverse_util.unflatten_dict(tensors, sep='/')
    config = infer_config(params, source=str(folder))
  except InputError:
    # Known damage is the better explanation.
    _check_manifest(folder)
    raise
  return dataclasses.replace(config, dtype=dtype)


def load_params(path: _Path, *, target: Any) -> Any:
  """Reads parameters onto devices, without the optimizer's state.

  Each process reads only what its devices hold. Tensors are read one after
  another, small ones in groups and large ones in parts, which needs little more
  host memory than the largest one.

  Args:
    path: Path as for `find_checkpoint`. If there is a `manifest.json`, which
      T5X itself does not write, all files are checked against it.
    target: Tree of `jax.ShapeDtypeStruct` with the desired shardings.

  Returns:
    Nested dict of arrays, like `target`.

  Raises:
    InputError: If a file is missing or damaged, or if names, shapes or dtypes
      do not match; lists missing and unexpected parameters.
  """
  folder = find_checkpoint(path)
  wanted, structure = _flatten(target)
  stores = _open_wanted(folder, wanted)
  params = {}
  names = list(wanted)
  sizes = [tensor_reading.num_bytes(stores[name]) for name in names]
  for group in tensor_reading.groups(sizes):
    values = {
      name: tensor_reading.start_reading(
        stores[name][_hull(wanted[name], stores[name].shape)]
      )
      for name in names[group]
    }
    for name in names[group]:
      try:
        # Popped, so that it is freed before the next is read.
        value = values.pop(name)()
      except ValueError as error:
        raise tensor_reading.unreadable(folder, name, error) from None
      params[name] = _place(name, value, stores[name].shape, wanted[name])
      del value
  return jax.tree.unflatten(structure, [params[name] for name in wanted])


def open_params(path: _Path, *, target: Any) -> Any:
  """Opens parameters that are read each time they are accessed.

  Args:
    path: Path as for `load_params`.
    target: Tree of `jax.ShapeDtypeStruct`; its shardings do not matter.

  Returns:
    Nested dict of `LazyArray`, like `target`.

  Raises:
    InputError: In the same cases as `load_params`; for a damaged tensor only
      when it is read.
  """
  folder = find_checkpoint(path)
  wanted, structure = _flatten(target)
  stores = _open_wanted(folder, wanted)

  def lazy(name: str, leaf: jax.ShapeDtypeStruct) -> LazyArray:
    return LazyArray(
      shape=leaf.shape,
      dtype=leaf.dtype,
      read=lambda: fitting.fill_vocabulary(
        name, tensor_reading.read(folder, name, stores[name]), leaf.shape
      ),
    )

  return jax.tree.unflatten(structure, map(lazy, wanted, wanted.values()))


def _flatten(target: Any) -> tuple[dict[str, jax.ShapeDtypeStruct], Any]:
  """Returns leaves by 'encoder/layers_0/…', and the tree's structure."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(target)
  wanted = {
    jax.tree_util.keystr(keys, simple=True, separator='/'): leaf
    for keys, leaf in leaves
  }
  return wanted, structure


def _open_wanted(
  folder: StoragePath, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, ts.TensorStore]:
  """Opens the checkpoint's parameters and checks them."""
  _check_manifest(folder)
  stores = _open_params(folder)
  _check(folder, stores, wanted)
  return stores


def _open_params(folder: StoragePath) -> dict[str, ts.TensorStore]:
  """Opens the checkpoint's parameters without reading them."""
  tensors = {
    name.removeprefix(_TARGET): tensor
    for name, tensor in t5x_tensors.find_tensors(folder).items()
    if name.startswith(_TARGET)
  }
  scanned = [name for name in tensors if name.startswith(_SCANNED)]
  if scanned:
    raise InputError(
      f'{folder}: {scanned[0]} is a stack of layers (scan_layers), each with '
      'its own relative position biases, which is not supported. Use a '
      'checkpoint of t5x/examples/t5, whose layers share them.'
    )
  return tensor_reading.open_tensors(folder, tensors)


def _check(
  folder: StoragePath,
  stores: Mapping[str, ts.TensorStore],
  wanted: Mapping[str, jax.ShapeDtypeStruct],
) -> None:
  missing, unknown = wanted.keys() - stores, stores.keys() - wanted
  if missing or unknown:
    raise InputError(
      f'{folder} does not fit the model: missing parameters: '
      f'{fitting.listed(missing)}; unexpected parameters: '
      f'{fitting.listed(unknown)}. Name the gin file of its size, such as '
      'models/t5_1_1_large.gin.'
    )
  for name, leaf in wanted.items():
    if not fitting.fits(name, stores[name].shape, leaf.shape):
      raise InputError(
        f'{folder} does not fit the model: {name} is '
        f'{list(stores[name].shape)} there and {list(leaf.shape)} in the '
        'model. Name the gin file of its size, such as models/t5_1_1_large.gin.'
      )
    if stores[name].dtype.name not in _DTYPES:
      raise InputError(
        f'{folder}: {name} must be stored as one of {", ".join(_DTYPES)}, got '
        f'{stores[name].dtype.name}. Save it from T5X with dtype float32.'
      )


def _check_manifest(folder: StoragePath) -> None:
  if folder.local is not None and MANIFEST in folder.names():
    damage = find_damage(folder.local)
    if damage is not None:
      raise InputError(
        f'checkpoint {folder} cannot be used: {damage}. Download or convert it '
        'again.'
      )


def _hull(
  leaf: jax.ShapeDtypeStruct, shape: tuple[int, ...]
) -> tuple[slice, ...]:
  """Returns the smallest box of a tensor that this process's devices need."""
  if shape != leaf.shape:
    # Padding the vocabulary needs the last row.
    return tuple(slice(0, size) for size in shape)
  indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
  return tuple(
    slice(
      min(bounds[axis].indices(size)[0] for bounds in indices),
      max(bounds[axis].indices(size)[1] for bounds in indices),
    )
    for axis, size in enumerate(leaf.shape)
  )


def _place(
  name: str,
  value: np.ndarray,
  shape: tuple[int, ...],
  leaf: jax.ShapeDtypeStruct,
) -> Any:
  """Places a box of a tensor onto the devices that hold parts of it.

  Args:
    name: Name of the parameter.
    value: Values of the box that `_hull` gives.
    shape: Shape of the whole tensor as stored.
    leaf: Shape, dtype and sharding of the result.
  """
  corner = [bounds.start for bounds in _hull(leaf, shape)]
  # A box may lack rows that other processes hold. Only the stored shape shows
  # that a table must be padded, and then the box is the whole table.
  if shape != leaf.shape:
    value = fitting.fill_vocabulary(name, value, leaf.shape)
  value = value.astype(leaf.dtype, copy=False)

  def part(index: tuple[slice, ...] | None) -> np.ndarray:
    # None stands for an array without axes.
    place = []
    for bounds, start, size in zip(
      index or (), corner, leaf.shape, strict=True
    ):
      first, last, _ = bounds.indices(size)
      place.append(slice(first - start, last - start))
    return np.ascontiguousarray(value[tuple(place)])

  return jax.make_array_from_callback(leaf.shape, leaf.sharding, part)


def _is_checkpoint(folder: StoragePath) -> bool:
  names = folder.names()
  state = (
    folder.child(t5x_tensors.STATE).names()
    if t5x_tensors.STATE in names
    else set()
  )
  return t5x_tensors.is_layout(names, state)


def _steps(folder: StoragePath) -> dict[int, str]:
  """Returns the names of the checkpoints in a folder, by step."""
  matches = map(_CHECKPOINT.fullmatch, folder.names())
  return {int(match[1]): match[0] for match in matches if match}
