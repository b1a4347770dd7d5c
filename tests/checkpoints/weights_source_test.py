"""Tests of it_study.checkpoints.weights_source."""

import logging
import pathlib

import jax.numpy as jnp
import optax
import pytest
import t5x_fixture as fixture

from it_study.checkpoints import manager, weights, weights_source
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.errors import InputError

_HF = pathlib.Path(__file__).parents[1] / 'golden/hf_golden/v1_1'


def train(folder, *steps):
  saved = manager.Checkpoints(LocalCheckpoints(folder / 'checkpoints'), keep=9)
  for step in steps:
    params = {'scale': jnp.full(3, step, jnp.float32)}
    saved.save(
      step=step,
      params=params,
      opt_state=optax.sgd(1.0).init(params),
      metadata={},
      loss=1.0 / step,
    )
  saved.close()


def test_the_format_follows_from_the_files(tmp_path):
  train(tmp_path / 'ours', 2, 4)
  for path, expected in (
    (_HF, 'hf'),
    (fixture.theirs() / fixture.MSGPACK, 't5x'),
    (fixture.theirs() / fixture.ORBAX, 't5x'),
    (tmp_path / 'checkpoint_7', 't5x'),
    (tmp_path / 'ours', 'it_study'),
    (tmp_path / 'ours/best', 'it_study'),
    (tmp_path / 'ours/checkpoints/2', 'it_study'),
    (tmp_path / 'absent', 'it_study'),
  ):
    assert weights_source.resolve(path).format == expected, path
  assert weights_source.resolve(_HF, format='t5x').format == 't5x'


def test_the_folder_and_the_step_are_those_of_the_checkpoint(tmp_path):
  train(tmp_path / 'ours', 2, 4)
  source = weights_source.resolve(tmp_path / 'ours')
  assert source.local_folder == tmp_path / 'ours/checkpoints/4'
  assert source.step == 4
  source = weights_source.resolve(tmp_path / 'ours/checkpoints/2')
  assert source.step == 2
  source = weights_source.resolve(fixture.theirs() / fixture.MSGPACK)
  assert source.folder.name == 'checkpoint_1000'
  assert source.step == 1000
  source = weights_source.resolve(_HF)
  assert (source.local_folder, source.step) == (_HF, 0)
  with pytest.raises(InputError, match='no usable checkpoint at'):
    print(weights_source.resolve(tmp_path / 'absent').folder)


def test_a_source_keeps_its_checkpoint(tmp_path):
  train(tmp_path, 2)
  source = weights_source.resolve(tmp_path)
  assert source.step == 2
  train(tmp_path, 4)
  assert source.step == 2
  assert weights_source.resolve(tmp_path).step == 4


def test_restoring_verifies_a_checkpoint_once(tmp_path, monkeypatch, caplog):
  train(tmp_path, 2)
  checked, find_damage = [], manager.find_damage

  def watched(path):
    checked.append(path.name)
    return find_damage(path)

  monkeypatch.setattr(manager, 'find_damage', watched)
  source = weights_source.resolve(tmp_path)
  assert not checked
  with caplog.at_level(logging.INFO, logger='it_study'):
    params = weights.restore(source, config=None, target=None)
  assert params['scale'].tolist() == [2.0, 2.0, 2.0]
  assert source.step == 2
  assert checked == ['2']
  first, second = (
    record.getMessage()
    for record in caplog.records
    if record.name.startswith('it_study')
  )
  folder = tmp_path / 'checkpoints/2'
  assert first == f'restoring weights (format it_study) from {folder}.'
  assert second.startswith(f'restored {folder} in ')


def test_another_format_in_a_bucket_is_refused(monkeypatch):
  monkeypatch.setattr(weights_source, '_detect', lambda _: 'it_study')
  with pytest.raises(InputError) as raised:
    weights_source.resolve('gs://bucket/model', format='hf')
  assert str(raised.value) == (
    'gs://bucket/model: expected weights in the format hf, found none. Name '
    'another folder or another format.'
  )
