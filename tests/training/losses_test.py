"""Tests of it_study.training.losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.training import losses
from it_study.training.loss import division
from it_study.training.loss.division import Division
from it_study.training.loss.parts import targets_first

# softmax(log [1, 3]) is [1/4, 3/4], and log Z is log 4.
LOGITS = jnp.log(jnp.array([[[1.0, 3.0], [1.0, 3.0], [9.0, 1.0]]]))
WEIGHTS = jnp.array([[1.0, 1.0, 0.0]])


def cross_entropy(*, logits, **arguments):
  """The loss of logits: hidden states times the unit matrix."""
  unit = jnp.eye(logits.shape[-1], dtype=logits.dtype)
  return losses.cross_entropy(hidden=logits, kernel=unit, **arguments)


def test_mean_over_weighted_tokens():
  loss, metrics = cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 0, 1]]), weights=WEIGHTS, z_loss=0.0
  )
  # The mean of log(4/3) and log 4; the third token is padding.
  assert loss == pytest.approx(0.8369882, rel=1e-6)
  assert metrics['loss'] == loss
  assert metrics['z_loss'] == 0.0
  assert metrics['accuracy'] == 0.5
  assert metrics['num_target_tokens'] == 2.0


def test_z_loss_adds_the_squared_log_normaliser():
  loss, metrics = cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 1, 1]]), weights=WEIGHTS, z_loss=0.1
  )
  # 0.1 * log(4)^2, on top of log(4/3).
  assert metrics['z_loss'] == pytest.approx(0.19218121, rel=1e-6)
  assert loss == pytest.approx(0.28768207 + 0.19218121, rel=1e-6)


def test_default_z_loss_is_t5s():
  _, metrics = cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 1, 1]]), weights=WEIGHTS
  )
  assert metrics['z_loss'] == pytest.approx(1.9218121e-4, rel=1e-6)


def test_label_smoothing_is_zero_at_the_smoothed_target():
  smoothed = jnp.log(jnp.array([[[0.9, 0.1], [1 / 4, 3 / 4]]]))
  loss, _ = cross_entropy(
    logits=smoothed,
    targets=jnp.array([[0, 1]]),
    weights=jnp.array([[1.0, 0.0]]),
    z_loss=0.0,
    label_smoothing=0.1,
  )
  assert loss == pytest.approx(0.0, abs=1e-7)
  loss, _ = cross_entropy(
    logits=smoothed,
    targets=jnp.array([[0, 1]]),
    weights=jnp.array([[0.0, 1.0]]),
    z_loss=0.0,
    label_smoothing=0.1,
  )
  # 0.9 log(0.9 / 0.75) + 0.1 log(0.1 / 0.25).
  assert loss == pytest.approx(0.0724603, rel=1e-5)


def test_gradient_is_softmax_minus_target():
  gradient = jax.grad(
    lambda logits: cross_entropy(
      logits=logits,
      targets=jnp.array([[1, 0, 1]]),
      weights=WEIGHTS,
      z_loss=0.0,
    )[0]
  )(LOGITS)
  np.testing.assert_allclose(
    gradient,
    [[[0.125, -0.125], [-0.375, 0.375], [0.0, 0.0]]],
    rtol=1e-6,
  )


def test_nothing_but_padding_gives_zero():
  loss, metrics = cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 0, 1]]), weights=jnp.zeros((1, 3))
  )
  assert loss == 0.0
  assert metrics['accuracy'] == 0.0


def test_large_bfloat16_logits_are_computed_in_float32():
  loss, _ = cross_entropy(
    logits=jnp.array([[[300.0, 298.0]]], jnp.bfloat16),
    targets=jnp.array([[1]]),
    weights=jnp.ones((1, 1)),
    z_loss=0.0,
  )
  # log(1 + e^2).
  assert loss == pytest.approx(2.126928, rel=1e-5)
  assert loss.dtype == jnp.float32


def random_terms(dtype='float32'):
  """Hidden states, kernel, targets and weights of 6 rows of 5 tokens."""
  random = np.random.default_rng(0)
  return {
    'hidden': jnp.asarray(random.normal(size=(6, 5, 4)), dtype),
    'kernel': jnp.asarray(random.normal(size=(4, 9)), dtype),
    'targets': random.integers(9, size=(6, 5)),
    'weights': (random.random((6, 5)) < 0.7).astype(np.float32),
  }


def by_definition(
  hidden, kernel, *, targets, weights, z_loss, smoothing, soft_cap=None
):
  """The docstring's formula, differentiated by JAX."""
  logits = jnp.einsum('bte,ev->btv', hidden, kernel)
  if soft_cap is not None:
    logits = soft_cap * jnp.tanh(logits / soft_cap)
  log_z = jax.nn.logsumexp(logits, axis=-1)
  q = jax.nn.one_hot(targets, 9) * (1 - smoothing - smoothing / 8)
  q = q + smoothing / 8
  log_q = jnp.where(q > 0, jnp.log(jnp.where(q > 0, q, 1)), 0)
  divergence = (q * (log_q - jax.nn.log_softmax(logits))).sum(axis=-1)
  return ((divergence + z_loss * log_z**2) * weights).sum() / weights.sum()


