"""Tests of it_study.training.optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from it_study.errors import InputError
from it_study.training import grouped_adafactor, optimizers

SHAPES = {'factored': (160, 130), 'square': (128, 128), 'whole': (8, 200)}


def run(optimizer, params, gradients):
  transformation = optimizer.transformation()
  state = transformation.init(params)
  for gradient in gradients:
    updates, state = transformation.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params


def random_trees(*, steps, seed=0, shapes=SHAPES):
  random = np.random.default_rng(seed)

  def tree(scale):
    arrays = {
      name: random.normal(0, scale, shape) for name, shape in shapes.items()
    }
    return jax.tree.map(
      lambda array: jnp.asarray(array, jnp.float32),
      {**arrays, 'vector': random.normal(1, scale, 200)},
    )

  return tree(0.1), [tree(3.0 / (1 + step)) for step in range(steps)]


@pytest.mark.parametrize(
  ('schedule', 'expected'),
  [
    (optimizers.constant(learning_rate=0.5), [0.5, 0.5, 0.5, 0.5]),
    (
      optimizers.linear_warmup(learning_rate=1.0, warmup_steps=4),
      [0.0, 0.25, 1.0, 1.0],
    ),
    (
      optimizers.linear_warmup(learning_rate=1.0, warmup_steps=0),
      [0.0, 1.0, 1.0, 1.0],
    ),
    (
      optimizers.inverse_sqrt(learning_rate=2.0, warmup_steps=4),
      [1.0, 1.0, 1.0, 0.2],
    ),
  ],
)
def test_schedules(schedule, expected):
  rates = [float(schedule(step)) for step in (0, 1, 4, 100)]
  assert rates == pytest.approx(expected, rel=1e-6)


def test_first_adafactor_step_is_the_parameters_scale():
  # After one step the second moment is the squared gradient, so the update has
  # a root mean square of 1, times the parameters' own, times the rate.
  params = {'scale': jnp.array([3.0, 4.0, 3.0, 4.0])}
  gradients = {'scale': jnp.array([1.0, -10.0, 0.1, 5.0])}
  new = run(optimizers.adafactor(learning_rate=0.1), params, [gradients])
  # 0.1 * sqrt((9 + 16) / 2) = 0.35355339.
  np.testing.assert_allclose(
    new['scale'],
    [2.64644661, 4.35355339, 2.64644661, 3.64644661],
    rtol=1e-6,
  )


@pytest.mark.parametrize(
  'settings',
  [
    {},
    {'weight_decay_rate': 1e-3},
    {'multiply_by_parameter_scale': False, 'clipping_threshold': None},
    {'decay_rate': 0.7, 'min_dim_size_to_factor': 200},
  ],
)
def test_adafactor_is_optaxs_bit_for_bit(settings):
  params, gradients = random_trees(steps=3)
  # Smaller than the least scale.
  params['tiny'] = params['vector'] * 1e-4
  gradients = [{**tree, 'tiny': tree['vector']} for tree in gradients]
  rate = optimizers.linear_warmup(learning_rate=0.01, warmup_steps=2)
  ours = optimizers.adafactor(learning_rate=rate, **settings).transformation()
  theirs = optax.adafactor(learning_rate=rate, **settings)
  results = []
  for transformation in (ours, theirs):
    state, new = transformation.init(params), params
    for gradient in gradients:
      updates, state = jax.jit(transformation.update)(gradient, state, new)
      new = optax.apply_updates(new, updates)
    results.append((new, state))
  jax.tree.map(np.testing.assert_array_equal, *results)


@pytest.mark.parametrize(
  'settings',
  [
    {},
    {'weight_decay_rate': 1e-3, 'gradient_clip_norm': 0.5},
    {'multiply_by_parameter_scale': False, 'clipping_threshold': None},
    {'decay_rate': 0.7, 'step_offset': -2, 'min_dim_size_to_factor': 200},
  ],
)
def test_layers_updated_together_are_updated_as_alone(settings):
  shapes = {**SHAPES, 'cube': (3, 140, 130)}
  trees, gradients = zip(
    *(random_trees(steps=3, seed=seed, shapes=shapes) for seed in range(4)),
    strict=True,
  )
  # Layers of very different sizes, which would show in a common scale.
  factors = {'layers_0': 1.0, 'layers_1': 100.0, 'layers_2': 0.0, 'norm': 10.0}
  params = dict(zip(factors, trees, strict=True))
  gradients = [
    {
      name: jax.tree.map(lambda leaf, factor=factor: leaf * factor, tree)
      for (name, factor), tree in zip(factors.items(), step, strict=True)
    }
    for step in zip(*gradients, strict=True)
  ]
  optimizer = optimizers.adafactor(
    learning_rate=optimizers.linear_warmup(learning_rate=0.01, warmup_steps=2),
    **settings,
  )
  results = []
  for grouped in (False, True):
    transformation = optimizer.transformation(grouped=grouped)
    state, new = transformation.init(params), params
    for gradient in gradients:
      updates, state = jax.jit(transformation.update)(gradient, state, new)
      new = optax.apply_updates(new, updates)
    results.append((new, state))
  jax.tree.map(
    lambda alone, together: np.testing.assert_allclose(
      together, alone, rtol=2e-6, atol=1e-7
    ),
    *results,
  )


def test_layers_are_stacked_by_name():
  tree = {
    'decoder': {'layers_0': {'wi': 1.0}, 'layers_1': {'wi': 2.0}, 'norm': 3.0},
    'encoder': {f'layers_{i}': {'wi': 4.0 + i} for i in range(12)},
    'other': {'layers_0': np.zeros(2), 'layers_1': np.zeros(3)},
  }
  stacked = grouped_adafactor.stack_layers(tree)
  assert [array.tolist() for array in stacked] == [
    [1.0, 2.0],
    [3.0],
    [float(number) for number in range(4, 16)],
    [[0.0, 0.0]],
    [[0.0, 0.0, 0.0]],
  ]


def test_adafactor_reads_the_parameters_once_for_their_scale():
  param = jnp.ones((512, 512))
  passes = []
  for transformation in (
    optimizers.adafactor().transformation(),
    optax.adafactor(learning_rate=1e-3),
  ):
    state = transformation.init(param)
    compiled = jax.jit(transformation.update).lower(param, state, param)
    costs = compiled.compile().cost_analysis()
    passes.append(costs['bytes accessed'] / param.nbytes)
  assert passes[0] <= passes[1] - 2.9


def test_first_adamw_step_is_the_learning_rate():
  params = {'kernel': jnp.ones((2, 2)), 'scale': jnp.ones(2)}
  gradients = {'kernel': jnp.full((2, 2), 0.01), 'scale': jnp.full(2, -0.02)}
  new = run(
    optimizers.adamw(learning_rate=0.1, weight_decay=0.5), params, [gradients]
  )
  # Matrices decay by the rate times 0.5, vectors do not.
  np.testing.assert_allclose(new['kernel'], np.full((2, 2), 0.85), rtol=1e-5)
  np.testing.assert_allclose(new['scale'], [1.1, 1.1], rtol=1e-5)


def test_gradients_are_clipped_to_a_global_norm():
  params = {'a': jnp.zeros(2), 'b': jnp.zeros(2)}
  gradients = {'a': jnp.array([3.0, 0.0]), 'b': jnp.array([0.0, 4.0])}
  clipped, unclipped = (
    optimizers.adamw(
      learning_rate=1.0, b1=0.0, b2=0.0, eps=1.0, gradient_clip_norm=norm
    )
    for norm in (1.0, None)
  )
  # Without moments the update is g / (|g| + 1), with g from (0.6, 0.8).
  new = run(clipped, params, [gradients])
  np.testing.assert_allclose(new['a'], [-0.375, 0.0], rtol=1e-6)
  np.testing.assert_allclose(new['b'], [0.0, -0.44444445], rtol=1e-6)
  new = run(unclipped, params, [gradients])
  np.testing.assert_allclose(new['a'], [-0.75, 0.0], rtol=1e-6)


def test_factored_state_is_small():
  state = optimizers.adafactor().transformation().init(random_trees(steps=0)[0])
  sizes = sorted(leaf.size for leaf in jax.tree.leaves(state))
  # Rows and columns of two matrices, the small matrix, the vector; the rest
  # are counters and placeholders of one number.
  assert [size for size in sizes if size > 1] == [128, 128, 130, 160, 200, 1600]


def test_equal_settings_are_equal_keys():
  one, same = optimizers.adafactor(), optimizers.adafactor(learning_rate=1e-3)
  assert one == same
  assert hash(one) == hash(same)
  assert one != optimizers.adafactor(learning_rate=2e-3)
  assert one != optimizers.adamw(learning_rate=1e-3)


@pytest.mark.parametrize('rate', [float('nan'), float('inf'), -1.0])
def test_impossible_rates_are_refused(rate):
  with pytest.raises(InputError, match='give a finite number, 0 or more'):
    optimizers.adamw(learning_rate=rate)


def test_negative_warmup_is_refused():
  with pytest.raises(InputError, match='warm-up is -1 steps'):
    optimizers.linear_warmup(learning_rate=1.0, warmup_steps=-1)


@pytest.mark.t5x
@pytest.mark.parametrize(
  'settings',
  [
    {},
    {'weight_decay_rate': 1e-3},
    {'multiply_by_parameter_scale': False, 'clipping_threshold': None},
  ],
)
def test_adafactor_is_t5xs(settings):
  adafactor = pytest.importorskip('t5x.adafactor', reason='needs T5X')
  params, gradients = random_trees(steps=5)
  ours = run(
    optimizers.adafactor(learning_rate=0.01, **settings), params, gradients
  )
  definition = adafactor.Adafactor(learning_rate=0.01, **settings)
  state = definition.init_state(params)
  theirs = params
  for gradient in gradients:
    theirs, state = definition.apply_gradient(
      definition.hyper_params, theirs, state, gradient
    )
  for name, wanted in theirs.items():
    error = np.linalg.norm(ours[name] - wanted) / np.linalg.norm(wanted)
    assert error < 2e-7, name


def test_linear_decay_holds_then_falls_to_zero():
  schedule = optimizers.linear_decay(
    learning_rate=1.0, constant_share=0.5, total_steps=4
  )
  rates = [float(schedule(step)) for step in range(6)]
  assert rates == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_linear_decay_needs_to_know_the_end():
  with pytest.raises(InputError, match='set TRAIN_STEPS, not EPOCHS'):
    optimizers.linear_decay(learning_rate=1.0, total_steps=None)
  with pytest.raises(InputError, match='give a share from 0 to below 1'):
    optimizers.linear_decay(
      learning_rate=1.0, total_steps=4, constant_share=1.5
    )
