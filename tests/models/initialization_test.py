"""Tests of it_study.models.initialization."""

from flax import linen as nn
import jax
import numpy as np
import pytest

from it_study.models import initialization, partitioning
from it_study.models.t5 import T5, T5Config


def model_of(num_layers: int) -> T5:
  return T5(T5Config(40, 8, 2, 4, 16, num_layers, num_layers))


def keys_and_draws(model):
  tokens = np.ones((1, 1), np.int32)

  def init(seed):
    variables = model.init(jax.random.key(seed), tokens, tokens, tokens)
    return nn.meta.unbox(variables['params'])

  return initialization.keys_and_draws(init)


def test_values_are_those_of_the_model_itself():
  model = model_of(2)
  tokens = np.ones((1, 1), np.int32)
  expected = nn.meta.unbox(
    jax.jit(model.init)(jax.random.key(7), tokens, tokens, tokens)
  )['params']
  actual = partitioning.init_params(
    model=model, seed=7, mesh=partitioning.make_mesh(devices=jax.devices()[:1])
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), actual, expected
  )


def test_every_parameter_has_a_different_key():
  keys, draws = keys_and_draws(model_of(2))
  actual = keys(np.uint32(3))
  assert len(actual) == len(draws) == 52
  assert len({key.tobytes() for key in actual}) == 52


@pytest.mark.parametrize('num_layers', [1, 4])
def test_number_of_programs_does_not_depend_on_layers(num_layers):
  _, draws = keys_and_draws(model_of(num_layers))
  assert len(draws) == 6 + 23 * num_layers
  # Table, logits, position biases, scales, queries, keys and their like, wi and
  # wo.
  assert len(set(draws)) == 8
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  programs = {initialization.program(draw, sharding) for draw in draws}
  assert len(programs) == 8
