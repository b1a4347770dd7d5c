"""Tests of it_study.models.flops."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from it_study.models import partitioning
from it_study.models.flops import training_flops
from it_study.models.t5 import T5, T5Config

_CONFIG = T5Config(
  vocab_size=512,
  emb_dim=64,
  num_heads=2,
  head_dim=16,
  mlp_dim=96,
  num_encoder_layers=2,
  num_decoder_layers=3,
)


@pytest.mark.parametrize('activations', [('relu',), ('gelu', 'linear')])
def test_forward_is_what_the_compiler_counts(activations):
  config = dataclasses.replace(_CONFIG, mlp_activations=activations)
  model = T5(config)
  params = partitioning.abstract_params(
    model=model, mesh=partitioning.make_mesh(devices=jax.devices()[:1])
  )
  shapes = [jax.ShapeDtypeStruct((4, n), jnp.int32) for n in (40, 24, 24)]
  compiled = (
    jax.jit(lambda params, *tokens: model.apply({'params': params}, *tokens))
    .lower(params, *shapes)
    .compile()
  )
  counted = compiled.cost_analysis()['flops']
  ours = training_flops(config, batch_size=4, input_length=40, target_length=24)
  # The compiler counts norms, softmax and activations too.
  assert ours / 3 == pytest.approx(counted, rel=0.1)
  assert ours / 3 < counted


def test_operations_are_proportional_to_rows():
  one, three = (
    training_flops(_CONFIG, batch_size=n, input_length=8, target_length=4)
    for n in (1, 3)
  )
  assert three == 3 * one
