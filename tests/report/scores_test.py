"""Tests of it_study.report.scores."""

import dataclasses

import numpy as np
import pytest
from report_fixture import make_rows

from it_study.errors import InputError
from it_study.report.scores import (
  CHANCE,
  CLS,
  GEN,
  OVERALL,
  Group,
  score_rows,
  stack_seeds,
)


def test_groups_leave_controls_out():
  scores = score_rows(make_rows(split='validation', num_instances=3))
  assert [int(scores.mask(g).sum()) for g in (OVERALL, CLS, GEN)] == [6, 3, 3]
  control = Group('control', 'Positive Control')
  assert scores.mask(control).sum() == 6
  assert scores.mask(Group('task', 'task000_validation')).sum() == 3
  assert control in scores.named_groups()
  assert Group('category', 'Sentiment Analysis') in scores.named_groups()


def test_interval_is_that_of_the_group():
  rows = make_rows(accuracy=1.0, num_instances=5)
  interval = score_rows(rows).estimate('exact_match', CLS).interval()
  # What 4 tasks can tell: 1 - 0.025^(1/4).
  low = pytest.approx(39.76, abs=0.005)
  assert (interval.mean, interval.low, interval.high) == (100, low, 100)
  assert (interval.num_tasks, interval.num_instances) == (4, 20)


def test_format_is_over_instances_with_a_label_space():
  scores = score_rows(make_rows(num_instances=5))
  assert scores.estimate('format_correctness', OVERALL).num_instances == 20
  assert scores.estimate('format_correctness', GEN) is None


def test_difference_is_paired():
  right = score_rows(make_rows(accuracy=1.0, num_instances=5))
  wrong = score_rows(make_rows(accuracy=0.0, num_instances=5))
  interval = right.minus(wrong, 'exact_match', CLS).interval()
  low = pytest.approx(-20.47, abs=0.005)
  assert (interval.mean, interval.low, interval.high) == (100, low, 100)
  same = right.minus(right, 'exact_match', CLS).interval()
  reach = pytest.approx(60.24, abs=0.005)
  assert (same.mean, -same.low, same.high) == (0, reach, reach)


def test_other_instances_cannot_be_compared():
  one = score_rows(make_rows(num_instances=5))
  other = score_rows(make_rows(num_instances=4))
  with pytest.raises(InputError, match='different instances of the same split'):
    one.minus(other, 'exact_match', CLS)


def test_seeds_are_kept_separate():
  by_seed = [score_rows(make_rows(accuracy=a, num_instances=5)) for a in (1, 0)]
  both = stack_seeds(by_seed, (3, 4))
  assert both.values['exact_match'].shape == (2, 30)
  estimate = both.estimate('exact_match', CLS)
  assert (estimate.mean, estimate.num_seeds) == (50, 2)
  assert estimate.num_instances == 20


def test_seeds_are_paired_by_name():
  right, wrong = (
    score_rows(make_rows(accuracy=a, num_instances=5)) for a in (1, 0)
  )
  one = stack_seeds([right, wrong], (0, 1))
  other = stack_seeds([wrong, right], (1, 0))
  same = one.minus(other, 'exact_match', CLS)
  assert (same.mean, same.standard_error, same.num_seeds) == (0, 0, 2)
  # Only seed 1 is in both; there the two are alike.
  part = one.minus(stack_seeds([wrong, right], (1, 7)), 'exact_match', CLS)
  assert (part.mean, part.num_seeds) == (0, 1)
  # A single row without a seed is compared with both.
  single = one.minus(right, 'exact_match', CLS)
  assert (single.mean, single.num_seeds) == (-50, 2)
  # Nothing in common: means against means.
  apart = one.minus(stack_seeds([right, right], (8, 9)), 'exact_match', CLS)
  assert (apart.mean, apart.num_seeds) == (-50, 1)


def test_chance_counts_labels_equal_under_exact_match_once():
  row = make_rows(num_instances=1)[0]
  scores = [
    score_rows([dataclasses.replace(row, label_space=space, targets=targets)])
    for space, targets in (
      (('He', 'he', 'she'), ('he',)),
      (('a1', 'b', 'c', 'd'), ('b', 'C.')),
      (None, ('b',)),
    )
  ]
  points = [score.values[CHANCE][0, 0] for score in scores]
  assert points[:2] == [50, 50]
  assert np.isnan(points[2])


def test_what_varies_beyond_guessing_is_bounded_by_the_guess():
  tasks = [('Textual Entailment', ('yes', 'no'))] * 8
  scores = score_rows(make_rows(accuracy=1.0, num_instances=5, tasks=tasks))
  estimate = scores.minus(scores, 'exact_match', CLS, other_metric=CHANCE)
  interval = estimate.interval()
  # None of 8 tasks is wrong; 36.9% of them might be, 100 points below.
  assert (interval.mean, interval.high) == (50, 50)
  assert interval.low == pytest.approx(50 - 36.94, abs=0.005)


@pytest.mark.parametrize(('is_shared', 'num_units'), [(True, 5), (False, 10)])
def test_controls_are_judged_by_input_where_tasks_share_them(
  is_shared, num_units
):
  tasks = [('Positive Control', ('a', 'b'))] * 2
  first, second = (
    score_rows(
      [
        dataclasses.replace(row, inputs=f'{row.position}') if is_shared else row
        for row in make_rows(tasks=tasks, num_instances=5, seed=seed)
      ]
    )
    for seed in (0, 1)
  )
  control = Group('control', 'Positive Control')
  found = first.minus(second, 'exact_match', control)
  assert found.squares.num_clusters == num_units
  assert found.num_instances == 10
