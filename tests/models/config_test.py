"""Tests of it_study.models.config."""

import dataclasses

import pytest

from it_study.errors import InputError
from it_study.models.t5 import T5Config


def _config(**changes) -> T5Config:
  return T5Config(
    **{
      'vocab_size': 37,
      'emb_dim': 16,
      'num_heads': 2,
      'head_dim': 8,
      'mlp_dim': 24,
      'num_encoder_layers': 1,
      'num_decoder_layers': 1,
      **changes,
    }
  )


def test_config_is_hashable_and_takes_lists():
  config = _config()
  listed = dataclasses.replace(config, mlp_activations=['gelu', 'linear'])
  assert listed == config
  assert hash(listed) == hash(config)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'dtype': 'float16'}, r"float16.*\(65504\)\. Use 'bfloat16' or 'float32'"),
    ({'dtype': 'bfloat'}, "'bfloat'.*Did you mean 'bfloat16'"),
    ({'mlp_activations': ('gleu',)}, "'gleu'.*Did you mean 'gelu'"),
    ({'mlp_activations': ()}, 'mlp_activations is empty'),
    ({'scan_layers': 'False'}, "scan_layers is 'False'; expected True or Fal"),
    ({'num_heads': 0}, 'num_heads is 0; expected a positive integer'),
    ({'emb_dim': 12.5}, 'emb_dim is 12.5; expected a positive integer'),
    ({'remat_policy': 'ful'}, "'ful'; expected one of none, .* mean 'full'"),
    (
      {'dropout_rate': 1.0},
      r'dropout_rate is 1.0; expected a number in \[0, 1\)',
    ),
  ],
)
def test_config_refuses_what_no_t5_can_have(changes, message):
  with pytest.raises(InputError, match=message):
    _config(**changes)
