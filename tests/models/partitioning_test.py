"""Meshes, rules, and one result on one device and on eight."""

import json
import os
import subprocess
import sys

from flax import linen as nn
import jax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec
import numpy as np
import pytest

from it_study.errors import InputError
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

# Runs on eight devices and prints one JSON line per mesh.
_ON_EIGHT_DEVICES = """
import json, re
import jax, jax.numpy as jnp, numpy as np
from it_study.inference import param_hash
from it_study.inference.beam import beam_decode
from it_study.models import partitioning
from it_study.inference.token_loop import decode_tokens
from it_study.models.t5 import T5, T5Config

model = T5(T5Config(
  vocab_size=48, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=32,
  num_encoder_layers=1, num_decoder_layers=1))
random = np.random.default_rng(0)
prompts = random.integers(2, 48, (8, 10)).astype(np.int32)
prompts[3, 4:] = 0
targets = random.integers(2, 48, (8, 5)).astype(np.int32)

def run(mesh):
  params = partitioning.init_params(model=model, seed=7, mesh=mesh)
  shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
  batch = partitioning.batch_sharding(mesh)
  def loss(params, prompts, targets):
    with partitioning.activation_sharding(mesh):
      logits = model.apply({'params': params}, prompts, targets, targets)
    return jnp.mean(logits ** 2), logits
  step = jax.jit(
    jax.value_and_grad(loss, has_aux=True),
    in_shardings=(shardings, batch, batch),
    out_shardings=((partitioning.replicated(mesh), batch), shardings))
  compiled = step.lower(params, prompts, targets).compile()
  (_, logits), gradients = compiled(
    params, *jax.device_put((prompts, targets), batch))
  gathered = re.findall(
    r'= \\w+\\[([\\d,]*)\\]\\S* all-gather(?:-start)?\\(', compiled.as_text())
  return params, logits, gradients, gathered

def decode(params):
  settings = dict(
    # Seven rows, which no mesh of eight devices divides.
    model=model, params=params, encoder_input_tokens=prompts[:7],
    max_decode_length=6)
  return [decode_tokens(**settings).tolist(), beam_decode(**settings).tolist()]

def difference(a, b):
  return max(
    float(np.abs(np.asarray(x) - np.asarray(y)).max())
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

one = run(partitioning.make_mesh(devices=jax.devices()[:1]))
for data, fsdp, tensor in ((8, 1, 1), (1, 8, 1), (2, 2, 2)):
  mesh = partitioning.make_mesh(data=data, fsdp=fsdp, model=tensor)
  params, logits, gradients, gathered = run(mesh)
  table = params['token_embedder']['embedding']
  print(json.dumps({
    'mesh': [data, fsdp, tensor],
    'params': difference(params, one[0]),
    'logits': difference(logits, one[1]),
    'gradients': difference(gradients, one[2]),
    'embedding_shard': table.addressable_shards[0].data.shape,
    'logits_shard': logits.addressable_shards[0].data.shape,
    'gathered': sorted(set(gathered)),
    'tokens': decode(params) if data == 2 else None,
    'hash': param_hash.fingerprint(
      jax.device_put(one[0], jax.tree.map(lambda x: x.sharding, params))),
  }))
print(json.dumps({
  'mesh': [1, 1, 1],
  'tokens': decode(one[0]),
  'hash': param_hash.fingerprint(one[0]),
}))
"""


