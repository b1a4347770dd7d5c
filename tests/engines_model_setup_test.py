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
import t5x_fixture

from it_study import vocabularies
from it_study.convert import hf, weights
from it_study.engines import model_setup
from it_study.errors import InputError

_HF = pathlib.Path(__file__).parent / 'golden/hf_golden/v1_1'
# Where TensorStore is told of another server than Google's from the start.
_COMPLETE = """
import sys
import fakes
from it_study.engines import model_setup
config = model_setup.complete_config(
  fakes.tiny_model(), dtype='float32', weights_path=sys.argv[1])
print(config.vocab_size)
"""


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


def rows_for(path):
  return model_setup.complete_config(
    fakes.tiny_model(), dtype='float32', weights_path=path
  ).vocab_size


@pytest.fixture(name='large', scope='module')
def _large(tmp_path_factory):
  """Weights with more rows than bytes have tokens, in our format."""
  folder = tmp_path_factory.mktemp('large')
  config = hf.read_model_config(_HF)
  config = type(config)(**{**vars(config), 'vocab_size': 512})
  hf.save_params(folder / 'hf', t5x_fixture.draw(config), config=config)
  for to in ('it_study', 't5x', 't5x_orbax'):
    weights.convert(folder / 'hf', folder / to, source_format='hf', to=to)
  return folder


@pytest.mark.parametrize('name', ['hf', 'it_study', 't5x', 't5x_orbax'])
def test_a_model_has_the_rows_of_its_weights(name, large):
  assert rows_for(large / name) == 512
  # 259 bytes and special tokens.
  assert rows_for(None) == 384


def test_a_smaller_table_is_to_be_filled_up():
  assert rows_for(_HF) == 384
  assert rows_for(t5x_fixture.theirs() / t5x_fixture.MSGPACK) == 384


def test_the_record_of_a_training_tells_its_rows(tmp_path):
  record = {'model': {'vocab_size': 640}}
  (tmp_path / 'training.json').write_text(json.dumps(record))
  assert rows_for(tmp_path) == 640
  (tmp_path / 'training.json').unlink()
  with pytest.raises(InputError, match='no usable checkpoint at'):
    rows_for(tmp_path)


def test_the_rows_of_a_checkpoint_in_a_bucket_are_read_there(large):
  with fake_bucket.serve(large) as url:
    done = subprocess.run(
      [sys.executable, '-c', _COMPLETE, 'gs://bucket/t5x_orbax'],
      env={
        **os.environ,
        'PYTHONPATH': os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        'TENSORSTORE_GCS_HTTP_URL': url,
        # Neither credentials nor Google's own server to ask for them.
        'GCE_METADATA_ROOT': url.removeprefix('http://'),
      },
      capture_output=True,
      text=True,
    )
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout == '512\n'
