"""Tests of it_study.models.stacks: recomputed and looped-over layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config


@pytest.mark.parametrize('scan_layers', [False, True])
@pytest.mark.parametrize('remat_policy', ['none', 'minimal', 'full'])
def test_neither_remat_nor_scan_changes_values(remat_policy, scan_layers):
  config = T5Config(
    vocab_size=32,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=24,
    num_encoder_layers=2,
    num_decoder_layers=3,
  )
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  params = partitioning.init_params(model=T5(config), seed=0, mesh=mesh)
  tokens = np.random.default_rng(0).integers(1, 32, (3, 2, 6), np.int32)

  def value_and_gradient(config):
    def mean_square(params):
      return jnp.square(T5(config).apply({'params': params}, *tokens)).mean()

    return jax.jit(jax.value_and_grad(mean_square))(params)

  value, gradient = value_and_gradient(config)
  other, other_gradient = value_and_gradient(
    dataclasses.replace(
      config, remat_policy=remat_policy, scan_layers=scan_layers
    )
  )
  np.testing.assert_allclose(other, value, rtol=1e-6)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
    other_gradient,
    gradient,
  )


@pytest.mark.parametrize('scan_layers', [False, True])
def test_every_recomputed_layer_draws_other_dropout(scan_layers):
  config = T5Config(
    vocab_size=32,
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=24,
    num_encoder_layers=2,
    num_decoder_layers=2,
    dropout_rate=0.5,
    remat_policy='full',
    scan_layers=scan_layers,
  )
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  params = partitioning.init_params(model=T5(config), seed=0, mesh=mesh)
  # Layers that differ only in their dropout.
  for stack in ('encoder', 'decoder'):
    params[stack]['layers_1'] = params[stack]['layers_0']
  tokens = np.ones((3, 1, 4), np.int32)

  def loss(params, seed):
    logits = T5(config).apply(
      {'params': params},
      *tokens,
      deterministic=False,
      rngs={'dropout': jax.random.key(seed)},
    )
    return jnp.square(logits).mean()

  gradient = jax.jit(jax.grad(loss))
  first, again, other = (gradient(params, seed) for seed in (0, 0, 1))

  def kernel(tree, layer):
    return tree['encoder'][layer]['mlp']['wo']['kernel']

  np.testing.assert_array_equal(
    kernel(first, 'layers_0'), kernel(again, 'layers_0')
  )
  assert not np.allclose(kernel(first, 'layers_0'), kernel(other, 'layers_0'))
  # A dropped hidden unit of the MLP has no gradient.
  dropped = [
    (np.asarray(kernel(first, layer)) == 0).all(axis=1)
    for layer in ('layers_0', 'layers_1')
  ]
  assert dropped[0].any()
  assert (dropped[0] != dropped[1]).any()
