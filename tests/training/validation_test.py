"""Tests of it_study.training.validation, and of keeping the best checkpoint."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from it_study.checkpoints import manager
from it_study.errors import InputError
from it_study.input_pipeline.feed import Feed
from it_study.input_pipeline.token_cache import write_token_cache
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config
from it_study.training import losses, optimizers, trainer
from it_study.training.settings import (
  CheckpointSettings,
  EvaluationSettings,
  LogSettings,
  TrainingSettings,
)
from it_study.training.validation import Validation

CONFIG = T5Config(16, 8, 2, 4, 16, 1, 1, dropout_rate=0.1)
LENGTHS = {'inputs': 6, 'targets': 4}
_LOOK = Validation.__call__


def make_feed(path, num_examples, **settings):
  cache = write_token_cache(
    path,
    [
      {'inputs': [2 + index % 5, 1], 'targets': [*[3] * (index % 3), 2, 1]}
      for index in range(num_examples)
    ],
  )
  return Feed(cache, batch_size=4, lengths=LENGTHS, **settings)


def one_device():
  return partitioning.make_mesh(devices=jax.devices()[:1])


def train(
  folder, *, eval_period=2, keep_best=False, keep_checkpoints=2, **arguments
):
  defaults = {
    'model_config': CONFIG,
    'feed': make_feed(folder / 'train', 24),
    'validation_feed': make_feed(folder / 'validation', 10, pack=False),
    'train_steps': 12,
    'settings': TrainingSettings(
      optimizer=optimizers.adafactor(learning_rate=1e-2),
      seed=3,
      checkpoints=CheckpointSettings(
        period=4, keep=keep_checkpoints, keep_best=keep_best
      ),
      evaluation=EvaluationSettings(period=eval_period),
      log=LogSettings(period=5),
    ),
    'mesh': one_device(),
    'model_dir': folder / 'model',
  }
  return trainer.train(**{**defaults, **arguments})


def log_of(folder):
  text = (folder / 'model' / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def kept(folder):
  return sorted(
    int(path.name) for path in (folder / 'model/checkpoints').iterdir()
  )


def losses_by_hand(monkeypatch, values):
  """Replaces validation losses with those of a list, one per evaluation."""
  values = iter(values)

  def look(self, params, frozen):
    return {**_LOOK(self, params), 'validation_loss': next(values)}

  monkeypatch.setattr(Validation, '__call__', look)


def test_every_example_counts_once(tmp_path):
  feed = make_feed(tmp_path / 'cache', 10, pack=False)
  model = T5(CONFIG)
  params = partitioning.init_params(model=model, seed=0, mesh=one_device())
  found = Validation(feed=feed, model=model, mesh=one_device())(params)
  # All ten in one batch, with T5's own logits.
  batch = Feed(feed.cache, batch_size=10, lengths=LENGTHS, pack=False).batch(0)
  weights = batch.pop('decoder_loss_weights')
  deterministic = T5(dataclasses.replace(CONFIG, dropout_rate=0.0))
  logits = deterministic.apply({'params': params}, **batch)
  expected, metrics = losses.cross_entropy(
    hidden=logits,
    kernel=np.eye(16, dtype=np.float32),
    targets=batch['decoder_target_tokens'],
    weights=weights,
    z_loss=0.0,
  )
  assert found['validation_loss'] == pytest.approx(float(expected), rel=1e-5)
  assert found['validation_accuracy'] == pytest.approx(
    float(metrics['accuracy'])
  )
  assert found['validation_seconds'] > 0


def test_evaluation_is_logged_and_changes_no_training(tmp_path):
  watched = train(tmp_path / 'watched')
  alone = train(tmp_path / 'alone', eval_period=None, validation_feed=None)
  jax.tree.map(
    np.testing.assert_array_equal, watched.state.params, alone.state.params
  )
  lines = log_of(tmp_path / 'watched')
  assert [line['step'] for line in lines if 'validation_loss' in line] == [
    2,
    4,
    6,
    8,
    10,
    12,
  ]
  assert [line['step'] for line in lines if 'validation_loss' not in line] == [
    5
  ]
  assert lines[-1]['validation_loss'] < lines[0]['validation_loss']
  assert 'validation_loss' not in log_of(tmp_path / 'alone')[-1]


def test_the_best_is_kept_beside_the_newest(monkeypatch, tmp_path):
  # Losses at steps 2, 4, …, 12; checkpoints are 4, 8 and 12.
  losses_by_hand(monkeypatch, [9, 1.5, 0.5, 3, 4, 5])
  train(tmp_path, keep_best=True, keep_checkpoints=1)
  assert kept(tmp_path) == [4, 12]
  model_dir = tmp_path / 'model'
  best = manager.find_checkpoint(model_dir / 'best')
  assert best == model_dir / 'checkpoints' / '4'
  assert manager.find_checkpoint(model_dir / 'checkpoints/best') == best
  assert manager.find_checkpoint(model_dir).name == '12'


def test_the_best_is_known_after_a_restart(monkeypatch, tmp_path):
  losses_by_hand(monkeypatch, [9, 1.5, 3, 2])
  train(tmp_path, keep_best=True, keep_checkpoints=1, train_steps=8)
  losses_by_hand(monkeypatch, [5, 4])
  train(tmp_path, keep_best=True, keep_checkpoints=1)
  assert kept(tmp_path) == [4, 12]


def test_without_keep_best_only_the_newest_are_kept(monkeypatch, tmp_path):
  losses_by_hand(monkeypatch, [9, 1.5, 0.5, 3, 4, 5])
  train(tmp_path, keep_checkpoints=1)
  assert kept(tmp_path) == [12]


def test_a_missing_best_checkpoint_is_explained(tmp_path):
  train(tmp_path, eval_period=None, validation_feed=None)
  with pytest.raises(InputError) as caught:
    manager.find_checkpoint(tmp_path / 'model/best')
  assert str(caught.value) == (
    f'no best checkpoint in {tmp_path}/model/checkpoints: none has a loss. '
    'Train with KEEP_BEST=True and an EVAL_PERIOD, or omit /best for the '
    'newest.'
  )


@pytest.mark.parametrize('eval_period', [None, 3])
def test_a_checkpoint_without_a_loss_is_refused(tmp_path, eval_period):
  with pytest.raises(InputError) as caught:
    train(tmp_path, keep_best=True, eval_period=eval_period)
  assert str(caught.value) == (
    'KEEP_BEST needs the validation loss of every checkpoint: EVAL_PERIOD is '
    f'{eval_period}, CHECKPOINT_PERIOD 4. Give an EVAL_PERIOD of which '
    'CHECKPOINT_PERIOD is a multiple.'
  )


def test_a_loss_that_is_not_finite_stops_the_training(monkeypatch, tmp_path):
  losses_by_hand(monkeypatch, [9, 8, float('nan')])
  with pytest.raises(trainer.TrainingDivergedError) as caught:
    train(tmp_path)
  assert str(caught.value).startswith(
    'training stopped: validation loss is nan at step 6. Last good checkpoint: '
    f'{tmp_path}/model/checkpoints/4. Try'
  )
