"""Configurations of decoder-only models in Hugging Face's format."""

import contextlib
import itertools
import json
import math
import re

import pytest

from it_study.checkpoints.hf import decoder_config, decoder_rope
from it_study.models.decoder_only.config import DecoderConfig, Rope

_LLAMA = {
  'model_type': 'llama',
  'vocab_size': 128,
  'hidden_size': 32,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'intermediate_size': 64,
  'num_hidden_layers': 2,
  'rms_norm_eps': 1e-5,
}
_SIZES = {
  'vocab_size': 8,
  'emb_dim': 8,
  'num_heads': 2,
  'num_kv_heads': 1,
  'head_dim': 6,
  'mlp_dim': 8,
  'num_layers': 2,
}


def read(**changes) -> DecoderConfig:
  return DecoderConfig(**decoder_config.read_config({**_LLAMA, **changes}))


def test_a_llama_config_is_read():
  assert read() == DecoderConfig(
    vocab_size=128,
    emb_dim=32,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=64,
    num_layers=2,
  )


def test_old_and_new_fields_of_the_rotation_agree():
  scaling = {
    'rope_type': 'llama3',
    'factor': 8.0,
    'low_freq_factor': 1.0,
    'high_freq_factor': 4.0,
    'original_max_position_embeddings': 8192,
  }
  old = read(rope_theta=500000.0, rope_scaling=scaling)
  new = read(rope_parameters={'rope_theta': 500000.0, **scaling})
  assert old == new
  assert old.rope == Rope(base=500000.0, scaling='llama3', factor=8.0)
  oldest = read(rope_scaling={'type': 'linear', 'factor': 2.0})
  assert oldest.rope == Rope(scaling='linear', factor=2.0)


@pytest.mark.parametrize(
  ('changes', 'rope'),
  [
    (
      {'rope_parameters': {'rope_type': 'default'}, 'rope_theta': 5e5},
      Rope(base=5e5),
    ),
    (
      {
        'rope_parameters': {'rope_type': 'default', 'rope_theta': 1e4},
        'rope_scaling': {'type': 'linear', 'factor': 4.0},
        'rope_theta': 5e5,
      },
      Rope(base=5e5, scaling='linear', factor=4.0),
    ),
    (
      {
        'rope_scaling': {
          'rope_type': 'llama3',
          'factor': 8.0,
          'low_freq_factor': 1.0,
          'high_freq_factor': 4.0,
        },
        'max_position_embeddings': 131_072,
      },
      Rope(scaling='llama3', factor=8.0, original_length=131_072),
    ),
    ({'rope_theta': None, 'rope_scaling': None}, Rope()),
  ],
)
def test_incomplete_fields_of_the_rotation_mean_what_transformers_takes(
  changes, rope
):
  # As LlamaConfig(**fields).rope_parameters of transformers 5.24.
  assert read(**changes).rope == rope


_WRONG = (None, True, 0, -1, 1.5, 'x', '2', [], ['x'], {}, {'x': 1}, math.nan)


@pytest.mark.parametrize('family', decoder_config.FAMILIES)
def test_a_field_of_another_type_is_no_traceback(family):
  fields = {
    *decoder_config._READ,
    *decoder_config._FAMILIES[family].own.split(),
    'max_position_embeddings',
  }
  for field, wrong in itertools.product(sorted(fields), _WRONG):
    with contextlib.suppress(ValueError):  # Of which InputError is one.
      read(model_type=family, **{field: wrong})
  for field, wrong in itertools.product(decoder_rope._SCALING_FIELDS, _WRONG):
    scaling = {
      'rope_type': 'llama3',
      'factor': 8.0,
      'low_freq_factor': 1.0,
      'high_freq_factor': 4.0,
      field: wrong,
    }
    with contextlib.suppress(ValueError):
      read(model_type=family, rope_scaling=scaling)


