"""A model made for the vocabulary, the device and the weights at hand."""

from collections.abc import Callable
from typing import Any

import jax

from it_study.checkpoints import weights
from it_study.checkpoints.hf import params
from it_study.checkpoints.weights_source import WeightsSource
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
  source: WeightsSource | None = None,
) -> T5Config:
  """The configuration for the current vocabulary and this device.

  Args:
    model_config: makes a `T5Config`, given `vocab_size` and `dtype`.
    dtype: of matrix products, or 'auto'.
    source: Weights that the parameters come from; None for none. Their table
      may have more rows than the vocabulary has tokens, as T5's 32,128 to a
      model file of 32,000.

  Raises:
    InputError: there are no weights at that path.
  """
  if dtype == 'auto':
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  size = vocabularies.current_vocabulary().vocab_size
  rounded = -(-size // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE
  rows = 0 if source is None else weights.vocabulary_rows(source)
  return model_config(vocab_size=max(rounded, rows), dtype=dtype)


def check_weights(source: WeightsSource | None) -> dict[str, Any]:
  """Holds the vocabulary in use to the one that weights were made with.

  Token ids mean nothing under another, even one of equal size.

  Returns:
    training.json of the training that the weights are of; empty for others.

  Raises:
    InputError: if it is another.
  """
  if source is None:
    return {}
  check_folder_vocabulary(source)
  training = source.training
  trained = training.get('vocabulary_sha256')
  if trained not in (None, vocabularies.fingerprint()):
    raise InputError(
      f'{source.path} was trained with the vocabulary '
      f'{training["vocabulary"]}; in use is {vocabularies.describe()}. Name '
      f'the one it was trained with by {vocabularies.VARIABLE}.'
    )
  return training


def check_folder_vocabulary(source: WeightsSource) -> None:
  """Holds the vocabulary in use to the one that lies beside weights."""
  if source.path.local is None:
    return
  model_file = source.path.local / params.VOCABULARY
  if model_file.is_file() and not vocabularies.begins_like(model_file):
    raise InputError(
      f'{model_file} is another vocabulary than the one in use, '
      f'{vocabularies.describe()}. Name it by {vocabularies.VARIABLE}='
      f'{model_file}.'
    )