@pytest.mark.parametrize(
  ('smoothing', 'soft_cap'), [(0.0, None), (0.1, None), (0.1, 1.5)]
)
@pytest.mark.parametrize(
  'parts',
  [
    *({'num_parts': number} for number in (1, 2, 3, 6)),
    *({'num_columns': length} for length in (1, 2, 8)),
    {'num_blocks': 9},
    {'num_blocks': 3, 'num_parts': 2},
    {'num_blocks': 1, 'num_vocab_shards': 3, 'num_columns': 2},
    {'num_blocks': 3, 'num_vocab_shards': 3, 'num_columns': 2},
  ],
)
def test_loss_and_gradients_are_those_of_the_formula(
  parts, smoothing, soft_cap
):
  terms = random_terms()
  rest = {name: terms[name] for name in ('targets', 'weights')}

  def ours(hidden, kernel):
    # Another factor than 1, as a caller may have one.
    return (
      3
      * losses.cross_entropy(
        hidden=hidden,
        kernel=kernel,
        z_loss=0.01,
        label_smoothing=smoothing,
        soft_cap=soft_cap,
        division=Division(**parts),
        **rest,
      )[0]
    )

  def expected(hidden, kernel):
    return 3 * by_definition(
      hidden,
      kernel,
      z_loss=0.01,
      smoothing=smoothing,
      soft_cap=soft_cap,
      **rest,
    )

  arguments = terms['hidden'], terms['kernel']
  found = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(*arguments)
  wanted = jax.value_and_grad(expected, argnums=(0, 1))(*arguments)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    found,
    wanted,
  )


@pytest.mark.parametrize(
  'settings',
  [
    {'num_parts': 3},
    {'num_columns': 2},
    {'num_blocks': 3},
    {'num_blocks': 3, 'num_columns': 2},
  ],
)
def test_the_parts_do_not_change_metrics(settings):
  whole = losses.cross_entropy(**random_terms())[1]
  parts = losses.cross_entropy(**random_terms(), division=Division(**settings))[
    1
  ]
  for name, value in whole.items():
    assert float(parts[name]) == pytest.approx(float(value), rel=1e-6), name
  assert whole['num_target_tokens'] == 19.0
  assert 0 < whole['accuracy'] < 1


def test_targets_come_first_where_they_are_sparse():
  shares = jnp.array([[0.0, 0.0, 3.0], [0.0, 4.0, 5.0]])
  hidden, targets, shares = targets_first(
    jnp.arange(6.0).reshape(2, 3, 1), np.arange(6).reshape(2, 3), shares, 2
  )
  assert shares.tolist() == [[3, 0], [0, 0], [4, 5], [0, 0]]
  assert targets.tolist() == [[2, 0], [1, 0], [4, 5], [3, 0]]
  assert hidden[..., 0].tolist() == targets.tolist()


@pytest.mark.parametrize('num_blocks', [1, 3])
def test_logits_are_computed_only_where_targets_are(num_blocks):
  terms = random_terms()
  terms['weights'] = np.array([[1, 0, 1, 0, 0]] * 6, np.float32)
  # The third of three parts of two columns.
  terms['hidden'] = terms['hidden'].at[:, 4].set(jnp.nan)
  loss_and_gradient = jax.value_and_grad(
    lambda kernel, num_columns: losses.cross_entropy(
      **{**terms, 'kernel': kernel},
      division=Division(num_columns=num_columns, num_blocks=num_blocks),
    )[0]
  )
  loss, gradient = loss_and_gradient(terms['kernel'], 2)
  assert jnp.isfinite(loss)
  assert jnp.isfinite(gradient).all()
  assert jnp.isnan(loss_and_gradient(terms['kernel'], 5)[1]).any()


def test_the_length_of_parts_follows_from_the_logits():
  mesh = {'data': 2, 'fsdp': 1, 'model': 1}
  for vocabulary, length in (
    (100, 512),
    (49_152, 32),
    (128_256, 16),
    (10**6, 8),
  ):
    columns = division.count_columns(
      jnp.zeros((8, 512, 1)),
      np.zeros((1, vocabulary), np.float32),
      mesh,
      logits_bytes=2**25,
    )
    assert columns == length


@pytest.mark.parametrize(('platform', 'columns'), [('cpu', 64), ('tpu', 1024)])
def test_parts_are_longer_on_an_accelerator(platform, columns):
  hidden = jax.ShapeDtypeStruct((1, 4096, 8), 'float32')
  kernel = jax.ShapeDtypeStruct((8, 128_256), 'float32')
  found = []
  jax.eval_shape(
    lambda *arrays: found.append(
      division.divide(
        *arrays,
        {'data': 1, 'fsdp': 1, 'model': 1},
        platform=platform,
        has_sparse_targets=True,
      )
    ),
    *(hidden, kernel),
  )
  assert found == [Division(num_columns=columns)]


@pytest.mark.parametrize(
  ('fsdp', 'model', 'vocabulary', 'blocks'),
  [
    (64, 1, 128_256, 8),
    (64, 2, 128_256, 4),
    # Of 32,001 columns a third is the most that fits.
    (64, 1, 32_001, 3),
    # Each device keeps the whole matrix, the vocabulary is prime, or it is not
    # shared.
    (1, 8, 128_256, 1),
    (64, 1, 127_997, 1),
    (64, 2, 128_255, 1),
  ],
)
def test_blocks_divide_the_columns_of_a_device(fsdp, model, vocabulary, blocks):
  found = division.count_blocks(
    np.broadcast_to(np.float32(0), (4096, vocabulary)),
    {'data': 1, 'fsdp': fsdp, 'model': model},
    block_bytes=2**28,
  )
  assert found == blocks


def test_gradients_have_the_dtype_of_their_arguments():
  terms = random_terms('bfloat16')
  gradients = jax.grad(
    lambda hidden, kernel: losses.cross_entropy(
      **{**terms, 'hidden': hidden, 'kernel': kernel}
    )[0],
    argnums=(0, 1),
  )(terms['hidden'], terms['kernel'])
  assert [leaf.dtype for leaf in gradients] == [jnp.bfloat16, jnp.bfloat16]
