"""Reads and writes a T5 in the folder format of Hugging Face."""

from collections.abc import Callable, Mapping, Set
import contextlib
import dataclasses
import json
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np

from it_study.convert import fitting, hf_names
from it_study.errors import InputError, nearest_path
from it_study.models.config import T5Config

_Path = str | os.PathLike[str]
CONFIG = 'config.json'
VOCABULARY = 'spiece.model'
# Files of weights, the better format first, and the index of their parts.
_FORMATS = (
  ('model.safetensors', 'model.safetensors.index.json'),
  ('pytorch_model.bin', 'pytorch_model.bin.index.json'),
)
SHARD_BYTES = 5_000_000_000
# What a zip archive begins with.
_ZIP = b'PK\x03\x04'


def is_folder(path: _Path) -> bool:
  """Whether a path is a folder with a config.json and weights in it."""
  path = pathlib.Path(path)
  return path.is_dir() and has_weights(
    {file.name for file in path.iterdir() if file.is_file()}
  )


def has_weights(names: Set[str]) -> bool:
  """As `is_folder`, of a folder with files of these names."""
  return CONFIG in names and any(names.intersection(two) for two in _FORMATS)


def files_read(names: Set[str]) -> list[str]:
  """Which files of a folder of weights are read, its vocabulary among them.

  Args:
    names: of all files in it, which has weights; they may be there in formats
      that are not read too.
  """
  single, index = next(two for two in _FORMATS if names.intersection(two))
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
  path = pathlib.Path(path)
  _check_config(path, config)
  table = hf_names.tensors(config)
  with _open_weights(path) as weights:
    _check_names(path, table, weights.names())
    _check_head(path, table, weights)
    leaves, structure = jax.tree_util.tree_flatten_with_path(target)
    params = []
    for keys, leaf in leaves:
      name = jax.tree_util.keystr(keys, simple=True, separator='/')
      tensor = table[name]
      source = tensor.name
      if source == hf_names.HEAD and source not in weights.names():
        # Logits from the embedding table, not scaled as T5 v1.0's are.
        source = hf_names.EMBEDDING
      value = weights.read(source)
      value = value.T if tensor.is_transposed else value
      value = fitting.fill_vocabulary(name, value, leaf.shape)
      if value.shape != leaf.shape:
        raise InputError(
          f'{path}: {source} has the shape {list(value.shape)} as '
          f'{name}, the model {list(leaf.shape)}. Give the model the '
          'configuration that these weights were made with.'
        )
      value = np.ascontiguousarray(value).astype(leaf.dtype)
      # In every process its own devices' share; nothing is sent.
      params.append(
        jax.make_array_from_callback(
          value.shape, leaf.sharding, lambda index, value=value: value[index]
        )
      )
  return jax.tree.unflatten(structure, params)


def save_params(
  path: _Path,
  params: Mapping[str, Any],
  *,
  config: T5Config,
  shard_bytes: int = SHARD_BYTES,
) -> None:
  """Writes a folder that transformers loads: safetensors and config.json.

  The configuration comes last: a folder without it was never finished.

  Args:
    path: a new or an empty folder.
    params: nested dict of arrays, as a T5 of `config` has them.
    config: of the model.
    shard_bytes: most bytes of a file; a larger model is split.

  Raises:
    InputError: if the folder holds something or cannot be written, or
      parameters are not those of the configuration.
  """
  from safetensors import numpy as safetensors_numpy

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
      file = _FORMATS[0][0]
      if len(shards) > 1:
        file = f'model-{number:05d}-of-{len(shards):05d}.safetensors'
      tensors = {}
      for name in names:
        value = np.asarray(flat[name], np.float32)
        value = value.T if table[name].is_transposed else value
        tensors[table[name].name] = np.ascontiguousarray(value)
      safetensors_numpy.save_file(
        tensors, path / file, metadata={'format': 'pt'}
      )
      weight_map |= dict.fromkeys(tensors, file)
    if len(shards) > 1:
      total = sum(4 * leaf.size for leaf in flat.values())
      index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
      (path / _FORMATS[0][1]).write_text(json.dumps(index, indent=2) + '\n')
    (path / CONFIG).write_text(json.dumps(fields, indent=2) + '\n')
  except ValueError as error:
    raise InputError(f'{path}: cannot be written: {error}.') from None
  except OSError as error:
    raise InputError(
      f'{path}: cannot be written: {error.strerror or error}.'
    ) from None