def test_gemma_3_of_transformers_4_has_a_local_rotation():
  config = read(
    model_type='gemma3_text',
    rope_theta=1e6,
    rope_local_base_freq=10_000.0,
    sliding_window=16,
    sliding_window_pattern=2,
    num_hidden_layers=4,
  )
  assert config.rope == Rope(base=1e6)
  assert config.local_rope == Rope()
  assert config.window_pattern == (True, False, True, False)
  assert config.logits_via_embedding
  assert config.query_scale == 256**-0.5


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'model_type': 'llama2'},
      'model_type must be one of llama, qwen2, qwen3, olmo2, gemma2, '
      "gemma3_text, got 'llama2' Did you mean 'llama'?",
    ),
    (
      {'residual_multiplier': 0.2},
      'residual_multiplier = 0.2 is not a known field of llama and may change '
      'its answers',
    ),
    (
      {'hidden_act': 'relu'},
      "hidden_act must be one of silu, gelu_pytorch_tanh, got 'relu'",
    ),
    (
      {'rope_interleaved': True},
      'rope_interleaved must be False, got True',
    ),
    ({'hidden_size': None}, 'hidden_size must be a positive integer, got None'),
    ({'hidden_size': True}, 'hidden_size must be a positive integer, got True'),
    (
      {'tie_word_embeddings': 'false'},
      "tie_word_embeddings must be true or false, got 'false'",
    ),
    (
      {'rope_scaling': {'rope_type': 'linear'}},
      "rope_type 'linear' needs factor, which is missing",
    ),
    (
      {'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0}},
      "rope_type 'llama3' needs low_freq_factor, which is missing",
    ),
    (
      {'model_type': 'gemma3_text', 'rope_parameters': {'rope_theta': 1e6}},
      "rope_parameters has an unknown field 'rope_theta'",
    ),
    (
      {'rope_scaling': {'rope_type': 'yarn', 'factor': 4.0}},
      "rope_type must be one of default, linear, llama3, got 'yarn'",
    ),
    (
      {'rope_parameters': {'rope_type': 'linear', 'factor': 2.0, 'mscale': 1}},
      "rope_parameters has an unknown field 'mscale'",
    ),
    (
      {
        'model_type': 'gemma2',
        'layer_types': ['sliding_attention', 'chunked_attention'],
      },
      'layer_types must name sliding_attention or full_attention for each of 2 '
      "layers, got ['sliding_attention', 'chunked_attention']",
    ),
  ],
)
def test_what_may_change_answers_is_refused(changes, message):
  with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
    read(**changes)


def test_a_model_of_no_family_cannot_be_written():
  config = DecoderConfig(**_SIZES, norm_place='after', embedding_scale=True)
  with pytest.raises(ValueError, match=r'none of the families llama, .* has'):
    decoder_config.write_config(config)


@pytest.mark.parametrize(
  'changes',
  [
    {'logits_via_embedding': True, 'rope': Rope(scaling='linear', factor=3.0)},
    {'qkv_bias': True},
    {
      'qkv_bias': True,
      'norm_epsilon': 1e-6,
      'window': 4,
      'window_pattern': (False, True),
    },
    {'qk_norm': 'head'},
    {'qk_norm': 'full', 'norm_place': 'after'},
    {
      'norm_place': 'around',
      'norm_offset': 1.0,
      'embedding_scale': True,
      'query_scale': 24**-0.5,
      'mlp_activations': ('gelu', 'linear'),
      'attention_soft_cap': 20.0,
    },
  ],
  ids=str,
)
def test_a_written_config_reads_back(changes):
  config = DecoderConfig(**_SIZES, **changes)
  written = json.loads(json.dumps(decoder_config.write_config(config)))
  again = DecoderConfig(**decoder_config.read_config(written))
  assert decoder_config.write_config(again) == written
  assert again == DecoderConfig(
    **{**vars(config), 'query_scale': again.query_scale}
  )
