"""Tests of inferring a configuration from parameters."""

import dataclasses

import pytest

from it_study.checkpoints.fitting import infer_config
from it_study.errors import InputError
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

# All sizes differ, so that none can be mistaken for another.
_CONFIG = T5Config(
  vocab_size=37,
  emb_dim=16,
  num_heads=3,
  head_dim=8,
  mlp_dim=20,
  num_encoder_layers=2,
  num_decoder_layers=1,
  relative_attention_num_buckets=5,
)


@pytest.mark.parametrize(
  'changes',
  [{}, {'mlp_activations': ('relu',), 'logits_via_embedding': True}],
)
def test_the_configuration_is_inferred_from_shapes(changes):
  config = dataclasses.replace(_CONFIG, **changes)
  params = partitioning.abstract_params(
    model=T5(config), mesh=partitioning.make_mesh()
  )
  assert infer_config(params) == config


def test_other_parameters_are_refused():
  with pytest.raises(InputError) as raised:
    infer_config({'decoder': {}}, source='there')
  assert str(raised.value) == (
    'there does not hold the parameters of a T5: encoder is missing. Name a '
    'checkpoint of an encoder-decoder T5.'
  )
