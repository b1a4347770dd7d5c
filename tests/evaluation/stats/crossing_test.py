"""Tests of where a curve first beats guessing."""

import numpy as np
import pytest

from it_study.evaluation.stats.crossing import first_crossing

TASKS = np.repeat([f't{k:02}' for k in range(40)], 5)


def curve(*levels, noise=0.0, seeds=1):
  generator = np.random.default_rng(0)
  shape = (seeds, len(TASKS))
  return [
    np.full(shape, level) + noise * generator.normal(size=shape)
    for level in levels
  ]


def test_a_crossing_is_between_amounts_on_a_logarithmic_scale():
  found = first_crossing((1, 10, 100), curve(-2.0, -1.0, 1.0), TASKS)
  assert found.amount == pytest.approx(10**1.5)


def test_curves_without_variance_are_not_certain():
  # None of 40 tasks differs, but a share of 9% may: 9 points at -2.
  found = first_crossing((1, 10, 100), curve(-2.0, -1.0, 1.0), TASKS)
  assert found.low < found.amount
  assert found.high is None
  assert 0.1 < found.share_from_start < 0.5
  # At -50, 9% of tasks at +100 move the mean by 13 points.
  found = first_crossing((1, 100), curve(-50.0, 50.0), TASKS)
  assert (found.share_never, found.share_from_start) == (0, 0)
  assert found.amount == pytest.approx(10)
  assert (found.low, found.high) == pytest.approx((7.09, 14.83), abs=0.005)


def test_a_curve_that_begins_above_is_there_from_the_start():
  found = first_crossing((2, 10), curve(50.0, -3.0), TASKS)
  assert (found.amount, found.share_from_start) == (2, 1)


def test_a_curve_that_never_rises_has_no_crossing():
  found = first_crossing((2, 10), curve(-50.0, -50.0), TASKS)
  assert (found.amount, found.low, found.high) == (None, None, None)
  assert found.share_never == 1


@pytest.mark.parametrize('seeds', [1, 3])
def test_the_interval_widens_with_noise(seeds):
  amounts = (1, 10, 100)
  found = [
    first_crossing(
      amounts, curve(-2.0, 0.5, 3.0, noise=noise, seeds=seeds), TASKS
    )
    for noise in (2.0, 8.0)
  ]
  for crossing in found:
    assert crossing.low <= crossing.amount <= crossing.high
  assert found[0].high - found[0].low < found[1].high - found[1].low


def test_the_level_and_the_seed_of_an_interval():
  amounts, curves = (1, 10, 100), curve(-2.0, 0.5, 3.0, noise=8.0)
  wide, narrow, other = (
    first_crossing(amounts, curves, TASKS, **options)
    for options in ({}, {'level': 0.5}, {'seed': 1})
  )
  assert (wide.level, narrow.level) == (0.95, 0.5)
  assert wide.low < narrow.low < narrow.high < wide.high
  assert wide.amount == other.amount
  assert (wide.low, wide.high) != (other.low, other.high)


def test_tasks_may_come_in_any_order():
  amounts, curves = (1, 10, 100), curve(-2.0, 0.5, 3.0, noise=8.0)
  # Tasks are interleaved; within a task the order stays.
  order = np.arange(len(TASKS)).reshape(40, 5).T.ravel()
  moved = [values[:, order] for values in curves]
  found = first_crossing(amounts, moved, TASKS[order])
  expected = first_crossing(amounts, curves, TASKS)
  assert (found.amount, found.low, found.high) == pytest.approx(
    (expected.amount, expected.low, expected.high)
  )


def test_shares_are_of_resamples():
  found = first_crossing((1, 10), curve(-0.5, 0.5, noise=8.0), TASKS)
  assert 0.1 < found.share_never < 0.5
  assert 0.1 < found.share_from_start < 0.5
