"""Tests of label spaces that a vocabulary may not be able to spell."""

import json

import fakes
import pytest
import seqio
from vocabularies_fixture import write_model

from it_study import predictions, seqio_lib
from it_study.data import vocabularies
from it_study.data.vocabularies import Decoded
from it_study.engines import native
from it_study.errors import InputError
from it_study.inference import label_spaces
from it_study.inference.decoding import Decoding
import tasks  # noqa: F401  Registers the conditions.

LABELS = ('yes', '{no}', 'no 北', '北')
NAME = 'natinst_def_empty_ex_empty0'


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  folder = tmp_path_factory.mktemp('vocabulary')
  return str(write_model(folder / 'v.model'))


@pytest.fixture(name='vocabulary')
def _vocabulary(model):
  return seqio.SentencePieceVocabulary(model)


def row_of(task, *labels):
  return {
    'task': task.encode(),
    'label_space': [label.encode() for label in labels],
  }


ROWS = [row_of('t1', *LABELS), row_of('t2', 'yes', '{no}'), row_of('t3')]


def encode(vocabulary, rows, **fields):
  return label_spaces.encode(
    rows, vocabulary=vocabulary, max_length=9, **fields
  )


def test_labels_that_cannot_be_spelled_are_named(vocabulary):
  # Exact match ignores the braces, which are unknown to the vocabulary.
  assert label_spaces.unspellable(ROWS, vocabulary=vocabulary) == {
    't1': ['no 北', '北']
  }
  with pytest.raises(InputError) as error:
    encode(vocabulary, ROWS)
  assert str(error.value) == (
    "label 'no 北' of t1 (and 1 other) cannot be spelled in the vocabulary: it "
    "decodes to 'no ⁇'. Set UNSPELLABLE_LABELS to free, which answers such "
    "tasks without restriction, or to match, which takes a label's tokens for "
    'the label; or use another vocabulary.'
  )
  assert encode(vocabulary, ROWS[1:]) == [
    {label: (*vocabulary.encode(label), 1) for label in ('yes', '{no}')},
    {},
  ]


def test_their_tasks_may_be_free(vocabulary):
  free = encode(vocabulary, ROWS, on_unspellable='free')
  assert [list(space) for space in free] == [[], ['yes', '{no}'], []]


def test_their_tokens_may_stand_for_them(vocabulary):
  space, *_ = encode(vocabulary, ROWS, on_unspellable='match')
  assert list(space) == list(LABELS)
  assert space['北'] == (*vocabulary.encode('北'), 1)

  def label_of(*answer):
    return label_spaces.label_of(Decoded(*answer), space, vocabulary=vocabulary)

  assert label_of('', '⁇') == '北'
  assert label_of('no', '⁇ no ⁇') is None
  assert label_of('yes', None) is None


def test_labels_with_the_same_tokens_cannot_be_matched(vocabulary):
  with pytest.raises(InputError) as error:
    encode(
      vocabulary, [row_of('t1', 'yes', '北', '南')], on_unspellable='match'
    )
  assert str(error.value) == (
    "labels '北' and '南' of t1 have the same tokens in the vocabulary, so no "
    'answer tells them apart. Set UNSPELLABLE_LABELS to free, or use another '
    'vocabulary.'
  )


@pytest.mark.parametrize('setting', ['free', 'match'])
@pytest.mark.parametrize('method', ['constrained', 'ranked'])
def test_answers(
  setting, method, model, monkeypatch, write_corpus, raw_task, tmp_path
):
  monkeypatch.setenv(vocabularies.VARIABLE, model)
  instances = [
    {'id': f'i-{k}', 'input': f'cup {k}', 'output': ['yes 北', 'no'][k % 2]}
    for k in range(30)
  ]
  corpus = write_corpus(
    train={'task1_a': raw_task(12)},
    test={'task2_b': raw_task(Instances=instances, Positive_Examples=[])},
  )
  seqio_lib.use_corpus(corpus)

  def predict(name, **fields):
    path = native.predict(
      model_config=fakes.tiny_model(),
      mixture_or_task_name=NAME,
      task_feature_lengths=fakes.LENGTHS,
      infer_output_dir=tmp_path / name,
      decoding=Decoding(method=method, **fields),
      answer_dir=tmp_path / 'answers',
    )
    summary = json.loads(path.with_name('inference.json').read_text())
    return predictions.read_predictions(path), summary

  with pytest.raises(InputError, match="label 'yes 北' of task2_b cannot be"):
    predict('refuse')
  rows, summary = predict('one', unspellable_labels=setting)
  assert {name: summary[name] for name in summary if 'unspellable' in name} == {
    'unspellable_labels': setting,
    'num_unspellable_labels': 1,
    'num_unspellable_tasks': 1,
  }
  if setting == 'match':
    assert {row.prediction for row in rows} <= {'yes 北', 'no'}
    for row in rows:
      raw = {'yes 北': 'yes ⁇', 'no': None}[row.prediction]
      assert row.raw_prediction == (raw if method == 'constrained' else None)
  else:
    assert all(row.scores is None for row in rows)
    assert not {row.prediction for row in rows} <= {'yes 北', 'yes', 'no'}
  # From the cache.
  again, summary = predict('two', unspellable_labels=setting)
  assert (again, summary['num_kept_answers']) == (rows, 30)


def test_an_unknown_setting_is_named():
  with pytest.raises(InputError) as error:
    Decoding(unspellable_labels='fre')
  assert str(error.value) == (
    "UNSPELLABLE_LABELS is 'fre'; expected one of refuse, free, match. Did you "
    "mean 'free'?"
  )


def test_rank_by_each_method():
  labels = {'a': (5, 1), 'b': (6, 7, 8, 1), 'c': (9, 1)}
  scores = {'a': -2.0, 'b': -3.0, 'c': -2.0}
  prior = {'a': -1.0, 'b': -2.5, 'c': -4.0}
  assert label_spaces.rank(labels, scores, by='ranked') == 'a'
  assert label_spaces.rank(labels, scores, by='ranked_normalized') == 'b'
  assert (
    label_spaces.rank(labels, scores, by='ranked_conditional', prior=prior)
    == 'c'
  )
