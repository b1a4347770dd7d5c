"""The tensor files of a Hugging Face model: safetensors and PyTorch."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import json
import logging
import pathlib
import re
import struct
from typing import Any

import numpy as np

from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.errors import InputError
from it_study.storage import git_lfs, text_files

# Weight file and index of shards of each format, the preferred one first.
FORMATS = (
  ('model.safetensors', 'model.safetensors.index.json'),
  ('pytorch_model.bin', 'pytorch_model.bin.index.json'),
)
# First bytes of a zip archive.
_ZIP = b'PK\x03\x04'
# Shapes of a file's tensors by name, and a function that reads one of them.
_Opened = tuple[dict[str, tuple[int, ...]], Callable[[str], np.ndarray]]
_logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Weights:
  """The weight files of a checkpoint, opened when they are first needed.

  Attributes:
    path: Folder of the checkpoint.
    files: File names by tensor name; None if a single file holds all tensors.
    single: Name of the file that holds all tensors.
    open_file: Function that opens a file until the stack is closed.
    stack: Stack that closes the opened files.
  """

  path: pathlib.Path
  files: dict[str, str] | None
  single: str
  open_file: Callable[[pathlib.Path, contextlib.ExitStack], _Opened]
  stack: contextlib.ExitStack
  _opened: dict[str, _Opened] = dataclasses.field(default_factory=dict)

  def names(self) -> set[str]:
    """Returns the names of all tensors."""
    if self.files is not None:
      return set(self.files)
    return set(self._file(self.single)[0])

  def shape(self, name: str) -> tuple[int, ...]:
    """Returns the shape of a tensor without reading it."""
    return self._file_of(name)[0][name]

  def read(self, name: str) -> np.ndarray:
    """Reads a tensor; nothing is cached."""
    return self._file_of(name)[1](name)

  def _file_of(self, name: str) -> _Opened:
    file = self.single if self.files is None else self.files[name]
    shapes, read = self._file(file)
    if name not in shapes:
      raise InputError(
        f'{self.path / file}: {name} is missing, although the index lists it. '
        'Download the folder again.'
      )
    return shapes, read

  def _file(self, file: str) -> _Opened:
    if file not in self._opened:
      path = self.path / file
      if not path.is_file():
        raise InputError(
          f'{path}: a shard of the weights is missing. Download the folder '
          'again.'
        )
      git_lfs.check(path)
      try:
        self._opened[file] = self.open_file(path, self.stack)
      except InputError:
        raise
      # Both libraries raise exceptions of many types.
      except Exception as error:
        # Some errors have no message.
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise InputError(
          f'{path}: cannot be read: {reason:.200}. It may be truncated; '
          'download it again.'
        ) from None
    return self._opened[file]


@contextlib.contextmanager
def open_weights(path: pathlib.Path) -> Iterator[Weights]:
  """Finds the weights in a folder without reading them.

  A single file is preferred to an index of shards, which may be left from an
  earlier save into the same folder; transformers prefers it too.

  Raises:
    InputError: If there are none, or their index is damaged.
  """
  for (single, index), open_file in zip(
    FORMATS, (_open_safetensors, _open_pytorch), strict=True
  ):
    files = None
    if (path / single).is_file():
      if (path / index).is_file():
        _logger.warning(
          '%s: both %s and %s are there; the first is read.',
          path,
          single,
          index,
        )
    elif (path / index).is_file():
      try:
        files = dict(read_json(path / index)['weight_map'])
      except (KeyError, TypeError, ValueError):
        raise InputError(
          f'{path / index}: no weight_map from names to files. Download it '
          'again.'
        ) from None
      outside = [
        file
        for file in files.values()
        if not isinstance(file, str) or not re.fullmatch(r'[\w.-]+', file)
      ]
      if outside:
        raise InputError(
          f'{path / index}: expected file names in the same folder, got '
          f'{outside[0]!r:.60}.'
        )
    else:
      continue
    with contextlib.ExitStack() as stack:
      yield Weights(path, files, single, open_file, stack)
    return
  raise no_weights(path)


def no_weights(path: object) -> InputError:
  """Returns the error for a folder without a configuration or weights."""
  return InputError(
    f'{path}: no weights; a Hugging Face folder holds config.json, and '
    f'{FORMATS[0][0]} or {FORMATS[1][0]} or an index of shards.'
  )


def write_safetensors(
  path: pathlib.Path, tensors: Mapping[str, LazyArray]
) -> None:
  """Writes a safetensors file, byte for byte as the library does.

  The library needs all tensors of a file in memory; here each is read, written
  and freed. The format is the length of a header, the header in JSON, padded
  with spaces to 8 bytes, and the values:
  https://github.com/huggingface/safetensors#format

  Args:
    path: File to write.
    tensors: Tensors by name, in sorted order; written as float32.

  Raises:
    OSError: If it cannot be written.
  """
  header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
  end = 0
  for name, tensor in tensors.items():
    start, end = end, end + 4 * tensor.size
    header[name] = {
      'dtype': 'F32',
      'shape': tensor.shape,
      'data_offsets': (start, end),
    }
  text = json.dumps(header, separators=(',', ':'), ensure_ascii=False)
  content = text.encode()
  content += b' ' * (-len(content) % 8)
  with path.open('wb') as file:
    file.write(struct.pack('<Q', len(content)) + content)
    for tensor in tensors.values():
      file.write(np.ascontiguousarray(tensor, '<f4').data)


def read_object(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON file that holds an object.

  Raises:
    InputError: If it does not exist, cannot be read or holds something else.
  """
  value = read_json(path)
  if not isinstance(value, dict):
    raise InputError(f'{path}: expected an object, got {type(value).__name__}.')
  return value


def read_json(path: pathlib.Path) -> Any:
  """Reads a JSON file.

  Raises:
    InputError: If it does not exist or cannot be read.
  """
  content = text_files.read_bytes(path)
  try:
    return text_files.parse_json(content, where=str(path))
  except InputError as error:
    git_lfs.check(path)
    raise InputError(f'{error} Download it again.') from None


def _open_safetensors(
  path: pathlib.Path, stack: contextlib.ExitStack
) -> _Opened:
  import safetensors

  # Reading JAX arrays would hold them in memory three times. NumPy knows
  # bfloat16 once JAX is imported.
  file = stack.enter_context(safetensors.safe_open(path, framework='np'))
  names = file.keys()
  shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
  return shapes, file.get_tensor


def _open_pytorch(path: pathlib.Path, stack: contextlib.ExitStack) -> _Opened:
  try:
    import torch
  except ImportError:
    raise InputError(
      f'{path}: PyTorch weights need torch: pip install '
      "'it_study[parity]', or download the folder's safetensors."
    ) from None
  with path.open('rb') as file:
    # Files from before PyTorch 1.6 are not zip archives and cannot be mapped.
    is_archive = file.read(len(_ZIP)) == _ZIP
  tensors = torch.load(
    path, map_location='cpu', mmap=is_archive, weights_only=True
  )
  stack.callback(tensors.clear)
  shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
  return shapes, lambda name: tensors[name].float().numpy()
