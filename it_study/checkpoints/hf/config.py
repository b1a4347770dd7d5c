"""Maps our configuration to the config.json of a Hugging Face T5."""

from collections.abc import Mapping
from typing import Any

from it_study.checkpoints.hf import field_types
from it_study.errors import nearest
from it_study.models.config import T5Config

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
# What transformers derives from `feed_forward_proj`, unless the file says it.
_ACTIVATION_PARTS = {
  'relu': {'dense_act_fn': 'relu', 'is_gated_act': False},
  'gated-gelu': {'dense_act_fn': 'gelu_new', 'is_gated_act': True},
  'gated-silu': {'dense_act_fn': 'silu', 'is_gated_act': True},
}

# Epsilon of the layer norms, as in models/layers.py.
_EPSILON = 1e-6
# Fields of which one value is supported; also in generation_config.json.
_TOKENS = {'pad_token_id': 0, 'eos_token_id': 1, 'decoder_start_token_id': 0}
_TYPES = {
  'true or false': 'tie_word_embeddings scale_decoder_outputs',
  'a text': 'feed_forward_proj',
}
_FIXED = {
  **_TOKENS,
  'layer_norm_epsilon': _EPSILON,
  'is_encoder_decoder': True,
  'is_decoder': False,
  'tie_encoder_decoder': False,
  'pruned_heads': {},
}
# Fields that do not change logits: notes, training, memory, classifiers, other
# tokens, and the defaults of `generate`, for which DECODING stands here.
_WITHOUT_EFFECT = """
add_cross_attention architectures attn_implementation bos_token_id
chunk_size_feed_forward classifier_dropout cls_token_id
cross_attention_hidden_size dropout_rate dtype finetuning_task
gradient_checkpointing id2label initializer_factor label2id mask_token_id
n_positions name_or_path num_labels output_attentions output_hidden_states
output_past prefix problem_type return_dict sep_token_id task_specific_params
tf_legacy_loss tokenizer_class torch_dtype torchscript transformers_version
unk_token_id use_bfloat16 use_cache xla_device

bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping
encoder_no_repeat_ngram_size exponential_decay_length_penalty
forced_bos_token_id forced_eos_token_id length_penalty max_length max_new_tokens
min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
output_scores remove_invalid_values repetition_penalty return_dict_in_generate
suppress_tokens temperature top_k top_p typical_p
"""


def read_config(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the fields of a T5Config that a config.json determines.

  Raises:
    ValueError: If the model is not a supported T5, or a field is not known, and
      so might change the answers; says why.
  """
  kind = fields.get('model_type')
  if kind != 't5':
    raise ValueError(f"model_type must be 't5', got {kind!r}")
  field_types.check(fields, _TYPES)
  activation = fields.get('feed_forward_proj', 'relu')
  if activation not in _ACTIVATIONS:
    raise ValueError(
      f'feed_forward_proj must be one of {", ".join(_ACTIVATIONS)}, got '
      f'{activation!r}'
    )
  _check_fixed(fields, _FIXED)
  _check_fixed(
    fields,
    _ACTIVATION_PARTS[activation],
    why=f' beside feed_forward_proj {activation!r}',
  )
  _check_known(fields)
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


def check_generation(fields: Mapping[str, Any]) -> None:
  """Raises `ValueError` if a generation_config.json has other token ids."""
  _check_fixed(fields, _TOKENS)


def _check_fixed(
  fields: Mapping[str, Any], wanted: Mapping[str, Any], *, why: str = ''
) -> None:
  for name, value in wanted.items():
    found = fields.get(name)
    # transformers also writes a list of ids, and null for what is not set.
    if found not in (None, value, [value]):
      raise ValueError(f'{name} must be {value!r}{why}, got {found!r:.60}')


def _check_known(fields: Mapping[str, Any]) -> None:
  """Refuses fields that are not known, since they may change the answers."""
  known = {
    *_WITHOUT_EFFECT.split(),
    *_FIXED,
    *_ACTIVATION_PARTS['relu'],
    *(theirs for theirs, _ in _FIELDS.values()),
    'feed_forward_proj',
    'model_type',
    'num_decoder_layers',
    'scale_decoder_outputs',
    'tie_word_embeddings',
  }
  unknown = [
    name
    for name, value in fields.items()
    if value is not None and name not in known and not name.startswith('_')
  ]
  if unknown:
    raise ValueError(
      f'unknown fields, which may change the answers: '
      f'{", ".join(sorted(unknown)):.200}.{nearest(unknown[0], known)} Remove '
      'those that do not'
    )


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
    **_TOKENS,
  }
