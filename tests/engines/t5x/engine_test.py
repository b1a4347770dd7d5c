"""Tests of T5X as an engine, compared with the native one."""

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time

from engines_t5x_fixture import (
  _corpus,  # noqa: F401
  _use,  # noqa: F401
  finetune,
  finetune_both,
  infer,
  lines,
  needs_t5x,
)
import fakes
import numpy as np
import pytest

from it_study import predictions
from it_study.checkpoints.t5x import reading as convert_t5x
from it_study.engines import native
from it_study.engines.t5x import checkpoints, engine as t5x
from it_study.errors import InputError
from it_study.training import optimizers
from it_study.training.preemption import PREEMPTED_STATUS


@pytest.fixture(name='both', scope='module')
def _both(corpus, tmp_path_factory):
  return finetune_both(corpus, tmp_path_factory.mktemp('both'))


class TestWithT5X:
  pytestmark = needs_t5x

  def test_both_engines_have_the_same_losses(self, both):
    ours, theirs = lines(both / 'native'), lines(both / 't5x')
    assert [line['step'] for line in theirs] == list(range(1, 21))
    for name in ('loss', 'gradient_norm', 'learning_rate'):
      np.testing.assert_allclose(
        [line[name] for line in theirs],
        [line[name] for line in ours],
        rtol=1e-5,
      )

  def test_the_record_is_that_of_the_native_engine(self, both):
    ours, theirs = (
      json.loads((both / name / 'training.json').read_text())
      for name in ('native', 't5x')
    )
    assert theirs.pop('engine') == 't5x'
    same = set(ours) - {
      'engine',
      'compile_seconds',
      'seconds',
      'train_seconds',
      'mesh',
    }
    assert {name: theirs[name] for name in same} == {
      name: ours[name] for name in same
    }

  @pytest.mark.parametrize(
    'method', ['greedy', 'beam', 'ranked', 'ranked_conditional']
  )
  @pytest.mark.parametrize('checkpoint', ['t5x', 'native'])
  def test_both_engines_answer_the_same(
    self, both, tmp_path, method, checkpoint
  ):
    ours = infer(native, tmp_path / 'ours', both / checkpoint, method)
    theirs = infer(t5x, tmp_path / 'theirs', both / checkpoint, method)
    assert len(theirs) == fakes.NUM_ROWS['test']
    for row, other in zip(ours, theirs, strict=True):
      assert (row.id, row.inputs, row.prediction) == (
        other.id,
        other.inputs,
        other.prediction,
      )
      assert other.engine == 't5x'
      assert other.train_condition == f'{fakes.NAME}_n3'
      if row.scores is not None:
        assert other.scores == pytest.approx(row.scores, abs=1e-4)
    assert sorted(os.listdir(tmp_path / 'theirs')) == [
      'inference.json',
      'predictions.jsonl',
    ]

  @pytest.mark.parametrize('checkpoint', ['t5x', 'native'])
  def test_paths_may_be_relative(self, both, tmp_path, checkpoint, monkeypatch):
    monkeypatch.chdir(both)
    found = infer(t5x, tmp_path, checkpoint, 'greedy')
    assert len(found) == fakes.NUM_ROWS['test']

  def test_each_engine_starts_from_the_other_s_checkpoint(self, both, tmp_path):
    runs = {
      engine.ENGINE: finetune(
        engine,
        tmp_path / engine.ENGINE,
        train_steps=2,
        initial_checkpoint_path=str(both / other),
      )
      for engine, other in ((native, 't5x'), (t5x, 'native'))
    }
    assert {run['train_steps'] for run in runs.values()} == {2}
    losses = [lines(tmp_path / name)[0]['loss'] for name in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)

  def test_a_resumed_training_ends_at_its_last_step(self, both, tmp_path):
    start = str(both / 'start')
    finetune(t5x, tmp_path, train_steps=10, initial_checkpoint_path=start)
    finetune(t5x, tmp_path, train_steps=20, initial_checkpoint_path=start)
    again, straight = lines(tmp_path), lines(both / 't5x')
    assert [line['step'] for line in again] == list(range(1, 21))
    for name in ('loss', 'gradient_norm'):
      assert [line[name] for line in again] == [line[name] for line in straight]
    assert checkpoints.newest_step(tmp_path) == 20
    # Once more: nothing is left to do.
    assert finetune(t5x, tmp_path, train_steps=20)['train_steps'] == 20
    assert len(lines(tmp_path)) == 20

  def test_the_learning_rate_is_that_of_the_last_step(self, tmp_path):
    rate = optimizers.linear_warmup(learning_rate=1e-2, warmup_steps=10)
    for engine in (native, t5x):
      finetune(
        engine,
        tmp_path / engine.ENGINE,
        optimizer=optimizers.adafactor(learning_rate=rate),
        train_steps=6,
        log_period=3,
      )
    ours, theirs = (
      [line['learning_rate'] for line in lines(tmp_path / engine.ENGINE)]
      for engine in (native, t5x)
    )
    assert ours == pytest.approx([2e-3, 5e-3])
    assert theirs == pytest.approx(ours)

  def test_epochs_and_microbatches_match_the_native_engine(self, tmp_path):
    settings = {
      'train_steps': None,
      'epochs': 3,
      'microbatch_size': 1,
      'pack': False,
    }
    ours = finetune(native, tmp_path / 'native', **settings)
    theirs = finetune(t5x, tmp_path / 't5x', **settings)
    for name in ('train_steps', 'num_microbatches'):
      assert theirs[name] == ours[name]

  def test_microbatches_have_the_loss_of_the_batch(self, corpus, tmp_path):
    finetune_both(
      corpus, tmp_path, train_steps=4, microbatch_size=1, pack=False
    )
    ours, theirs = lines(tmp_path / 'native'), lines(tmp_path / 't5x')
    for name in ('loss', 'z_loss', 'accuracy', 'gradient_norm'):
      np.testing.assert_allclose(
        [line[name] for line in theirs],
        [line[name] for line in ours],
        rtol=1e-5,
      )

  def test_untuned_weights_are_the_initial_ones_of_a_training(self, tmp_path):
    finetune(
      t5x,
      tmp_path / 'still',
      train_steps=1,
      seed=5,
      optimizer=optimizers.adamw(learning_rate=0.0),
    )
    texts = [
      [row.prediction for row in rows]
      for rows in (
        infer(t5x, tmp_path / 'a', tmp_path / 'still'),
        [
          row
          for row in predictions.read_predictions(
            t5x.predict(
              model_config=fakes.tiny_model(),
              mixture_or_task_name=fakes.NAME,
              task_feature_lengths=fakes.LENGTHS,
              infer_output_dir=tmp_path / 'b',
              batch_size=32,
              seed=5,
            )
          )
        ],
      )
    ]
    assert texts[0] == texts[1]

  def test_a_loss_that_is_not_finite_stops_the_training(self, tmp_path):
    with pytest.raises(
      InputError,
      match=r'training stopped: .* good checkpoint: /.*/checkpoint_0\. Try',
    ):
      finetune(
        t5x,
        tmp_path,
        optimizer=optimizers.adamw(learning_rate=1e30, gradient_clip_norm=None),
      )

  @pytest.mark.parametrize(
    ('settings', 'message'),
    [
      ({'profile_steps': (1, 2)}, 'PROFILE_STEPS is set, which the engine'),
      (
        {'mesh_data': 2, 'mesh_fsdp': 4},
        'MESH_DATA is 2 and MESH_FSDP 4: T5X splits parameters over all',
      ),
    ],
  )
  def test_unsupported_settings_are_named(self, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
      finetune(t5x, tmp_path, **settings)

  def test_an_unsupported_decoding_is_named(self, both, tmp_path):
    with pytest.raises(
      InputError, match="DECODING is 'constrained': the engine 't5x'"
    ):
      infer(t5x, tmp_path, both / 'native', 'constrained')

  def test_sigterm_saves_and_exits_with_75(self, corpus, tmp_path):
    words = [
      *(sys.executable, '-m', 'it_study.cli', 'train'),
      '--gin_file=models/t5_1_1_tiny.gin',
      '--gin_file=runs/finetune.gin',
      '--gin.ENGINE=t5x',
      f'--gin.CORPUS={corpus}',
      '--gin.IT_STUDY_VOCABULARY=byte',
      f'--gin.MIXTURE_OR_TASK_NAME={fakes.NAME}_n3',
      f'--gin.TASK_FEATURE_LENGTHS={fakes.LENGTHS}',
      '--gin.BATCH_SIZE=4',
      '--gin.LOG_PERIOD=2',
      f'--gin.MODEL_DIR={tmp_path}',
    ]
    life = subprocess.Popen(
      [*words, '--gin.TRAIN_STEPS=100000'],
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
      stderr=subprocess.PIPE,
      text=True,
    )
    while life.poll() is None and not (tmp_path / 'metrics.jsonl').exists():
      time.sleep(0.05)
    life.send_signal(signal.SIGTERM)
    _, errors = life.communicate(timeout=120)
    assert life.returncode == PREEMPTED_STATUS, errors[-2000:]
    step = checkpoints.newest_step(tmp_path)
    assert step == lines(tmp_path)[-1]['step'] > 0
    assert convert_t5x.is_checkpoint(tmp_path)
    again = subprocess.run(
      [*words, f'--gin.TRAIN_STEPS={step + 2}', '--quiet'],
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
      check=False,
    )
    assert again.returncode == 0, again.stderr[-2000:]
    steps = [line['step'] for line in lines(tmp_path)]
    assert steps == sorted(set(steps))
    assert steps[-1] == step + 2
    assert math.isfinite(lines(tmp_path)[-1]['loss'])


def test_without_t5x_one_line_says_what_to_do(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(
    importlib.util,
    'find_spec',
    lambda name, *_: None if name == 't5x' else pytest.fail(name),
  )
  with pytest.raises(InputError) as caught:
    finetune(t5x, tmp_path)
  assert str(caught.value) == (
    "ENGINE is 't5x', and T5X is not installed: pip install 'it_study[t5x]' && "
    'pip install --no-deps -r requirements/t5x.txt, or leave the engine at '
    'native.'
  )
