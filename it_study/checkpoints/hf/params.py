"""Reads and writes a T5 in the folder format of Hugging Face."""

from collections.abc import Iterator, Mapping, Set
import contextlib
import json
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np

from it_study.checkpoints import fitting, lazy_arrays
from it_study.checkpoints.hf import files, names as hf_names
from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.errors import InputError
from it_study.models.config import T5Config

_Path = str | os.PathLike[str]
CONFIG = 'config.json'
VOCABULARY = 'spiece.model'
SHARD_BYTES = 5_000_000_000


def is_folder(path: _Path) -> bool:
  """Whether a path is a folder with a config.json and weights in it."""
  path = pathlib.Path(path)
  return path.is_dir() and has_weights(
    {file.name for file in path.iterdir() if file.is_file()}
  )


def has_weights(names: Set[str]) -> bool:
  """As `is_folder`, of a folder with files of these names."""
  return CONFIG in names and any(
    names.intersection(two) for two in files.FORMATS
  )


def files_read(names: Set[str]) -> list[str]:
  """Which files of a folder of weights are read, its vocabulary among them.

  Args:
    names: of all files in it, which has weights; they may be there in formats
      that are not read too.
  """
  single, index = next(two for two in files.FORMATS if names.intersection(two))
  stem, _, ending = single.rpartition('.')
  part = re.compile(rf'{stem}(-[\w-]+)?\.{ending}')
  found = names & {CONFIG, VOCABULARY, index}
  return sorted(found.union(filter(part.fullmatch, names)))


def read_model_config(path: _Path, *, dtype: str = 'float32') -> T5Config:
  """The configuration that a folder's config.json states.

  Raises:
    InputError: if it cannot be read, or is of a model that is no T5 of ours.
  """
  return T5Config(dtype=dtype, **_config_fields(pathlib.Path(path)))


def load_params(path: _Path, *, config: T5Config, target: Any) -> Any:
  """Reads parameters, one tensor at a time, to where they belong.

  Of the host's memory it takes little more than the largest tensor. A table of
  fewer rows than the model's vocabulary, which is rounded up, is filled with
  copies of its last row, a sentinel: no padding can be likelier than that.

  Args:
    path: folder with config.json and safetensors, or PyTorch shards, which need
      torch.
    config: of the model that takes them; must agree with config.json.
    target: tree of `jax.ShapeDtypeStruct` with the shardings wanted.

  Returns:
    Nested dict of arrays, like `target`.

  Raises:
    InputError: if a file is missing or damaged, or the configurations, the
      names or the shapes differ; names the first of what differs, both ways.
  """
  with open_params(path, config=config, target=target) as params:
    return jax.tree.map(_place, params, target)


@contextlib.contextmanager
def open_params(path: _Path, *, config: T5Config, target: Any) -> Iterator[Any]:
  """As `load_params`, each read when it is asked for, and again each time.

  Args:
    path: likewise.
    config: likewise.
    target: likewise; its shardings do not matter.

  Yields:
    Nested dict of `LazyArray`, like `target`, for as long as files are open.

  Raises:
    InputError: likewise.
  """
  path = pathlib.Path(path)
  _check_config(path, config)
  table = hf_names.tensors(config)
  with files.open_weights(path) as weights:
    _check_names(path, table, weights.names())
    _check_head(path, table, weights)

    def lazy(keys: Any, leaf: jax.ShapeDtypeStruct) -> LazyArray:
      name = jax.tree_util.keystr(keys, simple=True, separator='/')
      return _open_param(path, name, table[name], weights, leaf)

    yield jax.tree_util.tree_map_with_path(lazy, target)


