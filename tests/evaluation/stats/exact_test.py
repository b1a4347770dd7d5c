"""Tests of bounds where nothing that was seen varies."""

import math

import numpy as np
import pytest

from it_study.evaluation.stats import intervals, resampling
from it_study.evaluation.stats.exact import ExactBounds

POINTS = (-100.0, 100.0)


def tasks_of(count, size=1):
  return np.repeat([f't{k:03}' for k in range(count)], size)


def ends(estimate, level=0.95):
  interval = estimate.interval(level)
  return interval.low, interval.high


def test_three_equal_rows_say_next_to_nothing():
  found = intervals.estimate([0.0] * 3, ['a'] * 3, bounds=POINTS)
  assert not found.varies
  # Two-sided: 1 - 0.025^(1/3). One-sided at 95%: 1 - 0.05^(1/3).
  assert ends(found) == pytest.approx((-70.760, 70.760), abs=5e-4)
  assert ends(found, 0.9) == pytest.approx((-63.160, 63.160), abs=5e-4)
  assert found.p_value() == 1.0
  assert found.equivalence(3.0).p_value == pytest.approx(0.97**3)
  assert not found.equivalence(3.0).holds
  # Even a thousand would not claim it: two models that answer nothing agree.
  many = intervals.estimate([0.0] * 1000, ['a'] * 1000, bounds=POINTS)
  assert many.equivalence(3.0).p_value == pytest.approx(0.97**1000)
  assert not many.equivalence(3.0).holds
  assert found.minimum_detectable_effect() == math.inf
  assert found.smallest_margin(num_seeds=3, num_tasks=100) == math.inf


def test_three_opposite_rows_are_judged_by_the_sign_test():
  found = intervals.estimate([100.0] * 3, ['a'] * 3, bounds=POINTS)
  assert found.p_value() == 0.25
  assert (found.p_greater(), found.p_less()) == (0.125, 1.0)
  assert ends(found) == pytest.approx((-41.520, 100.0), abs=5e-4)
  back = intervals.estimate([-100.0] * 3, ['a'] * 3, bounds=POINTS)
  assert (back.p_value(), back.p_less()) == (0.25, 0.125)
  # 5 of 5 are not shown, 6 of 6 are: 2 * 0.5^5 and 2 * 0.5^6.
  for count, p_value in ((5, 0.0625), (6, 0.03125)):
    found = intervals.estimate([100.0] * count, ['a'] * count, bounds=POINTS)
    assert found.p_value() == p_value


@pytest.mark.parametrize(
  ('seeds', 'tasks', 'size', 'high'),
  [
    # Tasks count, not their instances and not the seeds.
    (1, 5, 1, 52.182),
    (1, 5, 100, 52.182),
    (3, 5, 100, 52.182),
    (1, 58, 100, 6.162),
    (1, 119, 100, 3.052),
    # Of a single task, its instances; of a single instance, the seeds.
    (1, 1, 100, 3.622),
    (3, 1, 100, 3.622),
    (3, 1, 1, 70.760),
  ],
)
def test_cells_that_are_all_wrong_or_all_right_have_a_width(
  seeds, tasks, size, high
):
  values, names = np.zeros((seeds, tasks * size)), tasks_of(tasks, size)
  wrong = intervals.estimate(values, names, bounds=(0.0, 100.0))
  assert ends(wrong) == pytest.approx((0.0, high), abs=5e-4)
  right = intervals.estimate(values + 100.0, names, bounds=(0.0, 100.0))
  assert ends(right) == pytest.approx((100.0 - high, 100.0), abs=5e-4)


def test_without_bounds_nothing_is_known():
  found = intervals.estimate([7.0] * 6, list('aabbbc'))
  assert ends(found) == (-math.inf, math.inf)
  assert (found.p_value(7.0), found.p_value(6.9)) == (1.0, 1.0)


