"""Tests of exact match, ROUGE, format correctness and their aggregation."""

import dataclasses

from hypothesis import example, given, settings, strategies as st
import pytest

from it_study.corpus.normalization import merge_labels, normalize_answer
from it_study.evaluation import metrics, rouge
from it_study.predictions import Prediction

ROW = Prediction(
  id='a',
  task='t1',
  category='Textual Entailment',
  kind='classification',
  label_space=('Yes.', 'No.'),
  position=0,
  split='test',
  inputs='',
  targets=('Yes.',),
  prediction='yes',
  engine='native',
)


def make_row(**fields) -> Prediction:
  return dataclasses.replace(ROW, **fields)


@pytest.mark.parametrize(
  ('prediction', 'references', 'expected'),
  [
    ('yes', ['Yes.'], True),
    (' YES,\tit  is!', ['yes it is'], True),
    ('yes', ['no', 'Yes'], True),
    ('yes', ['no'], False),
    ('the answer', ['answer'], False),
    ("don't", ['dont'], True),
    ('', ['...'], True),
    ('“yes”', ['yes'], False),
    ('a-b', ['ab'], True),
  ],
)
def test_exact_match_is_super_naturalinstructions(
  prediction, references, expected
):
  assert metrics.exact_match(prediction, references) is expected


@pytest.mark.parametrize(
  ('prediction', 'references', 'expected'),
  [
    ('the cats sat', ['the cat sat'], (1.0, 1.0)),
    ('sat cat the', ['the cat sat'], (1.0, 1 / 3)),
    ('a b', ['a b c d'], (2 / 3, 2 / 3)),
    # The best reference of each is another one.
    ('a b c d', ['d c b a', 'a b c x'], (1.0, 0.75)),
    ('', ['a'], (0.0, 0.0)),
    ('a', [''], (0.0, 0.0)),
    ('...', ['...'], (0.0, 0.0)),
    ('é', ['é'], (0.0, 0.0)),
    ('Yes.', ['yes'], (1.0, 1.0)),
  ],
)
def test_rouge_is_stemmed_and_best_over_references(
  prediction, references, expected
):
  assert metrics.rouge(prediction, references) == pytest.approx(
    expected, abs=1e-12
  )


_WORDS = st.lists(
  st.sampled_from(
    ['running', 'runs', 'flies', 'Happily', 'a', 'the', 'É', '3.5', 'İ', '\n']
  )
  | st.text(max_size=8),
  max_size=8,
).map(' '.join)


@given(prediction=_WORDS, reference=_WORDS)
@example(prediction='', reference='')
@example(prediction='', reference='!?')
@example(prediction="the cat's 3.5, 12", reference='cats; 3 5 12!')
@example(prediction='١٢ K ß ﬁne', reference='12 k ss fine')
@example(prediction='Straße naïve', reference='stra e na ve')
def test_rouge_equals_that_of_rouge_score(prediction, reference):
  from rouge_score import rouge_scorer

  scores = rouge_scorer.RougeScorer(['rouge1', 'rougeL'], use_stemmer=True)
  expected = scores.score(target=reference, prediction=prediction)
  assert metrics.rouge(prediction, [reference]) == (
    expected['rouge1'].fmeasure,
    expected['rougeL'].fmeasure,
  )


@given(st.text())
def test_normalising_twice_changes_nothing(text):
  once = normalize_answer(text)
  assert normalize_answer(once) == once


@given(st.lists(st.sampled_from(['He', 'he', 'HE.', 'she', 'She', '?', ''])))
def test_merged_labels_are_distinct_and_none_is_lost(labels):
  merged = merge_labels(tuple(labels))
  normal = [normalize_answer(label) for label in merged]
  assert len(set(normal)) == len(normal)
  assert set(normal) == {normalize_answer(label) for label in labels}


def test_score_instance():
  assert metrics.score_instance('yes', ['Yes.']) == (1, 1, 1, None, 0, None)
  assert metrics.score_instance(
    'no way', ['no'], label_space=['no', 'yes']
  ) == (0.0, 2 / 3, 2 / 3, False, 0, False)


