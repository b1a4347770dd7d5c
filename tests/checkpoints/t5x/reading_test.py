"""Tests of reading T5X's checkpoints: golden files, layouts, shardings."""

import os
import pathlib
import shutil
import subprocess
import sys

from flax import serialization, traverse_util
import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import t5x_fixture as fixture

from it_study.checkpoints import tensor_reading, weights, weights_source
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.t5x import reading, writing
from it_study.models.t5 import T5

saved = pytest.mark.parametrize('name', fixture.golden.SAVED)
layouts = pytest.mark.parametrize('layout', writing.LAYOUTS)
_EMBEDDING = 'target.token_embedder.embedding'


@pytest.fixture(name='msgpack')
def _msgpack(tmp_path):
  """A checkpoint of the older layout that a test may damage."""
  return shutil.copytree(
    fixture.theirs() / fixture.MSGPACK, tmp_path / 'checkpoint_1000'
  )


@saved
def test_golden_t5x_checkpoints_are_read(name):
  variant, use_orbax, dtype, step = fixture.golden.SAVED[name]
  folder = fixture.theirs() / name
  assert reading.is_checkpoint(folder)
  assert reading.find_checkpoint(folder).name == f'checkpoint_{step}'
  config = reading.read_model_config(folder)
  assert config.logits_via_embedding == (variant == 'v1_0')
  assert config.num_heads == 3
  assert config.head_dim == 8
  expected = fixture.golden.params_of(variant)
  # With Orbax, T5X ignores the dtype and writes float32.
  if dtype == 'bfloat16' and not use_orbax:
    expected = jax.tree.map(
      lambda leaf: leaf.astype(ml_dtypes.bfloat16).astype(np.float32), expected
    )
  fixture.assert_same(fixture.load(folder), expected)


@pytest.mark.parametrize('variant', ['v1_1', 'v1_0'])
def test_a_golden_checkpoint_gives_the_logits_of_t5x(variant):
  folder = fixture.theirs() / f'{variant}_orbax'
  batch = fixture.golden.golden.plain_batch()
  with np.load(fixture.golden.golden.PATH) as arrays:
    expected = arrays[f'{variant}/plain_logits']
  found = T5(reading.read_model_config(folder)).apply(
    {'params': fixture.load(folder)}, **batch
  )
  real = batch['decoder_target_tokens'] > 0
  np.testing.assert_allclose(found[real], expected[real], atol=1e-5, rtol=0)


def test_the_newest_checkpoint_of_a_folder_is_taken(tmp_path):
  config = reading.read_model_config(fixture.theirs() / 'v1_0_msgpack')
  for step in (9, 10, 2):
    writing.save_params(tmp_path, fixture.draw(config, step), step=step)
  (tmp_path / 'checkpoint_11.tmp-1700000000').mkdir()
  assert reading.find_checkpoint(tmp_path).name == 'checkpoint_10'
  fixture.assert_same(fixture.load(tmp_path), fixture.draw(config, 10))
  fixture.assert_same(
    fixture.load(tmp_path / 'checkpoint_9'), fixture.draw(config, 9)
  )


def test_tensors_are_read_in_groups_of_bounded_size(monkeypatch):
  monkeypatch.setattr(tensor_reading, 'BYTES_AT_ONCE', 700)
  fixture.assert_same(
    fixture.load(fixture.theirs() / 'v1_1_msgpack'),
    fixture.golden.params_of('v1_1'),
  )


def test_a_larger_vocabulary_is_filled_with_the_last_row():
  params = fixture.load(fixture.theirs() / 'v1_1_orbax', vocab_size=128)
  original = fixture.golden.params_of('v1_1')
  table = params['token_embedder']['embedding']
  head = params['decoder']['logits_dense']['kernel']
  assert (table[:37] == original['token_embedder']['embedding']).all()
  assert (table[37:] == table[36]).all()
  assert (head[:, 37:] == head[:, 36:37]).all()


