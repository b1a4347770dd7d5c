"""Maps our configuration to the config.json of decoder-only models.

The families are Llama (with SmolLM2 and Alpaca), Qwen 2.5 and 3, OLMo 2, and
the text models of Gemma 2 and 3.
"""

from collections.abc import Callable, Mapping
import math
from typing import Any, NamedTuple

from it_study.checkpoints.hf import decoder_rope, field_types
from it_study.errors import nearest
from it_study.models.decoder_only.config import DecoderConfig, Rope

# Fields that every family must have, with ours.
_FIELDS = {
  'vocab_size': 'vocab_size',
  'hidden_size': 'emb_dim',
  'num_attention_heads': 'num_heads',
  'intermediate_size': 'mlp_dim',
  'num_hidden_layers': 'num_layers',
}
_ACTIVATIONS = {
  'silu': ('silu', 'linear'),
  'gelu_pytorch_tanh': ('gelu', 'linear'),
}
# Fields that change no answer, or only how training starts.
_WITHOUT_EFFECT = """
_attn_implementation_autoset _name_or_path architectures attention_dropout
bos_token_id cache_implementation chunk_size_feed_forward dtype eos_token_id
id2label initializer_range is_encoder_decoder is_llama_config label2id
max_position_embeddings model_type output_attentions output_hidden_states
pad_token_id pretraining_tp problem_type return_dict torch_dtype
transformers.js_config transformers_version unsloth_fixed unsloth_version
use_cache
"""
# Fields that are read below, for every family.
_READ = frozenset(
  {
    *_FIELDS,
    'head_dim',
    'num_key_value_heads',
    'rms_norm_eps',
    'rope_parameters',
    'rope_scaling',
    'rope_theta',
    'tie_word_embeddings',
  }
)
# Types of the fields that are read, of any family.
_TYPES = {
  'true or false': 'attention_bias mlp_bias tie_word_embeddings '
  'use_sliding_window',
  'an integer': 'max_window_layers sliding_window',
  'a positive integer': f'{" ".join(_FIELDS)} head_dim num_key_value_heads '
  'max_position_embeddings sliding_window_pattern _sliding_window_pattern',
  'a positive number': 'attn_logit_softcapping final_logit_softcapping '
  'query_pre_attn_scalar rms_norm_eps rope_local_base_freq rope_theta',
  'a text': 'hidden_act hidden_activation',
  'a list': 'layer_types',
  'an object': 'rope_parameters rope_scaling',
}
# Fields for which null is a value, not the default.
_NULLABLE = 'attn_logit_softcapping final_logit_softcapping sliding_window'


def _attention_biases(fields: Mapping[str, Any]) -> dict[str, Any]:
  bias = fields.get('attention_bias', False)
  return {'qkv_bias': bias, 'out_bias': bias}


def _llama(fields: Mapping[str, Any]) -> dict[str, Any]:
  return {
    **_attention_biases(fields),
    'mlp_bias': fields.get('mlp_bias', False),
  }


def _qwen2(fields: Mapping[str, Any]) -> dict[str, Any]:
  return {'qkv_bias': True, **_qwen_windows(fields)}


def _qwen3(fields: Mapping[str, Any]) -> dict[str, Any]:
  return {
    **_attention_biases(fields),
    'qk_norm': 'head',
    **_qwen_windows(fields),
  }


def _qwen_windows(fields: Mapping[str, Any]) -> dict[str, Any]:
  if not fields.get('use_sliding_window') or not fields.get('sliding_window'):
    return {}
  first = fields.get('max_window_layers', 28)
  default = [
    'sliding_attention' if layer >= first else 'full_attention'
    for layer in range(fields['num_hidden_layers'])
  ]
  return _windows(fields, default)


def _olmo2(fields: Mapping[str, Any]) -> dict[str, Any]:
  return {
    **_attention_biases(fields),
    'qk_norm': 'full',
    'norm_place': 'after',
  }


def _gemma2(fields: Mapping[str, Any]) -> dict[str, Any]:
  default = [
    'full_attention' if layer % 2 else 'sliding_attention'
    for layer in range(fields['num_hidden_layers'])
  ]
  return {
    **_gemma(fields),
    'attention_soft_cap': fields.get('attn_logit_softcapping', 50.0),
    'logits_soft_cap': fields.get('final_logit_softcapping', 30.0),
    **_windows(fields, default),
  }


def _gemma3(fields: Mapping[str, Any]) -> dict[str, Any]:
  period = fields.get('sliding_window_pattern', 6)
  default = [
    'sliding_attention' if (layer + 1) % period else 'full_attention'
    for layer in range(fields['num_hidden_layers'])
  ]
  return {
    **_gemma(fields),
    'qk_norm': 'head',
    'attention_soft_cap': fields.get('attn_logit_softcapping'),
    'logits_soft_cap': fields.get('final_logit_softcapping'),
    **_windows(fields, default),
  }


