"""Tests of it_study.models.cudnn_attention, on any device.

JAX's plain implementation shows as well how masks go into the kernel. On a GPU
the kernel itself is compared, see tests/models/accelerator_test.py.
"""

import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.models import cudnn_attention
from it_study.models.t5 import T5, T5Config

B, H, Q, K, D = 2, 3, 4, 6, 8
QUERY_SEGMENTS = np.array([[1, 1, 2, 3], [1, 2, 2, 0]], np.int32)
KEY_SEGMENTS = np.array([[1, 1, 2, 3, 3, 0], [2, 1, 2, 2, 0, 0]], np.int32)


def draw(*shape):
  random = np.random.default_rng(shape)
  return jnp.asarray(random.normal(size=shape), 'float32')


def by_definition(query, key, value, position_bias):
  scores = jnp.einsum('bhqd,bhkd->bhqk', query, key)
  if position_bias is not None:
    scores += position_bias
  same = QUERY_SEGMENTS[:, :, None] == KEY_SEGMENTS[:, None, :]
  weights = jax.nn.softmax(jnp.where(same[:, None], scores, -jnp.inf))
  return jnp.einsum('bhqk,bhkd->bhqd', weights, value)


@pytest.mark.parametrize('with_position', [True, False])
def test_values_and_gradients_are_those_of_the_formula(with_position):
  codes = cudnn_attention.segment_codes(
    QUERY_SEGMENTS, KEY_SEGMENTS, dtype='float32'
  )
  inputs = [draw(B, H, Q, D), draw(B, H, K, D), draw(B, H, K, D), None]
  argnums = (0, 1, 2)
  if with_position:
    inputs[3] = draw(H, Q, K)
    argnums = (0, 1, 2, 3)

  def ours(*inputs):
    return cudnn_attention.attend_fused(*inputs, codes, implementation='xla')

  actual, expected = (
    jax.value_and_grad(
      lambda *inputs, f=f: (f(*inputs) * draw(B, H, Q, D)).sum(),
      argnums=argnums,
    )(*inputs)
    for f in (ours, by_definition)
  )
  # Scores are 2,048 higher, whose float32 neighbours are 0.00024 apart.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), actual, expected
  )


def test_other_segments_have_no_effect():
  codes = cudnn_attention.segment_codes(
    QUERY_SEGMENTS, KEY_SEGMENTS, dtype='bfloat16'
  )
  value = draw(B, H, K, D).astype('bfloat16')
  # Row 0, query 3 has segment 3: keys 3 and 4.
  elsewhere = value.at[0, :, [0, 1, 2, 5]].set(1e30)
  attend = functools.partial(
    cudnn_attention.attend_fused,
    draw(B, H, Q, D).astype('bfloat16'),
    draw(B, H, K, D).astype('bfloat16'),
    position_bias=None,
    codes=codes,
    implementation='xla',
  )
  np.testing.assert_array_equal(
    attend(value=value)[0, :, 3], attend(value=elsewhere)[0, :, 3]
  )


def test_any_two_segments_differ_in_their_codes():
  segments = np.arange(300, dtype=np.int32)[None]
  codes = cudnn_attention.segment_codes(segments, segments, dtype='float32')
  scores = np.asarray(codes.query[0] @ codes.key[0].T)
  assert codes.query.shape == (1, 300, 16)
  assert (np.diag(scores) == 16 * 256).all()
  assert (scores - np.diag(np.diag(scores))).max() == 14 * 256


@pytest.mark.parametrize('packed', [True, False])
def test_the_model_gives_the_same_logits(monkeypatch, packed):
  model = T5(T5Config(32, 16, 2, 8, 32, 2, 2))
  random = np.random.default_rng(0)
  tokens = [
    random.integers(2, 32, size=(3, length), dtype=np.int32)
    for length in (10, 6, 6)
  ]
  tokens[0][:, 8:] = tokens[1][1:, 4:] = tokens[2][1:, 4:] = 0
  segments = {}
  if packed:
    segments = {
      'encoder_segment_ids': np.where(tokens[0], [1] * 3 + [2] * 7, 0),
      'decoder_segment_ids': np.where(tokens[2], [1] * 2 + [2] * 4, 0),
    }
  variables = model.init(jax.random.key(0), *tokens)
  expected = model.apply(variables, *tokens, **segments)
  calls = []
  monkeypatch.setattr(cudnn_attention, 'is_available', lambda *_, **__: True)

  def attend(*arguments):
    calls.append(arguments)
    return cudnn_attention.attend_fused(*arguments, implementation='xla')

  monkeypatch.setattr('it_study.models.attention.attend_fused', attend)
  actual = model.apply(variables, *tokens, **segments)
  # Two encoder layers with one attention, two decoder layers with two.
  assert len(calls) == 6
  real = tokens[2] > 0
  np.testing.assert_allclose(actual[real], expected[real], atol=2e-3)


@pytest.mark.parametrize(
  ('implementation', 'dtype', 'head_dim', 'lengths', 'expected'),
  [
    ('cudnn', 'bfloat16', 64, (128, 1024), True),
    ('cudnn', 'float32', 64, (128, 1024), False),
    ('cudnn', 'bfloat16', 60, (128, 1024), False),
    ('cudnn', 'bfloat16', 64, (127, 1024), False),
    ('xla', 'bfloat16', 64, (128, 1024), False),
  ],
)
def test_conditions_of_the_kernel(
  implementation, dtype, head_dim, lengths, expected
):
  assert expected is cudnn_attention.is_available(
    implementation, dtype=dtype, head_dim=head_dim, lengths=lengths
  )


@pytest.mark.parametrize(
  ('capability', 'expected'),
  [('9.0', True), ('8.0', True), ('7.5', False), ('gfx90a', False)],
)
def test_auto_takes_the_kernel_where_available(
  monkeypatch, capability, expected
):
  device = mock.Mock(spec=jax.Device, compute_capability=capability)
  monkeypatch.setattr(jax, 'local_devices', lambda: [device])
  assert expected is cudnn_attention.is_available(
    'auto', dtype='bfloat16', head_dim=64, lengths=(8,)
  )


def test_auto_is_xla_on_a_cpu(monkeypatch):
  monkeypatch.setattr(
    jax, 'local_devices', lambda: [mock.Mock(spec=jax.Device)]
  )
  assert not cudnn_attention.is_available(
    'auto', dtype='bfloat16', head_dim=64, lengths=(8,)
  )
