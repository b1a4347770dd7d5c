"""Tests of it_study.models.kernels, interpreted and lowered on a CPU."""

import dataclasses
import math
import os
import re
import subprocess
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.models import layers
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import DecoderLM
from it_study.models.dot_product_attention import MASKED, attend
from it_study.models.kernels import flash_attention
from it_study.models.kernels.distance_bias import DistanceBias
from it_study.models.kernels.flash_attention import Segments
from it_study.models.t5 import T5, T5Config

# Rows of two examples and of padding; 150 is no multiple of a tile.
PACKED = np.repeat([[1, 2, 0], [1, 2, 0]], [60, 80, 10], axis=1)
PADDED = np.repeat([[1, 0], [1, 0]], [120, 30], axis=1)
WINDOW = DistanceBias(jnp.array([[MASKED, 0.0, MASKED]]), starts=(-21, -20, 1))


def t5_bias(*, bidirectional=True):
  module = layers.RelativePositionBias(
    num_heads=4, num_buckets=32, max_distance=128, bidirectional=bidirectional
  )
  variables = module.init(jax.random.key(0), 1, 1)
  return module.bind(variables)


def spread(bias, query_length, key_length):
  """Returns a bias by distance for every query and key."""
  distances = np.arange(key_length) - np.arange(query_length)[:, None]
  steps = np.searchsorted(bias.starts, distances, side='right') - 1
  return bias.values[:, np.maximum(steps, 0)]


def draw(query_length, key_length, *, num_kv_heads, dtype):
  random = np.random.default_rng(0)
  return [
    jnp.asarray(random.normal(size=(2, heads, length, 16)) / 2, dtype)
    for heads, length in (
      (4, query_length),
      (num_kv_heads, key_length),
      (num_kv_heads, key_length),
      (4, query_length),
    )
  ]


