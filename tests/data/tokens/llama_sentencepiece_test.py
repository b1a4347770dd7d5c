"""LLaMA's SentencePiece models as vocabularies."""

import json

from llama_models import PROMPTS, reference, train, with_spaces
import pytest

from it_study.checkpoints import weights_source
from it_study.data import vocabularies
from it_study.data.tokens import prompt_formats
from it_study.data.tokens.tokenizer_vocabulary import TokenizerVocabulary
from it_study.engines import model_setup
from it_study.errors import InputError


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  path = tmp_path_factory.mktemp('llama') / 'tokenizer.model'
  return with_spaces(train(path))


@pytest.fixture(name='folder')
def _folder(tmp_path, model):
  (tmp_path / 'tokenizer.model').write_bytes(model)
  return tmp_path


@pytest.mark.parametrize('legacy', [True, False])
def test_texts_have_the_tokens_of_sentencepiece(folder, model, legacy):
  settings = json.dumps({'legacy': legacy})
  (folder / 'tokenizer_config.json').write_text(settings)
  vocabulary, theirs = TokenizerVocabulary(folder), reference(model)
  assert vocabulary.vocab_size == 420
  assert (vocabulary.bos_id, vocabulary.eos_id) == (1, 2)
  assert vocabulary.pieces[:3] == ['<unk>', '<s>', '</s>']
  for text in PROMPTS:
    # Names of control tokens in a text stay text.
    assert vocabulary.encode(text) == theirs.encode(text)
    tokens = theirs.encode(text)
    assert vocabulary.decode(tokens) == theirs.decode(tokens)
    shown = vocabulary.tokens_of(text)
    assert [token for token, _, _ in shown] == tokens
    # The last token's place is the text's last character.
    assert [place for *_, place in shown[-1:]] == [len(text) - 1][: len(text)]
  assert vocabulary.encode_batch(PROMPTS) == theirs.encode(list(PROMPTS))


def test_a_prompt_and_its_answer_have_the_tokens_of_the_whole(folder, model):
  vocabulary, theirs = TokenizerVocabulary(folder), reference(model)
  (prompt, *_) = PROMPTS
  for name, whole in (
    ('plain', prompt + 'yes'),
    (
      'alpaca',
      'Below is an instruction that describes a task. Write a response that '
      'appropriately completes the request.\n\n### Instruction:\n'
      f'{prompt}\n\n### Response:yes',
    ),
  ):
    around = prompt_formats.make_format(name, vocabulary)
    answer = vocabulary.encode(around.answer_start(prompt) + 'yes')
    begun = vocabulary.encode(around.apply(prompt))
    assert begun + answer == [1, *theirs.encode(whole)]
    assert vocabularies.decode(vocabulary, [*answer, 2]).text == 'yes'
    assert vocabulary.shown(around.apply(prompt)).startswith('<s>')


LLAMA_2_CHAT = (
  '{% for message in messages %}{% if message.role == "user" %}'
  "{{ bos_token + '[INST] ' + message.content.strip() + ' [/INST]' }}"
  "{% else %}{{ ' ' + message.content.strip() + ' ' + eos_token }}"
  '{% endif %}{% endfor %}'
)


@pytest.mark.parametrize('legacy', [True, False])
def test_a_conversation_has_spaces_where_the_tokenizer_puts_them(
  folder, model, legacy
):
  (folder / 'tokenizer_config.json').write_text(
    json.dumps({'chat_template': LLAMA_2_CHAT, 'legacy': legacy})
  )
  vocabulary, theirs = TokenizerVocabulary(folder), reference(model)
  around = prompt_formats.make_format('chat', vocabulary)
  found = vocabulary.encode(around.apply('The cat.'))
  expected = theirs.encode('[INST] The cat. [/INST]')
  # Without `legacy`, the space is only put before what begins with text.
  assert found == [1, *(expected if legacy else expected[1:])]
  assert theirs.id_to_piece(expected[0]) == '▁'
  # The template's space before an answer.
  answer = vocabulary.encode(around.answer_start('The cat.') + 'yes')
  assert expected + answer == theirs.encode('[INST] The cat. [/INST] yes')


def test_added_tokens_follow_the_models(folder):
  (folder / 'added_tokens.json').write_text('{"[PAD]": 420}')
  vocabulary = TokenizerVocabulary(folder)
  assert vocabulary.vocab_size == 421
  assert vocabulary.encode(vocabulary.control('[PAD]')) == [420]
  assert 420 not in vocabulary.encode('[PAD]')
  (folder / 'added_tokens.json').write_text('{"[PAD]": "x"}')
  with pytest.raises(InputError) as error:
    TokenizerVocabulary(folder)
  assert str(error.value) == (
    f'{folder}: added_tokens.json or added_tokens_decoder in '
    'tokenizer_config.json is damaged. Download them again.'
  )


