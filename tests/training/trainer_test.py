"""Tests of it_study.training.trainer."""

import dataclasses
import functools
import json
import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import weakref

import jax
import numpy as np
import pytest

from it_study.errors import InputError
from it_study.input_pipeline import token_cache
from it_study.input_pipeline.feed import Feed
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config
from it_study.training import optimizers, trainer
from it_study.training.settings import (
  CheckpointSettings,
  LogSettings,
  TrainingSettings,
)

CONFIG = T5Config(
  vocab_size=16,
  emb_dim=8,
  num_heads=2,
  head_dim=4,
  mlp_dim=16,
  num_encoder_layers=1,
  num_decoder_layers=1,
  dropout_rate=0.1,
)
OPTIMIZER = optimizers.adafactor(learning_rate=1e-2)
STEPS = 12


def run(folder, *, seed=3, microbatch_size=None, **arguments):
  """Trains on copying the first token; equal calls give equal parameters."""
  if 'feed' not in arguments:
    arguments['feed'] = make_feed(folder)
  defaults = {
    'model_config': CONFIG,
    'train_steps': STEPS,
    'settings': TrainingSettings(
      optimizer=OPTIMIZER,
      seed=seed,
      microbatch_size=microbatch_size,
      checkpoints=CheckpointSettings(period=3),
      log=LogSettings(period=2),
    ),
    'mesh': one_device(),
    'model_dir': folder / 'model',
    'initial_params': initial_params,
  }
  return trainer.train(**{**defaults, **arguments})


def one_device():
  return partitioning.make_mesh(devices=jax.devices()[:1])


@functools.cache
def initial_params():
  """The parameters that a training draws by itself, drawn only once."""
  return partitioning.init_params(model=T5(CONFIG), seed=3, mesh=one_device())


def make_feed(folder, *, kind=Feed, **settings):
  cache = token_cache.write_token_cache(
    folder / 'cache',
    [
      {'inputs': [2 + index % 5, *[9] * (index % 3), 1], 'targets': [2, 1]}
      for index in range(24)
    ],
  )
  defaults = {'batch_size': 4, 'lengths': {'inputs': 12, 'targets': 6}}
  return kind(cache, **{**defaults, **settings})


