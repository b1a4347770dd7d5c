"""Tests of T5X as an engine in several processes."""

import json
import os
import signal
import subprocess
import sys
import time

from engines_t5x_fixture import lines, needs_t5x, use
import fakes
import numpy as np
import pytest

from it_study import predictions
from it_study.checkpoints.manager import Checkpoints
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.checkpoints.t5x import writing
from it_study.engines import model_setup
from it_study.engines.t5x import checkpoints, engine
from it_study.inference.decoding import Decoding
from it_study.models import partitioning
from it_study.models.t5 import T5
from it_study.training.preemption import PREEMPTED_STATUS
import tasks  # noqa: F401  Registers the conditions.

pytestmark = [*needs_t5x, pytest.mark.slow]

_PREDICTING = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 4)
from it_study import distributed
distributed.start()
import fakes
from it_study import seqio_lib
from it_study.inference.decoding import Decoding
from it_study.engines.t5x import engine
import tasks
corpus, out = sys.argv[1:]
seqio_lib.use_corpus(corpus)
for name in ('native', 't5x', 'untuned'):
  engine.predict(
    model_config=fakes.tiny_model(),
    mixture_or_task_name=fakes.NAME,
    task_feature_lengths=fakes.LENGTHS,
    infer_output_dir=f'{out}/two/{name}',
    checkpoint_path=None if name == 'untuned' else f'{out}/{name}',
    batch_size=32,
    decoding=Decoding(method='ranked'),
    mesh_model=2,
  )
print('done', jax.process_count(), jax.device_count())
"""


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
  step = checkpoints.newest_step(model_dir)
  assert step == lines(model_dir)[-1]['step'] > 0
  finish(start(corpus, model_dir, processes=2, devices=2, steps=step + 2))
  assert lines(model_dir)[-1]['step'] == step + 2


def test_two_processes_answer_as_one_does(tmp_path, monkeypatch):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  use(corpus, monkeypatch)
  write_weights(tmp_path)
  for said in fakes.run_in_two_processes(
    _PREDICTING, corpus, tmp_path, folder=tmp_path
  ):
    assert 'done 2 8' in said.splitlines()
  for name in ('native', 't5x', 'untuned'):
    alone = predictions.read_predictions(
      engine.predict(
        model_config=fakes.tiny_model(),
        mixture_or_task_name=fakes.NAME,
        task_feature_lengths=fakes.LENGTHS,
        infer_output_dir=tmp_path / 'one' / name,
        checkpoint_path=None if name == 'untuned' else tmp_path / name,
        batch_size=32,
        decoding=Decoding(method='ranked'),
      )
    )
    assert sorted(os.listdir(tmp_path / 'two' / name)) == [
      'inference.json',
      'predictions.jsonl',
    ]
    together = predictions.read_predictions(
      tmp_path / 'two' / name / 'predictions.jsonl'
    )
    assert len(alone) == fakes.NUM_ROWS['test']
    for row, other in zip(alone, together, strict=True):
      assert (row.id, row.prediction) == (other.id, other.prediction)
      assert (row.scores is None) == (other.scores is None)
      if row.scores is not None:
        assert row.scores == pytest.approx(other.scores, rel=1e-5)


def write_weights(folder):
  """The same parameters as ours and as T5X's, as it writes them itself."""
  config = model_setup.complete_config(fakes.tiny_model(), dtype='float32')
  params = partitioning.init_params(
    model=T5(config), seed=1, mesh=partitioning.make_mesh()
  )
  saved = Checkpoints(LocalCheckpoints(folder / 'native/checkpoints'))
  saved.save(step=1, params=params, opt_state={'count': 1}, metadata={})
  saved.close()
  writing.save_params(folder / 't5x', params, layout='orbax')
