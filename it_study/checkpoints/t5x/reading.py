"""Reads a T5 out of T5X's checkpoints, without T5X.

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
# Folder of the parameters in a checkpoint's tree.
_TARGET = 'target/'
_DTYPES = ('float32', 'bfloat16', 'float16')
# Names that a stack of layers in one tensor has, T5X's `scan_layers`.
_SCANNED = ('encoder/encoder/', 'decoder/decoder/')


def is_checkpoint(path: _Path) -> bool:
  """Whether a path is a T5X checkpoint, or a folder with some in it.

  A folder is one by its name `checkpoint_STEP`, or by T5X's files in it.
  """
  folder = StoragePath(path)
  if _CHECKPOINT.fullmatch(folder.name):
    # A training of ours may bear that name.
    return not folder.names() & {'params', 'checkpoints'}
  return _is_checkpoint(folder) or bool(_steps(folder))


def find_checkpoint(path: _Path) -> StoragePath:
  """The checkpoint at a path, or the newest one in it.

  Args:
    path: a `checkpoint_STEP` or the folder above, local or `gs://…`.

  Raises:
    InputError: there is none.
  """
  folder = StoragePath(path)
  if _CHECKPOINT.fullmatch(folder.name) or _is_checkpoint(folder):
    if not folder.names():
      beside = folder.parent.names()
      raise InputError(
        f'{folder}: {"empty" if folder.name in beside else "no such"} folder; '
        'a T5X checkpoint was looked for.'
        f'{nearest(folder.name, filter(_CHECKPOINT.fullmatch, beside))}'
      )
    return folder
  steps = _steps(folder)
  if not steps:
    raise InputError(
      f'{folder}: no T5X checkpoint there. Name a folder checkpoint_STEP, or '
      'the one above it to take the newest.'
    )
  return folder.child(steps[max(steps)])


def step_of(folder: StoragePath) -> int:
  """The step in a checkpoint's name, 0 if it has another name."""
  match = _CHECKPOINT.fullmatch(folder.name)
  return int(match[1]) if match else 0


def read_model_config(path: _Path, *, dtype: str = 'float32') -> T5Config:
  """The configuration that the shapes of a checkpoint's parameters tell.

  Raises:
    InputError: there is no checkpoint, or not of a T5 of ours.
  """
  folder = find_checkpoint(path)
  try:
    tensors = _open_params(folder)
    params = traverse_util.unflatten_dict(tensors, sep='/')
    config = infer_config(params, source=str(folder))
  except InputError:
    # What is damaged is told as that, if it is known to be.
    _check_manifest(folder)
    raise
  return dataclasses.replace(config, dtype=dtype)


def load_params(path: _Path, *, target: Any) -> Any:
  """Reads parameters to where they belong, the optimizer's state left alone.

  Of each tensor a process reads what its devices hold. Tensors are read one
  after another, small ones together and large ones in parts, so that the host's
  memory takes little more than the largest.

  Args:
    path: as `find_checkpoint` takes it. Every file is held to a
      `manifest.json` where there is one, which T5X does not write.
    target: tree of `jax.ShapeDtypeStruct` with the shardings wanted.

  Returns:
    Nested dict of arrays, like `target`.

  Raises:
    InputError: a file is missing or damaged, or names, shapes or types are not
      those of the model; names what differs, both ways.
  """
  folder = find_checkpoint(path)
  wanted, structure = _flatten(target)
  found = _open_wanted(folder, wanted)
  params = {}
  names = list(wanted)
  sizes = [tensor_reading.num_bytes(found[name]) for name in names]
  for group in tensor_reading.groups(sizes):
    values = {
      name: tensor_reading.start_reading(
        found[name][_hull(wanted[name], found[name].shape)]
      )
      for name in names[group]
    }
    for name in names[group]:
      try:
        # Gone before the next is read.
        value = values.pop(name)()
      except ValueError as error:
        raise tensor_reading.unreadable(folder, name, error) from None
      params[name] = _place(name, value, found[name].shape, wanted[name])
      del value
  return jax.tree.unflatten(structure, [params[name] for name in wanted])


