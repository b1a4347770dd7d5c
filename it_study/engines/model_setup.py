"""The model that fits the vocabulary, the device and the weights in use."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Sequence
import dataclasses
import json
import logging
import os
from typing import Any

import jax
import seqio

from it_study.checkpoints import weights
from it_study.checkpoints.hf import params as hf_params, tokenizer
from it_study.checkpoints.weights_source import WeightsSource
from it_study.data import vocabularies
from it_study.errors import InputError, shown
from it_study.input_pipeline import row_layouts
from it_study.models.config import T5Config
from it_study.models.decoder_only.config import DecoderConfig

# The vocabulary size is rounded up to a multiple, as T5's 32,100 is to 32,128.
_VOCABULARY_MULTIPLE = 128
# Fields of a configuration that may differ between training and prediction.
_FREE_FIELDS = (
  *('vocab_size', 'dtype', 'dropout_rate'),
  *('remat_policy', 'scan_layers', 'attention_implementation'),
)

_logger = logging.getLogger(__name__)

Config = T5Config | DecoderConfig
MakeConfig = Callable[..., Config]


def complete_config(
  model_config: MakeConfig,
  *,
  dtype: str,
  source: WeightsSource | None = None,
  vocabulary: seqio.Vocabulary | None = None,
) -> Config:
  """Returns the configuration for a vocabulary and this device.

  Args:
    model_config: Function that makes a `T5Config` or `DecoderConfig` from
      `vocab_size` and `dtype`.
    dtype: Type of matrix products, or 'auto'.
    source: Weights to load, or None. Their embedding table may have more rows
      than the vocabulary has tokens, as T5's 32,128 for a model file of 32,000,
      or lack rows for its sentinels.
    vocabulary: Vocabulary of the task; None for the current one.

  Raises:
    InputError: If there are no weights at that path, their embedding table has
      fewer rows than the vocabulary has tokens of its own, or a training of
      ours made them with another model.
  """
  if dtype == 'auto':
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  vocabulary = vocabulary or vocabularies.current_vocabulary()
  size = vocabulary.vocab_size
  rounded = -(-size // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE
  rows = 0
  if source is not None:
    rows = weights.vocabulary_rows(source)
    tokens = vocabularies.num_own_tokens(vocabulary)
    if rows < tokens:
      raise InputError(
        f'{source.path}: its embedding table has {rows} rows, but the '
        f'vocabulary in use has {tokens} tokens: '
        f'{vocabularies.describe(vocabulary)}. Set '
        f'{vocabularies.VARIABLE} to the one it was made with.'
      )
  config = model_config(vocab_size=max(rounded, rows), dtype=dtype)
  if source is not None:
    _check_same_model(source, config)
  if rows and isinstance(config, DecoderConfig):
    # Their tables are never filled up: the last row is no sentinel's.
    return dataclasses.replace(config, vocab_size=rows)
  return config


def check_memory(config: Config) -> None:
  """Raises `InputError` for a model that the devices here cannot hold.

  It counts the parameters of matrices and embeddings alone, so that it refuses
  nothing that might fit.

  Args:
    config: Configuration of the model.
  """
  number = _fewest_parameters(config)
  num_bytes = 4 * number
  limits = [
    (device.memory_stats() or {}).get('bytes_limit')
    for device in jax.local_devices()
  ]
  # Devices of a CPU share the memory of their process's machine.
  memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  own = sum(filter(None, limits)) if all(limits) else memory
  available = own * jax.process_count()
  if num_bytes <= available:
    return
  sizes = ', '.join(
    f'{field.name} {getattr(config, field.name):,}'
    for field in dataclasses.fields(config)
    if field.type in ('int', int)
  )
  raise InputError(
    f'the model has at least {number:,} parameters, '
    f'{num_bytes / 2**30:,.0f} GiB in float32, and the devices here have '
    f'{available / 2**30:,.0f} GiB: {sizes}. Lower a size in '
    f'{type(config).__name__}, or use more devices.'
  )


def warn_of_long_texts(
  source: WeightsSource | None,
  prompt_lengths: Sequence[int],
  *,
  max_answer: int,
) -> None:
  """Warns of prompts and answers beyond the length that a model was made for.

  Args:
    source: Weights to load, or None.
    prompt_lengths: Number of tokens of every prompt.
    max_answer: Maximum number of tokens of an answer.
  """
  if source is None or source.format != 'hf':
    return
  limit = hf_params.context_length(source.local_folder)
  if limit is None:
    return
  num_long = sum(length + max_answer > limit for length in prompt_lengths)
  if num_long:
    _logger.warning(
      '%s: %d of %d prompts with their answers may exceed the %d tokens that '
      'the model was made for (max_position_embeddings), beyond which its '
      'answers mean nothing. Lower TASK_FEATURE_LENGTHS.',
      source.path,
      num_long,
      len(prompt_lengths),
      limit,
    )


def row_layout(config: Config) -> row_layouts.RowLayout:
  """Returns how a row of a training batch holds a model's examples."""
  if isinstance(config, DecoderConfig):
    return row_layouts.DECODER
  return row_layouts.ENCODER_DECODER