def save_params(
  path: _Path,
  params: Mapping[str, Any],
  *,
  config: T5Config,
  shard_bytes: int = SHARD_BYTES,
) -> None:
  """Writes a folder that transformers loads: safetensors and config.json.

  Of the host's memory it takes little more than the largest tensor, or nothing
  where that is there already. The configuration comes last: a folder without it
  was never finished.

  Args:
    path: a new or an empty folder.
    params: nested dict of arrays, which may be lazy, as a T5 of `config` has
      them.
    config: of the model.
    shard_bytes: most bytes of a file; a larger model is split.

  Raises:
    InputError: if the folder holds something or cannot be written, or
      parameters are not those of the configuration.
  """
  path = pathlib.Path(path)
  table = hf_names.tensors(config)
  flat = {
    jax.tree_util.keystr(keys, simple=True, separator='/'): leaf
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  if flat.keys() != table.keys():
    alone = sorted(flat.keys() ^ table.keys())
    raise InputError(
      f'parameters are not those of the configuration: {alone[0]} is in one of '
      'them only.'
    )
  try:
    fields = hf_names.write_config(config)
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
      raise InputError(
        f'{path} is not empty; weights are written to a new folder.'
      )
    shards = _shards(table, flat, shard_bytes)
    weight_map = {}
    for number, names in enumerate(shards, start=1):
      file = files.FORMATS[0][0]
      if len(shards) > 1:
        file = f'model-{number:05d}-of-{len(shards):05d}.safetensors'
      tensors = {
        table[name].name: _to_theirs(flat[name], table[name]) for name in names
      }
      files.write_safetensors(path / file, tensors)
      weight_map |= dict.fromkeys(tensors, file)
    if len(shards) > 1:
      total = sum(4 * leaf.size for leaf in flat.values())
      index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
      (path / files.FORMATS[0][1]).write_text(
        json.dumps(index, indent=2) + '\n'
      )
    (path / CONFIG).write_text(json.dumps(fields, indent=2) + '\n')
  except InputError:
    # Of what is read on the way too.
    raise
  except ValueError as error:
    raise InputError(f'{path}: cannot be written: {error}.') from None
  except OSError as error:
    raise InputError(
      f'{path}: cannot be written: {error.strerror or error}.'
    ) from None


def _place(param: LazyArray, leaf: jax.ShapeDtypeStruct) -> jax.Array:
  """In every process its own devices' share; nothing is sent."""
  value = np.ascontiguousarray(param)
  return jax.make_array_from_callback(
    value.shape, leaf.sharding, lambda index: value[index]
  )


def _open_param(
  path: pathlib.Path,
  name: str,
  tensor: hf_names.Tensor,
  weights: files.Weights,
  leaf: jax.ShapeDtypeStruct,
) -> LazyArray:
  """One of our parameters, if the tensor that it is read from has its shape."""
  source = tensor.name
  if source == hf_names.HEAD and source not in weights.names():
    # Logits from the embedding table, not scaled as T5 v1.0's are.
    source = hf_names.EMBEDDING
  shape = weights.shape(source)
  shape = shape[::-1] if tensor.is_transposed else shape
  if not fitting.fits(name, shape, leaf.shape):
    raise InputError(
      f'{path}: {source} has the shape {list(shape)} as {name}, the model '
      f'{list(leaf.shape)}. Give the model the configuration that these '
      'weights were made with.'
    )

  def read() -> np.ndarray:
    value = weights.read(source)
    value = value.T if tensor.is_transposed else value
    value = fitting.fill_vocabulary(name, value, leaf.shape)
    return value.astype(leaf.dtype, copy=False)

  return LazyArray(shape=leaf.shape, dtype=leaf.dtype, read=read)


def _to_theirs(param: Any, tensor: hf_names.Tensor) -> LazyArray:
  """What is stored of one of our parameters."""
  if not tensor.is_transposed:
    return lazy_arrays.cast(param, np.float32)
  return LazyArray(
    shape=tuple(param.shape)[::-1],
    dtype=np.dtype(np.float32),
    read=lambda: np.asarray(param, np.float32).T,
  )


def _config_fields(path: pathlib.Path) -> dict[str, Any]:
  fields = files.read_json(path / CONFIG)
  try:
    if not isinstance(fields, dict):
      raise ValueError(f'it is {type(fields).__name__}, allowed is an object')
    return hf_names.read_config(fields)
  except ValueError as error:
    raise InputError(f'{path / CONFIG}: {error}.') from None


def _check_config(path: pathlib.Path, config: T5Config) -> None:
  for name, value in _config_fields(path).items():
    wanted = getattr(config, name)
    if name == 'vocab_size' and value <= wanted:
      # The model's is rounded up; shapes tell the rest.
      continue
    if value != wanted:
      raise InputError(
        f'{path} does not fit the model: {name} is {value!r} there and '
        f'{wanted!r} in the model. Name the gin file of its size, such as '
        'models/t5_1_1_large.gin.'
      )


def _check_names(
  path: pathlib.Path, table: Mapping[str, hf_names.Tensor], found: set[str]
) -> None:
  wanted = {tensor.name for tensor in table.values()}
  known = {*wanted, *hf_names.REPEATED, *hf_names.UNUSED, hf_names.HEAD}
  unknown, missing = found - known, wanted - found - {hf_names.HEAD}
  if missing or unknown:
    raise InputError(
      f'{path} does not fit the model: {fitting.listed(missing)} missing '
      f'there, {fitting.listed(unknown)} there alone.'
    )


def _check_head(
  path: pathlib.Path,
  table: Mapping[str, hf_names.Tensor],
  weights: files.Weights,
) -> None:
  """Refuses a second table beside logits that come from the first."""
  is_tied = 'decoder/logits_dense/kernel' not in table
  if is_tied and hf_names.HEAD in weights.names():
    head, table_ = (
      weights.read(name) for name in (hf_names.HEAD, hf_names.EMBEDDING)
    )
    if not np.array_equal(head, table_):
      raise InputError(
        f'{path}: {hf_names.HEAD} is another table than {hf_names.EMBEDDING}, '
        'but config.json says that logits come from the latter; one of the two '
        'is wrong.'
      )


def _shards(
  table: Mapping[str, hf_names.Tensor],
  flat: Mapping[str, Any],
  shard_bytes: int,
) -> list[list[str]]:
  """Our names by file, none of which is larger unless one tensor is."""
  shards: list[list[str]] = [[]]
  size = 0
  for name in sorted(table, key=lambda name: table[name].name):
    more = 4 * flat[name].size
    if shards[-1] and size + more > shard_bytes:
      shards.append([])
      size = 0
    shards[-1].append(name)
    size += more
  return shards