@dataclasses.dataclass
class _Weights:
  """The files of a checkpoint, opened as they are needed.

  Attributes:
    path: the folder.
    files: name of a tensor to that of its file; None where one file has all.
    open_file: opens a file and returns its names and a reader of one of them.
  """

  path: pathlib.Path
  files: dict[str, str] | None
  single: str
  open_file: Callable[
    [pathlib.Path, contextlib.ExitStack],
    tuple[set[str], Callable[[str], np.ndarray]],
  ]
  stack: contextlib.ExitStack
  _opened: dict[str, tuple[set[str], Callable[[str], np.ndarray]]] = (
    dataclasses.field(default_factory=dict)
  )

  def names(self) -> set[str]:
    if self.files is not None:
      return set(self.files)
    return self._file(self.single)[0]

  def read(self, name: str) -> np.ndarray:
    file = self.single if self.files is None else self.files[name]
    names, read = self._file(file)
    if name not in names:
      raise InputError(
        f'{self.path / file}: the index promises {name}, which is not in it. '
        'Fetch the folder again.'
      )
    return read(name)

  def _file(self, file: str) -> tuple[set[str], Callable[[str], np.ndarray]]:
    if file not in self._opened:
      path = self.path / file
      if not path.is_file():
        raise InputError(
          f'{path}: a part of the weights is missing. Fetch the folder again.'
        )
      try:
        self._opened[file] = self.open_file(path, self.stack)
      except InputError:
        raise
      # Both libraries raise types of their own.
      except Exception as error:
        # Some say nothing but their type.
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise InputError(
          f'{path}: cannot be read: {reason:.200}. It may be cut off; fetch it '
          'again.'
        ) from None
    return self._opened[file]


@contextlib.contextmanager
def _open_weights(path: pathlib.Path):
  for (single, index), open_file in zip(
    _FORMATS, (_open_safetensors, _open_pytorch), strict=True
  ):
    files = None
    if (path / index).is_file():
      try:
        files = dict(_read_json(path / index)['weight_map'])
      except (KeyError, TypeError, ValueError):
        raise InputError(
          f'{path / index}: found no weight_map of names to files.'
        ) from None
      outside = [f for f in files.values() if not re.fullmatch(r'[\w.-]+', f)]
      if outside:
        raise InputError(
          f"{path / index}: found {outside[0]!r:.60}, allowed is a file's name "
          'in the same folder.'
        )
    elif not (path / single).is_file():
      continue
    with contextlib.ExitStack() as stack:
      yield _Weights(path, files, single, open_file, stack)
    return
  raise InputError(
    f'{path}: no weights; a folder of Hugging Face holds {_FORMATS[0][0]} or '
    f'{_FORMATS[1][0]}, or an index of parts.'
  )


def _open_safetensors(
  path: pathlib.Path, stack: contextlib.ExitStack
) -> tuple[set[str], Callable[[str], np.ndarray]]:
  import safetensors

  # NumPy alone has no bfloat16; JAX's arrays have, and live on the host here.
  file = stack.enter_context(safetensors.safe_open(path, framework='flax'))

  def read(name: str) -> np.ndarray:
    with jax.default_device(jax.local_devices(backend='cpu')[0]):
      return np.asarray(file.get_tensor(name))

  return set(file.keys()), read


def _open_pytorch(
  path: pathlib.Path, stack: contextlib.ExitStack
) -> tuple[set[str], Callable[[str], np.ndarray]]:
  try:
    import torch
  except ImportError:
    raise InputError(
      f'{path}: weights in the format of PyTorch need torch: pip install '
      "'it_study[parity]', or fetch the folder's safetensors."
    ) from None
  with path.open('rb') as file:
    # What PyTorch wrote before 1.6 is no zip archive and cannot be mapped.
    is_archive = file.read(len(_ZIP)) == _ZIP
  tensors = torch.load(
    path, map_location='cpu', mmap=is_archive, weights_only=True
  )
  stack.callback(tensors.clear)
  return set(tensors), lambda name: tensors[name].float().numpy()


def _config_fields(path: pathlib.Path) -> dict[str, Any]:
  fields = _read_json(path / CONFIG)
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
  path: pathlib.Path, table: Mapping[str, hf_names.Tensor], weights: '_Weights'
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


def _read_json(path: pathlib.Path) -> Any:
  try:
    return json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    raise InputError(f'{path}: no such file.{nearest_path(path)}') from None
  except (ValueError, RecursionError):
    raise InputError(f'{path}: not JSON; it may be cut off.') from None
  except OSError as error:
    raise InputError(
      f'{path}: cannot be read: {error.strerror or error}.'
    ) from None