@pytest.fixture(scope='module')
def on_eight_devices():
  environment = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
  }
  process = subprocess.run(
    [sys.executable, '-c', _ON_EIGHT_DEVICES],
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert process.returncode == 0, process.stderr[-3000:]
  rows = [json.loads(line) for line in process.stdout.splitlines()]
  return {tuple(row['mesh']): row for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
def test_eight_devices_compute_what_one_does(on_eight_devices, shape):
  row = on_eight_devices[shape]
  assert row['params'] < 1e-6
  assert row['logits'] < 1e-5
  assert row['gradients'] < 1e-5


@pytest.mark.slow
def test_eight_devices_decode_what_one_does(on_eight_devices):
  tokens = on_eight_devices[2, 2, 2]['tokens']
  assert np.shape(tokens) == (2, 7, 6)
  assert tokens == on_eight_devices[1, 1, 1]['tokens']


@pytest.mark.slow
def test_parameters_have_one_hash_on_every_mesh(on_eight_devices):
  assert len(on_eight_devices) == 4
  assert len({row['hash'] for row in on_eight_devices.values()}) == 1


@pytest.mark.slow
def test_parameters_and_activations_are_split(on_eight_devices):
  shards = {
    shape: (row['embedding_shard'], row['logits_shard'])
    for shape, row in on_eight_devices.items()
    if shape != (1, 1, 1)
  }
  assert shards == {
    (8, 1, 1): ([48, 16], [1, 5, 48]),
    (1, 8, 1): ([48, 2], [1, 5, 48]),
    (2, 2, 2): ([24, 8], [2, 5, 48]),
  }


@pytest.mark.slow
def test_fsdp_gathers_parameters_and_no_activations(on_eight_devices):
  assert on_eight_devices[8, 1, 1]['gathered'] == []
  # Kernels, norms' scales and token ids, which every device looks up its share
  # of the embedding for; but no activations.
  assert set(on_eight_devices[1, 8, 1]['gathered']) <= {
    '8,10',
    '8,10,1',
    '8,5',
    '8,5,1',
    '16',
    '16,16',
    '16,32',
    '32,16',
    '16,48',
    '48,16',
  }


def test_mesh_takes_all_devices_along_data_by_default():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  assert dict(mesh.shape) == {'data': 1, 'fsdp': 1, 'model': 1}
  assert set(mesh.axis_types) == {AxisType.Auto}


def test_axis_of_minus_one_takes_the_remaining_devices():
  devices = jax.devices()[:1]
  mesh = partitioning.make_mesh(data=1, fsdp=-1, devices=devices)
  assert dict(mesh.shape) == {'data': 1, 'fsdp': 1, 'model': 1}


@pytest.mark.parametrize(
  ('sizes', 'message'),
  [
    (
      {'data': 3},
      r'data=3 x fsdp=1 x model=1 does not fit 1 cpu device\(s\)',
    ),
    ({'model': 2}, r'data=-1 x fsdp=1 x model=2 does not fit 1 cpu'),
    ({'fsdp': -1}, r'only one axis can be -1\. Set fsdp to a positive integer'),
    ({'model': 0}, 'model is 0; expected a positive integer, or -1 for all'),
  ],
)
def test_mesh_that_does_not_fit_is_refused(sizes, message):
  with pytest.raises(InputError, match=message):
    partitioning.make_mesh(**sizes, devices=jax.devices('cpu')[:1])


def test_rules_name_every_logical_axis_of_the_model():
  params = _boxed_params()
  rules = dict(partitioning.LOGICAL_AXIS_RULES)
  names = {
    name
    for leaf in jax.tree.leaves(params, is_leaf=_is_boxed)
    for name in leaf.names
  }
  assert names <= set(rules)
  for axes in rules.values():
    for axis in (axes,) if isinstance(axes, str | None) else axes:
      assert axis in (None, *partitioning.MESH_AXES)


def test_param_shardings_follow_the_rules():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  shardings = partitioning.param_shardings(_boxed_params(), mesh)
  layer = shardings['encoder']['layers_0']
  specs = {
    'embedding': shardings['token_embedder']['embedding'].spec,
    'query': layer['attention']['query']['kernel'].spec,
    'out': layer['attention']['out']['kernel'].spec,
    'scale': layer['pre_mlp_layer_norm']['scale'].spec,
    'relpos': shardings['encoder']['relpos_bias']['rel_embedding'].spec,
  }
  assert specs == {
    'embedding': PartitionSpec('model', 'fsdp'),
    'query': PartitionSpec('fsdp', 'model'),
    'out': PartitionSpec('model', 'fsdp'),
    'scale': PartitionSpec('fsdp'),
    'relpos': PartitionSpec('model', None),
  }


def test_dimension_that_does_not_divide_evenly_is_not_split():
  mesh = AbstractMesh((1, 2, 3), partitioning.MESH_AXES)

  def spec(shape, names):
    leaf = nn.LogicallyPartitioned(
      jax.ShapeDtypeStruct(shape, np.float32), names=names
    )
    return partitioning.param_shardings(leaf, mesh).spec

  assert spec((9, 4), ('vocab', 'embed')) == PartitionSpec('model', 'fsdp')
  assert spec((10, 4), ('vocab', 'embed')) == PartitionSpec(None, 'fsdp')
  assert spec((9, 5), ('vocab', 'embed')) == PartitionSpec('model', None)
  # A mesh axis splits at most one dimension of an array.
  assert spec((4, 4), ('embed', 'embed')) == PartitionSpec('fsdp', None)
  assert spec((9,), ('unheard_of',)) == PartitionSpec(None)


def test_leaf_without_names_is_replicated():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  shardings = partitioning.param_shardings(
    {'step': jax.ShapeDtypeStruct((), np.int32)}, mesh
  )
  assert shardings == {'step': partitioning.replicated(mesh)}


def test_init_params_gives_plain_placed_arrays_by_seed():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  model = _model()
  params, same, other = (
    partitioning.init_params(model=model, seed=seed, mesh=mesh)
    for seed in (1, 1, 2)
  )
  for leaf in jax.tree.leaves(params):
    assert isinstance(leaf, jax.Array)
    assert leaf.dtype == np.float32
    assert leaf.sharding.mesh == mesh
  jax.tree.map(np.testing.assert_array_equal, params, same)
  table = params['token_embedder']['embedding']
  assert np.abs(table - other['token_embedder']['embedding']).max() > 0.1


def test_abstract_params_are_those_of_init_params():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  abstract = partitioning.abstract_params(model=_model(), mesh=mesh)
  params = partitioning.init_params(model=_model(), seed=0, mesh=mesh)

  def same(expected, actual):
    assert expected.shape == actual.shape
    assert expected.dtype == actual.dtype
    assert expected.sharding == actual.sharding

  jax.tree.map(same, abstract, params)


def _model() -> T5:
  return T5(
    T5Config(
      vocab_size=40,
      emb_dim=8,
      num_heads=2,
      head_dim=4,
      mlp_dim=16,
      num_encoder_layers=1,
      num_decoder_layers=1,
    )
  )


def _boxed_params():
  tokens = np.ones((1, 1), np.int32)
  return jax.eval_shape(
    lambda: _model().init(jax.random.key(0), tokens, tokens, tokens)['params']
  )


def _is_boxed(leaf) -> bool:
  return isinstance(leaf, nn.LogicallyPartitioned)


@pytest.mark.parametrize(
  ('microbatch_size', 'parts'),
  [(None, 1), (12, 1), (11, 2), (6, 2), (5, 3), (4, 3), (1, 12)],
)
def test_microbatches_are_few_and_equal(microbatch_size, parts):
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  assert parts == partitioning.count_microbatches(
    batch_size=12, mesh=mesh, microbatch_size=microbatch_size
  )


def test_microbatch_size_zero_is_refused():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  with pytest.raises(
    InputError,
    match='MICROBATCH_SIZE is 0; expected the maximum number of rows',
  ):
    partitioning.count_microbatches(batch_size=12, mesh=mesh, microbatch_size=0)


def test_rows_are_split_without_leaving_their_device():
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  split = jax.jit(lambda rows: partitioning.split_rows(rows, 2, mesh))
  assert split(np.arange(8)).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]
