"""GGUF files: tensors, configuration, tokenizer, and what is refused."""

import json

import gguf
import gguf_files
from gguf_files import tensors, write
import numpy as np
import pytest
from safetensors.numpy import load_file
import tokenizers

from it_study.checkpoints.gguf import folder, reading
from it_study.checkpoints.hf import decoder_config
from it_study.data.tokens.tokenizer_vocabulary import TokenizerVocabulary
from it_study.errors import InputError
from it_study.models.decoder_only.config import DecoderConfig, Rope


def test_tensors_and_configuration_are_those_of_hugging_face(tmp_path):
  model = reading.read_gguf(write(tmp_path / 'm.gguf'))
  assert model.tensors.keys() == tensors().keys()
  for name, values in tensors().items():
    assert model.tensors[name].shape == values.shape, name
    np.testing.assert_array_equal(model.tensors[name], values, err_msg=name)
  config = DecoderConfig(**decoder_config.read_config(model.config))
  assert config == gguf_files.make_config(vocab_size=gguf_files.VOCAB)


def test_gemma_3_has_its_norms_windows_and_rotations(tmp_path):
  path = write(tmp_path / 'm.gguf', architecture='gemma3')
  model = reading.read_gguf(path)
  assert model.tensors.keys() == tensors('gemma3').keys()
  for name, values in tensors('gemma3').items():
    # llama.cpp stores 1 + weight of a norm.
    np.testing.assert_allclose(
      model.tensors[name], values, rtol=0, atol=1e-6, err_msg=name
    )
  config = DecoderConfig(**decoder_config.read_config(model.config))
  assert config == gguf_files.make_config(
    vocab_size=gguf_files.VOCAB,
    mlp_activations=('gelu', 'linear'),
    embedding_scale=True,
    norm_place='around',
    norm_offset=1.0,
    qk_norm='head',
    query_scale=gguf_files.HEAD_DIM**-0.5,
    local_rope=Rope(base=10_000.0),
    window=16,
    window_pattern=(True,),
  )


@pytest.mark.parametrize('kind', ['Q8_0', 'Q4_1', 'F16'])
def test_quantised_tensors_are_dequantised(tmp_path, kind):
  quantised = gguf.GGMLQuantizationType[kind]
  model = reading.read_gguf(write(tmp_path / 'm.gguf', quantised=quantised))
  for name, values in tensors().items():
    if values.ndim == 1:
      continue
    expected = gguf.dequantize(gguf.quantize(values, quantised), quantised)
    if 'q_proj' not in name and 'k_proj' not in name:
      np.testing.assert_array_equal(model.tensors[name], expected)
    # Rows are permuted, and quantised one by one.
    np.testing.assert_array_equal(
      np.sort(np.asarray(model.tensors[name]), axis=0),
      np.sort(expected, axis=0),
    )


def test_a_folder_is_written_with_its_tokenizer(tmp_path):
  path = folder.write_folder(write(tmp_path / 'm.gguf'), tmp_path / 'hf')
  stored = load_file(path / 'model.safetensors')
  assert stored.keys() == tensors().keys()
  config = json.loads((path / 'config.json').read_text())
  assert config['model_type'] == 'llama'
  tokenizer = tokenizers.Tokenizer.from_file(str(path / 'tokenizer.json'))
  assert tokenizer.encode('<|user|>ab a').ids == [1, 258, 259]
  assert tokenizer.decode([258, 259]) == 'ab a'
  described = json.loads((path / 'tokenizer_config.json').read_text())
  assert described['eos_token'] == '<|end|>'
  assert described['bos_token'] == '<|user|>'
  assert described['chat_template'] == "{{ messages[0]['content'] }}"
  with pytest.raises(InputError, match='is not empty; weights are written to'):
    folder.write_folder(tmp_path / 'm.gguf', path)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (
      {'architecture': 'gptneox'},
      "{path}: the architecture 'gptneox' is not supported in GGUF; supported "
      "are llama, qwen2, qwen3, gemma3. Use the model's folder in Hugging "
      "Face's format.",
    ),
    (
      {'extra': 'rope_freqs.weight'},
      "{path}: unexpected tensor 'rope_freqs.weight'. Use the model's folder "
      "in Hugging Face's format.",
    ),
  ],
)
def test_what_is_not_supported_is_named(tmp_path, settings, message):
  path = write(tmp_path / 'm.gguf', **settings)
  with pytest.raises(InputError) as error:
    reading.read_gguf(path)
  assert str(error.value) == message.format(path=path)


