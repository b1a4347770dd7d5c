"""Tests of the decomposition of exact match."""

import dataclasses

from hypothesis import given, strategies as st
import pytest

from it_study.evaluation.decomposition import (
  Decomposition,
  decompose,
  decompositions,
  sentence,
)
from it_study.predictions import Prediction

ROW = Prediction(
  id='a',
  task='t1',
  category='C',
  kind='classification',
  label_space=('yes', 'no', 'maybe', 'perhaps'),
  position=0,
  split='test',
  inputs='',
  targets=('yes',),
  prediction='yes',
  engine='native',
)


def rows_of(*predictions, **fields):
  return [
    dataclasses.replace(ROW, id=f'i{k}', prediction=text, **fields)
    for k, text in enumerate(predictions)
  ]


def test_exact_match_is_form_times_knowledge():
  parts = decompose(rows_of('yes', 'no', 'x', 'Yes.', 'y', 'no', 'no', 'no'))
  assert parts == Decomposition(
    num_instances=8,
    exact_match=2 / 8,
    in_format=6 / 8,
    right_in_format=2 / 6,
    right_out_of_format=0.0,
    guess=0.25,
    skill=0.0,
    guess_in_format=0.25,
    skill_in_format=(2 / 6 - 0.25) / 0.75,
  )


def test_what_is_not_defined_is_none():
  parts = decompose(rows_of('x', 'y'))
  assert (parts.right_in_format, parts.skill_in_format) == (None, None)
  assert parts.skill == pytest.approx(-1 / 3)
  single = decompose(rows_of('yes', label_space=('yes', 'Yes.')))
  assert (single.guess, single.skill) == (1.0, None)
  assert decompose(rows_of('x', label_space=None)) is None


def test_the_sentence_says_what_is_not_defined():
  assert sentence(decompose([dataclasses.replace(ROW, prediction='x')])) == (
    'Exact match 0.0% = 0.0% in format x not defined right of those; a guess '
    '25.0%, skill -33.3%; of those in format a guess not defined, skill not '
    'defined.'
  )


def test_right_answers_out_of_format_are_counted_apart():
  parts = decompose(rows_of('si', 'yes', 'no', 'no', targets=('si', 'yes')))
  assert (parts.exact_match, parts.in_format) == (0.5, 0.75)
  assert parts.right_in_format == pytest.approx(1 / 3)
  assert parts.right_out_of_format == 0.25


@given(
  st.lists(
    st.tuples(
      st.sampled_from(['yes', 'no', 'x', '', 'si']),
      st.sampled_from([('yes',), ('no', 'si'), ('?',)]),
    ),
    min_size=1,
    max_size=60,
  )
)
def test_the_identity_holds(pairs):
  parts = decompose(
    [
      dataclasses.replace(ROW, prediction=prediction, targets=targets)
      for prediction, targets in pairs
    ]
  )
  product = parts.in_format * (parts.right_in_format or 0.0)
  assert parts.exact_match == pytest.approx(
    product + parts.right_out_of_format, abs=1e-12
  )


def test_groups_leave_controls_and_generation_out():
  rows = (
    rows_of('yes', 'no')
    + rows_of('yes', task='t2', category='Positive Control')
    + rows_of('yes', task='t3', label_space=None, kind='generation')
  )
  found = decompositions(rows)
  assert list(found) == [
    ('headline', 'classification'),
    ('category', 'C'),
    ('task', 't1'),
    ('control', 'Positive Control'),
    ('task', 't2'),
  ]
  assert found['headline', 'classification'].num_instances == 2
