"""Tests of the model that is made for a vocabulary and a device."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import fake_bucket
import fakes
import gguf_files
import jax
import pytest
import t5x_fixture
import vocabularies_fixture

from it_study.checkpoints import manager, weights, weights_source
from it_study.checkpoints.gguf import folder as gguf_folder
from it_study.checkpoints.hf import params
from it_study.data import vocabularies
from it_study.engines import model_setup
from it_study.errors import InputError
from it_study.models.config import T5Config
from it_study.models.decoder_only.config import DecoderConfig

_HF = pathlib.Path(__file__).parents[1] / 'golden/hf_golden/v1_1'
_COMPLETE = """
import sys
import fakes
from it_study.checkpoints import weights_source
from it_study.engines import model_setup
config = model_setup.complete_config(
  fakes.tiny_model(),
  dtype='float32',
  source=weights_source.resolve(sys.argv[1]))
print(config.vocab_size)
"""
_TELL = """
import json, sys
from it_study.checkpoints import weights_source
from it_study.engines import model_setup
from it_study.errors import InputError
paths = [f'gs://bucket/{name}' for name in sys.argv[1:]]
found = [weights_source.training_of(path) for path in paths]
try:
  model_setup.check_weights(
    weights_source.resolve('gs://bucket/run/checkpoint_20'))
except InputError as error:
  found.append(str(error))
