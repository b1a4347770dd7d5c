"""The files that hold the tensors of a Hugging Face model."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import json
import pathlib
import re
import struct
from typing import Any

import numpy as np

from it_study.checkpoints.lazy_arrays import LazyArray
from it_study.errors import InputError, nearest_path

# Files of weights, the better format first, and the index of their parts.
FORMATS = (
  ('model.safetensors', 'model.safetensors.index.json'),
  ('pytorch_model.bin', 'pytorch_model.bin.index.json'),
)
# What a zip archive begins with.
_ZIP = b'PK\x03\x04'
# Shapes of a file's tensors, by name, and a reader of one of them.
_Opened = tuple[dict[str, tuple[int, ...]], Callable[[str], np.ndarray]]


@dataclasses.dataclass
class Weights:
  """The files of a checkpoint, opened as they are needed.

  Attributes:
    path: the folder.
    files: name of a tensor to that of its file; None where one file has all.
    single: name of the file that has all.
    open_file: opens a file, for as long as the stack is.
    stack: closed when no more is read.
  """

  path: pathlib.Path
  files: dict[str, str] | None
  single: str
  open_file: Callable[[pathlib.Path, contextlib.ExitStack], _Opened]
  stack: contextlib.ExitStack
  _opened: dict[str, _Opened] = dataclasses.field(default_factory=dict)

  def names(self) -> set[str]:
    """Of all tensors."""
    if self.files is not None:
      return set(self.files)
    return set(self._file(self.single)[0])

  def shape(self, name: str) -> tuple[int, ...]:
    """Of a tensor, which is not read."""
    return self._file_of(name)[0][name]

  def read(self, name: str) -> np.ndarray:
    """A tensor, anew each time."""
    return self._file_of(name)[1](name)

  def _file_of(self, name: str) -> _Opened:
    file = self.single if self.files is None else self.files[name]
    shapes, read = self._file(file)
    if name not in shapes:
      raise InputError(
        f'{self.path / file}: the index promises {name}, which is not in it. '
        'Fetch the folder again.'
      )
    return shapes, read

  def _file(self, file: str) -> _Opened:
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
def open_weights(path: pathlib.Path) -> Iterator[Weights]:
  """Finds the weights in a folder, none of them read.

  Raises:
    InputError: there are none, or what lists them is damaged.
  """
  for (single, index), open_file in zip(
    FORMATS, (_open_safetensors, _open_pytorch), strict=True
  ):
    files = None
    if (path / index).is_file():
      try:
        files = dict(read_json(path / index)['weight_map'])
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
      yield Weights(path, files, single, open_file, stack)
    return
  raise InputError(
    f'{path}: no weights; a folder of Hugging Face holds {FORMATS[0][0]} or '
    f'{FORMATS[1][0]}, or an index of parts.'
  )


def write_safetensors(
  path: pathlib.Path, tensors: Mapping[str, LazyArray]
) -> None:
  """Writes a file of safetensors, byte for byte as their library does.

  The library needs all tensors of a file in memory; here each is read, written
  and let go. The format is the length of a header, the header in JSON, padded
  with spaces to 8 bytes, and the values:
  https://github.com/huggingface/safetensors#format

  Args:
    path: of the file.
    tensors: by their names, which are sorted; written as float32.

  Raises:
    OSError: it cannot be written.
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
  content = json.dumps(header, separators=(',', ':'), ensure_ascii=False)
  content = content.encode()
  content += b' ' * (-len(content) % 8)
  with path.open('wb') as file:
    file.write(struct.pack('<Q', len(content)) + content)
    for tensor in tensors.values():
      file.write(np.ascontiguousarray(tensor, '<f4').data)


def read_json(path: pathlib.Path) -> Any:
  """A file's content.

  Raises:
    InputError: it is not there, or cannot be read.
  """
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


def _open_safetensors(
  path: pathlib.Path, stack: contextlib.ExitStack
) -> _Opened:
  import safetensors

  # JAX's arrays would be in memory three times. NumPy has bfloat16 once JAX is
  # imported.
  file = stack.enter_context(safetensors.safe_open(path, framework='np'))
  names = file.keys()
  shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
  return shapes, file.get_tensor


def _open_pytorch(path: pathlib.Path, stack: contextlib.ExitStack) -> _Opened:
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
  shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
  return shapes, lambda name: tensors[name].float().numpy()
