"""Tests of the loss on held-out instances in a training with T5X."""

import json

from engines_t5x_fixture import (
  _corpus,  # noqa: F401
  _use,  # noqa: F401
  finetune,
  finetune_both,
  lines,
  needs_t5x,
)
import numpy as np
import pytest

from it_study.checkpoints.t5x import reading as convert_t5x
from it_study.checkpoints.t5x.reading import find_checkpoint
from it_study.engines.t5x import checkpoints, engine, trainer
from it_study.errors import InputError
from it_study.training import metrics_log

pytestmark = needs_t5x
_LOOK = trainer.Reporter.evaluated
SETTINGS = {
  'train_steps': 12,
  'eval_period': 3,
  'checkpoint_period': 6,
  'keep_checkpoints': 1,
  # Of 30 held-out instances, the last batch has two.
  'batch_size': 7,
}


@pytest.fixture(name='both', scope='module')
def _both(corpus, tmp_path_factory):
  return finetune_both(corpus, tmp_path_factory.mktemp('both'), **SETTINGS)


def held_out(model_dir):
  return {
    line['step']: line['validation_loss']
    for line in lines(model_dir)
    if 'validation_loss' in line
  }


def evaluate_by_hand(monkeypatch, losses):
  """Replaces validation losses with those of a list, one per evaluation."""
  losses = iter(losses)

  def evaluated(self, step, *, metrics, seconds):
    class Loss:
      value = next(losses)

    changed = {**metrics, 'loss_per_nonpadding_target_token': Loss}
    _LOOK(self, step, metrics=changed, seconds=seconds)

  monkeypatch.setattr(trainer.Reporter, 'evaluated', evaluated)


def test_both_engines_evaluate_the_same(both):
  ours, theirs = lines(both / 'native'), lines(both / 't5x')
  # The training loss too: evaluating does not change it.
  for name in ('validation_loss', 'validation_accuracy', 'loss'):
    found = {line['step']: line[name] for line in theirs if name in line}
    expected = {line['step']: line[name] for line in ours if name in line}
    assert list(found) == list(expected)
    np.testing.assert_allclose(
      list(found.values()), list(expected.values()), rtol=1e-5
    )
  losses = held_out(both / 't5x')
  assert list(losses) == [3, 6, 9, 12]
  assert losses[12] < losses[3]


def test_the_best_is_kept_beside_the_newest(tmp_path, monkeypatch):
  # Of steps 3, 6, 9 and 12; checkpoints are 6 and 12.
  evaluate_by_hand(monkeypatch, [9, 1.5, 0.5, 3])
  finetune(engine, tmp_path, keep_best=True, **SETTINGS)
  assert find_checkpoint(tmp_path / 'best').name == 'checkpoint_6'
  assert find_checkpoint(tmp_path).name == 'checkpoint_12'
  assert not (tmp_path / 'checkpoint_6').exists()
  assert convert_t5x.read_model_config(tmp_path / 'best').emb_dim == 16
  # It is still known after a restart.
  evaluate_by_hand(monkeypatch, [1, 1.5])
  finetune(engine, tmp_path, keep_best=True, **{**SETTINGS, 'train_steps': 18})
  assert find_checkpoint(tmp_path / 'best').name == 'checkpoint_6'
  evaluate_by_hand(monkeypatch, [1, 1.4])
  finetune(engine, tmp_path, keep_best=True, **{**SETTINGS, 'train_steps': 24})
  assert find_checkpoint(tmp_path / 'best').name == 'checkpoint_24'
  assert sorted(path.name for path in (tmp_path / 'best').iterdir()) == [
    'checkpoint_24'
  ]


def test_a_kill_between_a_checkpoint_and_its_loss(both, tmp_path):
  settings = {**SETTINGS, 'initial_checkpoint_path': str(both / 'start')}
  finetune(engine, tmp_path, **{**settings, 'train_steps': 6})
  *before, last = lines(tmp_path)
  for name in ('loss', 'accuracy', 'seconds'):
    del last[f'validation_{name}']
  (tmp_path / 'metrics.jsonl').write_text(
    ''.join(json.dumps(line) + '\n' for line in [*before, last])
  )
  finetune(engine, tmp_path, **settings)
  assert held_out(tmp_path) == held_out(both / 't5x')


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, monkeypatch):
  evaluate_by_hand(monkeypatch, [9, 8, float('nan')])
  with pytest.raises(InputError) as caught:
    finetune(engine, tmp_path, **SETTINGS)
  assert str(caught.value) == (
    'training stopped: validation loss is nan at step 9. Last good checkpoint: '
    f'{tmp_path}/checkpoint_6. Try a lower learning rate, more warm-up steps '
    'or clipped gradients, in another folder; in bfloat16, try float32.'
  )


def test_the_last_good_checkpoint_is_of_an_earlier_step(tmp_path):
  assert checkpoints.newest_before(tmp_path, 12) is None
  for name in ('best/checkpoint_6', 'checkpoint_12', 'checkpoint_9.tmp-1'):
    (tmp_path / name).mkdir(parents=True)
  for step, name in ((12, 'best/checkpoint_6'), (13, 'checkpoint_12')):
    found = checkpoints.newest_before(tmp_path, step)
    assert found == tmp_path / name


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'eval_period': 0}, 'EVAL_PERIOD is 0: give a whole number from 1 up.'),
    (
      {'eval_period': 4},
      'EVAL_PERIOD is 4 and CHECKPOINT_PERIOD 6: with T5X, one must be a '
      'multiple of the other. Change one, or use the native engine.',
    ),
    (
      {'eval_period': 12, 'keep_best': True},
      'KEEP_BEST needs the validation loss of every checkpoint: EVAL_PERIOD '
      'is 12, CHECKPOINT_PERIOD 6. Give an EVAL_PERIOD of which '
      'CHECKPOINT_PERIOD is a multiple.',
    ),
  ],
)
def test_periods_that_are_not_multiples_are_refused(
  tmp_path, settings, message
):
  with pytest.raises(InputError) as caught:
    finetune(engine, tmp_path, **{**SETTINGS, **settings})
  assert str(caught.value) == message


def test_a_deleted_checkpoint_is_not_the_best(tmp_path):
  log = tmp_path / 'metrics.jsonl'
  log.write_text('{"step": 3, "validation_loss": 1.0}\n')
  checkpoints.keep_best(tmp_path, step=3)
  assert not (tmp_path / 'best').exists()
  assert metrics_log.lines_of(log) == [{'step': 3, 'validation_loss': 1.0}]
