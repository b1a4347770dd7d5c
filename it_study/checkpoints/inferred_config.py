"""The configuration of a T5, told from its parameters."""

from collections.abc import Mapping
from typing import Any

from it_study.errors import InputError
from it_study.models.config import T5Config


def infer_config(
  params: Mapping[str, Any], *, source: str = 'the checkpoint'
) -> T5Config:
  """The configuration of a T5, told from its parameters' names and shapes.

  Args:
    params: nested dict of anything with a shape.
    source: where they are from, for an error.

  Raises:
    InputError: they are no T5's; names the parameter that is missing.
  """
  try:
    encoder, decoder = params['encoder'], params['decoder']
    attention = encoder['layers_0']['attention']['query']['kernel']
    mlp = encoder['layers_0']['mlp']
    num_heads, num_buckets = encoder['relpos_bias']['rel_embedding'].shape
    vocab_size, emb_dim = params['token_embedder']['embedding'].shape
    mlp_dim = mlp['wo']['kernel'].shape[0]
  except KeyError as error:
    raise InputError(
      f'{source} does not hold the parameters of a T5: no {error.args[0]} '
      'among them. Name a checkpoint of an encoder-decoder T5.'
    ) from None
  is_gated = 'wi_0' in mlp
  return T5Config(
    vocab_size=vocab_size,
    emb_dim=emb_dim,
    num_heads=num_heads,
    head_dim=attention.shape[1] // num_heads,
    mlp_dim=mlp_dim,
    num_encoder_layers=_num_layers(encoder),
    num_decoder_layers=_num_layers(decoder),
    # T5's two versions; the names do not tell one gate from another.
    mlp_activations=('gelu', 'linear') if is_gated else ('relu',),
    logits_via_embedding='logits_dense' not in decoder,
    relative_attention_num_buckets=num_buckets,
  )


def _num_layers(stack: Mapping[str, Any]) -> int:
  return sum(name.startswith('layers_') for name in stack)
