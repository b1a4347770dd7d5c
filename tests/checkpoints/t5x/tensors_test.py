"""Tests of T5X checkpoints that are damaged or of another kind."""

import shutil

import numpy as np
import pytest
import t5x_fixture as fixture
import tensorstore as ts

from it_study import cli
from it_study.checkpoints import weights, weights_source
from it_study.checkpoints.t5x import reading
from it_study.errors import InputError

_EMBEDDING = 'target.token_embedder.embedding'
_KERNEL = 'target.decoder.layers_1.mlp.wo.kernel'


@pytest.fixture(name='msgpack')
def _msgpack(tmp_path):
  """A checkpoint of the older layout that a test may damage."""
  return shutil.copytree(
    fixture.theirs() / fixture.MSGPACK, tmp_path / 'checkpoint_1000'
  )


@pytest.fixture(name='orbax')
def _orbax(tmp_path):
  """A checkpoint of Orbax's layout that a test may damage."""
  return shutil.copytree(
    fixture.theirs() / fixture.ORBAX, tmp_path / 'checkpoint_1000'
  )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'num_encoder_layers': 3},
      'missing parameters: encoder/layers_2/attention/key/kernel, '
      'encoder/layers_2/attention/out/kernel, '
      'encoder/layers_2/attention/query/kernel and 6 more; unexpected '
      'parameters: none. Name the gin file of its size',
    ),
    (
      {'logits_via_embedding': True},
      'missing parameters: none; unexpected parameters: '
      'decoder/logits_dense/kernel. Name',
    ),
    (
      {'mlp_dim': 24},
      'decoder/layers_0/mlp/wi_0/kernel is [16, 20] there and [16, 24] in the '
      'model. Name the gin file of its size, such as models/t5_1_1_large.gin',
    ),
    (
      {'vocab_size': 32},
      'decoder/logits_dense/kernel is [16, 37] there and [16, 32] in the model',
    ),
  ],
)
@pytest.mark.parametrize('name', ['v1_1_msgpack', 'v1_1_orbax'])
def test_a_checkpoint_of_another_size_is_refused(name, changes, message):
  with pytest.raises(InputError) as raised:
    fixture.load(fixture.theirs() / name, **changes)
  assert f'{name}/checkpoint_1000 does not fit the model: ' in str(raised.value)
  assert message in str(raised.value)