def _gemma(fields: Mapping[str, Any]) -> dict[str, Any]:
  return {
    **_attention_biases(fields),
    'norm_place': 'around',
    'norm_offset': 1.0,
    'embedding_scale': True,
    'query_scale': fields.get('query_pre_attn_scalar', 256) ** -0.5,
  }


def _windows(fields: Mapping[str, Any], default: list[str]) -> dict[str, Any]:
  kinds = fields.get('layer_types') or default
  unknown = {*kinds} - {'sliding_attention', 'full_attention'}
  if unknown or len(kinds) != fields['num_hidden_layers']:
    raise ValueError(
      'layer_types must name sliding_attention or full_attention for each of '
      f'{fields["num_hidden_layers"]} layers, got {kinds}'
    )
  pattern = tuple(kind == 'sliding_attention' for kind in kinds)
  window = fields.get('sliding_window', 4096)
  if window is None or not any(pattern):
    return {}
  return {'window': window, 'window_pattern': pattern}


class _Family(NamedTuple):
  """A family of models.

  Attributes:
    architecture: Name of its class in transformers.
    read: Function that reads its own settings.
    own: Fields that it has besides those of every family, in one string.
    defaults: Defaults of transformers for fields that may be left out.
  """

  architecture: str
  read: Callable[[Mapping[str, Any]], dict[str, Any]]
  own: str
  defaults: dict[str, Any]


_QWEN = 'hidden_act layer_types max_window_layers sliding_window '
_QWEN += 'use_sliding_window'
_GEMMA = 'attention_bias attn_logit_softcapping final_logit_softcapping '
_GEMMA += 'hidden_activation layer_types query_pre_attn_scalar sliding_window '
_GEMMA += 'use_bidirectional_attention'
_GEMMA_DEFAULTS = {
  'hidden_activation': 'gelu_pytorch_tanh',
  'rms_norm_eps': 1e-6,
  'head_dim': 256,
  'tie_word_embeddings': True,
  'use_bidirectional_attention': False,
}
_FAMILIES = {
  'llama': _Family(
    'LlamaForCausalLM',
    _llama,
    'attention_bias mlp_bias rope_interleaved hidden_act',
    {'hidden_act': 'silu', 'rms_norm_eps': 1e-6, 'rope_interleaved': False},
  ),
  'qwen2': _Family(
    'Qwen2ForCausalLM',
    _qwen2,
    f'{_QWEN} use_mrope',
    {'hidden_act': 'silu', 'rms_norm_eps': 1e-6, 'use_mrope': False},
  ),
  'qwen3': _Family(
    'Qwen3ForCausalLM',
    _qwen3,
    f'{_QWEN} attention_bias',
    {'hidden_act': 'silu', 'rms_norm_eps': 1e-6, 'head_dim': 128},
  ),
  'olmo2': _Family(
    'Olmo2ForCausalLM',
    _olmo2,
    'attention_bias hidden_act',
    {'hidden_act': 'silu', 'rms_norm_eps': 1e-5},
  ),
  'gemma2': _Family(
    'Gemma2ForCausalLM',
    _gemma2,
    f'{_GEMMA} hidden_act sliding_window_size',
    _GEMMA_DEFAULTS,
  ),
  'gemma3_text': _Family(
    'Gemma3ForCausalLM',
    _gemma3,
    f'{_GEMMA} rope_local_base_freq sliding_window_pattern '
    '_sliding_window_pattern',
    {**_GEMMA_DEFAULTS, 'rope_theta': 1_000_000.0},
  ),
}
# Values of fields that the families have, of which only these are supported.
_ONLY = {
  'rope_interleaved': (False,),
  'use_bidirectional_attention': (False, None),
  'use_mrope': (False,),
}

FAMILIES = tuple(_FAMILIES)


