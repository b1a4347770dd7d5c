"""Tests of answers that are constrained or ranked, over a small corpus."""

import fakes
import pytest

from it_study import predict, seqio_lib, vocabularies
from it_study.engines import label_spaces, native
from it_study.errors import InputError
from it_study.evaluation import metrics
import tasks  # noqa: F401  Registers the conditions.

CONDITION = 'natinst_def_empty_ex_original1'


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('answers') / 'corpus')


@pytest.fixture(autouse=True)
def _use(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)


def infer(folder, decoding, **settings):
  defaults = {
    'model_config': fakes.tiny_model(),
    'mixture_or_task_name': CONDITION,
    'task_feature_lengths': fakes.LENGTHS,
    'infer_output_dir': folder,
    'checkpoint_path': None,
    'batch_size': 32,
    'decoding': decoding,
  }
  path = native.predict(**{**defaults, **settings})
  return predict.read_predictions(path)


@pytest.fixture(name='free', scope='module')
def _free(corpus, tmp_path_factory):
  patch = pytest.MonkeyPatch()
  patch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)
  yield infer(tmp_path_factory.mktemp('free'), 'greedy')
  patch.undo()


@pytest.mark.parametrize(
  'decoding',
  ['constrained', 'ranked', 'ranked_normalized', 'ranked_conditional'],
)
def test_an_answer_is_in_the_label_space_where_there_is_one(
  free, tmp_path, decoding
):
  rows = infer(tmp_path, decoding)
  assert [row.id for row in rows] == [row.id for row in free]
  kinds = set()
  for row, plain in zip(rows, free, strict=True):
    kinds.add(row.kind)
    if row.label_space is None:
      assert row.prediction == plain.prediction
      assert row.scores is None
      continue
    assert metrics.is_in_format(row.prediction, row.label_space)
    if decoding == 'constrained':
      assert row.scores is None
    else:
      assert list(row.scores) == list(row.label_space)
    if decoding == 'ranked':
      assert row.scores[row.prediction] == max(row.scores.values())
  assert kinds == {'classification', 'generation'}


def test_a_label_that_does_not_fit_is_named(tmp_path):
  with pytest.raises(InputError, match=r"label '.*' of .* takes \d+ tokens"):
    infer(
      tmp_path,
      'constrained',
      task_feature_lengths={**fakes.LENGTHS, 'targets': 2},
    )


def test_a_label_that_cannot_be_spelled_is_named():
  class Deaf:
    def encode(self, text):
      return [2]

    def decode(self, ids):
      return '⁇'

  row = {'label_space': [b'yes'], 'task': b't1'}
  with pytest.raises(InputError, match="label 'yes' of t1 cannot be spelled"):
    label_spaces.encode([row], vocabulary=Deaf(), max_length=9)


def test_an_unknown_decoding_is_named(tmp_path):
  with pytest.raises(InputError, match="DECODING is 'beam'; there are greedy"):
    infer(tmp_path / 'out', 'beam')


def test_ranks():
  labels = {'a': (5, 1), 'b': (6, 7, 8, 1), 'c': (9, 1)}
  scores = {'a': -2.0, 'b': -3.0, 'c': -2.0}
  prior = {'a': -1.0, 'b': -2.5, 'c': -4.0}
  assert label_spaces.rank(labels, scores, by='ranked') == 'a'
  assert label_spaces.rank(labels, scores, by='ranked_normalized') == 'b'
  assert (
    label_spaces.rank(labels, scores, by='ranked_conditional', prior=prior)
    == 'c'
  )
