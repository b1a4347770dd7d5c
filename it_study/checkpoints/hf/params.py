"""Reads and writes models in Hugging Face's folder format."""

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
from it_study.checkpoints.hf import (
  config as hf_config,
  decoder_config,
  decoder_names,
  files,
  names as hf_names,
  tokenizer,
)
from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.errors import InputError
from it_study.models import ModelConfig
from it_study.models.config import T5Config
from it_study.models.decoder_only.config import DecoderConfig
from it_study.storage import text_files
from it_study.storage.storage_path import StoragePath, expanded

_Path = str | os.PathLike[str]
CONFIG = 'config.json'
_GENERATION = 'generation_config.json'
SHARD_BYTES = 5_000_000_000


def has_weights(names: Set[str]) -> bool:
  """Returns whether a folder with these files is a Hugging Face model."""
  return CONFIG in names and any(names & {*pair} for pair in files.FORMATS)


def check_folder(folder: StoragePath) -> None:
  """Raises `InputError` unless a folder is a Hugging Face model."""
  if not has_weights(folder.names()):
    raise files.no_weights(folder)


def files_read(names: Set[str]) -> list[str]:
  """Returns the files of a folder that are read, with those of its vocabulary.

  Args:
    names: Names of all files in a folder that has weights. The weights may be
      there in other formats too, which are not read.
  """
  single, index = next(pair for pair in files.FORMATS if names & {*pair})
  stem, _, ending = single.rpartition('.')
  shard = re.compile(rf'{stem}-[\w-]+\.{ending}')
  read = {single, CONFIG, _GENERATION, *tokenizer.FILES}
  if single not in names:
    read |= {index, *filter(shard.fullmatch, names)}
  return sorted(names & read)


def read_model_config(
  path: _Path, *, dtype: str = 'float32'
) -> T5Config | DecoderConfig:
  """Reads the model configuration from a folder's config.json.

  Raises:
    InputError: If it cannot be read, or the model is not supported.
  """
  kind, fields = _config_fields(pathlib.Path(expanded(path)))
  return kind(dtype=dtype, **fields)


def context_length(path: _Path) -> int | None:
  """Returns the longest text that a folder's model was made for, in tokens.

  None if it was made for any length, as a T5, or config.json does not say.
  """
  fields = files.read_object(pathlib.Path(expanded(path)) / CONFIG)
  if fields.get('model_type') not in decoder_config.FAMILIES:
    return None
  return fields.get('max_position_embeddings')


def tensors(config: ModelConfig) -> Mapping[str, hf_names.Tensor]:
  """Returns Hugging Face's tensors by our names."""
  return _layout(config).tensors(config)


def load_params(path: _Path, *, config: ModelConfig, target: Any) -> Any:
  """Reads parameters onto devices, one tensor at a time.

  Needs little more host memory than the largest tensor. If the table has fewer
  rows than the model's vocabulary, which is rounded up, it is padded with
  copies of its last row. That row belongs to a sentinel, and no padding can be
  likelier than the sentinel.

  Args:
    path: Folder with config.json and safetensors, or PyTorch shards, which need
      torch.
    config: Configuration of the model; must agree with config.json.
    target: Tree of `jax.ShapeDtypeStruct` with the desired shardings.

  Returns:
    Nested dict of arrays, like `target`.

  Raises:
    InputError: If a file is missing or damaged, or if configurations, names or
      shapes differ; lists missing and unexpected tensors.
  """
  with open_params(path, config=config, target=target) as params:
    return jax.tree.map(_place, params, target)


@contextlib.contextmanager
def open_params(
  path: _Path, *, config: ModelConfig, target: Any
) -> Iterator[Any]:
  """Opens parameters that are read each time they are accessed.

  Args:
    path: Folder, as for `load_params`.
    config: Configuration of the model; must agree with config.json.
    target: Tree of `jax.ShapeDtypeStruct`; its shardings do not matter.

  Yields:
    Nested dict of `LazyArray`, like `target`, valid inside the block.

  Raises:
    InputError: In the same cases as `load_params`.
  """
  path = pathlib.Path(expanded(path))
  _check_config(path, config)
  layout = _layout(config)
  table = layout.tensors(config)
  with files.open_weights(path) as weights:
    table = _under_stored_names(layout, table, weights.names())
    _check_names(path, layout, table, weights.names())
    _check_copies(path, layout, table, weights)
    _check_rows(path, table, weights)

    def lazy(keys: Any, leaf: jax.ShapeDtypeStruct) -> LazyArray:
      name = jax.tree_util.keystr(keys, simple=True, separator='/')
      return _open_param(path, name, table[name], weights, leaf)

    yield jax.tree_util.tree_map_with_path(lazy, target)


