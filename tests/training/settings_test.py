"""Tests of it_study.training.settings: groups that check themselves."""

import dataclasses

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
