"""Weights at a path: where they are and in which format, resolved once."""

from collections.abc import Iterator
import dataclasses
import functools
import os
import pathlib
import re
from typing import Any, Literal, overload

from it_study.checkpoints import bucket_weights, folder_hints, manager
from it_study.checkpoints.gguf import known_models
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.hf.tokenizer import SENTENCEPIECE, TOKENIZER
from it_study.checkpoints.t5x import reading
from it_study.errors import InputError
from it_study.storage import text_files
from it_study.storage.storage_path import StoragePath, expanded

_Path = str | os.PathLike[str]
# Both of T5X's layouts are read as t5x.
Format = Literal['hf', 't5x', 'it_study']
FORMATS: tuple[Format, ...] = ('hf', 't5x', 'it_study')

_RECORD = 'training.json'
# Names of a training's checkpoints, and of the folders that hold them.
_STEP = re.compile(r'(checkpoint_)?\d+')
_FOLDERS = ('checkpoints', 'best')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WeightsSource:
  """Weights that can be read where they are, in a known format.

  Everything else is looked up on first use and then kept, since checking all
  files of a checkpoint takes long, and a training may write newer ones.

  Attributes:
    path: Folder of the weights, or of a training. It is local, except that T5X
      checkpoints may be in a bucket.
    format: Format of the weights.
    name: What the user calls them: a known model, or an absolute path.
  """

  path: StoragePath
  format: Format
  name: str

  @functools.cached_property
  def folder(self) -> StoragePath:
    """Folder of the tensors: of a training, the checkpoint to use.

    Raises:
      InputError: If there is no checkpoint, or it is damaged; says what the
        folder is instead, if that is known.
    """
    try:
      return self._find()
    except InputError as error:
      local = self.path.local
      hint = '' if local is None else folder_hints.hint(local)
      raise InputError(f'{error}{hint}') from None

  def _find(self) -> StoragePath:
    if self.format == 'hf':
      hf.check_folder(self.path)
      return self.path
    if self.format == 't5x':
      return reading.find_checkpoint(str(self.path))
    return StoragePath(manager.find_checkpoint(str(self.path)))

  @property
  def local_folder(self) -> pathlib.Path:
    """`folder` as a local path; only for formats other than T5X's."""
    local = self.folder.local
    # `resolve` copies these formats out of buckets.
    assert local is not None, self.folder
    return local

  @property
  def step(self) -> int:
    """Number of updates that the weights have seen; 0 if unknown."""
    if self.format == 't5x':
      return reading.step_of(self.folder)
    is_step = self.format == 'it_study' and self.folder.name.isdecimal()
    return int(self.folder.name) if is_step else 0

  @functools.cached_property
  def training(self) -> dict[str, Any]:
    """The training.json of the weights' training; empty if there is none."""
    return training_of(str(self.path))


@overload
def resolve(path: _Path, *, format: Format | None = None) -> WeightsSource: ...


@overload
def resolve(path: None) -> None: ...


def resolve(
  path: _Path | None, *, format: Format | None = None
) -> WeightsSource | None:
  """Finds out the format of weights, and copies them from a bucket if needed.

  Only T5X checkpoints are read directly from a bucket. The others are copied to
  the cache. With several processes each waits for those of its machine, and
  then uses their copy.

  Args:
    path: Weights in any format, local or `gs://…`: a training of ours or one of
      its checkpoints (`TRAINING/best` is the one of lowest held-out loss), a
      folder of Hugging Face, or a T5X checkpoint or the folder above. None for
      no weights.
    format: Format of the weights, if the caller knows it.

  Returns:
    The source; None without a path. That a local path holds weights is checked
    only when they are read.

  Raises:
    InputError: If weights in a bucket are missing, are in another format than
      `format`, or cannot be copied.
  """
  if path is None:
    return None
  name = os.fspath(path)
  folder = StoragePath(known_models.resolve(name))
  if name not in known_models.KNOWN_MODELS or str(folder) == name:
    name = str(folder if folder.local is None else folder.local.absolute())
  if folder.local is not None or format == 't5x':
    return WeightsSource(
      path=folder, format=format or _detect(folder), name=name
    )
  detected = _detect(folder)
  if format not in (None, detected):
    raise InputError(
      f'{folder}: expected weights in the format {format}, found none. Name '
      'another folder or another format.'
    )
  if detected == 'hf':
    folder = StoragePath(bucket_weights.copy_folder(folder))
  elif detected == 'it_study':
    folder = StoragePath(bucket_weights.copy_checkpoint(folder))
  return WeightsSource(path=folder, format=detected, name=name)


def training_of(path: _Path) -> dict[str, Any]:
  """Reads the training.json of the training that weights come from.

  Args:
    path: Checkpoint or folder of a training, local or in a bucket.

  Returns:
    Its content; empty if the weights come from no training of ours.

  Raises:
    InputError: If the file is damaged.
  """
  paths = [str(StoragePath(path))]
  if StoragePath(path).local is not None:
    # A checkpoint may be named through a link, and a training's folder of
    # checkpoints may itself be a link to another place.
    paths = [os.path.abspath(paths[0]), os.path.realpath(paths[0])]
  for name in dict.fromkeys(paths):
    for folder in _training_folders(StoragePath(name)):
      content = folder.read(_RECORD)
      if content is not None:
        try:
          return text_files.parse_object(content, where=f'{folder}/{_RECORD}')
        except InputError as error:
          raise InputError(
            f'{error} Run the training or study again with the same settings: '
            'it writes the file again.'
          ) from None
  return {}


def tokenizer_folder(path: _Path) -> str:
  """Returns the folder that holds the tokenizer of weights.

  A training of ours keeps it beside its training.json.

  Args:
    path: Local weights, as for `resolve`.

  Returns:
    The folder; the path itself if none has a tokenizer.
  """
  resolved = known_models.resolve(expanded(path))
  for folder in _training_folders(StoragePath(resolved)):
    if any(
      folder.read(name) is not None for name in (TOKENIZER, SENTENCEPIECE)
    ):
      return str(folder)
  return resolved


def _detect(folder: StoragePath) -> Format:
  """Returns the format of the weights in a folder; ours if in doubt."""
  if hf.has_weights(folder.names()):
    return 'hf'
  if reading.is_checkpoint(str(folder)):
    return 't5x'
  return 'it_study'


def _training_folders(folder: StoragePath) -> Iterator[StoragePath]:
  """Yields the folders that may hold the record of a checkpoint's training.

  Other folders inside a training's may hold weights from elsewhere.
  """
  yield folder
  if _STEP.fullmatch(folder.name):
    folder = folder.parent
    yield folder
  if folder.name in _FOLDERS:
    yield folder.parent
