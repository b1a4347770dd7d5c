"""Tests of Hugging Face folders whose files contradict each other or us."""

import json
import pathlib
import re
import shutil

import gguf_files
import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from it_study.checkpoints import weights
from it_study.checkpoints.gguf import folder as gguf_folder
from it_study.checkpoints.hf import params as hf
from it_study.errors import InputError

_GOLDEN = pathlib.Path(__file__).parents[2] / 'golden/hf_golden'
_FILE = 'model.safetensors'
_INDEX = 'model.safetensors.index.json'
_TABLES = (
  'shared.weight',
  'encoder.embed_tokens.weight',
  'decoder.embed_tokens.weight',
)


@pytest.fixture(name='folder')
def _folder(tmp_path):
  """A copy that a test may change."""
  return shutil.copytree(_GOLDEN / 'v1_1', tmp_path / 'hf')


def change_tensors(folder, change):
  """Changes the dict of tensors in a folder's weights."""
  tensors = safetensors_numpy.load_file(folder / _FILE)
  change(tensors)
  safetensors_numpy.save_file(tensors, folder / _FILE, {'format': 'pt'})


def change_config(folder, **changes):
  path = folder / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def open_folder(folder):
  """Returns the embedding table and the head, as they are read."""
  config = hf.read_model_config(folder)
  with hf.open_params(
    folder, config=config, target=weights._abstract(config)
  ) as params:
    return (
      np.asarray(params['token_embedder']['embedding']),
      np.asarray(params['decoder']['logits_dense']['kernel']),
    )


def refusal_of(folder):
  with pytest.raises(InputError) as caught:
    open_folder(folder)
  return str(caught.value).removeprefix(str(folder))


@pytest.mark.parametrize('has_shards', [False, True])
def test_a_single_file_is_preferred_to_an_index(folder, has_shards, caplog):
  table, _ = open_folder(folder)
  tensors = safetensors_numpy.load_file(folder / _FILE)
  shard = 'model-00001-of-00001.safetensors'
  index = {'weight_map': dict.fromkeys(tensors, shard)}
  (folder / _INDEX).write_text(json.dumps(index))
  if has_shards:
    old = {name: value + 1 for name, value in tensors.items()}
    safetensors_numpy.save_file(old, folder / shard)
  np.testing.assert_array_equal(open_folder(folder)[0], table)
  assert caplog.messages == [
    f'{folder}: both {_FILE} and {_INDEX} are there; the first is read.'
  ]
  if has_shards:
    (folder / _FILE).unlink()
    np.testing.assert_array_equal(open_folder(folder)[0], table + 1)


@pytest.mark.parametrize('stored', [_TABLES[:1], _TABLES[1:2], _TABLES[2:]])
def test_the_table_is_read_under_any_of_its_names(folder, stored):
  table, head = open_folder(folder)

  def rename(tensors):
    value = tensors.pop(_TABLES[0])
    tensors |= dict.fromkeys(stored, value)

  change_tensors(folder, rename)
  found = open_folder(folder)
  np.testing.assert_array_equal(found[0], table)
  np.testing.assert_array_equal(found[1], head)
  # Without a head, the table stands for it.
  change_tensors(folder, lambda tensors: tensors.pop('lm_head.weight'))
  np.testing.assert_array_equal(open_folder(folder)[1], table.T)


def test_a_missing_table_is_reported_by_its_first_name(folder):
  change_tensors(folder, lambda tensors: tensors.pop(_TABLES[0]))
  assert refusal_of(folder) == (
    ' does not fit the model: missing tensors: shared.weight; unexpected '
    'tensors: none.'
  )


@pytest.mark.parametrize('name', _TABLES[1:])
def test_tables_that_differ_are_refused(folder, name):
  def add(tensors):
    tensors[name] = tensors[_TABLES[0]].copy()

  change_tensors(folder, add)
  open_folder(folder)

  def alter(tensors):
    tensors[name][3, 5] += 1

  change_tensors(folder, alter)
  assert refusal_of(folder) == (
    f': {name} differs from shared.weight, although the encoder and the '
    'decoder of a T5 share one table. Use other weights.'
  )


