"""Tests of it_study.inference.sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from it_study.inference.sampling import Sampling, draw

LOGITS = np.log([0.4, 0.05, 0.3, 0.15, 0.1]).astype(np.float32)
NUM_DRAWS = 4000


def draws(step=0, seed=0, **settings):
  keys = np.random.default_rng(seed).integers(
    0, 2**32, (NUM_DRAWS, 2), np.uint32
  )
  logits = jnp.tile(LOGITS, (NUM_DRAWS, 1))
  return np.asarray(draw(Sampling(keys=keys, **settings), logits, step))


@pytest.mark.parametrize(
  ('settings', 'expected'),
  [
    ({}, [0.4, 0.05, 0.3, 0.15, 0.1]),
    # Squares of the probabilities, so that they sum to one again.
    ({'temperature': 0.5}, np.square([0.4, 0.05, 0.3, 0.15, 0.1]) / 0.285),
    ({'top_k': 2}, [4 / 7, 0, 3 / 7, 0, 0]),
    ({'top_k': 9}, [0.4, 0.05, 0.3, 0.15, 0.1]),
    # 0.4 + 0.3 are not enough; with 0.15 they are.
    ({'top_p': 0.8}, [8 / 17, 0, 6 / 17, 3 / 17, 0]),
    ({'top_p': 0.3}, [1, 0, 0, 0, 0]),
    # Of 0.4 and 0.3 alone, the first has 57%.
    ({'top_k': 2, 'top_p': 0.5}, [1, 0, 0, 0, 0]),
  ],
)
def test_draws_follow_the_narrowed_distribution(settings, expected):
  expected = np.asarray(expected)
  counts = np.bincount(draws(**settings), minlength=5)
  assert not counts[expected == 0].any()
  possible = expected > 0
  if possible.sum() > 1:
    test = stats.chisquare(counts[possible], NUM_DRAWS * expected[possible])
    assert test.pvalue > 1e-3


def test_ties_keep_the_smaller_token():
  keys = np.zeros((1, 2), np.uint32)
  logits = jnp.asarray([[0.0, 2.0, 2.0, 2.0]])
  for step in range(20):
    token = draw(Sampling(keys=keys, top_k=1), logits, step)
    assert token.tolist() == [1]


def test_a_draw_depends_only_on_key_and_step():
  first = draws()
  assert (first == draws()).all()
  assert (first != draws(step=1)).any()
  assert (first != draws(seed=1)).any()
  keys = np.random.default_rng(0).integers(0, 2**32, (NUM_DRAWS, 2), np.uint32)
  alone = draw(Sampling(keys=keys[7:8]), jnp.asarray(LOGITS)[None], 0)
  assert alone.tolist() == [first[7]]


def test_settings_do_not_recompile():
  compiled = jax.jit(draw)
  keys = np.zeros((2, 2), np.uint32)
  logits = jnp.tile(LOGITS, (2, 1))
  compiled(Sampling(keys=keys, temperature=1.0), logits, 0)
  compiled(Sampling(keys=keys, temperature=0.7, top_k=3, top_p=0.9), logits, 1)
  assert compiled._cache_size() == 1


@pytest.mark.parametrize('generator', ['rbg', 'unsafe_rbg'])
def test_draws_do_not_depend_on_the_default_generator(generator):
  expected = draws()
  with jax.default_prng_impl(generator):
    assert (draws() == expected).all()
