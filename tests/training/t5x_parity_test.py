"""Our training step beside T5X's own trainer, on the same batches."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config
from it_study.training import optimizers, train_step

pytestmark = [pytest.mark.t5x, pytest.mark.slow]
if importlib.util.find_spec('t5x') is None:
  pytest.skip('needs T5X', allow_module_level=True)

STEPS = 20
RATE = 1e-3
# Wide enough that Adafactor factors the matrices.
SIZES = {
  'vocab_size': 160,
  'emb_dim': 128,
  'num_heads': 4,
  'head_dim': 32,
  'mlp_dim': 192,
  'num_encoder_layers': 2,
  'num_decoder_layers': 2,
}
VARIANTS = {
  'v1_1': {'mlp_activations': ('gelu', 'linear')},
  'v1_0': {'mlp_activations': ('relu',), 'logits_via_embedding': True},
}


def batches(*, packed: bool):
  """20 batches of four rows, padded; two examples a row when packed."""
  random = np.random.default_rng(0)
  for _ in range(STEPS):
    batch = {}
    for side, length in (('encoder', 16), ('decoder', 8)):
      segments, positions = np.zeros((2, 4, length), np.int32)
      for row in range(4):
        end = random.integers(length // 2, length + 1)
        cut = random.integers(1, end) if packed else 0
        segments[row, :end] = 1
        segments[row, cut:end] += int(packed)
        positions[row, :end] = np.arange(end)
        positions[row, cut:end] -= cut
      tokens = random.integers(2, 160, (4, length), np.int32) * (segments > 0)
      batch[f'{side}_tokens'] = tokens
      if packed:
        batch[f'{side}_segment_ids'] = segments
        batch[f'{side}_positions'] = positions
    targets = batch.pop('decoder_tokens')
    shifted = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
    if packed:
      shifted *= batch['decoder_positions'] > 0
    yield {
      'encoder_input_tokens': batch.pop('encoder_tokens'),
      'decoder_input_tokens': shifted,
      'decoder_target_tokens': targets,
      'decoder_loss_weights': (targets > 0).astype(np.float32),
      **batch,
    }


def train_theirs(variant: str, *, packed: bool):
  """T5X's initial parameters, its mean losses and its final parameters."""
  # isort: off
  import seqio
  from flax.core import unfreeze
  from t5x import adafactor, losses, models, train_state, trainer
  from t5x.examples.t5 import network
  # isort: on

  vocabulary = seqio.PassThroughVocabulary(160, eos_id=1)
  optimizer = adafactor.Adafactor(
    decay_rate=0.8,
    step_offset=0,
    logical_factor_rules=adafactor.standard_logical_factor_rules(),
  )
  model = models.EncoderDecoderModel(
    module=network.Transformer(
      network.T5Config(dropout_rate=0.0, **SIZES, **VARIANTS[variant])
    ),
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    optimizer_def=optimizer,
    z_loss=1e-4,
    # Left to itself T5X adds the tokens' losses up, and a batch of more tokens
    # then weighs more in Adafactor's second moments.
    loss_normalizing_factor=losses.SpecialLossNormalizingFactor(
      losses.SpecialLossNormalizingFactor.NUM_REAL_TARGET_TOKENS
    ),
  )
  shapes = {
    'encoder_input_tokens': (4, 16),
    'decoder_input_tokens': (4, 8),
    'decoder_target_tokens': (4, 8),
  }
  variables = model.get_initial_variables(jax.random.key(0), shapes)
  state = train_state.FlaxOptimTrainState.create(optimizer, variables)
  first = jax.device_get(unfreeze(state.params))
  step = jax.jit(
    lambda state, batch: trainer.train_with_lr(
      state, batch, RATE, jax.random.key(0), model, num_microbatches=None
    )
  )
  mean_losses = []
  for batch in batches(packed=packed):
    state, metrics = step(state, batch)
    mean_losses.append(metrics['loss'].total)
  return first, np.array(mean_losses), jax.device_get(unfreeze(state.params))


def train_ours(variant: str, params, *, packed: bool, num_microbatches: int):
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  model = T5(T5Config(**SIZES, **VARIANTS[variant]))
  optimizer = optimizers.adafactor(learning_rate=RATE)
  state = train_step.init_state(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    params=jax.tree.map(jnp.asarray, params),
  )
  step = train_step.make_train_step(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    num_microbatches=num_microbatches,
  )
  losses = []
  for batch in batches(packed=packed):
    state, metrics = step(state, batch, np.uint32(0))
    losses.append(metrics['loss'])
  return np.array(losses), jax.device_get(state.params)


@pytest.mark.parametrize(
  ('variant', 'packed', 'num_microbatches'),
  [
    ('v1_1', False, 1),
    ('v1_1', True, 1),
    ('v1_1', True, 2),
    ('v1_0', False, 1),
    ('v1_0', True, 1),
  ],
)
def test_same_losses_and_parameters_after_20_steps(
  variant, packed, num_microbatches
):
  first, expected_losses, expected = train_theirs(variant, packed=packed)
  losses, found = train_ours(
    variant, first, packed=packed, num_microbatches=num_microbatches
  )
  np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)

  def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)

  distances = jax.tree.map(distance, found, expected)
  moved = jax.tree.map(distance, expected, first)
  print('losses', abs(losses / expected_losses - 1).max())
  print('parameters', max(jax.tree.leaves(distances)))
  assert max(jax.tree.leaves(distances)) <= 1e-4
  # Every tensor was trained, and by much more than it may differ.
  assert min(jax.tree.leaves(moved)) >= 1e-3
