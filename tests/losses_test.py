"""Tests of it_study.losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study import losses

# softmax(log [1, 3]) is [1/4, 3/4], and log Z is log 4.
LOGITS = jnp.log(jnp.array([[[1.0, 3.0], [1.0, 3.0], [9.0, 1.0]]]))
WEIGHTS = jnp.array([[1.0, 1.0, 0.0]])


def test_mean_over_weighted_tokens():
  loss, metrics = losses.cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 0, 1]]), weights=WEIGHTS, z_loss=0.0
  )
  # The mean of log(4/3) and log 4; the third token is padding.
  assert loss == pytest.approx(0.8369882, rel=1e-6)
  assert metrics['loss'] == loss
  assert metrics['z_loss'] == 0.0
  assert metrics['accuracy'] == 0.5
  assert metrics['num_target_tokens'] == 2.0


def test_z_loss_adds_the_squared_log_normaliser():
  loss, metrics = losses.cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 1, 1]]), weights=WEIGHTS, z_loss=0.1
  )
  # 0.1 * log(4)^2, on top of log(4/3).
  assert metrics['z_loss'] == pytest.approx(0.19218121, rel=1e-6)
  assert loss == pytest.approx(0.28768207 + 0.19218121, rel=1e-6)


def test_default_z_loss_is_t5s():
  _, metrics = losses.cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 1, 1]]), weights=WEIGHTS
  )
  assert metrics['z_loss'] == pytest.approx(1.9218121e-4, rel=1e-6)


def test_label_smoothing_is_zero_at_the_smoothed_target():
  smoothed = jnp.log(jnp.array([[[0.9, 0.1], [1 / 4, 3 / 4]]]))
  loss, _ = losses.cross_entropy(
    logits=smoothed,
    targets=jnp.array([[0, 1]]),
    weights=jnp.array([[1.0, 0.0]]),
    z_loss=0.0,
    label_smoothing=0.1,
  )
  assert loss == pytest.approx(0.0, abs=1e-7)
  loss, _ = losses.cross_entropy(
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
    lambda logits: losses.cross_entropy(
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
  loss, metrics = losses.cross_entropy(
    logits=LOGITS, targets=jnp.array([[1, 0, 1]]), weights=jnp.zeros((1, 3))
  )
  assert loss == 0.0
  assert metrics['accuracy'] == 0.0


def test_large_bfloat16_logits_are_computed_in_float32():
  loss, _ = losses.cross_entropy(
    logits=jnp.array([[[300.0, 298.0]]], jnp.bfloat16),
    targets=jnp.array([[1]]),
    weights=jnp.ones((1, 1)),
    z_loss=0.0,
  )
  # log(1 + e^2).
  assert loss == pytest.approx(2.126928, rel=1e-5)
  assert loss.dtype == jnp.float32
