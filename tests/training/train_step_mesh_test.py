"""The same training on one device and on eight, however they are laid out."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

_TRAIN = """
import json
import jax
import numpy as np
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
from it_study.input_pipeline import row_layouts
from it_study.models import partitioning
from it_study.models.adapters import lora as lora_lib
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import DecoderLM
from it_study.training import optimizers, train_step
from it_study.training.loss import division
from it_study.models.t5 import T5, T5Config

# The vocabulary of 128 in four blocks.
division._BLOCK_BYTES = 4 * 64 * 32
division._CPU_LOGITS_BYTES = 4 * 8 * 128

def batches(kind):
  for step in range(20):
    # Two batches in turn, which can be learned by heart.
    random = np.random.default_rng(step % 2)
    inputs = random.integers(2, 128, (8, 16), np.int32)
    targets = random.integers(2, 128, (8, 8), np.int32)
    # Rows of other lengths, so that devices have other numbers of tokens.
    inputs *= np.arange(16) < random.integers(4, 17, (8, 1))
    targets *= np.arange(8) < random.integers(1, 9, (8, 1))
    if kind != 't5':
      yield decoder_batch(inputs, targets)
      continue
    yield {
      'encoder_input_tokens': inputs,
      'decoder_input_tokens': np.pad(targets[:, :-1], ((0, 0), (1, 0))),
      'decoder_target_tokens': targets,
      'decoder_loss_weights': (targets > 0).astype(np.float32),
    }

def decoder_batch(inputs, targets):
  layout = row_layouts.DECODER
  lengths = {'inputs': 16, 'targets': 8}
  batch = {
    name: np.zeros((8, length), dtype)
    for name, (length, dtype) in layout.shapes(lengths, pack=True).items()
  }
  for row in range(8):
    layout.fill(
      {name: array[row] for name, array in batch.items()},
      [{'inputs': inputs[row][inputs[row] > 0],
        'targets': targets[row][targets[row] > 0]}],
    )
  return batch

decoder = DecoderLM(DecoderConfig(128, 64, 8, 4, 8, 64, 1))
models = {
  't5': T5(T5Config(128, 64, 8, 8, 64, 1, 1, dropout_rate=0.1)),
  # Of grouped heads, one of eight parts of the mesh holds half a head.
  'decoder': decoder,
  'lora': decoder,
}
for kind, sizes in (
  (kind, sizes)
  for kind in models
  for sizes in ((1, 1, 1), (8, 1, 1), (1, 8, 1), (1, 1, 8), (2, 2, 2))
):
  is_lora = kind == 'lora'
  settings = {
    'model': models[kind],
    'optimizer': optimizers.adamw(learning_rate=1e-2)
    if is_lora
    else optimizers.adafactor(learning_rate=5e-2, min_dim_size_to_factor=32),
    'lora': lora_lib.Lora(rank=4) if is_lora else None,
  }
  data, fsdp, tensor = sizes
  mesh = partitioning.make_mesh(
    data=data,
    fsdp=fsdp,
    model=tensor,
    devices=jax.devices()[: data * fsdp * tensor],
  )
  where = {'model': models[kind], 'mesh': mesh}
  whole = partitioning.init_params(seed=0, **where)
  state = train_step.init_state(
    mesh=mesh,
    params=lora_lib.init(
      settings['lora'], partitioning.abstract_params(**where), seed=0
    )
    if is_lora
    else whole,
    frozen=whole if is_lora else None,
    **settings,
  )
  step = train_step.make_train_step(mesh=mesh, num_microbatches=1, **settings)
  losses = []
  for batch in batches(kind):
    batch = jax.device_put(batch, partitioning.batch_sharding(mesh))
    state, metrics = step(state, batch, np.uint32(3))
    losses.append(float(metrics['loss']))
  table = (state.frozen or state.params)['token_embedder']['embedding']
  shard = table.sharding.shard_shape(table.shape)
  print(json.dumps([kind, sizes, losses, shard]))
"""


@pytest.fixture(name='trainings', scope='module')
def _trainings():
  process = subprocess.run(
    [sys.executable, '-c', _TRAIN],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=500,
    check=False,
  )
  assert process.returncode == 0, process.stderr[-3000:]
  found = [json.loads(line) for line in process.stdout.splitlines()]
  return {(kind, *sizes): rest for kind, sizes, *rest in found}


@pytest.mark.parametrize('kind', ['t5', 'decoder', 'lora'])
@pytest.mark.parametrize(
  ('sizes', 'shard'),
  [
    ((8, 1, 1), [128, 64]),
    ((1, 8, 1), [128, 8]),
    ((1, 1, 8), [16, 64]),
    ((2, 2, 2), [64, 32]),
  ],
)
def test_mean_losses_over_20_steps_are_those_of_one_device(
  trainings, kind, sizes, shard
):
  expected, _ = trainings[kind, 1, 1, 1]
  losses, shape = trainings[kind, *sizes]
  assert shape == shard
  assert len(losses) == 20
  np.testing.assert_allclose(losses, expected, rtol=1e-5)
  # It learns in between, so there is something to agree on.
  assert abs(losses[0] - losses[-1]) > 0.1