def open_params(path: _Path, *, target: Any) -> Any:
  """As `load_params`, each read when it is asked for, and again each time.

  Args:
    path: likewise.
    target: likewise; its shardings do not matter.

  Returns:
    Nested dict of `LazyArray`, like `target`.

  Raises:
    InputError: likewise; for a tensor that is damaged when it is read.
  """
  folder = find_checkpoint(path)
  wanted, structure = _flatten(target)
  found = _open_wanted(folder, wanted)

  def lazy(name: str, leaf: jax.ShapeDtypeStruct) -> LazyArray:
    return LazyArray(
      shape=leaf.shape,
      dtype=leaf.dtype,
      read=lambda: fitting.fill_vocabulary(
        name, tensor_reading.read(folder, name, found[name]), leaf.shape
      ),
    )

  return jax.tree.unflatten(structure, map(lazy, wanted, wanted.values()))


def _flatten(target: Any) -> tuple[dict[str, jax.ShapeDtypeStruct], Any]:
  """Leaves by 'encoder/layers_0/…', and the structure of the tree."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(target)
  wanted = {
    jax.tree_util.keystr(keys, simple=True, separator='/'): leaf
    for keys, leaf in leaves
  }
  return wanted, structure


def _open_wanted(
  folder: StoragePath, wanted: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, ts.TensorStore]:
  """The checkpoint's parameters, opened and checked."""
  _check_manifest(folder)
  found = _open_params(folder)
  _check(folder, found, wanted)
  return found


def _open_params(folder: StoragePath) -> dict[str, ts.TensorStore]:
  """The checkpoint's parameters, opened, none of them read."""
  tensors = {
    name.removeprefix(_TARGET): tensor
    for name, tensor in t5x_tensors.find_tensors(folder).items()
    if name.startswith(_TARGET)
  }
  scanned = [name for name in tensors if name.startswith(_SCANNED)]
  if scanned:
    raise InputError(
      f'{folder}: {scanned[0]} is a stack of layers (scan_layers), each with '
      'relative position biases of its own; a T5 of ours shares one, as '
      'checkpoints of t5x/examples/t5 do. Name one of those.'
    )
  return tensor_reading.open_tensors(folder, tensors)


def _check(
  folder: StoragePath,
  found: Mapping[str, ts.TensorStore],
  wanted: Mapping[str, jax.ShapeDtypeStruct],
) -> None:
  missing, unknown = wanted.keys() - found, found.keys() - wanted
  if missing or unknown:
    raise InputError(
      f'{folder} does not fit the model: {fitting.listed(missing)} missing '
      f'there, {fitting.listed(unknown)} there alone. Name the gin file of its '
      'size, such as models/t5_1_1_large.gin.'
    )
  for name, leaf in wanted.items():
    if not fitting.fits(name, found[name].shape, leaf.shape):
      raise InputError(
        f'{folder} does not fit the model: {name} is '
        f'{list(found[name].shape)} there and {list(leaf.shape)} in the model. '
        'Name the gin file of its size, such as models/t5_1_1_large.gin.'
      )
    if found[name].dtype.name not in _DTYPES:
      raise InputError(
        f'{folder}: {name} is stored as {found[name].dtype.name}, allowed are '
        f'{", ".join(_DTYPES)}. Save it by T5X with dtype float32.'
      )


def _check_manifest(folder: StoragePath) -> None:
  if folder.local is not None and MANIFEST in folder.names():
    damage = find_damage(folder.local)
    if damage is not None:
      raise InputError(
        f'checkpoint {folder} cannot be used: {damage}. Fetch or convert it '
        'again.'
      )


def _hull(
  leaf: jax.ShapeDtypeStruct, shape: tuple[int, ...]
) -> tuple[slice, ...]:
  """The part of a tensor that this process's devices hold, as one box."""
  if shape != leaf.shape:
    # To be filled up, for which the last row is needed.
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
  """Puts a box of a tensor onto the devices that hold parts of it.

  Args:
    name: of the parameter.
    value: the box, as `_hull` has it.
    shape: of the whole tensor, as it is stored.
    leaf: what it becomes.
  """
  corner = [bounds.start for bounds in _hull(leaf, shape)]
  # A box may lack rows that other processes hold; only the stored shape tells
  # that a table has to be filled up, and then the box is all of it.
  if shape != leaf.shape:
    value = fitting.fill_vocabulary(name, value, leaf.shape)
  value = value.astype(leaf.dtype, copy=False)

  def part(index: tuple[slice, ...]) -> np.ndarray:
    place = []
    for bounds, start, size in zip(index, corner, leaf.shape, strict=True):
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
  """Names of the checkpoints in a folder, by step."""
  matches = map(_CHECKPOINT.fullmatch, folder.names())
  return {int(match[1]): match[0] for match in matches if match}
