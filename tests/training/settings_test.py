"""Tests of it_study.training.settings: groups that check themselves."""

import dataclasses
import os

import jax
import pytest

from it_study.errors import InputError
from it_study.training import optimizers, settings

OPTIMIZER = optimizers.adamw()


def test_a_mesh_is_made_of_its_sizes():
  mesh = settings.MeshSettings(data=1, fsdp=-1).make(jax.devices()[:1])
  assert dict(mesh.shape) == {'data': 1, 'fsdp': 1, 'model': 1}


@pytest.mark.parametrize(
  ('step', 'is_last', 'saves', 'evaluates'),
  [
    (2, False, False, False),
    (3, False, True, False),
    (4, False, False, True),
    (5, True, True, True),
    (12, False, True, True),
  ],
)
def test_what_is_due_after_a_step(step, is_last, saves, evaluates):
  checkpoints = settings.CheckpointSettings(period=3)
  evaluation = settings.EvaluationSettings(period=4)
  assert checkpoints.is_due(step, is_last=is_last) is saves
  assert evaluation.is_due(step, is_last=is_last) is evaluates
  # Without a period there is no evaluation, not even at the end.
  assert not settings.EvaluationSettings().is_due(step, is_last=is_last)


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (
      lambda: settings.CheckpointSettings(period=0),
      'CHECKPOINT_PERIOD is 0: give a whole number from 1 up.',
    ),
    (
      lambda: settings.EvaluationSettings(period=1.5),
      r'EVAL_PERIOD is 1.5: give a whole number from 1 up.',
    ),
    (
      lambda: settings.LogSettings(period=True),
      'LOG_PERIOD is True: give a whole number from 1 up.',
    ),
    (
      lambda: settings.CheckpointSettings(keep_best='False'),
      "KEEP_BEST is 'False': give True or False.",
    ),
    (
      lambda: settings.DataSettings(
        mixture_or_task_name='a',
        mixture_or_task_module='tasks',
        task_feature_lengths={'inputs': 8, 'targets': 8},
        batch_size=4,
        train_steps=1,
        pack=0,
      ),
      'PACK is 0: give True or False.',
    ),
    (
      lambda: settings.TrainingSettings(optimizer='adafactor'),
      "OPTIMIZER is 'adafactor'; give a call, such as @adafactor() or "
      '@adamw().',
    ),
    (
      lambda: settings.TrainingSettings(optimizer=OPTIMIZER, seed=2**32),
      'SEED is 4294967296; give a number from 0 to 2**32 - 1.',
    ),
    (
      lambda: settings.DataSettings(
        mixture_or_task_name='a',
        mixture_or_task_module='tasks',
        task_feature_lengths={'inputs': 8, 'targets': 8},
        batch_size=4,
      ),
      'TRAIN_STEPS is None and EPOCHS is None: set one of them, the other to '
      'None.',
    ),
    (
      lambda: settings.check_duration(train_steps=2**31, epochs=None),
      'TRAIN_STEPS is 2147483648; at most 2147483647 can be counted.',
    ),
    (
      lambda: settings.check_lengths({'inputs': 99_999_999_999, 'targets': 8}),
      "TASK_FEATURE_LENGTHS['inputs'] is 99,999,999,999: give at most "
      '1,048,576 tokens, which is more than a device has memory for.',
    ),
  ],
)
def test_a_group_refuses_what_it_cannot_hold(make, message):
  with pytest.raises(InputError) as caught:
    make()
  assert str(caught.value) == message


def test_groups_cannot_be_changed():
  group = settings.TrainingSettings(optimizer=OPTIMIZER)
  with pytest.raises(dataclasses.FrozenInstanceError):
    group.seed = 1


def test_a_batch_must_fit_the_machine(monkeypatch):
  sizes = {'SC_PHYS_PAGES': 2**18, 'SC_PAGE_SIZE': 4096}
  monkeypatch.setattr(os, 'sysconf', sizes.__getitem__)
  lengths = {'inputs': 100, 'targets': 28}
  settings.check_batch(2**21, lengths)
  with pytest.raises(InputError) as caught:
    settings.check_batch(3 * 2**21, lengths)
  assert str(caught.value) == (
    'BATCH_SIZE is 6291456: the tokens of one batch take 3 GiB, and this '
    'machine has 1 GiB. Lower it, or TASK_FEATURE_LENGTHS.'
  )
  # Every process holds its part.
  monkeypatch.setattr('jax.process_count', lambda: 3)
  settings.check_batch(3 * 2**21, lengths)
