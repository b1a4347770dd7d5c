"""Tests of checkpoints that several processes write directly to a bucket."""

import json
import re
import time

import fake_bucket
import fakes
import pytest

from it_study import cli, predictions
from it_study.checkpoints.bucket_steps import BucketCheckpoints
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.data import vocabularies
from it_study.storage.manifest import MANIFEST, find_damage
from it_study.storage.storage_path import StoragePath
from it_study.training import metrics_log

ITEMS = ('params', 'opt_state', 'metadata')
TASK = 'natinst_def_empty_ex_original1'
# Runs command lines, each after a `+`, in one of several processes. A local
# folder serves as gs://bucket.
_COMMANDS = (
  fake_bucket.REDIRECT
  + """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 2)
from it_study import cli, distributed
words = sys.argv[1:]
while words:
  end = words.index('+', 1) if '+' in words[1:] else len(words)
  if cli.main(words[1:end]) != 0:
    sys.exit(1)
  # Later commands use the same processes.
  distributed.start = lambda: None
  words = words[end:]
"""
)
_MODEL = (
  '--gin_file=models/t5_1_1_tiny.gin',
  *(f'--gin.T5Config.{name}=16' for name in ('emb_dim', 'head_dim', 'mlp_dim')),
  '--gin.T5Config.num_encoder_layers=1',
  '--gin.T5Config.num_decoder_layers=1',
  f'--gin.MIXTURE_OR_TASK_NAME={TASK}',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 8}",
)


@pytest.fixture(name='there')
def _there(tmp_path):
  """The bucket's files."""
  folder = tmp_path / 'bucket'
  folder.mkdir()
  return folder


@pytest.fixture(name='checkpoints')
def _checkpoints(there, monkeypatch):
  """A folder of checkpoints that touches `told` before a manifest."""
  with fake_bucket.serve(there) as url:
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', url)
    yield BucketCheckpoints(
      StoragePath('gs://bucket/one/checkpoints'),
      before_finish=lambda: (there / 'told').touch(),
    )


def write(folder, step):
  """What Orbax leaves of a step, by names."""
  for name in ('params/manifest.ocdbt', 'params/d/1', 'metadata/metadata'):
    path = folder / str(step) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{step} {name}')


def names(folder):
  return sorted(
    str(path.relative_to(folder))
    for path in folder.rglob('*')
    if path.is_file()
  )


def test_a_finished_step_is_valid(checkpoints, there):
  folder = there / 'one/checkpoints'
  assert checkpoints.steps() == []
  for step in (2, 10):
    write(folder, step)
  assert checkpoints.steps() == [2, 10]
  assert checkpoints.path(10) == 'gs://bucket/one/checkpoints/10'
  assert 'was never finished' in checkpoints.find_damage(10)
  assert not (there / 'told').exists()
  checkpoints.finish(10, loss=0.5)
  assert (there / 'told').exists()
  assert checkpoints.find_damage(10) is None
  # A local copy is intact too.
  assert find_damage(folder / '10') is None
  assert checkpoints.best() == 10
  checkpoints.finish(2, loss=0.25)
  assert checkpoints.best() == 2
  checkpoints.delete(10)
  assert checkpoints.steps() == [2]
  assert not names(folder / '10')


@pytest.mark.parametrize(
  ('damage', 'expected'),
  [
    (lambda path: path.write_text(path.read_text().upper()), 'has changed'),
    (lambda path: path.write_text('3 '), r'has 2 bytes, not \d+'),
    (lambda path: path.unlink(), 'is missing'),
  ],
)
@pytest.mark.parametrize('is_copied', [False, True])
def test_damage_is_found(checkpoints, there, damage, expected, is_copied):
  folder = there / 'one/checkpoints'
  write(folder, 3)
  # A single process writes its checkpoints locally and uploads them.
  (LocalCheckpoints(folder) if is_copied else checkpoints).finish(3, loss=None)
  assert checkpoints.find_damage(3) is None
  damage(folder / '3/params/d/1')
  for found in (checkpoints.find_damage(3), find_damage(folder / '3')):
    assert found.startswith('its file params/d/1 ')
    assert re.search(expected, found)
  checkpoints.set_aside(3)
  assert checkpoints.steps() == []
  assert 'params/manifest.ocdbt' in names(folder / 'damaged-3')