# Runs where there are eight devices.
_ON_EIGHT_DEVICES = """
import sys
import jax, numpy as np
from it_study.models import partitioning
from it_study.checkpoints.t5x import reading
from it_study.models.t5 import T5
path, = sys.argv[1:]
config = reading.read_model_config(path)
def load(**axes):
  target = partitioning.abstract_params(
    model=T5(config), mesh=partitioning.make_mesh(**axes))
  params = reading.load_params(path, target=target)
  jax.tree.map(
    lambda leaf, wanted: None if leaf.sharding == wanted.sharding else 1 / 0,
    params, target)
  return params
one = load(devices=jax.devices()[:1])
for axes in ({'fsdp': 8}, {'data': 2, 'fsdp': 2, 'model': 2}):
  params = load(**axes)
  assert any(
    not leaf.is_fully_replicated for leaf in jax.tree.leaves(params))
  jax.tree.map(np.testing.assert_array_equal, one, params)
print('same')
"""


@layouts
def test_tensors_are_read_to_their_shardings(layout, tmp_path):
  config = reading.read_model_config(fixture.theirs() / 'v1_1_orbax')
  changes = {'emb_dim': 64, 'mlp_dim': 128, 'vocab_size': 256, 'num_heads': 8}
  config = type(config)(**{**vars(config), **changes})
  path = writing.save_params(tmp_path, fixture.draw(config), layout=layout)
  environment = {
    **os.environ,
    'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
  }
  done = subprocess.run(
    [sys.executable, '-c', _ON_EIGHT_DEVICES, str(path)],
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.stdout == 'same\n', done.stderr


def test_other_layouts_of_orbax_are_read(tmp_path):
  """Folders named in _METADATA, and those behind placeholders."""
  params = fixture.golden.params_of('v1_1')
  root = tmp_path / 'checkpoint_3'
  tree = {'target': params, 'state': {'step': np.int32(3)}}
  with ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(use_ocdbt=False)
  ) as checkpointer:
    checkpointer.save(root / 'state', args=ocp.args.PyTreeSave(tree))
  assert (root / 'state' / _EMBEDDING / '.zarray').is_file()
  fixture.assert_same(fixture.load(root), params)
  placeholders = traverse_util.unflatten_dict(
    {
      name: f'PLACEHOLDER://{".".join(name)}'
      for name in traverse_util.flatten_dict(tree)
      if name[0] == 'target'
    }
  )
  # Some values stand in the file itself.
  placeholders['state'] = {'step': 3}
  scale = params['encoder']['encoder_norm']['scale']
  placeholders['target']['encoder']['encoder_norm']['scale'] = scale
  shutil.rmtree(root / 'state/target.encoder.encoder_norm.scale')
  (root / 'state/_METADATA').unlink()
  (root / 'state/checkpoint').write_bytes(
    serialization.msgpack_serialize(placeholders)
  )
  fixture.assert_same(fixture.load(root), params)


def test_checkpoints_written_in_a_bucket_or_long_ago_are_read(msgpack):
  def change(tree):
    specs = traverse_util.flatten_dict(
      tree['optimizer']['target'],
      is_leaf=lambda _, value: 'driver' in value,
    )
    for name, spec in specs.items():
      if 'mlp' in name:
        # TensorStore before 0.1.14.
        spec['path'] = spec['kvstore'].pop('path')
      elif 'encoder_norm' in name:
        spec['kvstore']['driver'] = 'gfile'
      else:
        spec['kvstore'] |= {'driver': 'gcs', 'bucket': 't5x-dummy-bucket'}
    return tree['optimizer']

  fixture.edit(msgpack, change)
  fixture.assert_same(fixture.load(msgpack), fixture.golden.params_of('v1_1'))


@saved
def test_a_t5x_checkpoint_is_restored(name):
  folder = fixture.theirs() / name
  config = reading.read_model_config(folder)
  source = weights_source.resolve(folder)
  assert source.format == 't5x'
  found = weights.restore(
    source, config=config, target=fixture.target_of(config)
  )
  fixture.assert_same(found, fixture.load(folder))


def test_other_folders_are_not_t5x_checkpoints(tmp_path):
  assert not reading.is_checkpoint(tmp_path)
  assert not reading.is_checkpoint(tmp_path / 'nothing')
  assert not reading.is_checkpoint(pathlib.Path(__file__))
  (tmp_path / 'state').mkdir()
  assert not reading.is_checkpoint(tmp_path)
  # A training of ours with such a name.
  (tmp_path / 'checkpoint_3/checkpoints').mkdir(parents=True)
  assert not reading.is_checkpoint(tmp_path / 'checkpoint_3')
  hf_folder = pathlib.Path(__file__).parents[2] / 'golden/hf_golden/v1_1'
  assert hf.has_weights(set(os.listdir(hf_folder)))
  assert not reading.is_checkpoint(hf_folder)