def test_damage_of_the_older_layout_is_named(msgpack, capsys):
  chunk = msgpack / _KERNEL / '0.0'
  content = bytearray(chunk.read_bytes())
  content[len(content) // 2] ^= 8
  chunk.write_bytes(content)
  found = fixture.refused(msgpack, capsys)
  assert 'decoder/layers_1/mlp/wo/kernel cannot be read: ' in found
  assert found.endswith('Download the folder again.\n')
  chunk.write_bytes(content[:40])
  assert f'{_KERNEL}/0.0' in fixture.refused(msgpack, capsys)
  chunk.unlink()
  found = fixture.refused(msgpack, capsys)
  assert f'{_KERNEL}/0.0" is missing. Download the folder again.' in found
  shutil.rmtree(chunk.parent)
  found = fixture.refused(msgpack, capsys)
  assert (
    f'{_KERNEL}/.zarray" does not exist. Download the folder again.' in found
  )
  path = msgpack / 'checkpoint'
  path.write_bytes(path.read_bytes()[:-100])
  found = fixture.refused(msgpack, capsys)
  assert f'{path}: cannot be read: ' in found
  assert 'It may be truncated; download it again.' in found


def test_damage_of_orbax_layout_is_named(orbax, capsys):
  database = orbax / 'state/manifest.ocdbt'
  content = database.read_bytes()
  database.write_bytes(content[:-20])
  found = fixture.refused(orbax, capsys)
  assert f'{database}: cannot be read: ' in found
  database.write_bytes(content)
  for file in (orbax / 'state/ocdbt.process_0/d').iterdir():
    file.unlink()
  assert 'Download the folder again.' in fixture.refused(orbax, capsys)
  shutil.rmtree(orbax / 'state')
  (orbax / 'state').mkdir()
  found = fixture.refused(orbax, capsys)
  assert (
    f'{orbax}: not a T5X checkpoint: expected a file checkpoint, or a folder '
    'state with manifest.ocdbt, got nothing.'
  ) in found


def test_folders_without_a_checkpoint_are_distinguished(tmp_path, capsys):
  (tmp_path / 'checkpoint_5').mkdir()
  assert (
    f'{tmp_path}/checkpoint_5: empty folder; expected a T5X checkpoint.'
  ) in fixture.refused(tmp_path / 'checkpoint_5', capsys)
  found = fixture.refused(tmp_path / 'checkpoint_6', capsys)
  assert f'{tmp_path}/checkpoint_6: no such folder. ' in found
  assert f"Did you mean '{tmp_path}/checkpoint_5'?" in found
  (tmp_path / 'empty').mkdir()
  assert (
    f'{tmp_path}/empty: no T5X checkpoint found. Name a folder checkpoint_STEP'
  ) in fixture.refused(tmp_path / 'empty', capsys)
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other/checkpoint').write_text('model_checkpoint_path: "m-1"')
  assert 'checkpoint: a TensorFlow checkpoint. Convert it' in fixture.refused(
    tmp_path / 'other', capsys
  )
  target = fixture.target_of(
    reading.read_model_config(fixture.theirs() / 'v1_0_orbax')
  )
  with pytest.raises(InputError, match='checkpoint_6: no such folder'):
    weights.restore(
      weights_source.resolve(tmp_path / 'checkpoint_6'),
      config=None,
      target=target,
    )
  with pytest.raises(
    InputError, match='s3://bucket/checkpoint_6: expected a local'
  ):
    weights_source.resolve('s3://bucket/checkpoint_6')
  assert (
    cli.main(['convert', 'x', 'gs://bucket/y', '--from=hf', '--to=t5x']) == 2
  )
  found = capsys.readouterr().err
  assert 'gs://bucket/y: weights are written to a local folder.' in found


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda tree: {'version': 3}, 'in its target, got version.'),
    (lambda tree: {'optimizer': [1]}, 'in its target, got optimizer.'),
    (
      lambda tree: tree['optimizer']['target']['token_embedder']['embedding'][
        'kvstore'
      ].update(path='../../secrets/'),
      "target/token_embedder/embedding is stored in '../../secrets'; expected "
      'the name of a folder beside the file',
    ),
    (
      lambda tree: tree['optimizer']['target']['encoder'].update(
        encoder={'mlp': {'wo': {'kernel': np.ones((20, 2, 16), np.float32)}}}
      ),
      'encoder/encoder/mlp/wo/kernel is a stack of layers (scan_layers)',
    ),
    (
      lambda tree: tree['optimizer']['target']['encoder'][
        'encoder_norm'
      ].update(scale=np.ones(16, np.int8)),
      'encoder/encoder_norm/scale must be stored as one of float32, bfloat16, '
      'float16, got int8',
    ),
    (
      lambda tree: tree['optimizer']['target']['encoder'][
        'encoder_norm'
      ].update(scale='ones'),
      'encoder/encoder_norm/scale cannot be read: ',
    ),
    (
      lambda tree: tree['optimizer']['target'].pop('decoder') and None,
      'does not hold the parameters of a T5: decoder is missing',
    ),
  ],
)
def test_other_contents_are_refused(msgpack, change, message, capsys):
  fixture.edit(msgpack, lambda tree: change(tree))
  assert message in fixture.refused(msgpack, capsys)


@pytest.mark.parametrize('dtype', ['int8', 'float64'])
def test_another_type_in_a_folder_is_refused(msgpack, dtype, capsys):
  shutil.rmtree(msgpack / _EMBEDDING)
  ts.open(
    {
      'driver': 'zarr',
      'kvstore': {'driver': 'file', 'path': str(msgpack / _EMBEDDING)},
      'metadata': {'shape': [37, 16], 'chunks': [37, 16]},
      'dtype': dtype,
    },
    create=True,
  ).result().write(np.ones((37, 16), dtype)).result()
  assert (
    f'token_embedder/embedding must be stored as one of float32, bfloat16, '
    f'float16, got {dtype}. Save it from T5X with dtype float32.'
  ) in fixture.refused(msgpack, capsys)