print(json.dumps(found))
"""
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


@pytest.fixture(autouse=True)
def _use_bytes(monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')


_SIZES = {'vocab_size': 8, 'emb_dim': 4, 'num_heads': 2, 'head_dim': 4}
_T5 = T5Config(**_SIZES, mlp_dim=16, num_encoder_layers=1, num_decoder_layers=1)
_DECODER = DecoderConfig(**_SIZES, num_kv_heads=1, mlp_dim=16, num_layers=1)


@pytest.mark.parametrize(
  ('config', 'name'),
  [
    (config, field.name)
    for config in (_T5, _DECODER)
    for field in dataclasses.fields(config)
    if field.type in ('int', int)
    # It has no parameters; and one that must divide another.
    and field.name not in ('relative_attention_max_distance', 'num_kv_heads')
  ],
)
def test_a_model_that_no_memory_holds_is_refused(config, name):
  model_setup.check_memory(config)
  with pytest.raises(InputError, match=f'{name} 10,000,000,000[,.].*Lower a s'):
    model_setup.check_memory(dataclasses.replace(config, **{name: 10**10}))


def test_what_does_not_fit_is_said(monkeypatch):
  # 8 x 4 rows, 2 layers of 4 x (4 x 8 + 3 x 16) and 2 x 32 x 2 positions.
  sizes = {'SC_PHYS_PAGES': 4, 'SC_PAGE_SIZE': 800}
  monkeypatch.setattr(os, 'sysconf', sizes.get)
  model_setup.check_memory(_T5)
  sizes['SC_PAGE_SIZE'] = 799
  with pytest.raises(InputError) as error:
    model_setup.check_memory(_T5)
  assert str(error.value) == (
    'the model has at least 800 parameters, 0 GiB in float32, and the devices '
    'here have 0 GiB: vocab_size 8, emb_dim 4, num_heads 2, head_dim 4, '
    'mlp_dim 16, num_encoder_layers 1, num_decoder_layers 1, '
    'relative_attention_num_buckets 32, relative_attention_max_distance 128. '
    'Lower a size in T5Config, or use more devices.'
  )


def test_texts_beyond_the_length_of_a_model_are_warned_of(tmp_path, caplog):
  path = gguf_folder.write_folder(
    gguf_files.write(tmp_path / 'm.gguf'), tmp_path / 'hf'
  )
  source = weights_source.resolve(path)
  model_setup.warn_of_long_texts(source, [3, 120], max_answer=8)
  assert not caplog.messages
  model_setup.warn_of_long_texts(source, [120, 121, 127, 3], max_answer=8)
  assert caplog.messages == [
    f'{path}: 2 of 4 prompts with their answers may exceed the 128 tokens that '
    'the model was made for (max_position_embeddings), beyond which its '
    'answers mean nothing. Lower TASK_FEATURE_LENGTHS.'
  ]
  caplog.clear()
  # A T5 was made for any length.
  t5 = weights_source.resolve(_HF)
  model_setup.warn_of_long_texts(t5, [10**6], max_answer=8)
  assert not caplog.messages


def test_products_are_in_bfloat16_where_the_device_has_it(monkeypatch):
  config = model_setup.complete_config(fakes.tiny_model(), dtype='auto')
  assert config.dtype == 'float32'
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  config = model_setup.complete_config(fakes.tiny_model(), dtype='auto')
  assert config.dtype == 'bfloat16'
  config = model_setup.complete_config(fakes.tiny_model(), dtype='float32')
  assert config.dtype == 'float32'


def run_beside_a_bucket(folder, program, *words):
  """Runs a program for which `gs://bucket` is a folder."""
  with fake_bucket.serve(folder) as url:
    return subprocess.run(
      [sys.executable, '-c', program, *words],
      env={
        **os.environ,
        'PYTHONPATH': os.pathsep.join(sys.path),
        **fake_bucket.environment(url, folder),
      },
      capture_output=True,
      text=True,
      check=False,
    )


def rows_for(path):
  return model_setup.complete_config(
    fakes.tiny_model(), dtype='float32', source=weights_source.resolve(path)
  ).vocab_size


@pytest.fixture(name='large', scope='module')
def _large(tmp_path_factory):
  """Weights in our format, with more rows than there are byte tokens."""
  folder = tmp_path_factory.mktemp('large')
  config = params.read_model_config(_HF)
  config = type(config)(**{**vars(config), 'vocab_size': 512})
  params.save_params(folder / 'hf', t5x_fixture.draw(config), config=config)
  for to in ('it_study', 't5x', 't5x_orbax'):
    weights.convert(folder / 'hf', folder / to, source_format='hf', to=to)
  return folder


@pytest.mark.parametrize('name', ['hf', 'it_study', 't5x', 't5x_orbax'])
def test_a_model_has_as_many_rows_as_its_weights(name, large):
  assert rows_for(large / name) == 512
  # 259 bytes and special tokens.
  assert rows_for(None) == 384


@pytest.mark.parametrize(
  'path', [_HF, t5x_fixture.theirs() / t5x_fixture.MSGPACK]
)
def test_a_table_smaller_than_the_vocabulary_is_refused(path):
  rows = weights.vocabulary_rows(weights_source.resolve(path))
  assert rows < 259
  with pytest.raises(InputError) as caught:
    rows_for(path)
  assert str(caught.value) == (
    f'{path}: its embedding table has {rows} rows, but the vocabulary in use '
    'has 259 tokens: byte, 259 tokens, SHA-256 0b908701b385. Set '
    'IT_STUDY_VOCABULARY to the one it was made with.'
  )


def test_a_table_may_lack_rows_for_sentinels(tmp_path, monkeypatch):
  own = vocabularies_fixture.write_model(tmp_path / 'own.model')
  size = len(vocabularies.pieces_of(own))
  sentinels = [f'<extra_id_{k}>' for k in range(200)]
  path = vocabularies_fixture.add_pieces(tmp_path / 'm', own, sentinels)
  monkeypatch.setenv(vocabularies.VARIABLE, str(path))
  assert size < 96 < size + 200 <= 256
  assert rows_for(_HF) == 256


def copy_with(tmp_path, **files):
  """Returns a copy of the golden folder with further JSON files."""
  folder = shutil.copytree(_HF, tmp_path / 'hf')
  for name, content in files.items():
    (folder / f'{name}.json').write_text(json.dumps(content))
  return folder


@pytest.mark.parametrize(
  'files',
  [
    {'added_tokens': {'<extra_id_0>': 259, '{': 260, '\n': 261}},
    {
      'tokenizer_config': {
        'added_tokens_decoder': {
          '0': {'content': '<pad>'},
          '260': {'content': '{'},
          '261': {'content': '\n'},
        }
      }
    },
    {
      'tokenizer_config': {},
      'added_tokens': {'{': 260},
      'tokenizer': {
        'added_tokens': [{'id': 261, 'content': '\n'}],
        'model': {'vocab': []},
      },
    },
  ],
)
def test_added_tokens_are_refused(files, tmp_path):
  folder = copy_with(tmp_path, **files)
  with pytest.raises(InputError) as caught:
    model_setup.check_weights(weights_source.resolve(folder))
  order = ('added_tokens', 'tokenizer_config', 'tokenizer')
  names = ' and '.join(f'{name}.json' for name in order if name in files)
  assert str(caught.value) == (
    f'{folder}: its tokenizer has 2 tokens that the vocabulary in use lacks: '
    "['{', '\\n']. Set IT_STUDY_VOCABULARY to a SentencePiece model with these "
    'tokens and ids; or, if prompts and answers do without them, remove them '
    f'from {names}.'
  )


@pytest.mark.parametrize('pieces', ['list', 'object'])
def test_another_vocabulary_in_tokenizer_json_is_refused(
  pieces, tmp_path, monkeypatch
):
  model = vocabularies_fixture.write_model(tmp_path / 'own.model')
  own = vocabularies.pieces_of(model)

  def folder_of(name, names):
    vocab = [[piece, -1.0] for piece in names]
    if pieces == 'object':
      vocab = {piece: key for key, piece in enumerate(names)}
    (tmp_path / name).mkdir()
    return copy_with(tmp_path / name, tokenizer={'model': {'vocab': vocab}})

  monkeypatch.setenv(vocabularies.VARIABLE, str(model))
  same = folder_of('same', [*own, '<extra_id_0>'])
  model_setup.check_weights(weights_source.resolve(same))
  other = folder_of('other', [*own[:5], '{', *own[6:]])
  with pytest.raises(InputError) as caught:
    model_setup.check_weights(weights_source.resolve(other))
  assert str(caught.value) == (
    f'{other}/tokenizer.json differs from the vocabulary in use, '
    f'{vocabularies.describe()}. Set IT_STUDY_VOCABULARY to the SentencePiece '
    'model that it was made from.'
  )
  # The model file decides where both are there.
  shutil.copy(model, other / 'spiece.model')
  model_setup.check_weights(weights_source.resolve(other))
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  with pytest.raises(
    InputError, match=r'spiece\.model differs from the vocabulary in use, byte'
  ):
    model_setup.check_weights(weights_source.resolve(other))


@pytest.mark.parametrize(
  'content', [{'model': 1}, {'model': {'vocab': ['a']}}, {}]
)
def test_a_damaged_tokenizer_is_named(content, tmp_path):
  folder = copy_with(tmp_path, tokenizer=content)
  with pytest.raises(InputError) as caught:
    model_setup.check_weights(weights_source.resolve(folder))
  assert str(caught.value) == (
    f'{folder}/tokenizer.json: not a tokenizer of Hugging Face; it may be '
    'damaged. Download it again.'
  )


def test_rows_are_read_from_the_record_of_a_training(tmp_path):
  record = {'model': {'vocab_size': 640}}
  (tmp_path / 'training.json').write_text(json.dumps(record))
  assert rows_for(tmp_path) == 640
  (tmp_path / 'training.json').unlink()
  with pytest.raises(InputError, match='no usable checkpoint at'):
    rows_for(tmp_path)


def test_rows_of_a_checkpoint_in_a_bucket_are_read_in_place(large):
  done = run_beside_a_bucket(large, _COMPLETE, 'gs://bucket/t5x_orbax')
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout == '512\n'


def write_record(folder):
  """The record of a training whose folder also holds other weights."""
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
    assert weights_source.training_of(path) == record, path
  assert weights_source.training_of(tmp_path / 'newest') == record
  for name in FOREIGN:
    assert weights_source.training_of(tmp_path / name) == {}, name
  config = model_setup.complete_config(
    fakes.tiny_model(),
    dtype='float32',
    source=weights_source.resolve(tmp_path / 'run/checkpoint_20'),
  )
  assert config.vocab_size == 512


def test_an_older_checkpoint_does_not_stand_in_for_the_last(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(manager, 'find_damage', lambda path: None)
  path = tmp_path / 'run'
  (path / 'checkpoints/20/params').mkdir(parents=True)
  (path / 'training.json').write_text('{"train_steps": 20}')
  training = model_setup.check_weights(weights_source.resolve(path))
  assert training == {'train_steps': 20}
  (path / 'checkpoints/20').rename(path / 'checkpoints/10')
  for name in ('', 'checkpoints'):
    with pytest.raises(InputError) as error:
      model_setup.check_weights(weights_source.resolve(path / name))
    assert str(error.value) == (
      f'{path / name} was trained for 20 steps, but its newest intact '
      'checkpoint is of step 10. Train again with the same settings; in a '
      'study, remove DONE from the folder of the training first. To use that '
      f'checkpoint as it is, name {path}/checkpoints/10.'
    )
  # Whoever names it means it.
  model_setup.check_weights(weights_source.resolve(path / 'checkpoints/10'))


def test_a_training_in_a_bucket_has_its_record(tmp_path):
  record = write_record(tmp_path)
  done = run_beside_a_bucket(tmp_path, _TELL, *OWN, *FOREIGN)
  assert done.returncode == 0, done.stderr[-3000:]
  *found, error = json.loads(done.stdout)
  assert found == [record] * len(OWN) + [{}] * len(FOREIGN)
  assert error == (
    'gs://bucket/run/checkpoint_20 was trained with the vocabulary another; in '
    f'use is {vocabularies.describe()}. Set IT_STUDY_VOCABULARY to the one it '
    'was trained with.'
  )
