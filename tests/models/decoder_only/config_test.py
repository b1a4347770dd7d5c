"""Tests of it_study.models.decoder_only.config."""

import dataclasses

import pytest

from it_study.errors import InputError
from it_study.models.decoder_only.config import DecoderConfig, Rope

_SIZES = {
  'vocab_size': 37,
  'emb_dim': 16,
  'num_heads': 4,
  'num_kv_heads': 2,
  'head_dim': 8,
  'mlp_dim': 24,
  'num_layers': 2,
}


def test_config_is_hashable_and_takes_lists():
  config = DecoderConfig(**_SIZES)
  listed = dataclasses.replace(config, mlp_activations=['silu', 'linear'])
  assert listed == config
  assert hash(listed) == hash(config)
  assert config.pad_id == -1


def test_config_has_window_repeats_the_pattern():
  config = DecoderConfig(
    **{**_SIZES, 'num_layers': 5},
    window=4,
    window_pattern=[True, True, False],
    local_rope=Rope(base=100.0),
  )
  windows = [config.has_window(layer) for layer in range(5)]
  assert windows == [True, True, False, True, True]


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'num_kv_heads': 3},
      'DecoderConfig.num_kv_heads is 3; it must divide num_heads, which is 4.',
    ),
    (
      {'head_dim': 7},
      'DecoderConfig.head_dim is 7; rotary embeddings need an even number.',
    ),
    (
      {'norm_place': 'befor'},
      "DecoderConfig.norm_place is 'befor'; expected one of before, after, "
      "around. Did you mean 'before'?",
    ),
    (
      {'qk_norm': 'heads'},
      "DecoderConfig.qk_norm is 'heads'; expected one of none, head, full. Did "
      "you mean 'head'?",
    ),
    (
      {'dropout_rate': 0.1},
      'DecoderConfig.dropout_rate is 0.1; decoder-only models have no dropout. '
      'Set DROPOUT_RATE = 0.0.',
    ),
    (
      {'logits_soft_cap': 0.0},
      'DecoderConfig.logits_soft_cap is 0.0; expected a finite number above 0.',
    ),
    (
      {'window_pattern': ()},
      'DecoderConfig.window_pattern is empty; expected at least one truth '
      'value, such as (True, False).',
    ),
    (
      {'window_pattern': (True, False)},
      'DecoderConfig.window_pattern gives layers a window, but window is None. '
      'Set it to a number of tokens.',
    ),
    (
      {'window': 0, 'window_pattern': (True,)},
      'DecoderConfig.window is 0; expected a positive integer or None.',
    ),
    (
      {'num_layers': 0},
      'DecoderConfig.num_layers is 0; expected a positive integer.',
    ),
  ],
)
def test_config_refuses_what_no_model_can_have(changes, message):
  with pytest.raises(InputError) as error:
    DecoderConfig(**{**_SIZES, **changes})
  assert str(error.value) == message


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (
      {'scaling': 'yarn'},
      "Rope.scaling is 'yarn'; expected one of none, linear, llama3.",
    ),
    ({'base': 0}, 'Rope.base is 0; expected a finite number above 0.'),
    (
      {'factor': float('inf')},
      'Rope.factor is inf; expected a finite number above 0.',
    ),
    (
      {'scaling': 'llama3', 'low_frequency_factor': 4.0},
      'Rope.low_frequency_factor is 4.0 and high_frequency_factor 4.0; the '
      'first must be above 0 and below the second.',
    ),
  ],
)
def test_rope_refuses_what_no_rotation_can_have(settings, message):
  with pytest.raises(InputError) as error:
    Rope(**settings)
  assert str(error.value) == message
