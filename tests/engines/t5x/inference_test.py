"""Tests of interrupted predictions with T5X, and of their files."""

import functools
import os
import shutil
import signal
import subprocess
import sys

from engines_t5x_fixture import (
  _corpus,  # noqa: F401
  _use,  # noqa: F401
  needs_t5x,
)
import fakes
import jax
import pytest

from it_study.checkpoints import weights_source
from it_study.checkpoints.manager import Checkpoints
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.checkpoints.t5x import writing
from it_study.engines import model_setup
from it_study.engines.t5x import engine, inference, weights as t5x_weights
from it_study.inference.decoding import Decoding
from it_study.models import partitioning
from it_study.models.t5 import T5
from it_study.storage.manifest import find_damage

# 106 prompts in two parts, of which T5X flushes the first; then it is killed.
_KILLED = """
import os, signal, sys
import jax
jax.config.update('jax_num_cpu_devices', 8)
import fakes
from it_study import seqio_lib
from it_study.engines.t5x import engine, inference
import tasks
corpus, out, weights = sys.argv[1:]
seqio_lib.use_corpus(corpus)
write = inference._write
def write_or_die(path, *rest):
  if path.endswith('chunk00001'):
    os.kill(os.getpid(), signal.SIGKILL)
  write(path, *rest)
inference._write = write_or_die
engine.predict(
  model_config=fakes.tiny_model(),
  mixture_or_task_name=fakes.NAME,
  task_feature_lengths=fakes.LENGTHS,
  infer_output_dir=out,
  checkpoint_path=weights,
  batch_size=8,
)
"""


def draw(folder, seed):
  """A checkpoint of ours."""
  model = T5(model_setup.complete_config(fakes.tiny_model(), dtype='float32'))
  params = partitioning.init_params(
    model=model, seed=seed, mesh=partitioning.make_mesh()
  )
  saved = Checkpoints(LocalCheckpoints(folder / 'checkpoints'))
  saved.save(step=1, params=params, opt_state={'count': 1}, metadata={})
  saved.close()
  return folder


def predict(folder, weights, **settings):
  defaults = {
    'model_config': fakes.tiny_model(),
    'mixture_or_task_name': fakes.NAME,
    'task_feature_lengths': fakes.LENGTHS,
    'batch_size': 8,
  }
  path = engine.predict(
    infer_output_dir=folder,
    checkpoint_path=weights,
    **{**defaults, **settings},
  )
  return path.read_bytes()


def counted(monkeypatch, module, name):
  """Returns a list of the first arguments of a function's later calls."""
  paths, call = [], getattr(module, name)

  @functools.wraps(call)
  def called(path, *rest, **named):
    paths.append(str(path))
    return call(path, *rest, **named)

  monkeypatch.setattr(module, name, called)
  return paths


@pytest.mark.slow
class TestWithT5X:
  pytestmark = needs_t5x

  @pytest.fixture(name='killed', scope='class')
  def _killed(self, corpus, tmp_path_factory):
    """A folder with `out` of a killed prediction, and the weights `a`, `b`."""
    root = tmp_path_factory.mktemp('killed')
    with pytest.MonkeyPatch.context() as patch:
      patch.setenv('IT_STUDY_VOCABULARY', 'byte')
      for seed, name in enumerate('ab'):
        draw(root / name, seed)
      done = subprocess.run(
        [sys.executable, '-c', _KILLED, corpus, root / 'out', root / 'a'],
        env={
          **os.environ,
          'JAX_PLATFORMS': 'cpu',
          'PYTHONPATH': os.pathsep.join(
            [os.path.dirname(fakes.__file__), os.environ.get('PYTHONPATH', '')]
          ),
        },
        capture_output=True,
        text=True,
        check=False,
      )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert os.listdir(root / 'out') == ['t5x']
    return root

  def test_a_killed_prediction_resumes(self, killed, tmp_path, monkeypatch):
    shutil.copytree(killed / 'out', tmp_path / 'again')
    straight = predict(tmp_path / 'straight', killed / 'a')
    flushed = counted(monkeypatch, inference, '_write')
    written = counted(monkeypatch, writing, 'save_params')
    assert predict(tmp_path / 'again', killed / 'a') == straight
    assert [path[-10:] for path in flushed] == ['chunk00001']
    assert not written
    assert sorted(os.listdir(tmp_path / 'again')) == [
      'inference.json',
      'predictions.jsonl',
    ]

  @pytest.mark.parametrize(
    ('weights', 'settings'),
    [
      ('b', {}),
      ('a', {'decoding': Decoding(method='beam', num_beams=2)}),
      ('a', {'task_feature_lengths': {**fakes.LENGTHS, 'targets': 8}}),
      ('a', {'batch_size': 16}),
      ('a', {'split': 'validation'}),
    ],
  )
  def test_another_prediction_starts_over(
    self, killed, tmp_path, monkeypatch, weights, settings
  ):
    shutil.copytree(killed / 'out', tmp_path / 'again')
    straight = predict(tmp_path / 'straight', killed / weights, **settings)
    flushed = counted(monkeypatch, inference, '_write')
    written = counted(monkeypatch, writing, 'save_params')
    again = predict(tmp_path / 'again', killed / weights, **settings)
    assert again == straight
    assert flushed[0][-10:] == 'chunk00000'
    assert len(written) == 1


@pytest.mark.parametrize('left', ['killed', 'damaged'])
def test_incomplete_weights_are_rewritten(tmp_path, left, monkeypatch):
  config = model_setup.complete_config(fakes.tiny_model(), dtype='float32')
  params = partitioning.init_params(
    model=T5(config), seed=0, mesh=partitioning.make_mesh(data=1, fsdp=-1)
  )
  folder = tmp_path / 'weights'
  final = folder / 'checkpoint_0'
  if left == 'killed':
    (folder / '.checkpoint_0.123.partial/checkpoint_0').mkdir(parents=True)
  else:
    writing.save_params(folder, params)
    (final / 'checkpoint').write_bytes(b'')
  written = counted(monkeypatch, writing, 'save_params')
  for _ in range(2):
    assert t5x_weights.save(folder, params) == str(final)
    assert os.listdir(folder) == ['checkpoint_0']
    assert find_damage(final) is None
  assert len(written) == 1
  found = t5x_weights.load(
    weights_source.resolve(final),
    config=config,
    model=None,
    partitioner=None,
    seed=0,
  )
  assert jax.tree.all(
    jax.tree.map(lambda a, b: bool((a == b).all()), found, params)
  )
