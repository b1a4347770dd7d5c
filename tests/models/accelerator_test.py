"""The model on an accelerator against the same on the host's CPU.

Runs with JAX, Flax, jaxtyping and pytest alone:
python -m pytest -c /dev/null --noconftest tests/models/accelerator_test.py
"""

import jax
import numpy as np
import pytest

from it_study.inference.token_loop import decode_tokens
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config
from it_study.training import losses

pytestmark = [
  pytest.mark.accelerator,
  pytest.mark.skipif(
    jax.default_backend() == 'cpu', reason='needs a GPU or a TPU'
  ),
]

SIZES = {
  'vocab_size': 64,
  'emb_dim': 32,
  'num_heads': 2,
  'head_dim': 16,
  'mlp_dim': 64,
  'num_encoder_layers': 2,
  'num_decoder_layers': 2,
}


def batch_of(packed: bool):
  random = np.random.default_rng(0)
  batch = {}
  for side, length in (('encoder', 24), ('decoder', 12)):
    ends = (length // 3, length - 2)
    segments = np.zeros((4, length), np.int32)
    segments[:, : ends[1]] = 1 + (np.arange(ends[1]) >= ends[0])
    tokens = random.integers(2, 64, (4, length), np.int32) * (segments > 0)
    batch[f'{side}_tokens'] = tokens
    if packed:
      batch[f'{side}_segment_ids'] = segments
  targets = batch.pop('decoder_tokens')
  batch['encoder_input_tokens'] = batch.pop('encoder_tokens')
  batch['decoder_target_tokens'] = targets
  batch['decoder_input_tokens'] = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
  return batch


def loss_and_gradients(config, params, batch, device):
  def loss(params):
    hidden, kernel = T5(config).apply(
      {'params': params}, **batch, method='before_logits'
    )
    targets = batch['decoder_target_tokens']
    return losses.cross_entropy(
      hidden=hidden, kernel=kernel, targets=targets, weights=targets > 0
    )[0]

  with (
    jax.default_device(device),
    jax.default_matmul_precision('highest'),
  ):
    value, gradients = jax.jit(jax.value_and_grad(loss))(
      jax.device_put(params, device)
    )
  return jax.device_get((value, gradients))


@pytest.fixture(name='params', scope='module')
def _params():
  mesh = partitioning.make_mesh(devices=jax.local_devices(backend='cpu')[:1])
  model = T5(T5Config(**SIZES))
  return jax.device_get(
    partitioning.init_params(model=model, seed=0, mesh=mesh)
  )


@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize(
  # A relative distance of whole gradients: float32 sums in another order, and
  # bfloat16's 8 bits through four layers.
  ('dtype', 'largest'),
  [('float32', 1e-4), ('bfloat16', 0.05)],
)
def test_loss_and_gradients_are_those_of_the_cpu(
  params, packed, dtype, largest
):
  batch = batch_of(packed)
  expected = loss_and_gradients(
    T5Config(**SIZES),
    params,
    batch,
    jax.local_devices(backend='cpu')[0],
  )
  actual = loss_and_gradients(
    T5Config(**SIZES, dtype=dtype), params, batch, jax.local_devices()[0]
  )
  assert actual[0] == pytest.approx(expected[0], rel=largest)

  def check(actual, expected):
    assert np.linalg.norm(actual - expected) <= largest * np.linalg.norm(
      expected
    )

  jax.tree.map(check, actual[1], expected[1])


def test_greedy_tokens_are_those_of_the_cpu(params):
  prompts = batch_of(packed=False)['encoder_input_tokens']
  tokens = []
  for device in (jax.local_devices()[0], jax.local_devices(backend='cpu')[0]):
    with (
      jax.default_device(device),
      jax.default_matmul_precision('highest'),
    ):
      decoded = decode_tokens(
        model=T5(T5Config(**SIZES)),
        params=jax.device_put(params, device),
        encoder_input_tokens=jax.device_put(prompts, device),
        max_decode_length=12,
      )
    tokens.append(jax.device_get(decoded))
  np.testing.assert_array_equal(*tokens)
