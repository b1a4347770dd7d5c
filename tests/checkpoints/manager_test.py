"""Tests of it_study.checkpoints.manager."""

import json
import logging
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from it_study.checkpoints import step_folders
from it_study.checkpoints.manager import Checkpoints, restore_params
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.errors import InputError
from it_study.storage.manifest import find_damage

OPTIMIZER = optax.adam(1e-3)


def make_params(step):
  return {
    'encoder': {'kernel': jnp.full((40, 30), step, jnp.float32)},
    'scale': jnp.arange(3, dtype=jnp.float32) + step,
  }


def abstract(tree):
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=leaf.sharding
    ),
    tree,
  )


def save(checkpoints, step):
  params = make_params(step)
  checkpoints.save(
    step=step,
    params=params,
    opt_state=OPTIMIZER.init(params),
    metadata={'step': step, 'settings': {'seed': 7}},
  )


def restore(checkpoints, step):
  params = make_params(0)
  return checkpoints.restore(
    step, params=abstract(params), opt_state=abstract(OPTIMIZER.init(params))
  )


@pytest.fixture
def directory(tmp_path):
  """A folder with the checkpoints of steps 1 and 2."""
  path = tmp_path / 'checkpoints'
  checkpoints = Checkpoints(LocalCheckpoints(path), keep=3)
  for step in (1, 2):
    save(checkpoints, step)
  checkpoints.close()
  return path


@pytest.fixture
def opened(directory):
  checkpoints = Checkpoints(LocalCheckpoints(directory), keep=2)
  yield checkpoints
  checkpoints.close()


def largest_file(path):
  files = [file for file in path.rglob('*') if file.is_file()]
  return max(files, key=lambda file: (file.stat().st_size, file))


def flip_byte(path):
  file = largest_file(path / 'params')
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)


def truncate(path):
  file = largest_file(path / 'params')
  file.write_bytes(file.read_bytes()[:-1])


def remove_file(path):
  largest_file(path / 'opt_state').unlink()


def break_manifest(path):
  (path / 'manifest.json').write_text('{"form')


def damage_manifest(path):
  """As a flipped byte may, which leaves JSON."""
  manifest = path / 'manifest.json'
  manifest.write_text(manifest.read_text().replace('"bytes"', '"bypes"', 1))


def zero_manifest(path):
  (path / 'manifest.json').write_bytes(bytes(100))


DAMAGES = [
  (flip_byte, 'has changed since it was written'),
  (truncate, r'has \d+ bytes, not \d+'),
  (remove_file, 'is missing'),
  (break_manifest, 'its manifest.json cannot be read'),
  (damage_manifest, 'its manifest.json cannot be read'),
  (zero_manifest, 'its manifest.json cannot be read'),
]


def test_everything_is_restored(opened):
  assert opened.newest() == 2
  assert opened.metadata(2) == {'step': 2, 'settings': {'seed': 7}}
  restored = restore(opened, 2)
  assert restored.step == 2
  wanted = (make_params(2), OPTIMIZER.init(make_params(2)))
  found = (restored.params, restored.opt_state)
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
  ):
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype


def test_the_newest_are_kept(opened, directory):
  save(opened, 3)
  opened.wait()
  assert sorted(path.name for path in directory.iterdir()) == ['2', '3']


def test_saves_and_restores_are_logged(opened, directory, caplog):
  with caplog.at_level(logging.INFO, logger='it_study'):
    save(opened, 3)
    opened.wait()
    restore(opened, 3)
  messages = [
    record.getMessage()
    for record in caplog.records
    if record.name.startswith('it_study')
  ]
  assert messages[0] == f'saving checkpoint {directory}/3.'
  assert messages[1].startswith(
    f'saved checkpoint {directory}/3 in the background in '
  )
  assert messages[2:] == [
    f'deleting old checkpoint {directory}/1.',
    f'restoring checkpoint {directory}/3.',
  ]


def test_arrays_may_be_overwritten_after_save(opened):
  double = jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf * 2, tree), donate_argnums=0
  )
  params = make_params(5)
  opened.save(
    step=5, params=params, opt_state=OPTIMIZER.init(params), metadata={}
  )
  for _ in range(20):
    params = double(params)
  opened.wait()
  kernel = restore(opened, 5).params['encoder']['kernel']
  np.testing.assert_array_equal(kernel, np.full((40, 30), 5, np.float32))