@pytest.mark.parametrize(
  ('segments', 'bias', 'options'),
  [
    (Segments(PACKED, PACKED), t5_bias().by_steps(), {}),
    (
      Segments(PADDED, PADDED),
      t5_bias(bidirectional=False).by_steps(),
      {'dtype': 'bfloat16', 'tolerance': 2e-2},
    ),
    (
      Segments(PACKED, PACKED),
      WINDOW,
      {'num_kv_heads': 2, 'soft_cap': 0.5},
    ),
    (Segments(0 * PADDED[:, :1], PADDED), None, {}),
    (Segments(PACKED, PACKED), t5_bias().by_steps(), {'by_diagonal': True}),
  ],
  ids=[
    *('T5, packed', 'bfloat16', 'window, groups and cap', 'one query'),
    'by diagonal, as on TPUs',
  ],
)
def test_values_and_gradients_are_those_of_the_plain_path(
  monkeypatch, segments, bias, options
):
  options = {
    'num_kv_heads': 4,
    'dtype': 'float32',
    'soft_cap': None,
    'tolerance': 1e-5,
    **options,
  }
  if options.pop('by_diagonal', False):
    monkeypatch.setattr(flash_attention, '_BY_DIAGONAL', ('cpu',))
  lengths = segments.query.shape[1], segments.key.shape[1]
  *inputs, weights = draw(
    *lengths, num_kv_heads=options['num_kv_heads'], dtype=options['dtype']
  )
  is_same = segments.query[:, :, None] == segments.key[:, None]
  mask = jnp.where(is_same, 0.0, MASKED)[:, None]

  def kernel(query, key, value, values):
    own = bias and dataclasses.replace(bias, values=values)
    return flash_attention.attend(
      query, key, value, segments, own, options['soft_cap']
    )

  def plain(query, key, value, values):
    own = bias and spread(dataclasses.replace(bias, values=values), *lengths)
    key, value = (
      jnp.repeat(x, 4 // options['num_kv_heads'], axis=1) for x in (key, value)
    )
    if own is not None:
      own = jnp.broadcast_to(own, (4, *lengths))
    return attend(query, key, value, own, mask, False, options['soft_cap'])

  def results(function):
    def scalar(*inputs):
      mixed = function(*inputs)
      return (mixed * weights).astype(jnp.float32).sum(), mixed

    (_, mixed), gradients = jax.jit(
      jax.value_and_grad(scalar, argnums=(0, 1, 2, 3), has_aux=True)
    )(*inputs, jnp.zeros(0) if bias is None else bias.values)
    return mixed, gradients

  def check(actual, expected):
    assert actual.dtype == expected.dtype
    actual, expected = (np.asarray(x, np.float32) for x in (actual, expected))
    largest = options['tolerance'] * max(1.0, abs(expected).max(initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=largest)

  actual, expected = results(kernel), results(plain)
  if bias is not None and not bias.is_learned:
    actual, expected = ((mixed, g[:3]) for mixed, g in (actual, expected))
  jax.tree.map(check, actual, expected)


@pytest.mark.parametrize('bidirectional', [True, False])
def test_the_steps_of_the_bias_are_those_of_all_distances(bidirectional):
  module = t5_bias(bidirectional=bidirectional)
  expected = np.asarray(module(300, 300))
  if not bidirectional:
    expected = np.where(np.triu(np.ones((300, 300)), 1), MASKED, expected)
  np.testing.assert_array_equal(spread(module.by_steps(), 300, 300), expected)


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_no_array_of_all_pairs_is_in_the_program(platform):
  length = 1024
  query, key, value, gradient = (
    jax.ShapeDtypeStruct((1, 4, length, 16), 'bfloat16') for _ in range(4)
  )

  @jax.jit
  def with_backward(query, key, value, gradient, segments, bias):
    mixed, vjp = jax.vjp(
      lambda *inputs: flash_attention.attend(*inputs[:3], segments, inputs[3]),
      *(query, key, value, bias),
    )
    return mixed, vjp(gradient)

  ids = jax.ShapeDtypeStruct((1, length), 'int32')
  text = (
    with_backward.trace(
      *(query, key, value, gradient, Segments(ids, ids), t5_bias().by_steps())
    )
    .lower(lowering_platforms=(platform,))
    .as_text()
  )
  sizes = [
    math.prod(map(int, shape.split('x')[:-1]))
    for shape in re.findall(r'tensor<((?:\d+x)+)', text)
  ]
  assert max(sizes) == 4 * length * 16
  kernel = {'cuda': '__gpu$xla.gpu.triton', 'tpu': 'tpu_custom_call'}[platform]
  assert text.count(f'@{kernel}') == 3


def check_model(function, model, *features, **named):
  """Compares `function` of the loss by both implementations."""
  random = np.random.default_rng(0)
  # Drawn here: compiling the initialisation takes longer.
  variables = jax.tree.map(
    lambda array: random.normal(scale=0.3, size=array.shape).astype('float32'),
    jax.eval_shape(model.init, jax.random.key(0), *features),
  )

  def results(implementation):
    config = dataclasses.replace(
      model.config, attention_implementation=implementation
    )

    def loss(variables):
      logits = type(model)(config).apply(variables, *features, **named)
      real = features[-1] > 0
      return (jax.nn.log_softmax(logits)[..., 3] * real).sum() / real.sum()

    return jax.jit(function(loss))(variables)

  jax.tree.map(
    lambda actual, expected: np.testing.assert_allclose(
      actual, expected, rtol=1e-4, atol=1e-5
    ),
    results('pallas'),
    results('xla'),
  )


def test_a_t5_computes_the_same():
  config = T5Config(*(32, 16, 2, 8, 32, 1, 1), remat_policy='minimal')
  targets = np.array([[5, 6, 7, 8, 9, 0]], np.int32)
  prompts = np.arange(140, dtype=np.int32)[None] % 30 + 2
  check_model(
    jax.value_and_grad,
    T5(config),
    *(prompts, targets, targets),
    encoder_segment_ids=np.repeat([[1, 2]], [60, 80], axis=1),
    decoder_segment_ids=np.array([[1, 1, 2, 2, 2, 0]]),
  )


def test_a_decoder_only_model_computes_the_same():
  config = DecoderConfig(
    *(32, 16, 4, 2, 8, 32, 2),
    window=20,
    window_pattern=(True, False),
    scan_layers=True,
    attention_soft_cap=5.0,
  )
  tokens = np.arange(150, dtype=np.int32)[None] % 30 + 2
  check_model(
    lambda loss: loss,
    DecoderLM(config),
    tokens,
    decoder_segment_ids=PACKED[:1],
    decoder_positions=np.concatenate([np.arange(n) for n in (60, 80, 10)])[
      None
    ],
  )


_ON_FOUR_DEVICES = """
import jax, numpy as np
from it_study.models import partitioning
from it_study.models.kernels import flash_attention
from it_study.models.kernels.distance_bias import DistanceBias

mesh = partitioning.make_mesh(data=2, model=2)
query, key, value = np.random.default_rng(0).normal(
  size=(3, 2, 2, 70, 8)).astype(np.float32)
segments = flash_attention.Segments(*np.ones((2, 2, 70), np.int32))

def kernel(values):
  bias = DistanceBias(values, (-5, 0, 5), is_learned=True)
  with partitioning.activation_sharding(mesh):
    return (flash_attention.attend(query, key, value, segments, bias)**2).sum()

def formula(values):
  distance = np.arange(70) - np.arange(70)[:, None]
  bias = values[:, 0 + (distance >= 0) + (distance >= 5)]
  weights = jax.nn.softmax(query @ key.swapaxes(2, 3) + bias)
  return ((weights @ value)**2).sum()

values = np.arange(6, dtype=np.float32).reshape(2, 3)
on_mesh = jax.device_put(values, partitioning.replicated(mesh))
lowered = jax.jit(jax.value_and_grad(kernel)).lower(on_mesh)
assert 'manual_computation' in lowered.as_text()
jax.tree.map(
  lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
  lowered.compile()(on_mesh),
  jax.jit(jax.value_and_grad(formula))(values))
"""


def test_devices_compute_their_own_rows_and_heads():
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': os.environ['XLA_FLAGS']
    + ' --xla_force_host_platform_device_count=4',
  }
  process = subprocess.run(
    [sys.executable, '-c', _ON_FOUR_DEVICES],
    env=environment,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert process.returncode == 0, process.stderr[-3000:]


@pytest.mark.parametrize(
  ('implementation', 'device', 'head_dim', 'expected'),
  [
    ('pallas', {'platform': 'cpu'}, 60, True),
    ('pallas', {'platform': 'tpu'}, 60, True),
    ('pallas', {'platform': 'gpu', 'compute_capability': '9.0'}, 64, True),
    ('pallas', {'platform': 'gpu', 'compute_capability': '9.0'}, 80, False),
    ('pallas', {'platform': 'gpu', 'compute_capability': '9.0'}, 8, False),
    ('pallas', {'platform': 'gpu', 'compute_capability': 'gfx90a'}, 64, False),
    ('auto', {'platform': 'gpu', 'compute_capability': '9.0'}, 64, False),
    ('xla', {'platform': 'cpu'}, 64, False),
  ],
)
def test_conditions_of_the_kernels(
  monkeypatch, implementation, device, head_dim, expected
):
  device = mock.Mock(spec=jax.Device, **device)
  monkeypatch.setattr(jax, 'local_devices', lambda: [device])
  assert expected is flash_attention.is_available(
    implementation, head_dim=head_dim
  )
