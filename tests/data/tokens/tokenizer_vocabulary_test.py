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


def test_a_saved_vocabulary_is_equal(directory, tmp_path):
  (directory / 'chat_template.jinja').write_text('{{ messages[0].content }}')
  (directory / 'generation_config.json').write_text('{"eos_token_id": [0, 1]}')
  vocabulary = TokenizerVocabulary(directory)
  vocabulary.save(tmp_path / 'copy')
  copy = TokenizerVocabulary(tmp_path / 'copy')
  assert copy == vocabulary
  assert copy.chat_template == '{{ messages[0].content }}'
  assert copy.other_end_ids == (1,)


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


def change(directory, name, **fields):
  """Changes fields of a JSON file, which is written if it is not there."""
  path = directory / name
  before = json.loads(path.read_text()) if path.is_file() else {}
  path.write_text(json.dumps({**before, **fields}))


def test_a_token_after_every_text_does_not_begin_one(directory):
  end = {'SpecialToken': {'id': '<|end|>', 'type_id': 0}}
  text = {'Sequence': {'id': 'A', 'type_id': 0}}
  change(
    directory,
    'tokenizer.json',
    post_processor={
      'type': 'TemplateProcessing',
      'single': [text, end],
      'pair': [text],
      'special_tokens': {
        '<|end|>': {'id': '<|end|>', 'ids': [0], 'tokens': ['<|end|>']}
      },
    },
  )
  assert TokenizerVocabulary(directory).bos_token is None


def test_merges_are_not_dropped_at_random(directory):
  whole = TokenizerVocabulary(directory).encode('ab ' * 20)
  model = json.loads((directory / 'tokenizer.json').read_text())['model']
  change(directory, 'tokenizer.json', model={**model, 'dropout': 0.5})
  assert TokenizerVocabulary(directory).encode('ab ' * 20) == whole


@pytest.mark.parametrize('special', [False, True])
def test_an_added_token_that_gets_another_id_is_refused(directory, special):
  path = directory / 'tokenizer.json'
  added = json.loads(path.read_text())['added_tokens']
  added.append({**added[0], 'content': '<x>', 'id': 300, 'special': special})
  change(directory, path.name, added_tokens=added)
  with pytest.raises(InputError) as error:
    TokenizerVocabulary(directory)
  assert str(error.value) == (
    f"{path}: the added token '<x>' has the id 300, but is read as 260, which "
    'would be another row of the embedding table. Add tokens for the ids '
    'between.'
  )


def test_the_chat_template_is_the_one_that_transformers_takes(directory):
  named = [
    {'name': 'tool_use', 'template': 'T'},
    {'name': 'default', 'template': 'D'},
  ]
  before = TokenizerVocabulary(directory)
  change(directory, 'tokenizer_config.json', chat_template=named)
  after = TokenizerVocabulary(directory)
  assert after.chat_template == 'D'
  # Answers of the former template are not taken for its own.
  assert after != before
  (directory / 'chat_template.jinja').write_text('J')
  assert TokenizerVocabulary(directory).chat_template == 'J'
  (directory / 'chat_template.jinja').unlink()
  change(directory, 'tokenizer_config.json', chat_template=3)
  with pytest.raises(InputError) as error:
    TokenizerVocabulary(directory)
  assert str(error.value) == (
    f'{directory / "tokenizer_config.json"}: chat_template must be a text or a '
    'list of named texts, got 3.'
  )


def test_all_tokens_that_end_an_answer_are_known(directory):
  assert TokenizerVocabulary(directory).other_end_ids == ()
  change(directory, 'config.json', eos_token_id=[0, 5])
  assert TokenizerVocabulary(directory).other_end_ids == (5,)
  change(directory, 'generation_config.json', eos_token_id=[7, 1, 0])
  assert TokenizerVocabulary(directory).other_end_ids == (1, 7)
  change(directory, 'generation_config.json', eos_token_id=[0, 260])
  with pytest.raises(InputError) as error:
    TokenizerVocabulary(directory)
  assert str(error.value) == (
    f'{directory / "generation_config.json"}: eos_token_id is 260; expected '
    'ids of tokens, from 0 to 259.'
  )


def test_files_that_cannot_be_used_are_named(directory):
  with pytest.raises(
    InputError, match=r'tokenizer\.json: cannot be read: No su'
  ):
    TokenizerVocabulary(directory.parent)
  config = json.loads((directory / 'tokenizer_config.json').read_text())
  config['eos_token'] = 'end'
  (directory / 'tokenizer_config.json').write_text(json.dumps(config))
  with pytest.raises(InputError, match="eos_token is 'end', which is not a"):
    TokenizerVocabulary(directory).id_of('eos_token')
  for content, reason in (('{', 'not JSON: '), ('[]', 'expected one JSON o')):
    (directory / 'tokenizer_config.json').write_text(content)
    with pytest.raises(InputError, match=rf'config\.json: {reason}.*again\.$'):
      TokenizerVocabulary(directory)
  change_back = json.dumps({**config, 'eos_token': ['<|end|>']})
  (directory / 'tokenizer_config.json').write_text(change_back)
  with pytest.raises(InputError, match=r"eos_token is \['<|end|>'\], which is"):
    TokenizerVocabulary(directory).id_of('eos_token')
  (directory / 'tokenizer.json').write_text('{}')
  with pytest.raises(InputError, match=r'cannot be read: .*Download it again'):
    TokenizerVocabulary(directory)
