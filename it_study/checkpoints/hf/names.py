"""Maps our parameter names and configuration to a Hugging Face T5's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from it_study.models.config import T5Config

# Copies of the embedding table under other names, and a bias in the first
# releases of T5 v1.0 that no model reads.
HEAD = 'lm_head.weight'
EMBEDDING = 'shared.weight'
REPEATED = (
  'encoder.embed_tokens.weight',
  'decoder.embed_tokens.weight',
)
UNUSED = (
  'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight',
)
_ATTENTION = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}


class Tensor(NamedTuple):
  """A tensor of a checkpoint, and whether our parameter is its transpose."""

  name: str
  is_transposed: bool


def tensors(config: T5Config) -> dict[str, Tensor]:
  """Returns Hugging Face's tensors by our names, 'encoder/layers_0/…'.

  PyTorch's linear layers store [out, in], ours [in, out]; its relative
  attention bias [buckets, heads], ours [heads, buckets].
  """
  table = {
    'token_embedder/embedding': Tensor(EMBEDDING, False),
    'encoder/encoder_norm/scale': Tensor(
      'encoder.final_layer_norm.weight', False
    ),
    'decoder/decoder_norm/scale': Tensor(
      'decoder.final_layer_norm.weight', False
    ),
  }
  if not config.logits_via_embedding:
    table['decoder/logits_dense/kernel'] = Tensor(HEAD, True)
  for stack in ('encoder', 'decoder'):
    table[f'{stack}/relpos_bias/rel_embedding'] = Tensor(
      f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
      True,
    )
  for layer in range(config.num_encoder_layers):
    _add_layer(
      table,
      config,
      ours=f'encoder/layers_{layer}',
      theirs=f'encoder.block.{layer}.layer',
      parts=(('attention', 'SelfAttention', 'pre_attention_layer_norm'),),
    )
  for layer in range(config.num_decoder_layers):
    _add_layer(
      table,
      config,
      ours=f'decoder/layers_{layer}',
      theirs=f'decoder.block.{layer}.layer',
      parts=(
        ('self_attention', 'SelfAttention', 'pre_self_attention_layer_norm'),
        (
          'encoder_decoder_attention',
          'EncDecAttention',
          'pre_cross_attention_layer_norm',
        ),
      ),
    )
  return table


def _add_layer(
  table: dict[str, Tensor],
  config: T5Config,
  *,
  ours: str,
  theirs: str,
  parts: tuple[tuple[str, str, str], ...],
) -> None:
  for number, (part, name, norm) in enumerate(parts):
    for kernel, letter in _ATTENTION.items():
      table[f'{ours}/{part}/{kernel}/kernel'] = Tensor(
        f'{theirs}.{number}.{name}.{letter}.weight', True
      )
    table[f'{ours}/{norm}/scale'] = Tensor(
      f'{theirs}.{number}.layer_norm.weight', False
    )
  mlp = f'{theirs}.{len(parts)}'
  count = len(config.mlp_activations)
  kernels = ['wi'] if count == 1 else [f'wi_{k}' for k in range(count)]
  for kernel in (*kernels, 'wo'):
    table[f'{ours}/mlp/{kernel}/kernel'] = Tensor(
      f'{mlp}.DenseReluDense.{kernel}.weight', True
    )
  table[f'{ours}/pre_mlp_layer_norm/scale'] = Tensor(
    f'{mlp}.layer_norm.weight', False
  )


# Field of a T5Config to the field of a config.json and its default.
_FIELDS = {
  'vocab_size': ('vocab_size', 32128),
  'emb_dim': ('d_model', 512),
  'num_heads': ('num_heads', 8),
  'head_dim': ('d_kv', 64),
  'mlp_dim': ('d_ff', 2048),
  'num_encoder_layers': ('num_layers', 6),
  'relative_attention_num_buckets': ('relative_attention_num_buckets', 32),
  'relative_attention_max_distance': ('relative_attention_max_distance', 128),
}
_ACTIVATIONS = {
  'relu': ('relu',),
  'gated-gelu': ('gelu', 'linear'),
  'gated-silu': ('silu', 'linear'),
}

# Epsilon of the layer norms, as in models/layers.py.
_EPSILON = 1e-6


def read_config(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the fields of a T5Config that a config.json determines.

  Raises:
    ValueError: If the model is not a supported T5; says why.
  """
  kind = fields.get('model_type')
  if kind != 't5':
    raise ValueError(f"model_type must be 't5', got {kind!r}")
  activation = fields.get('feed_forward_proj', 'relu')
  if activation not in _ACTIVATIONS:
    raise ValueError(
      f'feed_forward_proj must be one of {", ".join(_ACTIVATIONS)}, got '
      f'{activation!r}'
    )
  epsilon = fields.get('layer_norm_epsilon', _EPSILON)
  if epsilon != _EPSILON:
    raise ValueError(f'layer_norm_epsilon must be {_EPSILON}, got {epsilon!r}')
  config = {
    ours: fields.get(theirs, default)
    for ours, (theirs, default) in _FIELDS.items()
  }
  decoder_layers = fields.get('num_decoder_layers')
  return config | {
    'num_decoder_layers': config['num_encoder_layers']
    if decoder_layers is None
    else decoder_layers,
    'mlp_activations': _ACTIVATIONS[activation],
    'logits_via_embedding': _scales_logits(fields),
  }


def _scales_logits(fields: Mapping[str, Any]) -> bool:
  """Returns whether logits are T5 v1.0's: from the scaled embedding table.

  transformers 5 writes this under its own name, and always says that the
  tables are tied, whether or not the weights hold a second one.
  """
  scaled = fields.get('scale_decoder_outputs')
  if scaled is None:
    return fields.get('tie_word_embeddings', True) is not False
  return bool(scaled)


def write_config(config: T5Config) -> dict[str, Any]:
  """Returns the config.json of a model.

  Raises:
    ValueError: If Hugging Face's T5 does not support the activations.
  """
  names = {value: name for name, value in _ACTIVATIONS.items()}
  if config.mlp_activations not in names:
    raise ValueError(
      f'mlp_activations of a Hugging Face T5 must be one of '
      f'{", ".join(map(str, names))}, got {config.mlp_activations}'
    )
  fields = {
    theirs: getattr(config, ours) for ours, (theirs, _) in _FIELDS.items()
  }
  return {
    'architectures': ['T5ForConditionalGeneration'],
    'model_type': 't5',
    **fields,
    'num_decoder_layers': config.num_decoder_layers,
    'feed_forward_proj': names[config.mlp_activations],
    'tie_word_embeddings': config.logits_via_embedding,
    'scale_decoder_outputs': config.logits_via_embedding,
    'is_encoder_decoder': True,
    'dropout_rate': config.dropout_rate,
    'layer_norm_epsilon': _EPSILON,
    'initializer_factor': 1.0,
    'use_cache': True,
    'pad_token_id': 0,
    'eos_token_id': 1,
    'decoder_start_token_id': 0,
  }