def test_a_tokenizer_that_is_not_supported_is_named(tmp_path):
  path = write(tmp_path / 'm.gguf', pre='smollms')
  with pytest.raises(InputError) as error:
    folder.write_folder(path, tmp_path / 'hf')
  assert str(error.value) == (
    f"{path}: the tokenizer 'gpt2' with the pre-tokenizer 'smollms' is not "
    'supported in GGUF; supported are llama, and gpt2 with smollm, qwen2, '
    "llama-bpe. Did you mean 'smollm'? Use the model's folder in Hugging "
    "Face's format."
  )
  assert not (tmp_path / 'hf').exists()


def test_a_quantisation_that_is_not_supported_is_named(tmp_path, monkeypatch):
  path = write(tmp_path / 'm.gguf')

  def refuse(data, kind):
    raise NotImplementedError(kind)

  monkeypatch.setattr(gguf, 'dequantize', refuse)
  with pytest.raises(InputError, match='is quantised as F32, which is not sup'):
    reading.read_gguf(path)


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('llama.rope.dimension_count', 4),
    ('llama.rope.scale_linear', 4.0),
    ('llama.rope.scaling.type', 'yarn'),
    ('llama.rope.scaling.factor', 4.0),
    ('llama.expert_count', 8),
    ('llama.attention.sliding_window', 8),
    ('llama.attention.scale', 0.5),
    ('llama.attention.value_length', 4),
    ('llama.logit_scale', 0.5),
  ],
)
def test_a_field_that_may_change_answers_is_refused(tmp_path, name, value):
  path = write(tmp_path / 'm.gguf', fields={name: value})
  with pytest.raises(InputError) as error:
    reading.read_gguf(path)
  assert str(error.value) == (
    f'{path}: {name} is {value!r}, which may change answers and is not '
    "supported in GGUF. Use the model's folder in Hugging Face's format."
  )


def test_fields_without_effect_are_accepted(tmp_path):
  fields = {
    'llama.rope.dimension_count': gguf_files.HEAD_DIM,
    'llama.attention.key_length': gguf_files.HEAD_DIM,
    'llama.vocab_size': gguf_files.VOCAB,
    'llama.expert_count': 0,
    'llama.rope.scaling.type': 'none',
  }
  one = reading.read_gguf(write(tmp_path / 'a.gguf', fields=fields))
  other = reading.read_gguf(write(tmp_path / 'b.gguf'))
  assert one.config == other.config


def test_a_part_of_a_model_is_refused(tmp_path):
  path = write(tmp_path / 'm-00001-of-00003.gguf', fields={'split.count': 3})
  with pytest.raises(InputError) as error:
    reading.read_gguf(path)
  assert str(error.value) == (
    f'{path}: one of 3 files that hold the model. Join them with '
    'llama-gguf-split --merge.'
  )


@pytest.mark.parametrize(
  ('pre', 'fields', 'bos_token'),
  [
    ('smollm', {}, None),
    ('smollm', {'tokenizer.ggml.add_bos_token': True}, '<|user|>'),
    ('llama-bpe', {}, '<|user|>'),
    ('llama-bpe', {'tokenizer.ggml.add_bos_token': False}, None),
  ],
)
def test_texts_begin_as_in_llama_cpp(tmp_path, pre, fields, bos_token):
  path = write(tmp_path / 'm.gguf', pre=pre, fields=fields)
  vocabulary = TokenizerVocabulary(folder.write_folder(path, tmp_path / 'hf'))
  assert vocabulary.bos_token == bos_token


def test_tokens_that_end_a_turn_are_kept(tmp_path):
  path = write(tmp_path / 'm.gguf', fields={'tokenizer.ggml.eot_token_id': 1})
  vocabulary = TokenizerVocabulary(folder.write_folder(path, tmp_path / 'hf'))
  assert vocabulary.eos_id == 0
  assert vocabulary.other_end_ids == (1,)


@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
  path = write(tmp_path / 'm.gguf')
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  with pytest.raises(InputError) as error:
    folder.write_folder(path, tmp_path / 'hf')
  assert str(error.value).startswith(f'{path}: not a GGUF file, or a truncated')
  assert str(error.value).endswith('Download it again.')


def test_a_vocabulary_without_weights_is_refused(tmp_path):
  path = write(tmp_path / 'm.gguf', without='weights')
  with pytest.raises(InputError) as error:
    reading.read_gguf(path)
  assert str(error.value) == (
    f'{path}: the tensor token_embd.weight is missing. A file that holds a '
    'vocabulary alone has no weights; name the one that has them.'
  )


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match=r'gone.gguf: cannot be read: No such'):
    reading.read_gguf(tmp_path / 'gone.gguf')
