"""Training of decoder-only models, beside that of transformers."""

import functools
import importlib.util
import pathlib

from decoder_golden_fixture import golden_model, to_params
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from it_study.checkpoints.hf import decoder_names
from it_study.input_pipeline import row_layouts
from it_study.input_pipeline.feed import Feed
from it_study.input_pipeline.token_cache import write_token_cache
from it_study.models import partitioning
from it_study.models.adapters.lora import Lora
from it_study.training import optimizers, train_step
from it_study.training.validation import Validation

_PATH = pathlib.Path(__file__).parents[1] / 'golden'
_SPEC = importlib.util.spec_from_file_location(
  'make_decoder_training_golden', _PATH / 'make_decoder_training_golden.py'
)
golden = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(golden)

variants = pytest.mark.parametrize('variant', golden.VARIANTS)
LENGTHS = {'inputs': 14, 'targets': 10}


@functools.cache
def reference(variant):
  """Returns the losses, the first gradients and the last weights."""
  config = golden_model(variant)[0].config
  with np.load(golden.PATH) as arrays:
    trees = [
      to_params(
        {
          name.removeprefix(prefix): arrays[name]
          for name in arrays
          if name.startswith(prefix)
        },
        config,
      )
      for prefix in (f'{variant}/gradients/', f'{variant}/weights/')
    ]
    return arrays[f'{variant}/losses'], *trees


def packed(examples, *, rows):
  """Returns examples in rows as a feed packs them, in the order given."""
  layout = row_layouts.DECODER
  batch = {
    name: np.zeros((rows, length), dtype)
    for name, (length, dtype) in layout.shapes(LENGTHS, pack=True).items()
  }
  share = len(examples) // rows
  for row in range(rows):
    layout.fill(
      {name: array[row] for name, array in batch.items()},
      examples[row * share : (row + 1) * share],
    )
  return batch


def mesh():
  return partitioning.make_mesh(devices=jax.devices()[:1])


def assert_close(found, expected):
  for (path, array), like in zip(
    jax.tree_util.tree_leaves_with_path(found),
    jax.tree.leaves(expected),
    strict=True,
  ):
    np.testing.assert_allclose(
      array, like, atol=1e-4, rtol=0, err_msg=jax.tree_util.keystr(path)
    )


@variants
def test_first_gradients_are_those_of_transformers(variant):
  model, params, _ = golden_model(variant)
  gradient_fn = train_step._make_gradient_fn(
    model, mesh(), z_loss=0.0, label_smoothing=0.0
  )
  batch = packed(next(golden.batches()), rows=4)
  gradients, metrics = jax.jit(gradient_fn)(
    params, None, batch, jax.random.key(0), None
  )
  losses, expected, _ = reference(variant)
  np.testing.assert_allclose(metrics['loss'], losses[0], atol=1e-5)
  assert_close(gradients, expected)


@variants
def test_20_steps_of_adamw_end_where_those_of_transformers_do(variant):
  model, params, _ = golden_model(variant)
  optimizer = optimizers.adamw(
    learning_rate=golden.LEARNING_RATE,
    weight_decay=golden.WEIGHT_DECAY,
    gradient_clip_norm=None,
  )
  settings = {'model': model, 'optimizer': optimizer, 'mesh': mesh()}
  state = train_step.init_state(params=params, **settings)
  step = train_step.make_train_step(z_loss=0.0, **settings)
  losses = []
  for examples in golden.batches():
    state, metrics = step(state, packed(examples, rows=4), np.uint32(0))
    losses.append(float(metrics['loss']))
  expected, _, weights = reference(variant)
  np.testing.assert_allclose(losses, expected, atol=1e-4)
  assert losses[-1] < losses[0] - 1.0
  assert_close(state.params, weights)


@variants
def test_transformers_still_trains_as_in_the_file(variant):
  pytest.importorskip('torch', reason='needs the parity extra')
  pytest.importorskip('transformers', reason='needs the parity extra')
  with np.load(golden.PATH) as arrays:
    for name, array in golden.train(golden.models.make_model(variant)).items():
      np.testing.assert_allclose(
        array, arrays[f'{variant}/{name}'], atol=1e-6, err_msg=name
      )


