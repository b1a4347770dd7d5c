"""T5: T5X's numbers from a file, packing, padding, gradients, the cache."""

import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.inference.beam import beam_decode
from it_study.inference.token_loop import decode_tokens
from it_study.models import attention, partitioning
from it_study.models.param_dtype import to_compute_dtype
from it_study.models.t5 import T5, T5Config

_GOLDEN_DIR = pathlib.Path(__file__).parents[1] / 'golden'
_SPEC = importlib.util.spec_from_file_location(
  'make_t5x_golden', _GOLDEN_DIR / 'make_t5x_golden.py'
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)

variants = pytest.mark.parametrize('variant', ['v1_1', 'v1_0'])

# Rows of different lengths, so that there is padding on both sides.
PROMPTS = np.array([[5, 6, 7, 8, 9, 1], [4, 3, 1, 0, 0, 0]], np.int32)
TARGETS = np.array([[11, 12, 13, 1], [14, 1, 0, 0]], np.int32)
SHIFTED = np.array([[0, 11, 12, 13], [0, 14, 1, 0]], np.int32)


@pytest.fixture(scope='module')
def golden_arrays():
  with np.load(golden.PATH) as arrays:
    return dict(arrays)


def model_of(variant: str = 'v1_1', **changes) -> T5:
  options = {**golden.DIMENSIONS, **golden.VARIANTS[variant], **changes}
  return T5(T5Config(**options))


def golden_params(arrays, variant):
  prefix = f'{variant}/params/'
  return golden.nest(
    {
      name.removeprefix(prefix): value
      for name, value in arrays.items()
      if name.startswith(prefix)
    }
  )


def params_of(model):
  return partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )


def apply(model, params, *args, **kwargs):
  return _apply(model, params, args, kwargs)


@functools.partial(jax.jit, static_argnames=('model', 'length'))
def _start_decoding(model, params, length):
  variables = {'params': params}
  encoded = model.apply(variables, PROMPTS, method='encode')
  return model.apply(
    variables, encoded, PROMPTS, length, method='start_decoding'
  )


@functools.partial(jax.jit, static_argnames='model')
def _apply(model, params, args, kwargs):
  return model.apply({'params': params}, *args, **kwargs)


@variants
def test_parameter_tree_is_the_one_of_t5x(golden_arrays, variant):
  ours = params_of(model_of(variant))
  shapes = jax.tree.map(np.shape, ours)
  assert shapes == jax.tree.map(np.shape, golden_params(golden_arrays, variant))


@variants
def test_logits_are_those_of_t5x(golden_arrays, variant):
  batch = golden.plain_batch()
  params = golden_params(golden_arrays, variant)
  logits = apply(model_of(variant), params, **batch)
  assert logits.dtype == jnp.float32
  assert logits.shape == (4, 7, 37)
  real = batch['decoder_target_tokens'] > 0
  expected = golden_arrays[f'{variant}/plain_logits']
  np.testing.assert_allclose(logits[real], expected[real], atol=1e-5, rtol=0)


@variants
def test_packed_logits_are_those_of_t5x(golden_arrays, variant):
  batch = golden.packed_batch()
  params = golden_params(golden_arrays, variant)
  logits = apply(model_of(variant), params, **batch)
  real = batch['decoder_target_tokens'] > 0
  expected = golden_arrays[f'{variant}/packed_logits']
  np.testing.assert_allclose(logits[real], expected[real], atol=1e-5, rtol=0)


@variants
def test_beam_tokens_are_those_of_t5x(golden_arrays, variant):
  tokens = beam_decode(
    model=model_of(variant),
    params=golden_params(golden_arrays, variant),
    encoder_input_tokens=golden.greedy_prompts(),
    max_decode_length=golden.MAX_DECODE_LENGTH,
  )
  expected = golden_arrays[f'{variant}/beam_tokens']
  np.testing.assert_array_equal(tokens, expected)
  greedy = golden_arrays[f'{variant}/greedy_tokens']
  assert (expected != greedy).any()


@variants
def test_greedy_tokens_are_those_of_t5x(golden_arrays, variant):
  tokens = decode_tokens(
    model=model_of(variant),
    params=golden_params(golden_arrays, variant),
    encoder_input_tokens=golden.greedy_prompts(),
    max_decode_length=golden.MAX_DECODE_LENGTH,
  )
  expected = golden_arrays[f'{variant}/greedy_tokens']
  np.testing.assert_array_equal(tokens, expected)
  ended = (expected == 1).any(axis=1)
  assert ended.any()
  assert not ended.all()


@variants
def test_packing_changes_no_logits(golden_arrays, variant):
  model = model_of(variant)
  params = golden_params(golden_arrays, variant)
  plain = apply(model, params, **golden.plain_batch())
  packed = apply(model, params, **golden.packed_batch())
  np.testing.assert_allclose(packed[0, :7], plain[1], atol=1e-5)
  np.testing.assert_allclose(packed[0, 7:10], plain[2, :3], atol=1e-5)
  np.testing.assert_allclose(packed[1, :7], plain[0], atol=1e-5)