def save_params(
  path: _Path,
  params: Mapping[str, Any],
  *,
  config: ModelConfig,
  shard_bytes: int = SHARD_BYTES,
) -> None:
  """Writes a folder that transformers loads: safetensors and config.json.

  Needs host memory for little more than the largest tensor, and none for arrays
  that are already in host memory. The configuration is written last: a folder
  without it was never finished.

  Args:
    path: New or empty folder.
    params: Nested dict of arrays, possibly lazy, of a model of `config`.
    config: Configuration of the model.
    shard_bytes: Maximum size of a file in bytes; a larger model is sharded.

  Raises:
    InputError: If the folder is not empty or cannot be written, or if the
      parameters do not match the configuration.
  """
  path = pathlib.Path(expanded(path))
  table = _layout(config).tensors(config)
  flat = {
    jax.tree_util.keystr(keys, simple=True, separator='/'): leaf
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  if flat.keys() != table.keys():
    raise InputError(
      'parameters do not match the configuration: missing parameters: '
      f'{fitting.listed(table.keys() - flat.keys())}; unexpected parameters: '
      f'{fitting.listed(flat.keys() - table.keys())}.'
    )
  try:
    fields = _write_config(config)
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
      raise InputError(
        f'{path} is not empty; weights are written to a new folder.'
      )
    shards = _shards(table, flat, shard_bytes)
    weight_map: dict[str, str] = {}
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
      _write_json(path / files.FORMATS[0][1], index)
    _write_json(path / CONFIG, fields)
  except InputError:
    # Also raised by reading lazy arrays.
    raise
  except ValueError as error:
    raise InputError(f'{path}: cannot be written: {error}.') from None
  except OSError as error:
    raise InputError(
      f'{path}: cannot be written: {error.strerror or error}.'
    ) from None


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  text_files.write_file(path, (json.dumps(value, indent=2) + '\n').encode())


def _place(param: LazyArray, leaf: jax.ShapeDtypeStruct) -> jax.Array:
  """Places each process's share on its devices; nothing is communicated."""
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
  """Returns one of our parameters, after checking its tensor's shape."""
  source = tensor.name
  shape = weights.shape(source)
  shape = shape[::-1] if tensor.is_transposed else shape
  if not fitting.fits(name, shape, leaf.shape):
    raise InputError(
      f'{path}: {source} has the shape {list(shape)}, but {name} is '
      f'{list(leaf.shape)} in the model. Use the model configuration that '
      'these weights were trained with.'
    )

  def read() -> np.ndarray:
    value = weights.read(source)
    value = value.T if tensor.is_transposed else value
    value = fitting.fill_vocabulary(name, value, leaf.shape)
    return value.astype(leaf.dtype, copy=False)

  return LazyArray(shape=leaf.shape, dtype=leaf.dtype, read=read)


def _to_theirs(param: Any, tensor: hf_names.Tensor) -> LazyArray:
  """Returns the tensor to store for one of our parameters."""
  if not tensor.is_transposed:
    return lazy_arrays.cast(param, np.float32)
  return LazyArray(
    shape=tuple(param.shape)[::-1],
    dtype=np.dtype(np.float32),
    read=lambda: np.asarray(param, np.float32).T,
  )


def _layout(config: ModelConfig) -> hf_names.Layout:
  if isinstance(config, DecoderConfig):
    return decoder_names.LAYOUT
  return hf_names.LAYOUT


def _write_config(config: ModelConfig) -> dict[str, Any]:
  if isinstance(config, DecoderConfig):
    return decoder_config.write_config(config)
  assert isinstance(config, T5Config), 'models are T5s or decoder-only'
  return hf_config.write_config(config)


def _config_fields(
  path: pathlib.Path,
) -> tuple[type[T5Config] | type[DecoderConfig], dict[str, Any]]:
  """Returns the kind of model and its settings."""
  file = path / CONFIG
  try:
    fields = files.read_object(file)
    if fields.get('model_type') in decoder_config.FAMILIES:
      return DecoderConfig, decoder_config.read_config(fields)
    config = hf_config.read_config(fields)
    file = path / _GENERATION
    if file.is_file():
      hf_config.check_generation(files.read_object(file))
  except InputError:
    raise
  except ValueError as error:
    raise InputError(f'{file}: {error}.') from None
  return T5Config, config


def _check_config(path: pathlib.Path, config: ModelConfig) -> None:
  kind, fields = _config_fields(path)
  if not isinstance(config, kind):
    raise InputError(
      f'{path} does not fit the model: it holds the weights of a '
      f'{kind.__name__}, and the model is a {type(config).__name__}. Name a '
      'gin file of its kind.'
    )
  for name, value in fields.items():
    wanted = getattr(config, name)
    if name == 'vocab_size' and value <= wanted:
      # The model's vocabulary is rounded up; shapes are checked later.
      continue
    if value != wanted:
      raise InputError(
        f'{path} does not fit the model: {name} is {value!r} there and '
        f'{wanted!r} in the model. Name the gin file of its size, such as '
        f'{_layout(config).gin_file}.'
      )


def _under_stored_names(
  layout: hf_names.Layout,
  table: Mapping[str, hf_names.Tensor],
  stored: set[str],
) -> dict[str, hf_names.Tensor]:
  """Returns the table with the names that the embedding table has here.

  It may be stored under any of its names, as transformers reads it. Without a
  head, a T5's logits come from it, but unscaled, unlike T5 v1.0's.
  """
  embedding = next(
    (name for name in layout.embeddings if name in stored),
    layout.embeddings[0],
  )
  names = {layout.embeddings[0]: embedding}
  if layout.may_lack_head and hf_names.HEAD not in stored:
    names[hf_names.HEAD] = embedding
  return {
    ours: tensor._replace(name=names.get(tensor.name, tensor.name))
    for ours, tensor in table.items()
  }


def _check_names(
  path: pathlib.Path,
  layout: hf_names.Layout,
  table: Mapping[str, hf_names.Tensor],
  stored: set[str],
) -> None:
  wanted = {tensor.name for tensor in table.values()}
  known = {*wanted, *layout.embeddings, hf_names.HEAD}
  unknown = {name for name in stored - known if not layout.is_unused(name)}
  missing = wanted - stored
  if missing or unknown:
    raise InputError(
      f'{path} does not fit the model: missing tensors: '
      f'{fitting.listed(missing)}; unexpected tensors: '
      f'{fitting.listed(unknown)}.'
    )


def _check_copies(
  path: pathlib.Path,
  layout: hf_names.Layout,
  table: Mapping[str, hf_names.Tensor],
  weights: files.Weights,
) -> None:
  """Refuses tensors that must equal the embedding table, and do not."""
  embedding = table['token_embedder/embedding'].name
  reasons = dict.fromkeys(
    layout.embeddings,
    'the encoder and the decoder of a T5 share one table. Use other weights.',
  )
  if 'decoder/logits_dense/kernel' not in table:
    reasons[hf_names.HEAD] = (
      'config.json says that the two are tied. Fix config.json, or use other '
      'weights.'
    )
  for name in sorted(reasons.keys() & weights.names() - {embedding}):
    if not np.array_equal(
      weights.read(name), weights.read(embedding), equal_nan=True
    ):
      raise InputError(
        f'{path}: {name} differs from {embedding}, although {reasons[name]}'
      )


def _check_rows(
  path: pathlib.Path,
  table: Mapping[str, hf_names.Tensor],
  weights: files.Weights,
) -> None:
  """Refuses tables of another size than config.json says, like transformers."""
  rows = _config_fields(path)[1]['vocab_size']
  for name in fitting.VOCABULARY_AXES:
    if name in table:
      source = table[name].name
      # Stored tables are [vocabulary, width].
      found = weights.shape(source)[:1]
      if found != (rows,):
        raise InputError(
          f'{path}: {source} has {found[0] if found else 0} rows, but '
          f'vocab_size is {rows} in config.json. Fix config.json, or download '
          'the folder again.'
        )


def _shards(
  table: Mapping[str, hf_names.Tensor],
  flat: Mapping[str, Any],
  shard_bytes: int,
) -> list[list[str]]:
  """Splits our names by file; only a single tensor may exceed the limit."""
  shards: list[list[str]] = [[]]
  size = 0
  for name in sorted(table, key=lambda name: table[name].name):
    num_bytes = 4 * flat[name].size
    if shards[-1] and size + num_bytes > shard_bytes:
      shards.append([])
      size = 0
    shards[-1].append(name)
    size += num_bytes
  return shards
