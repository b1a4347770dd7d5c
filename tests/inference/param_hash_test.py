"""Tests of fingerprints of parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

from it_study.inference import param_hash


def make():
  random = np.random.default_rng(0)
  return {
    'a': {'kernel': jnp.asarray(random.normal(size=(16, 24)), jnp.float32)},
    'b': jnp.asarray(random.normal(size=(8,)), jnp.bfloat16),
  }


# Of `make`, as first computed: another value would invalidate answer caches.
EXPECTED = 'f7b30c674b32cd4ea508a5297aae2fb060c64be940c063675f774490322d20d6'


def test_fingerprint_never_changes():
  assert param_hash.fingerprint(make()) == EXPECTED


def flip(array, place):
  bits = np.array(array).view(np.uint8)
  bits.reshape(-1)[place] ^= 1
  return jnp.asarray(bits.view(array.dtype).reshape(array.shape))


@pytest.mark.parametrize('place', [0, 1, 700, 16 * 24 * 4 - 1])
def test_one_bit_changes_the_fingerprint(place):
  params = make()
  params['a']['kernel'] = flip(params['a']['kernel'], place)
  assert param_hash.fingerprint(params) != EXPECTED


@pytest.mark.parametrize(
  'change',
  [
    lambda p: {'c': p['a'], 'b': p['b']},
    lambda p: {'a': {'kernel': p['a']['kernel'].T}, 'b': p['b']},
    lambda p: {'a': {'kernel': p['a']['kernel'][::-1]}, 'b': p['b']},
    lambda p: {'a': p['a'], 'b': p['b'].astype(jnp.float32)},
    lambda p: {'a': p['a']},
    lambda p: {'a': {'kernel': -p['a']['kernel']}, 'b': p['b']},
  ],
  ids=['name', 'shape', 'order', 'dtype', 'missing', 'sign'],
)
def test_any_change_changes_the_fingerprint(change):
  assert param_hash.fingerprint(change(make())) != EXPECTED
