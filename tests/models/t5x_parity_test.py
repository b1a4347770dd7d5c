"""Compares T5 with T5X's own on the same parameters."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from it_study.inference.beam import beam_decode
from it_study.inference.token_loop import decode_tokens
from it_study.models import layers, partitioning
from it_study.models.t5 import T5, T5Config

pytestmark = pytest.mark.t5x
if importlib.util.find_spec('t5x') is None:
  pytest.skip('needs T5X', allow_module_level=True)

_SPEC = importlib.util.spec_from_file_location(
  'make_t5x_golden',
  pathlib.Path(__file__).parents[1] / 'golden' / 'make_t5x_golden.py',
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)

variants = pytest.mark.parametrize('variant', ['v1_1', 'v1_0'])


def model_of(variant: str) -> T5:
  return T5(T5Config(**golden.DIMENSIONS, **golden.VARIANTS[variant]))


@pytest.fixture(scope='module')
def params():
  """Others than those of the golden file, by variant."""
  return {
    variant: golden.nest(golden.draw_params(golden.t5x_shapes(variant), 1234))
    for variant in golden.VARIANTS
  }


@variants
def test_same_tree_and_the_same_draw_from_the_same_seed(variant):
  tokens = np.ones((1, 1), np.int32)
  theirs = golden.t5x_module(variant).init(
    jax.random.key(3), tokens, tokens, tokens, enable_dropout=False
  )['params']
  ours = partitioning.init_params(
    model=model_of(variant), seed=3, mesh=partitioning.make_mesh()
  )
  assert jax.tree.structure(dict(theirs)) == jax.tree.structure(ours)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), dict(theirs), ours
  )


@variants
@pytest.mark.parametrize('batch', [golden.plain_batch, golden.packed_batch])
def test_same_logits(params, variant, batch):
  batch = batch()
  expected = golden.t5x_logits(variant, params[variant], batch)
  logits = model_of(variant).apply({'params': params[variant]}, **batch)
  real = batch['decoder_target_tokens'] > 0
  np.testing.assert_allclose(logits[real], expected[real], atol=1e-5, rtol=0)


@variants
def test_same_gradients(params, variant):
  batch = golden.packed_batch()
  real = batch['decoder_target_tokens'] > 0
  weights = np.random.default_rng(5).normal(size=(2, 11, 37)) * real[..., None]

  def gradients(apply):
    return jax.grad(
      lambda params: (apply({'params': params}, **batch) * weights).sum()
    )(params[variant])

  theirs = golden.t5x_module(variant)
  expected = gradients(
    lambda *args, **kwargs: theirs.apply(*args, **kwargs, enable_dropout=False)
  )
  actual = gradients(model_of(variant).apply)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-4),
    actual,
    expected,
  )


@variants
def test_same_greedy_tokens(params, variant):
  prompts = golden.greedy_prompts()
  expected = golden.t5x_greedy(variant, params[variant], prompts, 12)
  tokens = decode_tokens(
    model=model_of(variant),
    params=params[variant],
    encoder_input_tokens=prompts,
    max_decode_length=12,
  )
  np.testing.assert_array_equal(tokens, expected)


@variants
def test_same_beam_tokens(params, variant):
  prompts = golden.greedy_prompts()
  expected = golden.t5x_beam(variant, params[variant], prompts, 12)
  tokens = beam_decode(
    model=model_of(variant),
    params=params[variant],
    encoder_input_tokens=prompts,
    max_decode_length=12,
  )
  np.testing.assert_array_equal(tokens, expected)


@pytest.mark.parametrize('bidirectional', [True, False])
@pytest.mark.parametrize('sizes', [(32, 128), (16, 64), (8, 20)])
def test_same_buckets(bidirectional, sizes):
  # isort: off
  from t5x.examples.t5.layers import RelativePositionBiases
  # isort: on

  distance = np.arange(-600, 601)
  num_buckets, max_distance = sizes
  np.testing.assert_array_equal(
    layers.relative_position_bucket(
      distance,
      bidirectional=bidirectional,
      num_buckets=num_buckets,
      max_distance=max_distance,
    ),
    RelativePositionBiases._relative_position_bucket(
      distance, bidirectional, num_buckets, max_distance
    ),
  )


@variants
def test_golden_file_matches_t5x(variant):
  with np.load(golden.PATH) as arrays:
    arrays = dict(arrays)
  params = golden.nest(
    golden.draw_params(golden.t5x_shapes(variant), golden.SEEDS[variant])
  )
  for name, batch in (
    ('plain', golden.plain_batch()),
    ('packed', golden.packed_batch()),
  ):
    np.testing.assert_allclose(
      golden.t5x_logits(variant, params, batch),
      arrays[f'{variant}/{name}_logits'],
      atol=1e-5,
    )
  for name, predict in (
    ('greedy', golden.t5x_greedy),
    ('beam', golden.t5x_beam),
  ):
    np.testing.assert_array_equal(
      predict(
        variant, params, golden.greedy_prompts(), golden.MAX_DECODE_LENGTH
      ),
      arrays[f'{variant}/{name}_tokens'],
    )