def log_of(folder):
  text = (folder / 'model' / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def timeless(lines):
  timed = {
    'seconds',
    'tokens_per_second',
    'compile_seconds',
    'model_flops_utilization',
  }
  return [
    {name: value for name, value in line.items() if name not in timed}
    for line in lines
  ]


def assert_same_state(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.fixture(scope='module')
def straight(tmp_path_factory):
  """An uninterrupted training: its result and its folder."""
  folder = tmp_path_factory.mktemp('straight')
  return run(folder, initial_params=None), folder


def test_trains_and_logs(straight):
  result, folder = straight
  lines = log_of(folder)
  assert [line['step'] for line in lines] == [2, 3, 4, 6, 8, 9, 10, 12]
  assert [line['steps'] for line in lines] == [2, 1, 1, 2, 2, 1, 1, 2]
  assert lines[-1]['loss'] < lines[0]['loss'] - 0.1
  assert result.metrics == lines[-1]
  assert int(result.state.step) == STEPS
  assert result.restored_step is None
  assert 'compile_seconds' not in lines[1]
  kept = sorted(path.name for path in (folder / 'model/checkpoints').iterdir())
  assert kept == ['12', '9']


def test_resuming_changes_nothing(straight, tmp_path):
  run(tmp_path, train_steps=6)
  result = run(tmp_path)
  assert result.restored_step == 6
  assert_same_state(result.state, straight[0].state)
  assert timeless(log_of(tmp_path)) == timeless(log_of(straight[1]))
  done = run(tmp_path)
  assert done.restored_step == STEPS
  assert done.metrics == {}
  assert_same_state(done.state, straight[0].state)


def test_a_second_training_compiles_nothing(straight, tmp_path):
  result = run(tmp_path, seed=4)
  assert result.compile_seconds == 0.0
  # The seed is also dropout's.
  assert result.metrics['loss'] != straight[0].metrics['loss']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_with_its_status(
  straight, tmp_path, number, caplog
):
  def stop(progress):
    if progress.step == 4:
      os.kill(os.getpid(), number)

  before = signal.getsignal(number)
  with pytest.raises(SystemExit) as caught:
    run(tmp_path, on_progress=stop)
  assert caught.value.code == 75
  assert signal.getsignal(number) is before
  said = [r.getMessage() for r in caplog.records if r.levelname == 'WARNING']
  assert said == [
    'Ctrl-C: stopping after this step, with a checkpoint. Press it again to '
    'stop at once, without one.'
  ] * (number == signal.SIGINT)
  result = run(tmp_path)
  assert result.restored_step == 5
  assert_same_state(result.state, straight[0].state)


def test_a_second_interrupt_stops_without_a_checkpoint(straight, tmp_path):
  def interrupt_twice(progress):
    if progress.step == 4:
      os.kill(os.getpid(), signal.SIGINT)
      os.kill(os.getpid(), signal.SIGINT)

  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, on_progress=interrupt_twice)
  result = run(tmp_path)
  assert result.restored_step == 3
  assert_same_state(result.state, straight[0].state)


def test_a_damaged_checkpoint_is_skipped(straight, tmp_path, caplog):
  run(tmp_path, train_steps=6)
  newest = tmp_path / 'model/checkpoints/6'
  max(
    (newest / 'params').rglob('*'), key=lambda file: file.stat().st_size
  ).write_bytes(b'')
  result = run(tmp_path)
  assert f'checkpoint {newest} is not used' in caplog.text
  assert result.restored_step == 3
  assert_same_state(result.state, straight[0].state)
  assert timeless(log_of(tmp_path)) == timeless(log_of(straight[1]))


class _PoisonedFeed(Feed):
  """A feed with NaN weights from batch 7, which is step 8."""

  def batch(self, step, **settings):
    batch = super().batch(step, **settings)
    if step >= 7:
      batch['decoder_loss_weights'][:] = np.nan
    return batch


def test_divergence_names_step_checkpoint_and_remedy(tmp_path):
  feed = make_feed(tmp_path, kind=_PoisonedFeed)
  with pytest.raises(trainer.TrainingDivergedError) as caught:
    run(tmp_path, feed=feed)
  message = str(caught.value)
  assert message.startswith('training stopped: loss is nan at step 8. ')
  assert f'Last good checkpoint: {tmp_path}/model/checkpoints/6.' in message
  assert 'Try a lower learning rate' in message
  assert [line['step'] for line in log_of(tmp_path)] == [2, 3, 4, 6]


def test_initial_params_are_used_and_left_alone(straight, tmp_path):
  before = jax.tree.map(np.array, initial_params())
  given = jax.tree.map(lambda leaf: leaf + 0.01, before)
  ends = [
    run(tmp_path, initial_params=params, model_dir=tmp_path / name)
    for name, params in (('one', lambda: given), ('two', initial_params))
  ]
  jax.tree.map(np.testing.assert_array_equal, initial_params(), before)
  assert_same_state(ends[1].state, straight[0].state)
  assert ends[0].metrics['loss'] != ends[1].metrics['loss']


def test_initial_params_are_loaded_once_and_released(tmp_path):
  given = []

  def give():
    params = jax.tree.map(lambda leaf: leaf + 0, initial_params())
    given.extend(map(weakref.ref, jax.tree.leaves(params)))
    return params

  kept = []
  settings = {
    'initial_params': give,
    'on_progress': lambda _: kept.append(
      sum(one() is not None for one in given)
    ),
  }
  run(tmp_path, train_steps=2, **settings)
  number = len(given)
  run(tmp_path, train_steps=4, **settings)
  assert number == len(given) > 0
  assert len(kept) == 6
  assert set(kept) == {0}


def test_progress_is_reported(tmp_path):
  told = []
  run(tmp_path, train_steps=4, on_progress=told.append)
  assert [(p.phase, p.step) for p in told] == [
    ('compiling', 0),
    ('training', 2),
    ('training', 3),
    ('training', 4),
  ]
  assert told[0].seconds_left is None
  assert told[1].seconds_left > 0
  assert told[-1].seconds_left == 0
  assert told[-1].metrics == log_of(tmp_path)[-1]


def test_the_log_tells_mesh_compiling_saves_and_restores(
  straight, tmp_path, caplog
):
  # `straight` has compiled the same step.
  caplog.set_level(logging.INFO, logger='it_study.training')
  run(tmp_path, train_steps=3)
  run(tmp_path, train_steps=4)
  mesh = "mesh {'data': 1, 'fsdp': 1, 'model': 1}, 1 microbatches"
  reused = 'the training step was compiled before: reusing it'
  folder = tmp_path / 'model/checkpoints'
  assert [
    record.getMessage()
    for record in caplog.records
    if record.name.startswith('it_study.training')
  ] == [
    mesh,
    'no checkpoint: starting from the initial parameters',
    reused,
    f'saving {folder}/3',
    mesh,
    f'restored step 3 from {folder}/3',
    reused,
    f'saving {folder}/4',
  ]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
  run(tmp_path, train_steps=3)
  with pytest.raises(
    InputError, match=r'with seed = 3, this one has 4\. Give the same'
  ):
    run(tmp_path, seed=4)
  with pytest.raises(
    InputError, match=r'with feed\.lengths\.inputs = 12, this'
  ):
    run(tmp_path, feed=make_feed(tmp_path, lengths={'inputs': 9, 'targets': 6}))


def test_bad_settings_are_named(tmp_path):
  feed = make_feed(tmp_path)
  with pytest.raises(InputError, match='TRAIN_STEPS is 0: give a whole number'):
    run(tmp_path, feed=feed, train_steps=0)
  with pytest.raises(
    InputError, match='SEED is -1: give a whole number from 0'
  ):
    run(tmp_path, feed=feed, seed=-1)
  mesh = jax.sharding.AbstractMesh((3, 1, 1), partitioning.MESH_AXES)
  with pytest.raises(InputError, match='size 4 cannot be split over 3 devices'):
    run(tmp_path, feed=feed, mesh=mesh)
  params = {'decoder': {'kernel': np.zeros((2, 2))}}
  with pytest.raises(InputError, match='initial_params does not fit the model'):
    run(tmp_path, feed=feed, initial_params=lambda: params)


def test_a_batch_in_parts_gives_the_same_losses(tmp_path):
  logs = []
  for size in (None, 1):
    folder = tmp_path / str(size)
    result = run(
      folder,
      model_config=dataclasses.replace(CONFIG, dropout_rate=0.0),
      microbatch_size=size,
      train_steps=4,
    )
    assert result.num_microbatches == (1 if size is None else 4)
    logs.append([line['loss'] for line in log_of(folder)])
  np.testing.assert_allclose(logs[0], logs[1], rtol=1e-5)


@pytest.mark.slow
def test_a_killed_training_ends_the_same(straight, tmp_path):
  child = _start_child(tmp_path, pause=0.05)
  log = tmp_path / 'model' / 'metrics.jsonl'
  while not log.exists() and child.poll() is None:
    time.sleep(0.01)
  # It must work at any moment.
  time.sleep(random.uniform(0, 0.8))
  child.kill()
  assert child.wait() == -signal.SIGKILL
  result = run(tmp_path)
  assert_same_state(result.state, straight[0].state)
  assert [line['step'] for line in log_of(tmp_path)] == [
    line['step'] for line in log_of(straight[1])
  ]


@pytest.mark.slow
def test_eight_devices_give_the_same_losses(straight, tmp_path):
  child = _start_child(
    tmp_path,
    pause=0.0,
    mesh={'data': 2, 'fsdp': 2, 'model': 2},
    flags='--xla_force_host_platform_device_count=8',
  )
  assert child.wait() == 0
  losses, expected = (
    [line['loss'] for line in log_of(folder)]
    for folder in (tmp_path, straight[1])
  )
  np.testing.assert_allclose(losses, expected, rtol=1e-5)


def _start_child(folder, *, pause, mesh=None, flags=''):
  code = f"""
import pathlib, sys, time
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import trainer_test
from it_study.models import partitioning
mesh = {mesh}
trainer_test.run(
  pathlib.Path({str(folder)!r}),
  on_progress=lambda _: time.sleep({pause}),
  **({{'mesh': partitioning.make_mesh(**mesh)}} if mesh else {{}}),
)
"""
  # With other flags than this process, the compiled program would differ.
  flags = f'{os.environ.get("XLA_FLAGS", "")} {flags}'
  environment = {**os.environ, 'XLA_FLAGS': flags.strip()}
  return subprocess.Popen([sys.executable, '-c', code], env=environment)