def test_tables_of_another_size_than_the_configuration_are_refused(folder):
  change_config(folder, vocab_size=128)
  assert refusal_of(folder) == (
    ': shared.weight has 96 rows, but vocab_size is 128 in config.json. Fix '
    'config.json, or download the folder again.'
  )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'dense_act_fn': 'silu'},
      "dense_act_fn must be 'gelu_new' beside feed_forward_proj 'gated-gelu', "
      "got 'silu'.",
    ),
    (
      {'is_gated_act': False},
      "is_gated_act must be True beside feed_forward_proj 'gated-gelu', got "
      'False.',
    ),
    (
      {'decoder_start_token_id': 5},
      'decoder_start_token_id must be 0, got 5.',
    ),
    ({'eos_token_id': [1, 2]}, 'eos_token_id must be 1, got [1, 2].'),
    (
      {'tie_word_embeddings': 'false'},
      "tie_word_embeddings must be true or false, got 'false'.",
    ),
    (
      {'feed_forward_proj': ['relu']},
      "feed_forward_proj must be a text, got ['relu'].",
    ),
    ({'pad_token_id': 3}, 'pad_token_id must be 0, got 3.'),
    ({'tie_encoder_decoder': True}, 'tie_encoder_decoder must be False, got '),
    (
      {'scale_decoder_output': True, 'zeta': 2},
      'unknown fields, which may change the answers: scale_decoder_output, '
      "zeta. Did you mean 'scale_decoder_outputs'? Remove those that do not.",
    ),
  ],
)
def test_fields_that_change_answers_are_refused(folder, changes, message):
  change_config(folder, **changes)
  with pytest.raises(
    InputError, match=re.escape(f'{folder}/config.json: {message}')
  ):
    hf.read_model_config(folder)


def test_token_ids_for_generation_are_checked(folder):
  path = folder / 'generation_config.json'
  path.write_text(json.dumps({'eos_token_id': [1], 'num_beams': 4}))
  hf.read_model_config(folder)
  path.write_text(json.dumps({'decoder_start_token_id': 5}))
  with pytest.raises(InputError) as caught:
    hf.read_model_config(folder)
  assert str(caught.value) == (
    f'{path}: decoder_start_token_id must be 0, got 5.'
  )


def test_fields_without_effect_pass(folder):
  expected = hf.read_model_config(folder)
  change_config(
    folder,
    # As transformers 4 wrote for t5-small, and what trainers and hubs add.
    n_positions=512,
    output_past=True,
    task_specific_params={'summarization': {'num_beams': 4}},
    torch_dtype='bfloat16',
    eos_token_id=[1],
    decoder_start_token_id=0,
    gradient_checkpointing=False,
    max_length=20,
    quantization_config=None,
    _name_or_path='google/t5-v1_1-small',
    _attn_implementation_autoset=True,
  )
  assert hf.read_model_config(folder) == expected


def test_a_decoder_only_model_needs_the_head_that_is_not_tied(tmp_path):
  source = gguf_files.write(tmp_path / 'm.gguf')
  folder = gguf_folder.write_folder(source, tmp_path / 'hf')
  config = hf.read_model_config(folder)
  with hf.open_params(folder, config=config, target=weights._abstract(config)):
    pass
  change_config(folder, tie_word_embeddings=False)
  config = hf.read_model_config(folder)
  with (
    pytest.raises(InputError) as caught,
    hf.open_params(folder, config=config, target=weights._abstract(config)),
  ):
    pass
  assert str(caught.value) == (
    f'{folder} does not fit the model: missing tensors: lm_head.weight; '
    'unexpected tensors: none.'
  )