def test_longer_padding_changes_no_logits():
  model = model_of()
  params = params_of(model)
  short = apply(model, params, PROMPTS, SHIFTED, TARGETS)
  long = apply(
    model,
    params,
    np.pad(PROMPTS, ((0, 0), (0, 5))),
    np.pad(SHIFTED, ((0, 0), (0, 3))),
    np.pad(TARGETS, ((0, 0), (0, 3))),
  )
  real = TARGETS > 0
  np.testing.assert_allclose(long[:, :4][real], short[real], atol=1e-5)


def test_a_target_sees_no_later_target():
  model = model_of()
  params = params_of(model)
  changed = SHIFTED.copy()
  changed[0, 3] = 30
  before = apply(model, params, PROMPTS, SHIFTED, TARGETS)
  after = apply(model, params, PROMPTS, changed, TARGETS)
  np.testing.assert_array_equal(before[0, :3], after[0, :3])
  assert np.abs(before[0, 3] - after[0, 3]).max() > 1e-3


def test_row_of_padding_gives_finite_logits_and_gradients():
  model = model_of()
  params = params_of(model)
  prompts = np.concatenate([PROMPTS, np.zeros((1, 6), np.int32)])
  targets = np.concatenate([TARGETS, np.zeros((1, 4), np.int32)])

  def loss(params):
    logits = model.apply({'params': params}, prompts, targets, targets)
    return jnp.sum(logits**2)

  value, gradients = jax.jit(jax.value_and_grad(loss))(params)
  assert np.isfinite(value)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_segment_ids_must_come_in_pairs():
  model = model_of()
  with pytest.raises(
    ValueError,
    match='Pass both encoder_segment_ids and decoder_segment_ids, or neither',
  ):
    model.apply(
      {'params': params_of(model)},
      PROMPTS,
      SHIFTED,
      TARGETS,
      encoder_segment_ids=PROMPTS,
    )


@variants
def test_decode_steps_give_the_logits_of_the_whole_sequence(variant):
  model = model_of(variant)
  params = params_of(model)
  whole = apply(model, params, PROMPTS, SHIFTED, TARGETS)
  variables = {'params': params}
  # Room for 6 steps, more than are filled.
  cache = _start_decoding(model, params, 6)
  assert cache.self_keys[0].shape == (2, 3, 8, 6)
  assert cache.self_values[0].shape == (2, 3, 6, 8)
  decode_step = jax.jit(functools.partial(model.apply, method='decode_step'))
  for step in range(4):
    logits, cache = decode_step(variables, SHIFTED[:, step], cache, step)
    assert logits.shape == (2, 37)
    real = TARGETS[:, step] > 0
    np.testing.assert_allclose(logits[real], whole[real, step], atol=1e-5)


