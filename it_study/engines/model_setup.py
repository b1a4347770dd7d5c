"""A model made for the vocabulary, the device and the weights at hand."""

from collections.abc import Callable, Iterator
import json
import os
import pathlib
import re
from typing import Any

import jax

from it_study.checkpoints import weights
from it_study.checkpoints.hf import params
from it_study.data import vocabularies
from it_study.errors import InputError
from it_study.models.config import T5Config
from it_study.storage.storage_path import StoragePath

# What the vocabulary's size is rounded up to, as T5's 32,100 is to 32,128.
_VOCABULARY_MULTIPLE = 128
_RECORD = 'training.json'
# What a training calls its checkpoints, and the folders that it has them in.
_STEP = re.compile(r'(checkpoint_)?\d+')
_FOLDERS = ('checkpoints', 'best')

ModelConfig = Callable[..., T5Config]


def complete_config(
  model_config: ModelConfig,
  *,
  dtype: str,
  weights_path: str | os.PathLike | None = None,
) -> T5Config:
  """The configuration for the current vocabulary and this device.

  Args:
    model_config: makes a `T5Config`, given `vocab_size` and `dtype`.
    dtype: of matrix products, or 'auto'.
    weights_path: what parameters are to come from. Its table may have more rows
      than the vocabulary has tokens, as T5's 32,128 to a model file of 32,000.

  Raises:
    InputError: there are no weights at that path.
  """
  if dtype == 'auto':
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  size = vocabularies.current_vocabulary().vocab_size
  rounded = -(-size // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE
  return model_config(
    vocab_size=max(rounded, _vocabulary_rows(weights_path)), dtype=dtype
  )


def _vocabulary_rows(path: str | os.PathLike | None) -> int:
  """Rows of the embedding table that weights were made with, 0 without any."""
  if path is None:
    return 0
  # Of a training of ours its record tells, without a check of all its files.
  recorded = training_of(path).get('model', {}).get('vocab_size')
  if recorded is not None and not params.is_folder(path):
    return recorded
  return weights.vocabulary_rows(path)


def check_weights(path: str | os.PathLike | None) -> dict[str, Any]:
  """Holds the vocabulary in use to the one that weights were made with.

  Token ids mean nothing under another, even one of equal size.

  Returns:
    training.json of the training that the weights are of; empty for others.

  Raises:
    InputError: if it is another.
  """
  if path is None:
    return {}
  check_folder_vocabulary(path)
  training = training_of(path)
  trained = training.get('vocabulary_sha256')
  if trained not in (None, vocabularies.fingerprint()):
    raise InputError(
      f'{os.fspath(path)} was trained with the vocabulary '
      f'{training["vocabulary"]}; in use is {vocabularies.describe()}. Name '
      f'the one it was trained with by {vocabularies.VARIABLE}.'
    )
  return training


def check_folder_vocabulary(path: str | os.PathLike) -> None:
  """Holds the vocabulary in use to the one that lies beside weights."""
  model_file = pathlib.Path(path) / params.VOCABULARY
  if model_file.is_file() and not vocabularies.begins_like(model_file):
    raise InputError(
      f'{model_file} is another vocabulary than the one in use, '
      f'{vocabularies.describe()}. Name it by {vocabularies.VARIABLE}='
      f'{model_file}.'
    )


def training_of(checkpoint_path: str | os.PathLike) -> dict[str, Any]:
  """training.json of the training that a checkpoint is of, or nothing.

  Args:
    checkpoint_path: of a checkpoint or of the training's folder, local or in a
      bucket.
  """
  paths = [os.fspath(checkpoint_path)]
  if StoragePath(checkpoint_path).local is not None:
    # A checkpoint may be named by a link, and so may a training's folder of
    # checkpoints lie elsewhere.
    paths = [os.path.abspath(paths[0]), os.path.realpath(paths[0])]
  for path in dict.fromkeys(paths):
    for folder in _own_folders(StoragePath(path)):
      content = folder.read(_RECORD)
      if content is not None:
        return json.loads(content)
  return {}


def _own_folders(folder: StoragePath) -> Iterator[StoragePath]:
  """Where a training's record is, if a folder is a checkpoint of its own.

  Any other folder in that of a training may have weights of another.
  """
  yield folder
  if _STEP.fullmatch(folder.name):
    folder = folder.parent
    yield folder
  if folder.name in _FOLDERS:
    yield folder.parent
