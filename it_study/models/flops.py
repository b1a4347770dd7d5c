"""Counts the floating-point operations of a T5's matrix products."""

from it_study.models.config import T5Config


def training_flops(
  config: T5Config, *, batch_size: int, input_length: int, target_length: int
) -> float:
  """Operations of one training step: the forward pass, and twice that backward.

  Counts matrix products only, each multiplication and addition as one
  operation. Includes padding, but not what rematerialisation recomputes. This
  is the "model FLOPs" of PaLM (Chowdhery et al. 2022, appendix B), for an
  encoder-decoder.

  Args:
    config: Configuration of the model.
    batch_size: Rows in the batch.
    input_length: Tokens in a padded or packed prompt row.
    target_length: Tokens in a padded or packed target row.
  """
  return 3.0 * batch_size * _forward(config, input_length, target_length)


def _forward(config: T5Config, inputs: int, targets: int) -> float:
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