@pytest.mark.parametrize(
  ('prediction', 'references', 'strict'),
  [
    ('Yes.', ['No', 'Yes.'], (1, True)),
    ('yes', ['Yes.'], (0, False)),
    # The match strips both texts, the label must be the raw string.
    (' Yes.\n', ['Yes.'], (1, False)),
    ('Yes.', ['Yes. '], (1, True)),
    ('No', ['Yes.'], (0, True)),
  ],
)
def test_strict_scores_normalise_nothing(prediction, references, strict):
  scores = metrics.score_instance(
    prediction, references, label_space=iter(['Yes.', 'No'])
  )
  assert (scores.strict_exact_match, scores.strict_in_format) == strict
  assert scores.in_format is True


def test_score_row():
  assert metrics.score_row(ROW) == (1, 1, 1, True, 0, False)
  wrong = metrics.score_row(make_row(prediction='No.'))
  assert wrong == (0, 0, 0, True, 0, True)
  free = metrics.score_row(make_row(label_space=None, prediction='Yes.'))
  assert free == (1, 1, 1, None, 1, None)


def test_metrics_json_to_the_letter():
  generation = {
    'category': 'Title Generation',
    'kind': 'generation',
    'label_space': None,
  }
  rows = [
    make_row(prediction='Yes.'),
    make_row(id='b', prediction='perhaps'),
    make_row(id='c', task='t2', prediction='No'),
    make_row(
      id='d', task='t3', targets=('a b c d',), prediction='a b', **generation
    ),
    make_row(id='e', task='t4', category='Positive Control', prediction='no'),
  ]
  classification = {
    'num_tasks': 2,
    'num_instances': 3,
    'exact_match': 100 / 3,
    'rouge_1': 100 / 3,
    'rouge_l': 100 / 3,
    'format_correctness': 200 / 3,
    'strict_exact_match': 100 / 3,
    'strict_format_correctness': 100 / 3,
  }
  titles = {
    'num_tasks': 1,
    'num_instances': 1,
    'exact_match': 0.0,
    'rouge_1': pytest.approx(200 / 3, abs=1e-12),
    'rouge_l': pytest.approx(200 / 3, abs=1e-12),
    'format_correctness': None,
    'strict_exact_match': 0.0,
    'strict_format_correctness': None,
  }
  control = {
    'num_tasks': 1,
    'num_instances': 1,
    'exact_match': 0.0,
    'rouge_1': 0.0,
    'rouge_l': 0.0,
    'format_correctness': 100.0,
    'strict_exact_match': 0.0,
    'strict_format_correctness': 0.0,
  }
  result = metrics.compute_metrics(rows)
  assert result == {
    'num_instances': 5,
    'overall': {
      'num_tasks': 3,
      'num_instances': 4,
      'exact_match': 25.0,
      'rouge_1': pytest.approx(500 / 12, abs=1e-12),
      'rouge_l': pytest.approx(500 / 12, abs=1e-12),
      'format_correctness': 200 / 3,
      'strict_exact_match': 25.0,
      'strict_format_correctness': 100 / 3,
    },
    'classification': classification,
    'generation': titles,
    'by_category': {
      'Textual Entailment': classification,
      'Title Generation': titles,
    },
    'by_task': {
      't1': {
        'num_tasks': 1,
        'num_instances': 2,
        'exact_match': 50.0,
        'rouge_1': 50.0,
        'rouge_l': 50.0,
        'format_correctness': 50.0,
        'strict_exact_match': 50.0,
        'strict_format_correctness': 50.0,
      },
      't2': control,
      't3': titles,
      't4': control,
    },
    'controls': {'Positive Control': control},
  }
  assert list(result) == [
    'num_instances',
    'overall',
    'classification',
    'generation',
    'by_category',
    'by_task',
    'controls',
  ]


def test_groups_without_instances_are_none():
  result = metrics.compute_metrics([make_row(category='Negative Control')])
  assert result['num_instances'] == 1
  assert result['overall'] is None
  assert result['classification'] is None
  assert result['generation'] is None
  assert result['by_category'] == {}
  assert list(result['by_task']) == ['t1']
  assert list(result['controls']) == ['Negative Control']


def test_an_unknown_kind_leaves_both_kinds_none():
  rows = [
    ROW,
    make_row(id=None, task=None, kind=None, category=None, label_space=None),
  ]
  result = metrics.compute_metrics(rows)
  assert result['classification'] is None
  assert result['generation'] is None
  assert result['overall']['exact_match'] == 100.0
  assert result['overall']['num_tasks'] is None
  assert list(result['by_category']) == ['Textual Entailment']
  assert list(result['by_task']) == ['t1']


