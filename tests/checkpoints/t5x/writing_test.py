"""Tests of writing T5X checkpoints: round trips, atomicity."""

import json
import shutil

from flax import serialization
import jax
import numpy as np
import pytest
import t5x_fixture as fixture

from it_study import cli
from it_study.checkpoints import manager as checkpoints, weights
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.checkpoints.t5x import reading, writing
from it_study.errors import InputError

layouts = pytest.mark.parametrize('layout', writing.LAYOUTS)


@layouts
@pytest.mark.parametrize('name', ['v1_1_msgpack', 'v1_0_orbax'])
def test_a_round_trip_changes_no_bit(name, layout, tmp_path):
  config = reading.read_model_config(fixture.theirs() / name)
  params = fixture.draw(config)
  path = writing.save_params(tmp_path, params, step=12, layout=layout)
  assert path == tmp_path / 'checkpoint_12'
  assert [entry.name for entry in tmp_path.iterdir()] == ['checkpoint_12']
  assert reading.read_model_config(path) == config
  fixture.assert_same(fixture.load(path), params)


def test_a_tensor_larger_than_a_chunk_is_written_in_chunks(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(writing, '_CHUNK_BYTES', 100)
  value = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
  path = writing.save_params(tmp_path, {'a': {'kernel': value}})
  described = json.loads((path / 'target.a.kernel/.zarray').read_text())
  assert described['chunks'] == [3, 7]
  target = {
    'a': {
      'kernel': jax.ShapeDtypeStruct(
        (9, 7),
        np.float32,
        sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
      )
    }
  }
  fixture.assert_same(
    reading.load_params(path, target=target)['a']['kernel'], value
  )


def test_the_command_converts_there_and_back(tmp_path, capsys):
  def convert(source, destination, *, start, end, status=0):
    words = (str(tmp_path / source), str(tmp_path / destination))
    assert (
      cli.main(['convert', *words, f'--from={start}', f'--to={end}']) == status
    )
    return capsys.readouterr()

  shutil.copytree(fixture.theirs() / 'v1_1_msgpack', tmp_path / 'theirs')
  params = fixture.golden.params_of('v1_1')
  convert('theirs', 'hf', start='t5x', end='hf')
  told = convert('hf', 'from_hf', start='hf', end='t5x')
  assert told.out == f'wrote {tmp_path}/from_hf/checkpoint_0\n'
  fixture.assert_same(fixture.load(tmp_path / 'from_hf'), params)
  convert('from_hf', 'ours', start='t5x', end='it_study')
  fixture.assert_same(checkpoints.restore_params(tmp_path / 'ours'), params)
  convert('ours', 'orbax', start='it_study', end='t5x_orbax')
  assert (tmp_path / 'orbax/checkpoint_0/state/manifest.ocdbt').is_file()
  fixture.assert_same(fixture.load(tmp_path / 'orbax'), params)
  told = convert('theirs', 'rewritten', start='t5x', end='t5x')
  assert told.out.endswith('/rewritten/checkpoint_1000\n')
  told = convert('theirs', 'rewritten', start='t5x', end='t5x', status=2)
  assert 'rewritten is not empty; weights are written' in told.err


def test_a_checkpoint_of_a_training_keeps_its_step(tmp_path):
  params = fixture.golden.params_of('v1_0')
  manager = checkpoints.Checkpoints(
    LocalCheckpoints(tmp_path / 'training/checkpoints')
  )
  manager.save(step=20, params=params, opt_state={'count': 20}, metadata={})
  manager.close()
  path = weights.convert(
    tmp_path / 'training',
    tmp_path / 't5x',
    source_format='it_study',
    to='t5x',
  )
  assert path.name == 'checkpoint_20'
  tree = serialization.msgpack_restore((path / 'checkpoint').read_bytes())
  assert tree['optimizer']['state']['step'] == 20


@layouts
def test_written_checkpoints_are_checked_against_their_manifest(
  layout, tmp_path, capsys
):
  config = reading.read_model_config(fixture.theirs() / 'v1_1_orbax')
  path = writing.save_params(
    tmp_path / 'out', fixture.draw(config), layout=layout
  )
  largest = max(
    (file for file in path.rglob('*') if file.is_file()),
    key=lambda file: file.stat().st_size,
  )
  content = bytearray(largest.read_bytes())
  content[-9] ^= 1
  largest.write_bytes(content)
  found = fixture.refused(path, capsys)
  assert f'checkpoint {path} cannot be used: ' in found
  assert str(largest.relative_to(path)) in found


@layouts
def test_nothing_is_overwritten_or_left_half_written(
  layout, tmp_path, monkeypatch
):
  params = fixture.golden.params_of('v1_0')
  path = writing.save_params(tmp_path / 'out', params, layout=layout)
  before = sorted(tmp_path.rglob('*'))
  with pytest.raises(InputError, match='checkpoint_0 already exists; check'):
    writing.save_params(tmp_path / 'out', params, layout=layout)
  assert sorted(tmp_path.rglob('*')) == before
  shutil.rmtree(path)

  def interrupt(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(writing, 'write_manifest', interrupt)
  with pytest.raises(KeyboardInterrupt):
    writing.save_params(tmp_path / 'out', params, layout=layout)
  assert not any((tmp_path / 'out').iterdir())
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='file/checkpoint_0: cannot be written'):
    writing.save_params(tmp_path / 'file', params, layout=layout)
