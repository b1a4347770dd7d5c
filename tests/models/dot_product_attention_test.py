"""Tests of it_study.models.dot_product_attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.models import dot_product_attention as attend_lib
from it_study.models.dot_product_attention import MASKED, attend

B, H, Q, K, D = 6, 3, 5, 7, 4


def arrays(*, segments: bool, position: bool, dtype='float32'):
  random = np.random.default_rng(0)
  query, key, value = (
    jnp.asarray(random.normal(size=(B, H, length, D)), dtype)
    for length in (Q, K, K)
  )
  bias = None
  if position:
    bias = jnp.asarray(random.normal(size=(H, Q, K)), 'float32')
  hidden = random.random((B, 1, Q if segments else 1, K)) < 0.3
  hidden[..., 0] = False
  return query, key, value, bias, jnp.where(hidden, MASKED, 0.0)


def by_definition(query, key, value, position_bias, mask_bias, soft_cap=None):
  scores = jnp.einsum('bhqd,bhkd->bhqk', query, key)
  if soft_cap is not None:
    scores = soft_cap * jnp.tanh(scores / soft_cap)
  scores += mask_bias
  if position_bias is not None:
    scores += position_bias
  return jnp.einsum('bhqk,bhkd->bhqd', jax.nn.softmax(scores), value)


def value_and_gradients(function, inputs):
  *inputs, mask = inputs
  argnums = [index for index, array in enumerate(inputs) if array is not None]
  weights = np.random.default_rng(1).normal(size=(B, H, Q, D))

  def scalar(*inputs):
    return (function(*inputs, mask) * weights).sum()

  return jax.jit(jax.value_and_grad(scalar, argnums=argnums))(*inputs)


@pytest.mark.parametrize('position', [True, False])
@pytest.mark.parametrize('segments', [True, False])
@pytest.mark.parametrize('rows', [1, 4, 6])
@pytest.mark.parametrize('keep_weights', [True, False])
def test_values_and_gradients_are_those_of_the_formula(
  monkeypatch, keep_weights, rows, segments, position
):
  # 4 rows do not divide the batch: 3 are taken at once.
  monkeypatch.setattr(attend_lib, '_CPU_BLOCK_BYTES', rows * 4 * H * Q * K)
  inputs = arrays(segments=segments, position=position)
  actual = value_and_gradients(
    lambda *inputs: attend(*inputs, keep_weights), inputs
  )
  expected = value_and_gradients(by_definition, inputs)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    actual,
    expected,
  )


@pytest.mark.parametrize('keep_weights', [True, False])
def test_a_soft_cap_has_the_gradients_of_the_formula(keep_weights):
  inputs = arrays(segments=True, position=True)
  actual = value_and_gradients(
    lambda *inputs: attend(*inputs, keep_weights, 0.5), inputs
  )
  expected = value_and_gradients(
    lambda *inputs: by_definition(*inputs, soft_cap=0.5), inputs
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    actual,
    expected,
  )


def test_one_cpu_computes_a_few_rows_at_a_time(monkeypatch):
  inputs = arrays(segments=False, position=True)

  def loops():
    lowered = jax.jit(functools.partial(attend)).lower(*inputs)
    return lowered.as_text().count('stablehlo.while')

  assert loops() == 0
  monkeypatch.setattr(attend_lib, '_CPU_BLOCK_BYTES', 1)
  jax.clear_caches()
  assert loops() == 1


@pytest.mark.parametrize('rows', [1, 6])
@pytest.mark.parametrize('soft_cap', [None, 0.5])
def test_keys_after_a_causal_block_are_not_computed(
  monkeypatch, soft_cap, rows
):
  monkeypatch.setattr(attend_lib, '_SHORTEST_CAUSAL_BLOCK', 3)
  monkeypatch.setattr(attend_lib, '_CPU_BLOCK_BYTES', rows * 4 * H * K * K)
  random = np.random.default_rng(0)
  query, key, value = jnp.asarray(
    random.normal(size=(3, B, H, K, D)), 'float32'
  )
  places = jnp.arange(K)
  mask = jnp.where(places[:, None] >= places, 0.0, MASKED)
  mask = jnp.broadcast_to(mask, (B, 1, K, K))
  inputs = query, key, value, None, mask

  def loss(function, weights):
    return jax.value_and_grad(
      lambda *qkv: (function(*qkv, None, mask) * weights).sum(),
      argnums=(0, 1, 2),
    )(query, key, value)

  weights = random.normal(size=query.shape)
  causal = functools.partial(
    attend, keep_weights=False, soft_cap=soft_cap, is_causal=True
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    loss(causal, weights),
    loss(functools.partial(by_definition, soft_cap=soft_cap), weights),
  )
  # Blocks of three, three and one query.
  program = jax.jit(causal).lower(*inputs).compile().as_text()
  assert f'{H},3,6]' in program
  # What it hides is not read, whatever it is.
  wrong = mask.at[0, 0, 0, 6].set(0.0)
  np.testing.assert_array_equal(
    causal(query, key, value, None, wrong)[0, :, 0],
    causal(*inputs)[0, :, 0],
  )


def test_residuals_include_scores_only_on_request():
  inputs = arrays(segments=False, position=True)

  def largest(keep_weights):
    _, residuals = attend_lib._attend_forward(
      *inputs, keep_weights, None, False
    )
    return max(leaf.size for leaf in jax.tree.leaves(residuals))

  # The position bias has no axis of rows.
  assert largest(keep_weights=False) < B * H * Q * K
  assert largest(keep_weights=True) == B * H * Q * K


def test_a_row_whose_keys_are_all_masked_is_finite():
  inputs = arrays(segments=False, position=True)
  inputs = (*inputs[:4], inputs[4].at[2].set(MASKED))
  _, gradients = value_and_gradients(attend, inputs)
  assert np.isfinite(attend(*inputs)).all()
  assert all(np.isfinite(leaf).all() for leaf in gradients)


def test_dtypes_are_preserved_and_sums_are_in_float32():
  inputs = arrays(segments=True, position=True, dtype='bfloat16')
  assert attend(*inputs).dtype == jnp.bfloat16
  _, gradients = value_and_gradients(attend, inputs)
  assert [leaf.dtype.name for leaf in gradients] == [
    *('bfloat16',) * 3,
    'float32',
  ]
  exact = [x if x is None else x.astype(jnp.float32) for x in inputs]
  np.testing.assert_allclose(
    attend(*inputs).astype(jnp.float32),
    by_definition(*exact),
    rtol=0.02,
    atol=0.02,
  )