def check_weights(
  source: WeightsSource | None, *, vocabulary: seqio.Vocabulary | None = None
) -> dict[str, Any]:
  """Checks that weights are those of their record, and fit the vocabulary.

  Token ids mean nothing under another vocabulary, even one of equal size.

  Args:
    source: Weights to load, or None.
    vocabulary: Vocabulary of the task; None for the current one.

  Returns:
    The content of the training.json of the weights; empty without one.

  Raises:
    InputError: If the weights were made with another vocabulary, or the last
      checkpoint of a finished training is damaged or missing.
  """
  if source is None:
    return {}
  check_folder_vocabulary(source, vocabulary=vocabulary)
  training = source.training
  trained = training.get('vocabulary_sha256')
  if trained not in (None, vocabularies.fingerprint(vocabulary)):
    raise InputError(
      f'{source.path} was trained with the vocabulary '
      f'{training["vocabulary"]}; in use is '
      f'{vocabularies.describe(vocabulary)}. Set {vocabularies.VARIABLE} to '
      'the one it was trained with.'
    )
  _check_last_step(source)
  return training


def _check_same_model(source: WeightsSource, config: Config) -> None:
  """Raises `InputError` for weights that were trained as another model.

  Shapes do not show it all: a rotary embedding has no parameters. Fields that
  an earlier version did not record are not compared.
  """
  trained = source.training.get('model', {})
  # Through JSON, as the record was.
  used = json.loads(json.dumps(dataclasses.asdict(config)))
  for name, now in used.items():
    before = trained.get(name, now)
    if before == now or name in _FREE_FIELDS:
      continue
    if isinstance(before, dict) and isinstance(now, dict):
      part = next(key for key in now if before.get(key) != now[key])
      name, before, now = f'{name}.{part}', before.get(part), now[part]
    raise InputError(
      f'{source.path} does not fit the model: {name} was {before!r} in its '
      f'training and is {now!r} now. Name the gin file of the model that was '
      'trained.'
    )


def _fewest_parameters(config: Config) -> int:
  joined = config.num_heads * config.head_dim
  mlp = config.mlp_dim * (len(config.mlp_activations) + 1)
  if isinstance(config, DecoderConfig):
    joined_kv = config.num_kv_heads * config.head_dim
    layers = config.num_layers
    of_layer = config.emb_dim * (2 * joined + 2 * joined_kv + mlp)
    of_positions = 0
  else:
    layers = config.num_encoder_layers + config.num_decoder_layers
    of_layer = config.emb_dim * (4 * joined + mlp)
    of_positions = 2 * config.relative_attention_num_buckets * config.num_heads
  return config.vocab_size * config.emb_dim + layers * of_layer + of_positions


def _check_last_step(source: WeightsSource) -> None:
  """Raises `InputError` if an older checkpoint stands in for the last one."""
  train_steps = source.training.get('train_steps')
  names_checkpoint = source.path.name in ('best', source.folder.name)
  if source.format != 'it_study' or names_checkpoint:
    return
  if isinstance(train_steps, int) and source.step < train_steps:
    raise InputError(
      f'{source.path} was trained for {train_steps} steps, but its newest '
      f'intact checkpoint is of step {source.step}. Train again with the same '
      'settings; in a study, remove DONE from the folder of the training '
      f'first. To use that checkpoint as it is, name {source.folder}.'
    )


def check_folder_vocabulary(
  source: WeightsSource, *, vocabulary: seqio.Vocabulary | None = None
) -> None:
  """Checks that weights come with the vocabulary in use, where they have one.

  Raises:
    InputError: If they come with another vocabulary, or with tokens added to
      it, which would be read as the unknown token.
  """
  folder = source.path.local
  if folder is None:
    return
  stored = tokenizer.read_tokenizer(folder)
  used = vocabularies.describe(vocabulary)
  named = model_file = folder / tokenizer.VOCABULARY
  if not model_file.is_file() and not stored.pieces:
    named, model_file = folder, folder / tokenizer.SENTENCEPIECE
  if model_file.is_file():
    pieces = vocabularies.pieces_of(model_file)
    if not vocabularies.begins_like(pieces, vocabulary):
      raise InputError(
        f'{model_file} differs from the vocabulary in use, {used}. Set '
        f'{vocabularies.VARIABLE}={named}.'
      )
  elif stored.pieces and not vocabularies.begins_like(
    stored.pieces, vocabulary
  ):
    raise InputError(
      f'{folder / tokenizer.TOKENIZER} differs from the vocabulary in use, '
      f'{used}. Set {vocabularies.VARIABLE} to the SentencePiece model that it '
      'was made from.'
    )
  missing = vocabularies.missing_tokens(stored.added, vocabulary)
  if missing:
    raise InputError(
      f'{folder}: its tokenizer has {len(missing)} tokens that the vocabulary '
      f'in use lacks: {shown(missing)}. Set {vocabularies.VARIABLE} to a '
      'SentencePiece model with these tokens and ids; or, if prompts and '
      f'answers do without them, remove them from '
      f'{" and ".join(stored.files)}.'
    )