def test_rounding_errors_are_no_variance():
  # The mean of equal values is not always exactly their value.
  value = 100 / 3
  values = np.full(10, value)
  assert values.mean() != value
  found = intervals.estimate(values, ['a'] * 10, bounds=POINTS)
  assert not found.varies
  # A fixed task at +33.3 and one at -33.3: their mean, 0, tells no scale.
  both = intervals.estimate(
    [value] * 10 + [-value] * 10, tasks_of(2, 10), tasks_are_fixed=True
  )
  assert not both.varies


def test_fixed_tasks_may_differ_from_each_other_without_varying():
  values = [100.0] * 10 + [0.0] * 10
  found = intervals.estimate(
    values, tasks_of(2, 10), bounds=POINTS, tasks_are_fixed=True
  )
  # 1 - 0.025^(1/20) = 16.8% of instances, at most 200 below or 100 above.
  assert ends(found) == pytest.approx((50 - 33.687, 50 + 16.843), abs=5e-4)


def test_seeds_that_cancel_out_still_vary():
  # Each seed solves one of two instances, another one each.
  values = np.array([[100.0, 0.0], [0.0, 100.0]])
  squares = resampling.mean_squares(values, np.array([2]))
  assert (squares.seeds, squares.clusters, squares.residual) == (0, 0, 1e4)
  assert squares.variance == 2500.0
  found = intervals.estimate(values, ['a'] * 2, bounds=(0.0, 100.0))
  assert ends(found) == (0.0, 100.0)


@pytest.mark.parametrize('tail', [0.4, 0.05, 0.025, 0.001])
@pytest.mark.parametrize('lower', [True, False])
def test_p_values_invert_the_bounds(tail, lower):
  exact = ExactBounds(num_units=7, below=30.0, above=170.0)
  distance = exact.distance(tail, lower=lower)
  assert exact.p_value(distance, lower=lower) == pytest.approx(tail)
  assert exact.p_value(-1.0, lower=lower) == 1.0


def test_nothing_lies_beyond_what_is_possible():
  exact = ExactBounds(num_units=3, below=0.0, above=100.0)
  assert exact.distance(0.025, lower=True) == 0.0
  assert exact.p_value(1.0, lower=True) == 0.0
  assert exact.p_value(101.0, lower=False) == 0.0


def test_draws_have_the_bounds_as_their_quantiles():
  exact = ExactBounds(num_units=7, below=30.0, above=170.0)
  draws = exact.draws(np.random.default_rng(0), 100_000)
  for tail in (0.025, 0.3):
    assert np.quantile(draws, tail) == pytest.approx(
      -exact.distance(tail, lower=True), rel=0.02
    )
    assert np.quantile(draws, 1 - tail) == pytest.approx(
      exact.distance(tail, lower=False), rel=0.02
    )


@pytest.mark.parametrize(
  ('num_tasks', 'share', 'constant', 'missed'),
  # Of 4,000 studies, those that see every task solved although a share of all
  # tasks cannot be, and those of them whose interval misses the true mean: at
  # most 100, 2.5% of all. An interval of no width misses it in every one.
  [
    (5, 0.2, 1278, 0),
    (5, 0.5, 115, 0),
    (5, 0.55, 62, 62),
    (20, 0.1, 493, 0),
    (20, 0.18, 75, 75),
  ],
)
def test_intervals_miss_no_more_often_than_they_say(
  num_tasks, share, constant, missed
):
  generator = np.random.default_rng(num_tasks)
  studies = 100.0 * (generator.random((4000, num_tasks)) >= share)
  solved = studies[(studies == 100).all(axis=1)]
  low = [
    intervals.estimate(
      study, tasks_of(num_tasks), bounds=(0.0, 100.0), num_resamples=2
    )
    .interval()
    .low
    for study in solved
  ]
  assert len(solved) == constant
  assert np.sum(np.array(low) > 100 * (1 - share)) == missed <= 100
