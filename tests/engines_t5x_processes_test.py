"""Test of a training through T5X in several processes."""

import json
import os
import signal
import subprocess
import sys
import time

from engines_t5x_fixture import lines, needs_t5x
import fakes
import numpy as np
import pytest

from it_study.engines import t5x_checkpoints
from it_study.preemption import PREEMPTED_STATUS

pytestmark = [*needs_t5x, pytest.mark.slow]


def start(corpus, model_dir, *, processes, devices, steps, **bindings):
  """Starts `it-study launch local -- train --engine t5x`."""
  words = {
    'CORPUS': corpus,
    'MODEL_DIR': model_dir,
    'IT_STUDY_VOCABULARY': 'byte',
    'MIXTURE_OR_TASK_NAME': f'{fakes.NAME}_n3',
    'TASK_FEATURE_LENGTHS': fakes.LENGTHS,
    'TRAIN_STEPS': steps,
    'BATCH_SIZE': 8,
    'LOG_PERIOD': 2,
    'EVAL_PERIOD': 10,
    'CHECKPOINT_PERIOD': 10,
    **bindings,
  }
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'it_study.cli', 'launch', 'local'),
      *(f'--processes={processes}', f'--devices={devices}', '--', 'train'),
      *('--gin_file=models/t5_1_1_tiny.gin', '--gin_file=runs/finetune.gin'),
      '--engine=t5x',
      *(f'--gin.{name}={value}' for name, value in words.items()),
    ],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(launched, status=0) -> None:
  said, _ = launched.communicate(timeout=300)
  assert launched.returncode == status, said[-3000:]


def test_two_processes_train_as_one_does(tmp_path):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  for name, processes, devices in (('one', 1, 8), ('two', 2, 4)):
    finish(
      start(
        corpus,
        tmp_path / name,
        processes=processes,
        devices=devices,
        steps=20,
        # Each tensor is split in two, between devices of one process.
        MESH_MODEL=2,
      )
    )
  one, two = lines(tmp_path / 'one'), lines(tmp_path / 'two')
  for name in ('one', 'two'):
    training = json.loads((tmp_path / name / 'training.json').read_text())
    assert training['mesh'] == {'data': 4, 'model': 2}
  assert [line['step'] for line in two] == list(range(2, 21, 2))
  for name in ('loss', 'gradient_norm', 'validation_loss'):
    found = [line[name] for line in two if name in line]
    expected = [line[name] for line in one if name in line]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert two[0]['loss'] - two[-1]['loss'] > 0.1
  assert len([line for line in two if 'validation_loss' in line]) == 2


def test_sigterm_stops_both_at_one_step(tmp_path):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  model_dir = tmp_path / 'model'
  launched = start(corpus, model_dir, processes=2, devices=2, steps=100_000)
  while launched.poll() is None and not (model_dir / 'metrics.jsonl').exists():
    time.sleep(0.05)
  launched.send_signal(signal.SIGTERM)
  finish(launched, PREEMPTED_STATUS)
  step = t5x_checkpoints.newest_step(model_dir)
  assert step == lines(model_dir)[-1]['step'] > 0
  finish(start(corpus, model_dir, processes=2, devices=2, steps=step + 2))
  assert lines(model_dir)[-1]['step'] == step + 2
