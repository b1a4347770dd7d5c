"""A model made for the vocabulary, the device and the weights at hand."""

from collections.abc import Callable
import os
import pathlib
from typing import Any

import jax

from it_study.checkpoints import weights
from it_study.checkpoints.hf import params
from it_study.checkpoints.weights import training_of
from it_study.data import vocabularies
from it_study.errors import InputError
from it_study.models.config import T5Config

# What the vocabulary's size is rounded up to, as T5's 32,100 is to 32,128.
_VOCABULARY_MULTIPLE = 128

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
