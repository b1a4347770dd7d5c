"""Tests of it_study.models.layers."""

import jax.numpy as jnp
import numpy as np

from it_study.models import layers


def test_relative_position_buckets():
  distance = np.array(
    [-500, -128, -127, -64, -16, -9, -8, -7, -1, 0, 1, 7, 8, 16, 64, 127, 500]
  )
  np.testing.assert_array_equal(
    layers.relative_position_bucket(distance, bidirectional=True),
    [15, 15, 15, 14, 10, 8, 8, 7, 1, 0, 17, 23, 24, 26, 30, 31, 31],
  )
  np.testing.assert_array_equal(
    layers.relative_position_bucket(distance, bidirectional=False),
    [31, 31, 31, 26, 16, 9, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0],
  )


def test_spread_diagonals_puts_each_distance_on_its_diagonal():
  values = jnp.array([[-2, -1, 0, 1, 2, 3]], jnp.float32)
  np.testing.assert_array_equal(
    layers.spread_diagonals(values, 3, 4),
    [[[0, 1, 2, 3], [-1, 0, 1, 2], [-2, -1, 0, 1]]],
  )


def test_relative_bias_is_looked_up_by_bucket():
  module = layers.RelativePositionBias(
    num_heads=2, num_buckets=8, max_distance=20, bidirectional=True
  )
  table = np.arange(16, dtype=np.float32).reshape(2, 8)
  bias = module.apply({'params': {'rel_embedding': table}}, 30, 25)
  distance = np.arange(25)[None, :] - np.arange(30)[:, None]
  buckets = layers.relative_position_bucket(
    distance, bidirectional=True, num_buckets=8, max_distance=20
  )
  np.testing.assert_array_equal(bias, table[:, buckets])


def test_rms_norm_divides_by_the_root_mean_square():
  scale = np.array([1, 2], np.float32)
  x = jnp.array([[3, 4], [0, 0]], jnp.float32)
  normed = layers.RmsNorm().apply({'params': {'scale': scale}}, x)
  # The root of (9 + 16) / 2 is 3.5355.
  np.testing.assert_allclose(normed, [[0.848528, 2.262742], [0, 0]], rtol=1e-5)