def test_manifest_covers_every_file(directory):
  manifest = json.loads((directory / '2' / 'manifest.json').read_text())
  on_disk = {
    str(file.relative_to(directory / '2'))
    for file in (directory / '2').rglob('*')
    if file.is_file()
  }
  assert set(manifest['files']) == on_disk - {'manifest.json'}
  assert find_damage(directory / '2') is None


@pytest.mark.parametrize(('damage', 'message'), DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over(
  opened, directory, caplog, damage, message
):
  damage(directory / '2')
  assert opened.newest() == 1
  (record,) = caplog.records
  assert record.levelname == 'WARNING'
  assert f'checkpoint {directory / "2"} is not used' in record.getMessage()
  assert re.search(message, record.getMessage())
  assert restore(opened, 1).params['scale'].tolist() == [1.0, 2.0, 3.0]
  # The step can be written again, and the damaged one is still there.
  save(opened, 2)
  assert opened.newest() == 2
  assert (directory / 'damaged-2' / 'params').is_dir()


def test_without_an_intact_checkpoint_there_is_no_newest(opened, directory):
  flip_byte(directory / '2')
  truncate(directory / '1')
  assert opened.newest() is None


def test_an_unfinished_checkpoint_is_never_used(opened, directory, caplog):
  shutil.copytree(directory / '2', directory / '3')
  (directory / '3' / 'manifest.json').unlink()
  assert opened.newest() == 2
  assert 'it has no manifest.json, so it was never finished' in caplog.text
  assert not (directory / '3').exists()
  save(opened, 3)
  assert opened.newest() == 3


def test_failed_save_is_raised(opened, monkeypatch):
  def fail(path, **_):
    raise OSError('disk full')

  monkeypatch.setattr(step_folders, 'write_manifest', fail)
  save(opened, 4)
  with pytest.raises(
    InputError, match=r'^.*/checkpoints/4: cannot be written: disk full\.$'
  ):
    opened.wait()


def test_keeping_none_is_refused(tmp_path):
  with pytest.raises(InputError, match='to keep: expected 1 or more, got 0'):
    Checkpoints(LocalCheckpoints(tmp_path), keep=0)


@pytest.mark.parametrize('below', ['', 'checkpoints', 'checkpoints/2'])
def test_restore_params_from_any_level(directory, below):
  params = restore_params(directory.parent / below)
  assert list(params) == ['encoder', 'scale']
  assert params['scale'].tolist() == [2.0, 3.0, 4.0]
  assert isinstance(params['scale'], jax.Array)


def test_restore_params_skips_damaged_checkpoints(directory, caplog):
  flip_byte(directory / '2')
  assert restore_params(directory)['scale'].tolist() == [1.0, 2.0, 3.0]
  assert f'checkpoint {directory / "2"} is not used' in caplog.text
  # Reading changes nothing on disk.
  assert sorted(path.name for path in directory.iterdir()) == ['1', '2']
  with pytest.raises(InputError, match='2 cannot be used: its file params'):
    restore_params(directory / '2')
  flip_byte(directory / '1')
  with pytest.raises(InputError) as error:
    restore_params(directory)
  assert str(error.value).startswith(
    f'checkpoint {directory / "2"} cannot be used: its file params/'
  )
  assert str(error.value).endswith(
    ' has changed since it was written, and there is no older one that can. '
    'Train again with the same settings; in a study, remove DONE from the '
    'folder of the training first.'
  )


def test_restore_params_to_a_target(directory):
  target = abstract(make_params(0))
  params = restore_params(directory, target=target)
  assert params['scale'].sharding == target['scale'].sharding
  target['scale'] = jax.ShapeDtypeStruct((4,), jnp.float32)
  with pytest.raises(
    InputError, match=r'scale is \[3\] there and \[4\] in the model'
  ):
    restore_params(directory, target=target)
  del target['scale']
  with pytest.raises(InputError, match=r'scale is \[3\] there and absent in'):
    restore_params(directory, target=target)


def test_no_checkpoint_is_named(tmp_path):
  with pytest.raises(InputError, match=r'no usable checkpoint at .*absent'):
    restore_params(tmp_path / 'absent')
