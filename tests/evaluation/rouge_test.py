"""Tests of ROUGE against the rouge_score package, and of its tokenizers."""

import json
import pathlib
import sys

from hypothesis import example, given, strategies as st
import pytest
from rouge_score import rouge_scorer

from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini
from it_study.errors import InputError
from it_study.evaluation import metrics, rouge

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
sys.path.insert(0, str(GOLDEN))

from scored_predictions import kinds_of_predictions  # noqa: E402

# Endings that Porter's rules change, so that drawn words have them.
_ENDS = (
  *('ing', 'ed', 's', 'es', 'ies', 'ied', 'ly', 'ation', 'ational', 'y', 'eed'),
  *('izer', 'alli', 'fulli', 'logi', 'ness', 'ement', 'sses', 'bli', 'iviti'),
)
_WORD = st.builds(
  lambda start, *ends: start + ''.join(ends),
  st.text('aeioubcdlstyz1', max_size=4),
  st.sampled_from(_ENDS),
  st.sampled_from(('', *_ENDS)),
)
_TEXT = st.lists(_WORD | st.text(max_size=8), max_size=8).map(' '.join)


def by_package(prediction, reference, **options):
  scorer = rouge_scorer.RougeScorer(['rouge1', 'rougeL'], **options)
  scores = scorer.score(target=reference, prediction=prediction)
  return scores['rouge1'].fmeasure, scores['rougeL'].fmeasure


@given(_TEXT, _TEXT)
@example('dying skies', 'die sky')
@example('eing aed', 'e a')
def test_words_with_equal_stems_are_matched(prediction, reference):
  expected = by_package(prediction, reference, use_stemmer=True)
  assert rouge.Rouge().score(prediction, reference) == expected


@given(_WORD)
def test_a_long_word_keeps_its_first_two_letters(word):
  if len(word) > rouge._LONGEST_THAT_LOSES_ITS_START:
    assert rouge._stem(word)[:2] == word[:2]


def test_very_long_texts_are_scored_and_not_cached():
  text = 'the running cats ' * 2000
  scorer = rouge.Rouge()
  assert scorer.score(text, 'cat run') == by_package(
    text, 'cat run', use_stemmer=True
  )
  assert scorer._cached_pairs.cache_info().currsize == 0


@pytest.fixture(name='tokenizer_file', scope='module')
def _tokenizer_file(tmp_path_factory):
  tokenizers = pytest.importorskip('tokenizers', reason='needs tokenizers')
  path = tmp_path_factory.mktemp('gpt2') / 'tokenizer.json'
  tokenizer = tokenizers.ByteLevelBPETokenizer()
  tokenizer.train_from_iterator(
    ['the cats sat on the mat', 'die Katze saß', '猫が座った'] * 5,
    vocab_size=300,
  )
  tokenizer.save(str(path))
  return path


def test_the_cross_lingual_track_splits_into_byte_pairs(tokenizer_file):
  tokenize = rouge.byte_pair_words(tokenizer_file)
  assert tokenize('the cats')[0] == 'the'
  assert tokenize('sat the')[-1] == 'the'

  class Pieces:
    def tokenize(self, text):
      return tokenize(text)

  scorer = rouge.Rouge(tokenize)
  for pair in (
    ('猫が座った', '猫が'),
    ('die Katze saß', 'die Katze'),
    ('', 'a'),
  ):
    expected = by_package(*pair, tokenizer=Pieces())
    assert scorer.score(*pair) == pytest.approx(expected, abs=1e-12)
  assert scorer.score('猫', '猫') == (1.0, 1.0)
  assert rouge.Rouge().score('猫', '猫') == (0.0, 0.0)
  # A folder that holds the file names it as well.
  assert rouge.byte_pair_words(tokenizer_file.parent)('the') == tokenize('the')


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
  with pytest.raises(InputError, match='no such file'):
    rouge.byte_pair_words(tmp_path)
  path = tmp_path / 'tokenizer.json'
  path.write_text('{}')
  with pytest.raises(InputError, match='not a tokenizer'):
    rouge.byte_pair_words(path)


@pytest.mark.parametrize('name', ['miniature', 'natinst'])
def test_scores_equal_the_reference_to_four_decimals(name, request, tmp_path):
  if name == 'natinst':
    where = request.getfixturevalue('natinst_dir')
  else:
    where = mini.write_miniature(tmp_path, size=mini.SMALL)
  golden = json.loads((GOLDEN / 'scores_golden.json').read_text())[name]
  corpus = natinst.open_corpus(where)
  kinds = set()
  for kind, rows in kinds_of_predictions(corpus):
    found = {
      task: [group[n] for n in ('exact_match', 'rouge_1', 'rouge_l')]
      for task, group in metrics.compute_metrics(rows)['by_task'].items()
    }
    assert found.keys() == golden[kind].keys()
    for task, values in found.items():
      # Half a unit of the fourth decimal: the golden file is rounded there.
      assert values == pytest.approx(golden[kind][task], abs=5.1e-5)
    kinds.add(kind)
  assert kinds == golden.keys()
