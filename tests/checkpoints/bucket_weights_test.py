"""Tests of weights that are copied from a bucket."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import fake_bucket
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import t5x_fixture

from it_study.checkpoints import manager, weights_source
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.step_folders import LocalCheckpoints

_GOLDEN = pathlib.Path(__file__).parents[1] / 'golden/hf_golden'
# In a process of its own, since TensorStore reads the server's address once.
_RESOLVE = """
import json, logging, sys
logging.basicConfig()
from it_study.checkpoints import weights_source
from it_study.errors import InputError
found = []
for path in sys.argv[1:]:
  try:
    found.append(str(weights_source.resolve(path).path))
  except InputError as error:
    found.append(str(error))
print(json.dumps(found))
"""


class Bucket:
  """A folder that a separate process sees as gs://bucket."""

  def __init__(self, root):
    self.files = root / 'bucket'
    self.cache = root / 'cache'
    self.asked = []

  def resolve(self, *paths):
    """Returns each path's copy, or its error; and the warnings, by line."""
    self.asked.clear()
    with fake_bucket.serve(self.files, requests=self.asked) as url:
      done = subprocess.run(
        [sys.executable, '-c', _RESOLVE, *paths],
        env={
          **os.environ,
          'IT_STUDY_CACHE': str(self.cache),
          **fake_bucket.environment(url, self.files),
        },
        capture_output=True,
        text=True,
      )
    assert done.returncode == 0, done.stderr
    told = re.compile(r'WARNING:it_study\.[\w.]+:')
    return json.loads(done.stdout), [
      told.sub('', line)
      for line in done.stderr.splitlines()
      if told.match(line)
    ]

  def copied(self, name):
    return str(self.cache / 'buckets-read/bucket' / name)


@pytest.fixture(name='bucket')
def _bucket(tmp_path):
  return Bucket(tmp_path)


def train(folder, losses):
  """A training that saved at steps 1, 2, …."""
  saved = manager.Checkpoints(LocalCheckpoints(folder / 'checkpoints'), keep=9)
  for step, loss in enumerate(losses, start=1):
    params = {'scale': jnp.full(3, step, jnp.float32)}
    saved.save(
      step=step,
      params=params,
      opt_state=optax.sgd(1.0).init(params),
      metadata={},
      loss=loss,
    )
  saved.close()
  (folder / 'training.json').write_text('{"seed": 3}')
  (folder / 'config.gin').write_text('SEED = 3')


def test_a_hugging_face_folder_is_copied_once(bucket):
  there = shutil.copytree(_GOLDEN / 'v1_1', bucket.files / 'a/model')
  (there / 'tf_model.h5').write_bytes(b'not read')
  (there / 'spiece.model').write_bytes(b'pieces')
  (local, again), lines = bucket.resolve('gs://bucket/a/model/', local_of(4))
  assert local == bucket.copied('a/model')
  assert again == local_of(4)
  (line,) = lines
  assert line.startswith('gs://bucket/a/model: copying 0.1 MB to ')
  copied = {path.name for path in pathlib.Path(local).iterdir()}
  assert copied == {'config.json', 'model.safetensors', 'spiece.model'}
  for name in copied:
    assert (there / name).read_bytes() == pathlib.Path(local, name).read_bytes()
  # Only changed files are downloaded again.
  assert bucket.resolve('gs://bucket/a/model') == ([local], [])
  assert not bucket.asked
  (there / 'config.json').write_text('{}')
  (there / 'spiece.model').unlink()
  assert bucket.resolve('gs://bucket/a/model') == ([local], [])
  assert bucket.asked == ['a/model/config.json']
  assert pathlib.Path(local, 'config.json').read_text() == '{}'
  assert not pathlib.Path(local, 'spiece.model').exists()


def local_of(number):
  return f'/weights/{number}'


def test_a_training_of_ours_is_copied_with_its_layout(bucket):
  train(bucket.files / 'runs/one', losses=(0.5, 0.25, 0.75))
  newest, best, second, lost = bucket.resolve(
    'gs://bucket/runs/one',
    'gs://bucket/runs/one/best',
    'gs://bucket/runs/one/checkpoints/2',
    'gs://bucket/runs/one/checkpoints/4',
  )[0]
  assert newest == bucket.copied('runs/one/checkpoints/3')
  assert best == second == bucket.copied('runs/one/checkpoints/2')
  for path, step in ((newest, 3), (best, 2)):
    scale = manager.restore_params(path)['scale']
    np.testing.assert_array_equal(scale, np.full(3, step, np.float32))
    folder = pathlib.Path(path).parents[1]
    assert json.loads((folder / 'training.json').read_text()) == {'seed': 3}
    assert (folder / 'config.gin').read_text() == 'SEED = 3'
  assert lost == (
    'gs://bucket/runs/one/checkpoints/4: no weights found: neither a '
    'config.json with model.safetensors, nor a T5X checkpoint, nor a finished '
    'checkpoint of ours. Name another folder.'
  )


def test_a_damaged_checkpoint_in_a_bucket_is_passed_over(bucket):
  folder = bucket.files / 'runs/one'
  train(folder, losses=(None, None))
  newest = folder / 'checkpoints/2'
  file = newest / 'params/manifest.ocdbt'
  file.write_bytes(file.read_bytes()[:-1])
  (local, best, named), lines = bucket.resolve(
    'gs://bucket/runs/one',
    'gs://bucket/runs/one/best',
    'gs://bucket/runs/one/checkpoints/2',
  )
  assert local == bucket.copied('runs/one/checkpoints/1')
  told = [line for line in lines if 'is not used' in line]
  assert len(told) == 1
  assert told[0].startswith(
    'checkpoint gs://bucket/runs/one/checkpoints/2 is not used: its file '
  )
  assert best.startswith(
    'no best checkpoint in gs://bucket/runs/one/checkpoints: none has a loss.'
  )
  assert named.startswith(
    'checkpoint gs://bucket/runs/one/checkpoints/2 cannot be used: its file '
  )
  shutil.rmtree(folder / 'checkpoints/1')
  (nothing,), _ = bucket.resolve('gs://bucket/runs/one')
  assert nothing.startswith(
    'gs://bucket/runs/one/checkpoints: no usable checkpoint; see'
  )


def test_t5x_checkpoints_are_not_copied(tmp_path):
  bucket = Bucket(tmp_path)
  bucket.files = t5x_fixture.theirs()
  path = 'gs://bucket/v1_1_orbax'
  assert bucket.resolve(path) == ([path], [])
  assert not (tmp_path / 'cache/buckets-read/bucket').exists()


def test_local_paths_and_none_pass_through(tmp_path):
  assert weights_source.resolve(None) is None
  assert weights_source.resolve(str(tmp_path)).path.local == tmp_path


def test_only_files_of_the_better_format_are_read():
  names = {
    'config.json',
    'model.safetensors.index.json',
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'pytorch_model.bin',
    'README.md',
  }
  assert hf.has_weights(names)
  assert hf.files_read(names) == sorted(
    names - {'README.md', 'pytorch_model.bin'}
  )
  # The single file is read, an index of shards beside it is not.
  torch = {'pytorch_model.bin.index.json', 'pytorch_model-1.bin', 'a.bin'}
  read = ['added_tokens.json', 'config.json', 'pytorch_model.bin']
  assert hf.files_read(torch | {*read}) == read
  assert not hf.has_weights({'config.json', 'tf_model.h5'})
  assert not hf.has_weights({'model.safetensors'})