def test_initial_distributions_are_those_of_t5x():
  model = T5(
    T5Config(
      vocab_size=512,
      emb_dim=64,
      num_heads=8,
      head_dim=16,
      mlp_dim=256,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )
  params = params_of(model)
  layer = params['encoder']['layers_0']
  stddevs = {
    'embedding': np.std(params['token_embedder']['embedding']),
    'query': np.std(layer['attention']['query']['kernel']),
    'key': np.std(layer['attention']['key']['kernel']),
    'out': np.std(layer['attention']['out']['kernel']),
    'wi_0': np.std(layer['mlp']['wi_0']['kernel']),
    'wo': np.std(layer['mlp']['wo']['kernel']),
    'logits': np.std(params['decoder']['logits_dense']['kernel']),
    'relpos': np.std(params['encoder']['relpos_bias']['rel_embedding']),
  }
  expected = {
    'embedding': 1.0,
    'query': (64 * 16) ** -0.5,
    'key': 64**-0.5,
    'out': 128**-0.5,
    'wi_0': 64**-0.5,
    'wo': 256**-0.5,
    'logits': 64**-0.5,
    # Variance 1 / mean of (8, 32).
    'relpos': 20**-0.5,
  }
  for name, stddev in stddevs.items():
    tolerance = 0.15 if name == 'relpos' else 0.04
    assert stddev == pytest.approx(expected[name], rel=tolerance), name
  np.testing.assert_array_equal(
    layer['pre_mlp_layer_norm']['scale'], np.ones(64)
  )


def test_parameters_carry_logical_axis_names():
  variables = jax.eval_shape(
    lambda: model_of().init(jax.random.key(0), PROMPTS, SHIFTED, TARGETS)
  )
  params = variables['params']
  layer = params['decoder']['layers_1']
  names = {
    'embedding': params['token_embedder']['embedding'].names,
    'query': layer['self_attention']['query']['kernel'].names,
    'out': layer['encoder_decoder_attention']['out']['kernel'].names,
    'wi_1': layer['mlp']['wi_1']['kernel'].names,
    'wo': layer['mlp']['wo']['kernel'].names,
    'scale': layer['pre_mlp_layer_norm']['scale'].names,
    'relpos': params['decoder']['relpos_bias']['rel_embedding'].names,
    'logits': params['decoder']['logits_dense']['kernel'].names,
  }
  assert names == {
    'embedding': ('vocab', 'embed'),
    'query': ('embed', 'joined_kv'),
    'out': ('joined_kv', 'embed'),
    'wi_1': ('embed', 'mlp'),
    'wo': ('mlp', 'embed'),
    'scale': ('embed',),
    'relpos': ('heads', 'relpos_buckets'),
    'logits': ('embed', 'vocab'),
  }


def test_bfloat16_computes_close_to_float32_with_float32_params_and_logits():
  single, half = model_of(), model_of(dtype='bfloat16')
  params = params_of(half)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {
    np.dtype('float32')
  }
  cache = jax.eval_shape(lambda: _start_decoding(half, params, 6))
  assert {leaf.dtype for leaf in cache.cross_keys} == {jnp.dtype('bfloat16')}
  logits = apply(half, params, PROMPTS, SHIFTED, TARGETS)
  assert logits.dtype == jnp.float32
  expected = apply(single, params, PROMPTS, SHIFTED, TARGETS)
  difference = np.abs(logits - expected)[TARGETS > 0]
  assert 0 < difference.max() < 0.2


@variants
def test_parameters_cast_before_give_the_same_bits(variant):
  model = model_of(variant, dtype='bfloat16')
  params = params_of(model)
  copied = jax.tree.map(jnp.copy, params)
  cast = to_compute_dtype(params, model.config)
  abstract = to_compute_dtype(
    jax.eval_shape(lambda tree: tree, copied), model.config
  )
  assert [leaf.dtype for leaf in jax.tree.leaves(cast)] == [
    leaf.dtype for leaf in jax.tree.leaves(abstract)
  ]
  expected = {
    'v1_0': {'token_embedder', 'relpos_bias'},
    'v1_1': {'logits_dense', 'relpos_bias'},
  }[variant]
  for path, leaf in jax.tree_util.tree_leaves_with_path(cast):
    is_float32 = not expected.isdisjoint(key.key for key in path)
    assert leaf.dtype == ('float32' if is_float32 else 'bfloat16')
  sequence = (PROMPTS, SHIFTED, TARGETS)
  np.testing.assert_array_equal(
    apply(model, cast, *sequence), apply(model, copied, *sequence)
  )
  steps = []
  for tree in (cast, copied):
    cache = _start_decoding(model, tree, 4)
    logits, _ = jax.jit(functools.partial(model.apply, method='decode_step'))(
      {'params': tree}, SHIFTED[:, 0], cache, 0
    )
    steps.append(logits)
  np.testing.assert_array_equal(*steps)


def test_dropout_needs_its_rng_and_changes_logits():
  model = model_of(dropout_rate=0.3)
  params = params_of(model)

  @jax.jit
  def dropped(seed):
    return model.apply(
      {'params': params},
      PROMPTS,
      SHIFTED,
      TARGETS,
      deterministic=False,
      rngs={'dropout': jax.random.key(seed)},
    )

  plain = apply(model_of(), params, PROMPTS, SHIFTED, TARGETS)
  undropped = apply(model, params, PROMPTS, SHIFTED, TARGETS)
  np.testing.assert_array_equal(undropped, plain)
  assert np.abs(dropped(0) - plain).max() > 0.01
  np.testing.assert_array_equal(dropped(0), dropped(0))
  assert np.abs(dropped(0) - dropped(1)).max() > 0.01


def test_attention_dropout_keeps_the_mean_and_drops_whole_keys():
  layer = attention.Attention(
    num_heads=2, head_dim=4, emb_dim=8, dropout_rate=0.25
  )
  value = jnp.ones((3, 2, 500, 4))
  dropped = layer.apply(
    {}, value, method='_drop_keys', rngs={'dropout': jax.random.key(0)}
  )
  np.testing.assert_array_equal(
    dropped, np.broadcast_to(dropped[..., :1], value.shape)
  )
  np.testing.assert_allclose(np.unique(dropped), [0, 4 / 3], rtol=1e-6)
  assert np.mean(dropped) == pytest.approx(1.0, abs=0.05)


def test_an_id_beyond_the_vocabulary_gives_nan():
  model = model_of()
  prompts = np.array([[5, 37, 1]], np.int32)
  logits = apply(model, params_of(model), prompts, TARGETS[:1], TARGETS[:1])
  assert np.isnan(logits).all()
