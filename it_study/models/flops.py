"""Counts the floating-point operations of a model's matrix products."""

import functools

from it_study.models import ModelConfig
from it_study.models.config import T5Config
from it_study.models.decoder_only.config import DecoderConfig


def training_flops(
  config: ModelConfig,
  *,
  batch_size: int,
  input_length: int,
  target_length: int,
) -> float:
  """Operations of one training step: the forward pass, and twice that backward.

  Counts matrix products only, each multiplication and addition as one
  operation. Includes padding, but not what rematerialisation recomputes. This
  is the "model FLOPs" of PaLM (Chowdhery et al. 2022, appendix B).

  Args:
    config: Configuration of the model.
    batch_size: Rows in the batch.
    input_length: Tokens of the prompts in a padded or packed row.
    target_length: Tokens of the targets in a padded or packed row.
  """
  return 3.0 * batch_size * _forward(config, input_length, target_length)


@functools.singledispatch
def _forward(config: ModelConfig, inputs: int, targets: int) -> float:
  """Returns the operations of the forward pass of one row."""
  raise TypeError(f'no FLOPs are known of {type(config).__name__}')


@_forward.register
def _(config: T5Config, inputs: int, targets: int) -> float:
  emb, joined = config.emb_dim, config.num_heads * config.head_dim
  mlp = 2 * emb * config.mlp_dim * (len(config.mlp_activations) + 1)
  projection = 2 * emb * joined

  def scores_and_mix(queries, keys):
    return 2 * 2 * queries * keys * joined

  encoder_layer = inputs * (4 * projection + mlp) + scores_and_mix(
    inputs, inputs
  )
  decoder_layer = (
    # Self-attention, then queries and output of cross-attention.
    targets * (4 * projection + 2 * projection + mlp)
    + inputs * 2 * projection
    + scores_and_mix(targets, targets)
    + scores_and_mix(targets, inputs)
  )
  return (
    config.num_encoder_layers * encoder_layer
    + config.num_decoder_layers * decoder_layer
    + 2 * targets * emb * config.vocab_size
  )


@_forward.register
def _(config: DecoderConfig, inputs: int, targets: int) -> float:
  emb, length = config.emb_dim, inputs + targets
  joined = config.num_heads * config.head_dim
  joined_kv = config.num_kv_heads * config.head_dim
  layer = (
    # Queries and output, keys and values, the MLP.
    2 * 2 * emb * joined
    + 2 * 2 * emb * joined_kv
    + 2 * emb * config.mlp_dim * (len(config.mlp_activations) + 1)
    # Scores and mix of every pair, those that the mask hides included.
    + 2 * 2 * length * joined
  )
  return length * (config.num_layers * layer + 2 * emb * config.vocab_size)
