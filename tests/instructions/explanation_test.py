"""Tests of it_study.instructions.explanation."""

import json

import fakes
from prompts_fixture import make_instance
import pytest
import seqio

from it_study.conditions import Condition, standard_grid
from it_study.corpus import natinst
from it_study.corpus.instance_search import find_instance
from it_study.data.tokens.token_limits import token_limit
from it_study.instructions import explanation
from it_study.instructions.explanation import Token

VOCABULARY = seqio.ByteVocabulary()
BYTES = explanation.byte_tokenizer(VOCABULARY.encode)


@pytest.fixture(name='corpus')
def _corpus(tmp_path):
  return natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))


def explained(corpus, name, *, max_tokens=None, instance='title-3', **fields):
  limit = token_limit(vocabulary=VOCABULARY, max_tokens=max_tokens)
  return explanation.explain(
    find_instance(corpus, instance),
    corpus=corpus,
    condition=Condition.from_name(name),
    limit=limit,
    **fields,
  )


def test_without_a_limit_nothing_is_dropped(corpus):
  found = explained(corpus, 'natinst_def_original_ex_original2')
  assert found.prompt.text.startswith('Definition: Name it.\n\n Positive')
  assert [kind for kind, _ in found.examples] == ['example 1', 'example 2']
  assert found.dropped == ()
  assert found.kept_definition == (8, 8)
  assert found.kept_input.share == 1
  assert found.references == ('Thing 3', 'The Thing 3')
  assert (found.label_space, found.max_tokens, found.tokens) == (None,) * 3


def test_dropped_and_cut_parts(corpus):
  found = explained(
    corpus, 'natinst_def_original_ex_original2_neg1', max_tokens=150
  )
  # The second example is as long as the first, the negative one is shorter.
  assert [kind for kind, _ in found.dropped] == [
    'example 2',
    'negative example 1',
  ]
  assert found.dropped[0][1].output == 'Blue Cup'
  found = explained(corpus, 'natinst_def_original_ex_original1', max_tokens=80)
  assert found.kept_input.length == 9
  assert found.kept_input.share < 1
  assert found.prompt.shortened
  found = explained(corpus, 'natinst_def_original_ex_original1', max_tokens=70)
  assert found.kept_definition[0] < found.kept_definition[1]


def test_sources_of_examples(corpus):
  found = explained(
    corpus, 'natinst_def_original_ex_delusive2', instance='entail-1'
  )
  assert [example.source for _, example in found.examples] == [
    'negatives',
    'swap',
  ]


def test_renamed_labels(corpus):
  found = explained(
    corpus, 'natinst_def_renamed_ex_original1', instance='entail-1'
  )
  assert len(found.label_space) == 2
  assert 'no' not in found.references
  assert set(found.references) < set(found.label_space)


def test_tokens_are_those_of_seqio(corpus):
  found = explained(
    corpus,
    'natinst_def_empty_ex_empty0_trunctk',
    max_tokens=50,
    tokenizer=BYTES,
  )
  text = found.prompt.text
  assert len(text) == 50
  # Like SeqIO, it cuts one more token for end-of-sequence.
  assert [token.id for token in found.tokens] == [
    *VOCABULARY.encode(text)[:49],
    VOCABULARY.eos_id,
  ]
  assert found.tokens[0] == Token(VOCABULARY.encode('N')[0], 'N', 'cue')
  assert found.num_lost_tokens == 1
  assert found.tokens[-2].kind == 'input'
  assert found.tokens[-1] == Token(1, '</s>', 'end')


def test_bytes_have_the_position_of_their_character():
  assert BYTES('aé!') == [
    (100, 'a', 0),
    (198, '<0xC3>', 1),
    (172, '<0xA9>', 1),
    (36, '!', 2),
  ]
  assert BYTES('') == []


class Processor:
  """Tokenizes by words; an unknown word is one token, too."""

  def EncodeAsPieces(self, text):
    return [f'▁{word}' for word in text.split()]

  def EncodeAsIds(self, text):
    return [len(word) for word in text.split()]


def test_pieces_have_the_position_of_their_last_character():
  tokenize = explanation.sentencepiece_tokenizer(Processor())
  assert tokenize(' ab \n é\u0301c') == [(2, '▁ab', 2), (3, '▁é\u0301c', 8)]


def test_as_json(corpus):
  found = explained(
    corpus,
    'natinst_def_original_ex_delusive1',
    instance='entail-1',
    max_tokens=200,
    tokenizer=BYTES,
  )
  record = json.loads(json.dumps(found.to_json()))
  assert record['condition'] == 'natinst_def_original_ex_delusive1'
  assert [
    (span['kind'], record['text'][span['start'] : span['end']])
    for span in record['spans']
  ][-2:] == [('input', 'Is it 1?'), ('cue', '\nOutput: ')]
  assert record['examples'] == [
    {
      'kind': 'example 1',
      'input': 'Is it wet?',
      'output': 'no',
      'explanation': None,
      'source': 'negatives',
    }
  ]
  assert record['input_kept'] == {
    'length': 8,
    'head': 8,
    'tail': 0,
    'share': 1.0,
  }
  assert record['definition_kept'] == {'length': 17, 'head': 17}
  assert (record['references'], record['label_space']) == (
    ['no'],
    ['yes', 'no'],
  )
  assert record['num_tokens'] == len(record['tokens'])
  assert record['tokens'][0] == {'id': 71, 'piece': 'D', 'kind': 'definition'}


@pytest.mark.parametrize('condition', standard_grid())
def test_every_standard_condition_of_odd_texts(corpus, condition):
  found = find_instance(corpus, 'entail-0')
  for text in ('', '[bold]x[/]', '\x1b[31m', '日本\u202e', ' \n'):
    instance = make_instance(text)
    odd = type(found)(split='test', task=found.task, instance=instance)
    result = explanation.explain(
      odd, corpus=corpus, condition=condition, tokenizer=BYTES
    )
    shown = [s for s in result.spans if s.kind == 'input']
    assert len(shown) == bool(text.strip())
    assert len(result.tokens) == len(result.prompt.text.encode()) + 1
