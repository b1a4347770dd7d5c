"""Tests of the model that is made for a vocabulary and a device."""

import json
import os
import pathlib
import subprocess
import sys

import fake_bucket
import fakes
import jax
import pytest

from it_study import vocabularies
from it_study.engines import model_setup


@pytest.fixture(autouse=True)
def _use_bytes(monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')


def test_products_are_in_bfloat16_where_the_device_has_it(monkeypatch):
  config = model_setup.complete_config(fakes.tiny_model(), dtype='auto')
  assert config.dtype == 'float32'
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  config = model_setup.complete_config(fakes.tiny_model(), dtype='auto')
  assert config.dtype == 'bfloat16'
  config = model_setup.complete_config(fakes.tiny_model(), dtype='float32')
  assert config.dtype == 'float32'


OWN = (
  'run',
  'run/best',
  'run/best/checkpoint_6',
  'run/checkpoint_20',
  'run/checkpoints',
  'run/checkpoints/20',
)
FOREIGN = (
  'run/lm_adapted',
  'run/lm_adapted/checkpoint_20',
  'run/lm_adapted/checkpoints',
  'run/lm_adapted/checkpoints/20',
  'run/checkpoints/20/params',
  'other',
)
# Where TensorStore is told of another server than Google's from the start.
_FROM_A_BUCKET = """
import json, sys
from it_study.engines import model_setup
from it_study.errors import InputError
paths = [f'gs://bucket/{name}' for name in sys.argv[1:]]
found = [model_setup.training_of(path) for path in paths]
try:
  model_setup.check_weights('gs://bucket/run/checkpoint_20')
except InputError as error:
  found.append(str(error))
print(json.dumps(found))
"""


def write_record(folder):
  """A training's, in whose folder weights from elsewhere lie too."""
  record = {
    'mixture_or_task_name': fakes.NAME,
    'seed': 3,
    'vocabulary': 'another',
    'vocabulary_sha256': '0',
    'model': {'vocab_size': 512},
  }
  for name in OWN + FOREIGN:
    (folder / name).mkdir(parents=True, exist_ok=True)
  (folder / 'run/training.json').write_text(json.dumps(record))
  return record


def test_a_checkpoint_has_the_record_of_its_own_training(tmp_path, monkeypatch):
  record = write_record(tmp_path)
  (tmp_path / 'newest').symlink_to('run/checkpoint_20')
  monkeypatch.chdir(tmp_path / 'run')
  for path in (*(tmp_path / name for name in OWN), 'checkpoint_20', '.'):
    assert model_setup.training_of(path) == record, path
  assert model_setup.training_of(tmp_path / 'newest') == record
  for name in FOREIGN:
    assert model_setup.training_of(tmp_path / name) == {}, name
  config = model_setup.complete_config(
    fakes.tiny_model(),
    dtype='float32',
    weights_path=tmp_path / 'run/checkpoint_20',
  )
  assert config.vocab_size == 512


def test_a_training_in_a_bucket_has_its_record(tmp_path):
  record = write_record(tmp_path)
  with fake_bucket.serve(tmp_path) as url:
    done = subprocess.run(
      [sys.executable, '-c', _FROM_A_BUCKET, *OWN, *FOREIGN],
      env={
        **os.environ,
        'TENSORSTORE_GCS_HTTP_URL': url,
        # Neither credentials nor Google's own server to ask for them.
        'GCE_METADATA_ROOT': url.removeprefix('http://'),
        'PYTHONPATH': os.pathsep.join(
          (str(pathlib.Path(__file__).parent), os.environ.get('PYTHONPATH', ''))
        ),
      },
      capture_output=True,
      text=True,
    )
  assert done.returncode == 0, done.stderr
  *found, error = json.loads(done.stdout)
  assert found == [record] * len(OWN) + [{}] * len(FOREIGN)
  assert error == (
    'gs://bucket/run/checkpoint_20 was trained with the vocabulary another; in '
    'use is bytes. Name the one it was trained with by IT_STUDY_VOCABULARY.'
  )
