"""The model that fits the vocabulary, the device and the weights in use."""

from collections.abc import Callable
from typing import Any

import jax

from it_study.checkpoints import weights
from it_study.checkpoints.hf import params
from it_study.checkpoints.weights_source import WeightsSource
from it_study.data import vocabularies
from it_study.errors import InputError
from it_study.models.config import T5Config

# The vocabulary size is rounded up to a multiple, as T5's 32,100 is to 32,128.
_VOCABULARY_MULTIPLE = 128

ModelConfig = Callable[..., T5Config]


def complete_config(
  model_config: ModelConfig,
  *,
  dtype: str,
  source: WeightsSource | None = None,
) -> T5Config:
  """Returns the configuration for the current vocabulary and this device.

  Args:
    model_config: Function that makes a `T5Config` from `vocab_size` and
      `dtype`.
    dtype: Type of matrix products, or 'auto'.
    source: Weights to load, or None. Their embedding table may have more rows
      than the vocabulary has tokens, as T5's 32,128 for a model file of 32,000.

  Raises:
    InputError: If there are no weights at that path.
  """
  if dtype == 'auto':
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  size = vocabularies.current_vocabulary().vocab_size
  rounded = -(-size // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE
  rows = 0 if source is None else weights.vocabulary_rows(source)
  return model_config(vocab_size=max(rounded, rows), dtype=dtype)


def check_weights(source: WeightsSource | None) -> dict[str, Any]:
  """Checks that the vocabulary in use is the one of the weights.

  Token ids mean nothing under another vocabulary, even one of equal size.

  Returns:
    The content of the training.json of the weights; empty without one.

  Raises:
    InputError: If the weights were made with another vocabulary.
  """
  if source is None:
    return {}
  check_folder_vocabulary(source)
  training = source.training
  trained = training.get('vocabulary_sha256')
  if trained not in (None, vocabularies.fingerprint()):
    raise InputError(
      f'{source.path} was trained with the vocabulary '
      f'{training["vocabulary"]}; in use is {vocabularies.describe()}. Set '
      f'{vocabularies.VARIABLE} to the one it was trained with.'
    )
  return training


def check_folder_vocabulary(source: WeightsSource) -> None:
  """Raises `InputError` if weights come with another vocabulary file."""
  if source.path.local is None:
    return
  model_file = source.path.local / params.VOCABULARY
  if model_file.is_file() and not vocabularies.begins_like(model_file):
    raise InputError(
      f'{model_file} differs from the vocabulary in use, '
      f'{vocabularies.describe()}. Set {vocabularies.VARIABLE}={model_file}.'
    )