def test_without_answers_to_generation_its_groups_are_left_out():
  generation = {'kind': 'generation', 'label_space': None, 'prediction': ''}
  rows = [
    ROW,
    make_row(id='b', task='t2', category='Title Generation'),
    make_row(id='c', task='t3', category='Title Generation', **generation),
  ]
  result = metrics.compute_metrics(rows, generation_is_answered=False)
  assert result['overall'] is None
  assert result['generation'] is None
  assert result['classification']['num_instances'] == 2
  assert list(result['by_category']) == ['Textual Entailment']
  assert list(result['by_task']) == ['t1', 't2']


_ROWS = st.lists(
  st.builds(
    lambda task, targets, prediction: make_row(
      task=task,
      category='Textual Entailment' if task in 'ab' else 'Data to Text',
      kind='classification' if task in 'ac' else 'generation',
      label_space=('x', 'y', 'X z') if task in 'ac' else None,
      targets=tuple(targets),
      prediction=prediction,
    ),
    st.sampled_from('abcd'),
    st.lists(st.sampled_from(['x', 'y', 'x z']), min_size=1, max_size=2),
    st.sampled_from(['x', 'Y.', 'x z', 'z', '']),
  ),
  min_size=1,
  max_size=30,
)


@given(_ROWS)
@settings(max_examples=50)
def test_groups_add_up(rows):
  result = metrics.compute_metrics(rows)
  for parts in (
    [result['classification'], result['generation']],
    result['by_category'].values(),
    result['by_task'].values(),
  ):
    parts = [part for part in parts if part is not None]
    assert sum(part['num_instances'] for part in parts) == len(rows)
    for name in ('exact_match', 'rouge_1', 'rouge_l'):
      total = sum(part[name] * part['num_instances'] for part in parts)
      assert total / len(rows) == pytest.approx(
        result['overall'][name], abs=1e-9
      )


@given(_ROWS)
@settings(max_examples=50)
def test_exact_match_is_format_times_right_given_format(rows):
  rows = [row for row in rows if row.kind == 'classification']
  result = metrics.compute_metrics(rows)['classification']
  in_format = [
    row for row in rows if metrics.is_in_format(row.prediction, row.label_space)
  ]
  if not in_format:
    assert result is None or result['exact_match'] == 0.0
    return
  given_format = metrics.compute_metrics(in_format)['classification']
  product = result['format_correctness'] * given_format['exact_match'] / 100
  assert result['exact_match'] == pytest.approx(product, abs=1e-9)


@given(_ROWS, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_rows_does_not_matter(rows, random):
  shuffled = list(rows)
  random.shuffle(shuffled)
  assert metrics.compute_metrics(rows) == metrics.compute_metrics(shuffled)


def test_a_scorer_decides_what_a_word_is():
  scorer = rouge.Rouge(str.split)
  row = make_row(prediction='the cats', targets=('the cat',))
  assert metrics.score_row(row)[1:3] == (1.0, 1.0)
  assert metrics.rouge('the cats', ['the cat'], scorer=scorer) == (0.5, 0.5)
  assert metrics.score_row(row, scorer=scorer)[1:3] == (0.5, 0.5)
  found = metrics.compute_metrics([row], scorer=scorer)
  assert found['overall']['rouge_1'] == found['overall']['rouge_l'] == 50.0


def test_long_texts_are_normalised_too():
  long = 'Yes, ' * 400
  assert metrics.exact_match(long, [long.lower().replace(',', '')])
  assert not metrics.exact_match(long, [long + 'no'])


def test_english_words_are_ascii_letters_and_digits():
  assert metrics.has_words('猫 a')
  assert metrics.has_words('3')
  assert not metrics.has_words('猫!')


@pytest.mark.parametrize(
  ('row', 'groups'),
  [
    (ROW, {'overall', 'classification'}),
    (make_row(kind='generation'), {'overall', 'generation'}),
    (make_row(kind=None), {'overall'}),
    (make_row(category='Positive Control'), set()),
  ],
)
def test_in_group(row, groups):
  assert {g for g in metrics.GROUPS if metrics.in_group(row, g)} == groups
