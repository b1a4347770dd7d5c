"""Tests that SIGKILL changes nothing of what own tasks train and predict."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import fakes
import jax
import numpy as np
import pytest
import seqio_tasks_fixture as fixture

from it_study.checkpoints import manager
from it_study.engines import native
from it_study.training import optimizers
import tasks  # noqa: F401  Registers the conditions.

_CHILD = """
import sys
import own_tasks_kill_test as test
test.fixture.add_mixture()
call, folder = sys.argv[1:]
getattr(test, call)(folder, on_progress=test.die)
"""


@pytest.fixture(autouse=True)
def _mixture():
  fixture.add_mixture()


def train(folder, **settings):
  native.finetune(
    model_config=fakes.tiny_model(),
    optimizer=optimizers.adamw(learning_rate=1e-2),
    mixture_or_task_name='both',
    task_feature_lengths={'inputs': 24, 'targets': 8},
    model_dir=pathlib.Path(folder, 'model'),
    batch_size=2,
    train_steps=6,
    checkpoint_period=2,
    **settings,
  )


def predict(folder, **settings):
  native.predict(
    model_config=fakes.tiny_model(),
    mixture_or_task_name='both',
    task_feature_lengths={'inputs': 24, 'targets': 8},
    infer_output_dir=pathlib.Path(folder, 'out'),
    # The whole one.
    checkpoint_path=pathlib.Path(folder).with_name('straight') / 'model',
    batch_size=2,
    **settings,
  )


def die(progress, *_):
  """Kills this process in the fifth step, or after the second batch."""
  is_under_way = getattr(progress, 'train_steps', 1)
  if is_under_way and getattr(progress, 'step', progress) >= 4:
    os.kill(os.getpid(), signal.SIGKILL)


def kill(call, folder):
  folders = (pathlib.Path(fakes.__file__).parent, pathlib.Path(__file__).parent)
  paths = [*map(str, folders), os.environ.get('PYTHONPATH', '')]
  done = subprocess.run(
    [sys.executable, '-c', _CHILD, call, folder],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.mark.slow
def test_a_killed_mixture_ends_the_same(tmp_path):
  straight, killed = tmp_path / 'straight', tmp_path / 'killed'
  train(straight)
  kill('train', killed)
  assert not (killed / 'model/training.json').exists()
  assert (killed / 'model/metrics.jsonl').exists()
  train(killed)
  first, second = (
    manager.restore_params(folder / 'model') for folder in (straight, killed)
  )
  assert all(jax.tree.leaves(jax.tree.map(np.array_equal, first, second)))
  steps = [
    [json.loads(line)['step'] for line in log.read_text().splitlines()]
    for log in (f / 'model/metrics.jsonl' for f in (straight, killed))
  ]
  # The first step after a restart is logged, too.
  assert set(steps[0]) <= set(steps[1])
  assert steps[1] == sorted(set(steps[1]))

  predict(straight)
  kill('predict', killed)
  assert not (killed / 'out/predictions.jsonl').exists()
  predict(killed)
  whole, resumed = (
    folder / 'out/predictions.jsonl' for folder in (straight, killed)
  )
  assert resumed.read_bytes() == whole.read_bytes()
  assert len(whole.read_text().splitlines()) == 6
  record = json.loads((killed / 'out/inference.json').read_text())
  assert 0 < record['num_kept_answers'] < 6
