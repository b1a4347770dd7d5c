"""A vocabulary over tokenizer.json: control tokens, texts, SeqIO."""

import json

import gguf_files
import pytest
import seqio
import tensorflow as tf

from it_study.checkpoints.gguf import folder
from it_study.data.tokens.tokenizer_vocabulary import TokenizerVocabulary
from it_study.errors import InputError


@pytest.fixture(name='directory')
def _directory(tmp_path):
  """A folder whose tokenizer knows all bytes, ab, and two control tokens."""
  return folder.write_folder(
    gguf_files.write(tmp_path / 'm.gguf'), tmp_path / 'hf'
  )


def test_texts_are_encoded_and_decoded(directory):
  vocabulary = TokenizerVocabulary(directory)
  assert vocabulary.encode('ab a') == [258, 259]
  assert vocabulary.encode_batch(['ab', ' a']) == [[258], [259]]
  assert vocabulary.decode([258, 259]) == 'ab a'
  assert vocabulary.vocab_size == gguf_files.VOCAB
  assert (vocabulary.eos_id, vocabulary.bos_id) == (0, None)


def test_only_marked_names_become_control_tokens(directory):
  vocabulary = TokenizerVocabulary(directory)
  text = vocabulary.control('<|user|>') + 'ab'
  assert vocabulary.encode(text) == [1, 258]
  assert vocabulary.shown(text) == '<|user|>ab'
  assert 1 not in vocabulary.encode('<|user|>ab')
  assert vocabulary.decode(vocabulary.encode('<|user|>ab')) == '<|user|>ab'


def test_control_tokens_are_left_out_of_answers(directory):
  vocabulary = TokenizerVocabulary(directory)
  assert vocabulary.decode([1, 258, 0, 259]) == 'ab'


def test_seqio_tokenizes_with_it(directory):
  vocabulary = TokenizerVocabulary(directory)
  features = {
    name: seqio.Feature(vocabulary=vocabulary, add_eos=name == 'targets')
    for name in ('inputs', 'targets')
  }
  data = tf.data.Dataset.from_tensor_slices(
    {'inputs': ['ab', 'b'], 'targets': ['a', 'ab a']}
  )
  data = seqio.preprocessors.tokenize(data, features)
  data = seqio.preprocessors.append_eos_after_trim(
    data, sequence_length=None, output_features=features
  )
  rows = [
    (row['inputs'].tolist(), row['targets'].tolist())
    for row in data.as_numpy_iterator()
  ]
  a, b = (gguf_files.TOKENS.index(letter) for letter in 'ab')
  assert rows == [([258], [a, 0]), ([b], [258, 259, 0])]
  assert vocabulary.decode_tf(tf.constant([258, 259])).numpy() == b'ab a'


def test_equal_files_are_equal_vocabularies(directory):
  one, two = TokenizerVocabulary(directory), TokenizerVocabulary(directory)
  assert one == two
  assert hash(one) == hash(two)
  assert one != seqio.ByteVocabulary()


def test_a_template_that_begins_every_text_names_its_token(directory):
  path = directory / 'tokenizer.json'
  fields = json.loads(path.read_text())
  fields['post_processor'] = {
    'type': 'TemplateProcessing',
    'single': [
      {'SpecialToken': {'id': '<|user|>', 'type_id': 0}},
      {'Sequence': {'id': 'A', 'type_id': 0}},
    ],
    'pair': [{'Sequence': {'id': 'A', 'type_id': 0}}],
    'special_tokens': {
      '<|user|>': {'id': '<|user|>', 'ids': [1], 'tokens': ['<|user|>']}
    },
  }
  path.write_text(json.dumps(fields))
  vocabulary = TokenizerVocabulary(directory)
  assert (vocabulary.bos_id, vocabulary.bos_token) == (1, '<|user|>')
  # The prompt's format adds it.
  assert vocabulary.encode('ab') == [258]


def test_files_that_cannot_be_used_are_named(directory):
  with pytest.raises(
    InputError, match=r'tokenizer\.json: cannot be read: No su'
  ):
    TokenizerVocabulary(directory.parent)
  config = json.loads((directory / 'tokenizer_config.json').read_text())
  config['eos_token'] = 'end'
  (directory / 'tokenizer_config.json').write_text(json.dumps(config))
  with pytest.raises(InputError, match="eos_token is 'end', which is no contr"):
    TokenizerVocabulary(directory).id_of('eos_token')
  (directory / 'tokenizer.json').write_text('{}')
  with pytest.raises(InputError, match=r'cannot be read: .*Download it again'):
    TokenizerVocabulary(directory)