@functools.cache
def lora_reference(kind):
  """Returns an array of PEFT's for every one of LoRA's; or the losses."""
  with np.load(golden.PATH) as arrays:
    if kind == 'losses':
      return arrays['lora/losses']
    prefix = f'lora/{kind}/'
    return {
      name.removeprefix(prefix): arrays[name]
      for name in arrays
      if name.startswith(prefix)
    }


def lora_tree(by_their_names, config):
  """Returns arrays by PEFT's names as a tree of ours."""
  tensors = decoder_names.tensors(config)
  flat = {}
  for name, tensor in tensors.items():
    stem = f'base_model.model.{tensor.name.removesuffix(".weight")}'
    for ours, theirs in (('lora_a', 'lora_A'), ('lora_b', 'lora_B')):
      array = by_their_names.get(f'{stem}.{theirs}.weight')
      if array is not None:
        flat[f'{name.removesuffix("kernel")}{ours}'] = array.T
  return traverse_util.unflatten_dict(flat, sep='/')


def test_lora_trains_as_peft_does():
  model, params, _ = golden_model(golden.VARIANTS[0])
  lora = Lora(
    rank=golden.LORA['r'],
    alpha=golden.LORA['lora_alpha'],
    targets=tuple(golden.LORA_TARGETS),
  )
  weights = lora_reference('weights')
  factors = lora_tree(
    golden.lora_factors({name: weights[name].shape for name in weights}),
    model.config,
  )
  batch = packed(next(golden.batches()), rows=4)
  gradient_fn = train_step._make_gradient_fn(
    model, mesh(), z_loss=0.0, label_smoothing=0.0, lora=lora
  )
  gradients, _ = jax.jit(gradient_fn)(
    factors, params, batch, jax.random.key(0), None
  )
  assert_close(gradients, lora_tree(lora_reference('gradients'), model.config))
  optimizer = optimizers.adamw(
    learning_rate=golden.LEARNING_RATE,
    weight_decay=golden.WEIGHT_DECAY,
    gradient_clip_norm=None,
  )
  settings = {
    'model': model,
    'optimizer': optimizer,
    'mesh': mesh(),
    'lora': lora,
  }
  frozen = jax.tree.map(jnp.array, params)
  state = train_step.init_state(params=factors, frozen=frozen, **settings)
  step = train_step.make_train_step(z_loss=0.0, **settings)
  losses = []
  for examples in golden.batches():
    state, metrics = step(state, packed(examples, rows=4), np.uint32(0))
    losses.append(float(metrics['loss']))
  np.testing.assert_allclose(losses, lora_reference('losses'), atol=1e-4)
  assert_close(state.params, lora_tree(weights, model.config))
  # The weights themselves stay as they were.
  jax.tree.map(np.testing.assert_array_equal, state.frozen, params)


def test_peft_still_trains_as_in_the_file():
  pytest.importorskip('peft', reason='needs the parity extra')
  with np.load(golden.PATH) as arrays:
    for name, array in golden.train_lora().items():
      np.testing.assert_allclose(
        array, arrays[f'lora/{name}'], atol=1e-6, err_msg=name
      )


def test_rows_and_their_padding_change_no_loss():
  model, params, _ = golden_model('llama')
  examples = next(golden.batches())
  gradient_fn = jax.jit(
    train_step._make_gradient_fn(model, mesh(), z_loss=0.0, label_smoothing=0.0)
  )
  found = [
    gradient_fn(
      params, None, packed(examples, rows=rows), jax.random.key(0), None
    )
    for rows in (4, 8)
  ]
  np.testing.assert_allclose(
    found[0][1]['loss'], found[1][1]['loss'], rtol=1e-6
  )
  assert_close(found[0][0], found[1][0])


def test_the_validation_loss_is_the_training_loss(tmp_path):
  model, params, _ = golden_model('llama')
  examples = next(golden.batches())
  cache = write_token_cache(tmp_path / 'cache', examples)
  feed = Feed(
    cache,
    batch_size=3,
    lengths=LENGTHS,
    pack=False,
    layout=row_layouts.DECODER,
  )
  # 8 examples in 3 batches: one row of the last is padding.
  found = Validation(feed=feed, model=model, mesh=mesh())(params)
  losses, _, _ = reference('llama')
  assert found['validation_loss'] == pytest.approx(losses[0], abs=1e-5)