def test_a_broken_manifest(checkpoints, there):
  folder = there / 'one/checkpoints'
  write(folder, 3)
  (folder / '3' / MANIFEST).write_text('{"form')
  assert checkpoints.find_damage(3) == f'its {MANIFEST} cannot be read'
  assert checkpoints.best() is None


def test_an_unfinished_step_is_deleted(checkpoints, there):
  write(there / 'one/checkpoints', 3)
  checkpoints.set_aside(3)
  assert not names(there / 'one')


def test_a_copied_step_becomes_restorable(checkpoints, there):
  folder = there / 'one/checkpoints'
  write(folder, 3)
  checkpoints.finish(3, loss=None)
  for _ in range(2):
    checkpoints.make_restorable(3)
    assert checkpoints.find_damage(3) is None
  for part in ('.', *ITEMS):
    assert (folder / '3' / part / 'commit_success.txt').exists()


class Machine:
  """Two processes, with a cache of their own, and a bucket."""

  def __init__(self, root, url, there, corpus):
    self._environment = {
      **fake_bucket.environment(url, there),
      'IT_STUDY_CACHE': str(root / 'cache'),
      'IT_STUDY_VOCABULARY': 'byte',
    }
    self._root = root
    self._corpus = corpus

  def start(self, *commands):
    """Starts commands, one after another, in both."""
    more = (f'--gin.CORPUS={self._corpus}', '--gin.MESH_FSDP=2')
    return fakes.start_in_two_processes(
      _COMMANDS,
      *(word for command in commands for word in ('+', *command, *more)),
      folder=self._root,
      **self._environment,
    )


def training_words(model_dir):
  return (
    'train',
    *_MODEL,
    '--gin_file=runs/finetune.gin',
    f'--gin.MODEL_DIR={model_dir}',
    *('--gin.TRAIN_STEPS=6', '--gin.BATCH_SIZE=4', '--gin.LOG_PERIOD=1'),
    *('--gin.CHECKPOINT_PERIOD=2', '--gin.KEEP_CHECKPOINTS=2'),
  )


@pytest.fixture(name='machine')
def _machine(tmp_path, there):
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  with fake_bucket.serve(there) as url:
    yield lambda name: Machine(tmp_path / name, url, there, corpus)


@pytest.mark.slow
def test_two_processes_train_and_predict_in_a_bucket(
  machine, there, tmp_path, monkeypatch
):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  victims = machine('a').start(training_words('gs://bucket/runs/one/'))
  saved = there / 'runs/one/checkpoints'
  deadline = time.monotonic() + 200
  while not (saved / '2' / MANIFEST).exists():
    assert time.monotonic() < deadline
    time.sleep(0.01)
  for victim, _ in victims:
    victim.kill()
    victim.wait()
  # The metrics of a checkpoint are there before it counts.
  assert metrics_log.lines_of(there / 'runs/one/metrics.jsonl')[-1]['step'] >= 2
  # Another machine resumes once the first one's lease has expired.
  lease = there / 'runs/leases/one'
  assert lease.exists()
  lease.unlink()
  predicting = (
    'predict',
    *_MODEL,
    '--gin_file=runs/predict.gin',
    '--gin.CHECKPOINT_PATH=gs://bucket/runs/one',
    '--gin.INFER_OUTPUT_DIR=gs://bucket/answers/one',
  )
  fakes.finish(
    machine('b').start(training_words('gs://bucket/runs/one/'), predicting)
  )
  assert {path.name for path in saved.iterdir()} == {'4', '6'}
  assert not (tmp_path / 'b/cache/buckets/bucket/runs/one/checkpoints').exists()
  assert json.loads((there / 'runs/one/training.json').read_text()) != {}
  assert not lease.exists()
  # As one process on this machine trains.
  assert (
    cli.main(
      [*training_words(tmp_path / 'alone'), f'--gin.CORPUS={tmp_path}/corpus']
    )
    == 0
  )
  trained, expected = (
    metrics_log.lines_of(folder / 'metrics.jsonl')
    for folder in (there / 'runs/one', tmp_path / 'alone')
  )
  assert [line['step'] for line in trained] == list(range(1, 7))
  for line, other in zip(trained, expected, strict=True):
    assert line['loss'] == pytest.approx(other['loss'], rel=1e-5)
  rows = predictions.read_predictions(there / 'answers/one/predictions.jsonl')
  assert {row.train_condition for row in rows} == {TASK}
