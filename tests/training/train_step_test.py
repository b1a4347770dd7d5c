"""Tests of it_study.training.train_step."""

import dataclasses
import types

from flax import linen as nn
import jax
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from it_study.models import partitioning
from it_study.models.initialization import partitioned
from it_study.models.t5 import T5, T5Config
from it_study.training import losses, optimizers, train_step

OPTIMIZER = optimizers.adamw(learning_rate=1e-2)
BATCH = {
  'encoder_input_tokens': np.array([[5, 6, 1], [7, 1, 0]], np.int32),
  'decoder_input_tokens': np.array([[0, 5], [0, 0]], np.int32),
  'decoder_target_tokens': np.array([[5, 1], [1, 0]], np.int32),
  'decoder_loss_weights': np.array([[1, 1], [1, 0]], np.float32),
}


@dataclasses.dataclass(frozen=True)
class StubConfig:
  dropout_rate: float = 0.2
  logits_soft_cap: float | None = None
  has_sparse_targets: bool = False


class Stub(nn.Module):
  """Its last layer sees the mean prompt token and the last target token."""

  config: StubConfig = StubConfig()

  @nn.compact
  def __call__(
    self,
    encoder_input_tokens,
    decoder_input_tokens,
    decoder_target_tokens,
    deterministic=True,
  ):
    normal = nn.initializers.normal()
    embedding = nn.Embed(
      16, 8, embedding_init=partitioned(normal, (None, None))
    )
    prompt = embedding(encoder_input_tokens).mean(axis=1, keepdims=True)
    x = prompt + embedding(decoder_input_tokens)
    x = nn.Dropout(self.config.dropout_rate)(x, deterministic=deterministic)
    kernel = self.param(
      'kernel', partitioned(normal, (None, None)), (8, 16), 'float32'
    )
    return x, kernel

  def before_logits(self, **features):
    return self(**features)


@pytest.fixture(scope='module')
def mesh():
  return partitioning.make_mesh(devices=jax.devices()[:1])


@pytest.fixture
def params(mesh):
  return partitioning.init_params(model=Stub(), seed=0, mesh=mesh)


@pytest.fixture(scope='module')
def compiled(mesh):
  """The compiled step, and the seconds that compiling it took."""
  return compile_step(mesh)


def compile_step(mesh):
  return train_step.compile_train_step(
    batch_shapes=tuple(
      (name, array.shape, array.dtype.name) for name, array in BATCH.items()
    ),
    model=Stub(StubConfig()),
    optimizer=OPTIMIZER,
    mesh=mesh,
    z_loss=1e-4,
    label_smoothing=0.0,
  )


def new_state(params, mesh, step=0):
  state = train_step.init_state(
    model=Stub(), optimizer=OPTIMIZER, mesh=mesh, params=params
  )
  return state.replace(step=jax.device_put(np.int32(step), state.step.sharding))


def test_step_updates_and_reports(compiled, params, mesh):
  @jax.jit
  def expected_loss(params, key):
    features = dict(BATCH)
    weights = features.pop('decoder_loss_weights')
    hidden, kernel = Stub().apply(
      {'params': params}, **features, deterministic=False, rngs={'dropout': key}
    )
    targets = features['decoder_target_tokens']
    return losses.cross_entropy(
      hidden=hidden, kernel=kernel, targets=targets, weights=weights
    )[0]

  key = jax.random.fold_in(jax.random.key(5), 3)
  expected = float(expected_loss(params, key))
  state, metrics = compiled[0](
    new_state(params, mesh, step=3), BATCH, np.uint32(5)
  )
  assert int(state.step) == 4
  assert float(metrics['loss']) == pytest.approx(expected, rel=1e-6)
  assert float(metrics['num_target_tokens']) == 3.0
  assert float(metrics['learning_rate']) == pytest.approx(1e-2)
  assert float(metrics['gradient_norm']) > 0
  moved = jax.tree.map(
    lambda a, b: float(abs(a - b).max()), state.params, params
  )
  # AdamW's first update is the rate, wherever there is a gradient.
  assert max(jax.tree.leaves(moved)) == pytest.approx(1e-2, rel=1e-2)


@pytest.mark.parametrize('num_microbatches', [2, 4])
def test_microbatches_add_up_to_the_batch(mesh, num_microbatches):
  rows = 4
  batch = {
    name: np.resize(array[::-1], (rows, array.shape[1]))
    for name, array in BATCH.items()
  }
  # Parts with other numbers of target tokens than each other.
  batch['decoder_loss_weights'] = np.tri(rows, 2, dtype=np.float32)
  model = Stub(StubConfig(dropout_rate=0.0))
  results = []
  for number in (1, num_microbatches):
    step = train_step.make_train_step(
      model=model, optimizer=OPTIMIZER, mesh=mesh, num_microbatches=number
    )
    params = partitioning.init_params(model=model, seed=0, mesh=mesh)
    state = train_step.init_state(
      model=model, optimizer=OPTIMIZER, mesh=mesh, params=params
    )
    placed = jax.device_put(batch, partitioning.batch_sharding(mesh))
    results.append(step(state, placed, np.uint32(0)))
  (whole, whole_metrics), (parts, parts_metrics) = results
  assert whole_metrics['num_target_tokens'] == 7
  for name, value in whole_metrics.items():
    np.testing.assert_allclose(
      parts_metrics[name], value, rtol=1e-6, err_msg=name
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    parts.params,
    whole.params,
  )


