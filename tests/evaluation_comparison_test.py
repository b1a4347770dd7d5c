"""Tests of paired comparisons of prediction files."""

import dataclasses

import pytest

from it_study.errors import InputError
from it_study.evaluation.comparison import Changes, PairedRows
from it_study.predict import Prediction


def make_rows(predictions, *, task='t{}', category='C', kind='classification'):
  """Rows, ten to a task, whose one reference is 'yes'."""
  return [
    Prediction(
      id=f'i{k}',
      task=task.format(k // 10),
      category=category,
      kind=kind,
      label_space=('yes', 'no') if kind == 'classification' else None,
      position=k % 10,
      split='test',
      inputs='',
      targets=('yes',),
      prediction=prediction,
      engine='native',
    )
    for k, prediction in enumerate(predictions)
  ]


def test_a_difference_is_in_points_and_over_its_group():
  rows = (
    make_rows(['yes'] * 20)
    + make_rows(['x'] * 10, task='g{}', kind='generation')
    + make_rows(['x'] * 10, task='c{}', category='Positive Control')
  )
  others = [dataclasses.replace(row, prediction='no') for row in rows]
  pairs = PairedRows([(rows, others)])
  found = pairs.difference('exact_match', 'classification')
  assert (found.first, found.second, found.estimate.mean) == (100, 0, 100)
  assert (found.estimate.num_tasks, found.estimate.num_instances) == (2, 20)
  overall = pairs.difference('rouge_l')
  assert overall.estimate.mean == pytest.approx(200 / 3)
  assert overall.estimate.num_tasks == 3
  in_format = pairs.difference('format_correctness', 'Positive Control')
  assert (in_format.first, in_format.second) == (0, 100)
  assert pairs.difference('format_correctness', 'generation') is None
  assert pairs.categories() == ['C', 'Positive Control']


def test_identical_files_are_equivalent_at_any_margin():
  rows = make_rows(['yes', 'no'] * 15)
  found = PairedRows([(rows, rows)]).difference('exact_match')
  interval = found.estimate.interval()
  assert (interval.mean, interval.low, interval.high) == (0, 0, 0)
  assert found.estimate.equivalence(0.01).holds


def test_a_planted_difference_is_found_whatever_the_order():
  better = make_rows(['yes'] * 50)
  worse = make_rows((['yes'] * 8 + ['no'] * 2 + ['yes'] * 7 + ['no'] * 3) * 2)
  worse += make_rows(['no'] * 10, task='t4')
  worse = [
    dataclasses.replace(row, id=f'i{k}', task=f't{k // 10}')
    for k, row in enumerate(worse)
  ]
  found = PairedRows([(better, worse[::-1])]).difference('exact_match')
  assert found.estimate.mean == pytest.approx(40)
  assert found.estimate.interval().high > 0
  back = PairedRows([(worse, better)]).difference('exact_match')
  assert back.estimate.mean == pytest.approx(-40)


def test_seeds_are_crossed_with_tasks():
  better = make_rows(['yes'] * 40)
  worse = make_rows(['no'] * 4 + ['yes'] * 36)
  found = PairedRows([(better, worse), (better, better)]).difference(
    'exact_match'
  )
  assert found.estimate.num_seeds == 2
  assert found.estimate.num_instances == 40
  assert found.estimate.mean == pytest.approx(5)


def test_changes_count_what_becomes_of_predictions():
  first = make_rows(['yes', 'Yes.', 'no', 'x', 'maybe', 'yes'])
  second = make_rows(['no', 'yes', 'yes', 'no', 'maybe', 'x'])
  assert PairedRows([(first, second)]).changes() == Changes(
    num_instances=6,
    changed=4,
    gained=1,
    lost=2,
    left_format=1,
    entered_format=1,
    towards=(('no', 2), ('x', 1), ('yes', 1)),
  )
  assert PairedRows([(first, second)]).changes().share == pytest.approx(200 / 3)
  assert PairedRows([(first, second)]).changes('generation') is None


def test_files_that_do_not_pair_are_refused():
  rows = make_rows(['yes'] * 3)
  with pytest.raises(
    InputError,
    match="1 instances are predicted in one of the files only, 'i2' of "
    "task 't0' first",
  ):
    PairedRows([(rows, rows[:2])])
  with pytest.raises(InputError, match='in one of the files only'):
    PairedRows([(rows, rows), (rows[:2], rows[:2])])
  with pytest.raises(InputError, match="'i0' of task 't0' is predicted twice"):
    PairedRows([([*rows, rows[0]], rows)])
  nameless = [dataclasses.replace(row, task=None) for row in rows]
  with pytest.raises(InputError, match='a row names no instance'):
    PairedRows([(nameless, rows)])
  with pytest.raises(InputError, match='found none'):
    PairedRows([])


def test_unknown_choices_are_refused():
  pairs = PairedRows([(make_rows(['yes']), make_rows(['yes']))])
  with pytest.raises(
    InputError,
    match="metric 'rouge' is unknown; there are exact_match, rouge_1, rouge_l",
  ):
    pairs.difference('rouge')
  with pytest.raises(InputError, match="Did you mean 'overall'"):
    pairs.changes('overal')
