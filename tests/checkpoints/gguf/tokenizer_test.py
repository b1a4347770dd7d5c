"""Tests of it_study.checkpoints.gguf.tokenizer: LLaMA's SentencePiece model."""

import json

import llama_models
import pytest
from sentencepiece import sentencepiece_model_pb2

from it_study.checkpoints.gguf import tokenizer
from it_study.data.tokens import prompt_formats
from it_study.data.tokens.tokenizer_vocabulary import TokenizerVocabulary
from it_study.errors import InputError

CHAT = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]"


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  path = tmp_path_factory.mktemp('llama') / 'tokenizer.model'
  return llama_models.with_spaces(llama_models.train(path))


@pytest.fixture(name='fields')
def _fields(model):
  """As llama.cpp's conversion writes them, with a token that was added."""
  proto = sentencepiece_model_pb2.ModelProto.FromString(model)
  return {
    'ggml.model': 'llama',
    'ggml.pre': 'default',
    'ggml.tokens': [*(piece.piece for piece in proto.pieces), '[STEP]'],
    'ggml.scores': [*(piece.score for piece in proto.pieces), -1000.0],
    'ggml.token_type': [*(piece.type for piece in proto.pieces), 4],
    'ggml.eos_token_id': 2,
    'chat_template': CHAT,
  }


def read(fields, folder):
  folder.mkdir()
  files = tokenizer.tokenizer_files(fields, source='m.gguf')
  for name, text in files.items():
    (folder / name).write_text(text)
  return TokenizerVocabulary(folder)


def test_texts_have_the_tokens_of_sentencepiece(fields, model, tmp_path):
  vocabulary = read(fields, tmp_path / 'hf')
  theirs = llama_models.reference(model)
  for text in llama_models.PROMPTS:
    tokens = theirs.encode(text)
    assert vocabulary.encode(text) == tokens
    assert vocabulary.decode(tokens) == theirs.decode(tokens)
  assert vocabulary.bos_token == '<s>'
  assert vocabulary.eos_id == 2
  assert vocabulary.control_tokens == {0: '<unk>', 1: '<s>', 2: '</s>'}
  # A token that was added is matched in a text, and SentencePiece puts a space
  # before what follows.
  expected = [*theirs.encode('a '), 420, *theirs.encode('b')]
  assert vocabulary.encode('a [STEP]b') == expected


def test_a_conversation_has_a_space_after_its_first_token(
  fields, model, tmp_path
):
  vocabulary = read(fields, tmp_path / 'hf')
  chat = prompt_formats.make_format('chat', vocabulary).apply('The cat.')
  expected = llama_models.reference(model).encode('[INST] The cat. [/INST]')
  assert vocabulary.encode(chat) == [1, *expected]


def test_fields_say_what_is_put_before_texts(fields, model, tmp_path):
  fields['ggml.add_bos_token'] = False
  fields['ggml.add_space_prefix'] = False
  fields['ggml.padding_token_id'] = 421
  vocabulary = read(fields, tmp_path / 'hf')
  assert vocabulary.bos_token is None
  assert not vocabulary.pads_texts
  spaced = llama_models.reference(model).encode('The cat.')
  assert vocabulary.encode(' The cat.') == spaced
  assert vocabulary.decode(spaced) == ' The cat.'


NOT_SPLIT = (
  "so that texts cannot be split as the model expects. Use the model's "
  "folder in Hugging Face's format."
)


@pytest.mark.parametrize(
  ('damaged', 'message'),
  [
    (
      {'ggml.scores': [-1000.0] * 421},
      f'the tokenizer gives all tokens the same score, {NOT_SPLIT}',
    ),
    (
      {'ggml.tokens': list(map(str, range(421)))},
      f'the tokenizer has no tokens of single bytes, {NOT_SPLIT}',
    ),
    (
      {'ggml.scores': [0.0] * 420},
      'tokenizer.ggml.scores has 420 values for 421 tokens. Download the file '
      'again.',
    ),
    (
      {'ggml.bos_token_id': 421},
      'tokenizer.ggml.bos_token_id is 421, but there are 421 tokens. Download '
      'the file again.',
    ),
  ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused(fields, damaged, message):
  with pytest.raises(InputError) as error:
    tokenizer.tokenizer_files({**fields, **damaged}, source='m.gguf')
  assert str(error.value) == f'm.gguf: {message}'


def test_a_missing_field_is_named(fields):
  del fields['ggml.scores']
  with pytest.raises(InputError) as error:
    tokenizer.tokenizer_files(fields, source='m.gguf')
  assert str(error.value) == (
    'm.gguf: the field tokenizer.ggml.scores is missing. Download the file '
    'again.'
  )


def test_the_end_is_llama_cpps_if_the_file_names_none(fields):
  del fields['ggml.eos_token_id']
  files = tokenizer.tokenizer_files(fields, source='m.gguf')
  assert json.loads(files['tokenizer_config.json'])['eos_token'] == '</s>'
