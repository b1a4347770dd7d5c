"""Tests with T5X itself: it reads our checkpoints, and we read its."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest

from it_study.checkpoints.t5x import reading as our_reading, writing
from it_study.errors import InputError
from it_study.inference.token_loop import decode_tokens
from it_study.models import partitioning
from it_study.models.t5 import T5

pytestmark = [pytest.mark.t5x, pytest.mark.slow]
if importlib.util.find_spec('t5x') is None:
  pytest.skip('needs T5X', allow_module_level=True)

_SPEC = importlib.util.spec_from_file_location(
  'make_t5x_checkpoints',
  pathlib.Path(__file__).parents[2] / 'golden' / 'make_t5x_checkpoints.py',
)
theirs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(theirs)
golden = theirs.golden

variants = pytest.mark.parametrize('variant', ['v1_1', 'v1_0'])
orbax = pytest.mark.parametrize('use_orbax', [False, True])
# What each of T5X's two ways to restore takes.
restorable = pytest.mark.parametrize(
  ('layout', 'use_orbax'),
  [('msgpack', False), ('msgpack', True), ('orbax', True)],
)
STEP = 4321


def draw(variant, seed=99):
  """Other parameters than the golden ones, with every bit of float32 used."""
  random = np.random.default_rng(seed)
  params = golden.nest(golden.draw_params(golden.t5x_shapes(variant), seed))
  return jax.tree.map(
    lambda leaf: leaf * random.uniform(0.9, 1.1, leaf.shape).astype(np.float32),
    params,
  )


def load(path):
  config = our_reading.read_model_config(path)
  model = T5(config)
  target = partitioning.abstract_params(
    model=model, mesh=partitioning.make_mesh()
  )
  return model, our_reading.load_params(path, target=target)


def restore(path, variant, model_dir, *, use_orbax, for_training=True):
  """What T5X's training, or its inference, makes of a checkpoint."""
  # isort: off
  from t5x import utils
  # isort: on

  partitioner, initializer = theirs.make_state(
    variant, for_training=for_training
  )
  state, manager = utils.create_checkpoint_manager_and_restore(
    initializer,
    partitioner,
    utils.RestoreCheckpointConfig(
      path=str(path), mode='specific', dtype='float32', strict=for_training
    ),
    str(path),
    None,
    model_dir=str(model_dir),
    use_orbax=use_orbax,
  )
  manager.close()
  return state


def prompts():
  """int32 [24, 15], of mixed length."""
  random = np.random.default_rng(8)
  tokens = random.integers(2, 37, (24, 15)).astype(np.int32)
  for row in range(24):
    tokens[row, 1 + (7 * row) % 15 :] = 0
  return tokens


def assert_same(first, second):
  assert jax.tree.structure(first) == jax.tree.structure(second)
  jax.tree.map(np.testing.assert_array_equal, first, second)


@variants
@orbax
def test_we_read_what_t5x_writes(variant, use_orbax, tmp_path):
  params = draw(variant)
  theirs.save(
    tmp_path, variant, params, use_orbax=use_orbax, dtype='float32', step=STEP
  )
  model, found = load(tmp_path)
  assert_same(params, found)
  batch = golden.plain_batch()
  real = batch['decoder_target_tokens'] > 0
  np.testing.assert_allclose(
    np.asarray(model.apply({'params': found}, **batch))[real],
    golden.t5x_logits(variant, params, batch)[real],
    atol=1e-5,
    rtol=0,
  )


@variants
def test_greedy_output_of_a_t5x_checkpoint_is_that_of_predict_batch(
  variant, tmp_path
):
  params = theirs.params_of(variant)
  theirs.save(
    tmp_path, variant, params, use_orbax=True, dtype='float32', step=STEP
  )
  model, found = load(tmp_path)
  expected = golden.t5x_greedy(variant, params, prompts(), 12)
  # Not the same answer to everything.
  assert len(np.unique(expected, axis=0)) > 5
  tokens = decode_tokens(
    model=model,
    params=found,
    encoder_input_tokens=prompts(),
    max_decode_length=12,
  )
  np.testing.assert_array_equal(tokens, expected)


@variants
@restorable
def test_t5x_restores_what_we_write(variant, layout, use_orbax, tmp_path):
  params = draw(variant)
  path = writing.save_params(
    tmp_path / 'ours', params, step=STEP, layout=layout
  )
  model_dir = tmp_path / 'model_dir'
  model_dir.mkdir()
  state = restore(path, variant, model_dir, use_orbax=use_orbax)
  assert int(state.step) == STEP
  assert_same(params, jax.device_get(dict(state.params.unfreeze())))
  # The optimizer is as at the start of a training.
  _, initializer = theirs.make_state(variant)
  fresh = initializer.from_scratch(jax.random.PRNGKey(0))
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get(fresh.param_states),
    jax.device_get(state.param_states),
  )
  state = restore(
    path, variant, model_dir, use_orbax=use_orbax, for_training=False
  )
  batch = golden.plain_batch()
  real = batch['decoder_target_tokens'] > 0
  np.testing.assert_allclose(
    golden.t5x_logits(variant, state.params, batch)[real],
    np.asarray(
      T5(our_reading.read_model_config(path)).apply({'params': params}, **batch)
    )[real],
    atol=1e-5,
    rtol=0,
  )


def test_the_first_state_of_adafactor_is_that_of_t5x():
  # isort: off
  from t5x import adafactor
  # isort: on

  shapes = [(128, 128), (1024, 256), (256, 1024), (127, 999), (900,), (3, 32)]
  params = {
    f'kernel_{number}': np.ones(shape, np.float32)
    for number, shape in enumerate(shapes)
  }
  expected = adafactor.Adafactor().init_state(params)
  found = writing.fresh_state(params, step=0)
  assert found['step'] == expected.step == 0
  for name, state in expected.param_states.items():
    assert found['param_states'][name].keys() == vars(state).keys()
    for moment, value in vars(state).items():
      np.testing.assert_array_equal(found['param_states'][name][moment], value)


@orbax
def test_stacked_layers_of_scalable_t5_are_refused(use_orbax, tmp_path):
  # isort: off
  from t5x.examples.scalable_t5 import network
  # isort: on

  module = network.Transformer(
    network.T5Config(**golden.DIMENSIONS, **golden.VARIANTS['v1_1'])
  )
  theirs.save(
    tmp_path,
    'v1_1',
    None,
    module=module,
    use_orbax=use_orbax,
    dtype='float32',
    step=STEP,
  )
  with pytest.raises(
    InputError,
    match=r'decoder/decoder/\w+/key/kernel is a stack of layers',
  ):
    load(tmp_path)