def test_each_microbatch_draws_its_own_dropout(mesh):
  step = train_step.make_train_step(
    model=Stub(), optimizer=OPTIMIZER, mesh=mesh, num_microbatches=2
  )
  # Four equal rows: only dropout can tell the parts' losses apart.
  batch = {name: np.repeat(array[:1], 4, 0) for name, array in BATCH.items()}
  losses_by_seed = set()
  for seed in range(3):
    params = partitioning.init_params(model=Stub(), seed=0, mesh=mesh)
    state = train_step.init_state(
      model=Stub(), optimizer=OPTIMIZER, mesh=mesh, params=params
    )
    placed = jax.device_put(batch, partitioning.batch_sharding(mesh))
    _, metrics = step(state, placed, np.uint32(seed))
    losses_by_seed.add(float(metrics['loss']))
  assert len(losses_by_seed) == 3


def test_dropout_depends_on_seed_and_step(compiled, params, mesh):
  def loss(seed, step):
    state = new_state(params, mesh, step=step)
    return float(compiled[0](state, BATCH, np.uint32(seed))[1]['loss'])

  assert loss(0, 0) == loss(0, 0)
  assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3


def test_compiles_once(compiled, mesh):
  step, seconds = compiled
  again, none = compile_step(mesh)
  assert again is step
  assert seconds > 0
  assert none == 0.0


def test_given_params_are_left_alone(compiled, params, mesh):
  before = jax.tree.map(np.array, params)
  compiled[0](new_state(params, mesh), BATCH, np.uint32(0))
  jax.tree.map(np.testing.assert_array_equal, params, before)


T5_CONFIG = T5Config(
  vocab_size=16,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
)


@pytest.mark.parametrize('scan_layers', [False, True])
def test_a_gpu_updates_all_layers_together(monkeypatch, mesh, scan_layers):
  config = dataclasses.replace(
    T5_CONFIG, num_encoder_layers=11, scan_layers=scan_layers
  )
  model = T5(config)
  optimizer = optimizers.adafactor(min_dim_size_to_factor=4)
  params = partitioning.init_params(model=model, seed=0, mesh=mesh)
  results, num_powers = [], []
  for is_gpu in (False, True):
    monkeypatch.setattr(train_step, '_is_gpu', lambda mesh, value=is_gpu: value)
    step = train_step.make_train_step.__wrapped__(
      model=model, optimizer=optimizer, mesh=mesh
    )
    state = train_step.init_state(
      model=model, optimizer=optimizer, mesh=mesh, params=params
    )
    text = step.lower(state, BATCH, np.uint32(0)).as_text()
    num_powers.append(text.count('stablehlo.power'))
    results.append(step(state, BATCH, np.uint32(0)))
  alone, together = num_powers
  assert together < alone / 3
  jax.tree.map(
    lambda alone, together: np.testing.assert_allclose(
      together, alone, rtol=2e-6, atol=1e-7
    ),
    *results,
  )


@pytest.mark.parametrize(
  ('platform', 'is_gpu'),
  [('cpu', False), ('tpu', False), ('gpu', True), ('cuda', True)],
)
def test_gpus_are_told_by_platform(platform, is_gpu):
  device = types.SimpleNamespace(platform=platform)
  mesh = types.SimpleNamespace(devices=np.array([[device]], object))
  assert train_step._is_gpu(mesh) is is_gpu


def test_state_is_sharded_like_its_parameters(mesh):
  state = train_step.abstract_state(
    model=T5(T5_CONFIG), optimizer=OPTIMIZER, mesh=mesh
  )
  kernel = ('encoder', 'layers_0', 'mlp', 'wo', 'kernel')

  def pick(tree):
    for name in kernel:
      tree = tree[name]
    return tree.sharding.spec

  moments = [
    leaf
    for leaf in jax.tree.leaves(
      state.opt_state, is_leaf=lambda leaf: hasattr(leaf, 'mu')
    )
    if hasattr(leaf, 'mu')
  ]
  (adam,) = moments
  assert pick(state.params) == PartitionSpec('model', 'fsdp')
  assert pick(adam.mu) == PartitionSpec('model', 'fsdp')
  assert pick(adam.nu) == PartitionSpec('model', 'fsdp')
  assert adam.count.sharding.spec == PartitionSpec()