def read_config(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the fields of a DecoderConfig that a config.json determines.

  Raises:
    ValueError: If the model is of no supported family, or a field that may
      change its answers is not known; says which.
  """
  kind = fields.get('model_type')
  if kind not in _FAMILIES:
    raise ValueError(
      f'model_type must be one of {", ".join(FAMILIES)}, got {kind!r}'
      f'{nearest(str(kind), FAMILIES)}'
    )
  family = _FAMILIES[kind]
  own = family.own.split()
  known = {*_READ, *own, *_WITHOUT_EFFECT.split()}
  field_types.check(fields, _TYPES)
  given = {
    name: value
    for name, value in fields.items()
    if value is not None or name in _NULLABLE.split()
  }
  fields = {**family.defaults, **given}
  unknown = sorted(
    name
    for name, value in fields.items()
    if name not in known and value is not None
  )
  if unknown:
    raise ValueError(
      f'{unknown[0]} = {fields[unknown[0]]!r:.60} is not a known field of '
      f'{kind} and may change its answers'
    )
  for name, allowed in _ONLY.items():
    if name in own and fields.get(name) not in allowed:
      raise ValueError(f'{name} must be {allowed[0]}, got {fields.get(name)!r}')
  config = {}
  for theirs, ours in _FIELDS.items():
    if theirs not in fields:
      raise ValueError(f'{theirs} must be a positive integer, got None')
    config[ours] = fields[theirs]
  heads = config['num_heads']
  return {
    **config,
    'num_kv_heads': fields.get('num_key_value_heads') or heads,
    'head_dim': fields.get('head_dim') or config['emb_dim'] // heads,
    'mlp_activations': _activations(fields),
    'norm_epsilon': float(fields['rms_norm_eps']),
    'logits_via_embedding': fields.get('tie_word_embeddings', False),
    **family.read(fields),
    **decoder_rope.read_ropes(fields),
  }


def decoder_config_of(recorded: Mapping[str, Any]) -> DecoderConfig | None:
  """Returns the configuration that training.json records.

  Args:
    recorded: Fields of a model's configuration; those of a T5 give None.
  """
  if 'num_layers' not in recorded:
    return None
  fields = dict(recorded)
  for name in ('rope', 'local_rope'):
    if fields[name] is not None:
      fields[name] = Rope(**fields[name])
  return DecoderConfig(**fields)


def _activations(fields: Mapping[str, Any]) -> tuple[str, ...]:
  # Gemma's hidden_act is an older name that its models no longer read.
  name = fields.get('hidden_activation') or fields.get('hidden_act')
  if name not in _ACTIVATIONS:
    raise ValueError(
      f'hidden_act must be one of {", ".join(_ACTIVATIONS)}, got {name!r}'
    )
  return _ACTIVATIONS[name]


def write_config(config: DecoderConfig) -> dict[str, Any]:
  """Returns the config.json of a model, as transformers 5 writes it.

  Raises:
    ValueError: If no supported family has these settings.
  """
  names: dict[tuple[str, ...], str] = {
    value: name for name, value in _ACTIVATIONS.items()
  }
  fields: dict[str, Any] = {
    theirs: getattr(config, ours) for theirs, ours in _FIELDS.items()
  }
  fields |= {
    'num_key_value_heads': config.num_kv_heads,
    'head_dim': config.head_dim,
    'rms_norm_eps': config.norm_epsilon,
    'tie_word_embeddings': config.logits_via_embedding,
    'rope_parameters': decoder_rope.write_ropes(config),
    'attention_bias': config.out_bias,
    'mlp_bias': config.mlp_bias,
    'hidden_act': names.get(config.mlp_activations),
    'hidden_activation': names.get(config.mlp_activations),
    'attn_logit_softcapping': config.attention_soft_cap,
    'final_logit_softcapping': config.logits_soft_cap,
    'sliding_window': config.window,
    'use_sliding_window': config.window is not None,
  }
  if config.query_scale is not None:
    fields['query_pre_attn_scalar'] = _whole(config.query_scale**-2)
  if config.window is not None:
    fields['layer_types'] = [
      'sliding_attention' if config.has_window(layer) else 'full_attention'
      for layer in range(config.num_layers)
    ]
  for kind, family in _FAMILIES.items():
    known = {*_READ, *family.own.split(), 'model_type'}
    written = {
      name: value
      for name, value in {**fields, 'model_type': kind}.items()
      if name in known
    }
    try:
      read = DecoderConfig(**read_config(written))
    except (ValueError, KeyError):
      continue
    if _same_model(read, config):
      return {'architectures': [family.architecture], **written}
  raise ValueError(
    f'none of the families {", ".join(FAMILIES)} has these settings'
  )


# Settings that change how a model is computed, not what it is.
_COMPUTING = (
  'dtype',
  'remat_policy',
  'scan_layers',
  'attention_implementation',
)


def _same_model(first: DecoderConfig, second: DecoderConfig) -> bool:
  def settings(config: DecoderConfig) -> dict[str, Any]:
    fields = dict(vars(config))
    for name in _COMPUTING:
      del fields[name]
    fields['window_pattern'] = [
      config.has_window(layer) for layer in range(config.num_layers)
    ]
    fields['local_rope'] = (
      None if config.window is None else config.local_rope or config.rope
    )
    fields['query_scale'] = config.query_scale or config.head_dim**-0.5
    return fields

  return settings(first) == settings(second)


def _whole(number: float) -> float:
  """Returns an integer where rounding has only blurred one."""
  return round(number) if math.isclose(number, round(number)) else number