@pytest.mark.parametrize(('special', 'text'), [(True, ''), (False, '[STEP]')])
def test_added_tokens_that_are_not_special_are_text(folder, special, text):
  added = {'420': {'content': '[STEP]', 'special': special}}
  (folder / 'tokenizer_config.json').write_text(
    json.dumps({'added_tokens_decoder': added})
  )
  vocabulary = TokenizerVocabulary(folder)
  assert vocabulary.decode([420]) == text
  assert (420 in vocabulary.encode('[STEP]')) == (not special)


@pytest.mark.parametrize('legacy', [True, False])
def test_a_saved_vocabulary_is_equal(folder, tmp_path, legacy):
  settings = json.dumps({'legacy': legacy})
  (folder / 'tokenizer_config.json').write_text(settings)
  (folder / 'added_tokens.json').write_text('{"[PAD]": 420}')
  vocabulary = TokenizerVocabulary(folder)
  copy = tmp_path / 'copy'
  vocabulary.save(copy)
  again = TokenizerVocabulary(copy)
  assert again == vocabulary
  for text in PROMPTS:
    assert again.encode(text) == vocabulary.encode(text)
  # Where weights of a training look for it.
  assert weights_source.tokenizer_folder(copy / 'checkpoint_1') == str(copy)


def test_weights_come_with_their_own_model(folder, tmp_path):
  other = tmp_path / 'other'
  other.mkdir()
  train(other / 'tokenizer.model', vocab_size=400)
  vocabulary = TokenizerVocabulary(other)

  class Source:
    class path:
      local = folder

  model_setup.check_folder_vocabulary(
    Source, vocabulary=TokenizerVocabulary(folder)
  )
  with pytest.raises(InputError) as error:
    model_setup.check_folder_vocabulary(Source, vocabulary=vocabulary)
  assert str(error.value) == (
    f'{folder}/tokenizer.model differs from the vocabulary in use, '
    f'{vocabularies.describe(vocabulary)}. Set IT_STUDY_VOCABULARY={folder}.'
  )


@pytest.mark.parametrize(
  ('settings', 'lacks'),
  [
    ({'model_type': 'unigram', 'vocab_size': 320}, 'is not BPE'),
    ({'byte_fallback': False, 'vocab_size': 100}, 'has no byte fallback'),
    ({'normalization_rule_name': 'nmt_nfkc'}, 'normalizes texts'),
    ({'remove_extra_whitespaces': True}, 'removes white space'),
    ({'user_defined_symbols': ['<a>']}, 'has user-defined tokens'),
  ],
)
def test_other_models_are_refused(tmp_path, settings, lacks):
  path = tmp_path / 'tokenizer.model'
  train(path, **settings)
  with pytest.raises(InputError) as error:
    TokenizerVocabulary(tmp_path)
  assert str(error.value) == (
    f'{path}: a SentencePiece model that {lacks} is not supported as the '
    'tokenizer of a decoder-only model; those of LLaMA 1 and 2 are. Add the '
    "model's tokenizer.json."
  )


def test_a_truncated_model_is_refused(folder, model):
  path = folder / 'tokenizer.model'
  path.write_bytes(model[:1000])
  with pytest.raises(InputError) as error:
    TokenizerVocabulary(folder)
  assert str(error.value) == (
    f'{path}: not a SentencePiece model; it may be truncated. Download it '
    'again.'
  )


@pytest.mark.parametrize('legacy', [True, False])
def test_tokens_are_those_of_transformers(folder, legacy):
  transformers = pytest.importorskip(
    'transformers', reason='needs the parity extra'
  )
  (folder / 'tokenizer_config.json').write_text(
    json.dumps(
      {
        'tokenizer_class': 'LlamaTokenizer',
        'chat_template': LLAMA_2_CHAT,
        'add_bos_token': True,
        'legacy': legacy,
      }
    )
  )
  theirs = transformers.LlamaTokenizer.from_pretrained(folder)
  vocabulary = TokenizerVocabulary(folder)
  plain, chat = (
    prompt_formats.make_format(name, vocabulary) for name in ('plain', 'chat')
  )
  # transformers makes control tokens of their names in a text.
  # It takes the order of ids for that of scores, which moves runs of spaces.
  for text in (PROMPTS[0].strip(), PROMPTS[1].replace('  ', ' '), PROMPTS[3]):
    assert vocabulary.encode(plain.apply(text)) == theirs.encode(text)
    assert vocabulary.encode(chat.apply(text)) == theirs.apply_chat_template(
      [{'role': 'user', 'content': text}],
      add_generation_prompt=True,
      return_dict=False,
    )
