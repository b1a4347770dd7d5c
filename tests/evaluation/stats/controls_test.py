"""Tests of it_study.evaluation.stats.controls."""

import dataclasses

import numpy as np
import pytest

from it_study.errors import InputError
from it_study.evaluation.stats import controls, intervals
from it_study.evaluation.stats.controls import (
  FAILED,
  PASSED,
  UNCLEAR,
  Decision,
)
from it_study.evaluation.stats.margins import ControlMargins


def estimate_of(values, *, num_tasks=2, units=None):
  values = np.atleast_2d(np.asarray(values, float))
  return intervals.estimate(
    values,
    np.arange(values.shape[1]) % num_tasks,
    bounds=(-100.0, 100.0),
    tasks_are_fixed=True,
    units=units,
  )


def moved(estimate, mean):
  """An estimate with the same uncertainty around another mean."""
  return dataclasses.replace(estimate, mean=mean)


NOISY = estimate_of([100.0] * 12 + [0.0] * 84 + [-100.0] * 4)


def reach(estimate):
  interval = estimate.interval()
  return interval.mean - interval.low, interval.high - interval.mean


@pytest.mark.parametrize(
  ('decide', 'outcomes'),
  [
    # Outcome just below and above each mean where an end meets a margin of 30.
    (controls.above, {'low': (UNCLEAR, PASSED), 'high': (FAILED, UNCLEAR)}),
    (controls.within, {'low': (UNCLEAR, FAILED), 'high': (PASSED, UNCLEAR)}),
  ],
)
def test_the_interval_decides(decide, outcomes):
  below, above = reach(NOISY)
  for end, mean in (('low', 30 + below), ('high', 30 - above)):
    found = [
      decide(moved(NOISY, mean + shift), 30.0).outcome
      for shift in (-0.001, 0.001)
    ]
    assert tuple(found) == outcomes[end]


def test_a_negative_difference_is_judged_like_a_positive_one():
  below, above = reach(NOISY)
  for mean, outcome in (
    (-30 + below + 0.001, PASSED),
    (-30 + below - 0.001, UNCLEAR),
    (-30 - above + 0.001, UNCLEAR),
    (-30 - above - 0.001, FAILED),
  ):
    assert controls.within(moved(NOISY, mean), 30.0).outcome == outcome


def test_no_variance_is_no_certainty():
  # 1 - 0.025^(1/36) = 9.7%, 1 - 0.025^(1/35) = 10.01%.
  assert controls.within(estimate_of([0.0] * 36), 10.0).outcome == PASSED
  assert controls.within(estimate_of([0.0] * 34), 10.0) == Decision(
    outcome=UNCLEAR, num_tasks=3
  )
  assert controls.above(estimate_of([100.0] * 34), 40.0).outcome == PASSED
  # 100 - 200 (1 - 0.025^(1 / n)) is above 40 from n = 11.
  assert controls.above(estimate_of([100.0] * 10), 40.0) == Decision(
    outcome=UNCLEAR, num_tasks=3
  )
  assert controls.above(estimate_of([100.0] * 11), 40.0).outcome == PASSED


def test_what_would_decide_is_the_smallest_study_with_enough_power():
  found = controls.within(moved(NOISY, 2.0), 8.0)
  assert found.outcome == UNCLEAR
  assert found.num_seeds is None
  # 100 instances of 2 tasks. A mean of 0 needs both tests.
  needed = next(
    n
    for n in range(101, 1000)
    if NOISY.smallest_margin(alpha=0.025, num_tasks=n) <= 6.0
  )
  assert found.num_tasks == -(-needed // 50) == 10
  too_close = controls.above(moved(NOISY, 39.99), 40.0)
  assert too_close == Decision(outcome=UNCLEAR)
  assert controls.above(moved(NOISY, 40.0), 40.0) == Decision(outcome=UNCLEAR)


def test_seeds_are_planned_from_the_variance_between_them():
  values = np.array([[0.0, 100.0] * 30, [0.0, 100.0] * 30, [100.0] * 60])
  estimate = estimate_of(values)
  found = controls.above(moved(estimate, 60.0), 40.0)
  assert found.outcome == UNCLEAR
  enough = estimate.minimum_detectable_effect
  assert enough(num_seeds=found.num_seeds) <= 20.0
  assert enough(num_seeds=found.num_seeds - 1) > 20.0
  # More tasks do not reduce the variance between seeds.
  assert found.num_tasks is None


def test_the_predicted_size_decides_four_times_out_of_five():
  generator = np.random.default_rng(0)
  small = estimate_of(np.repeat([100.0, 0.0, -100.0], (20, 15, 5)))
  assert small.mean == 37.5
  needed = controls.above(small, 20.0)
  assert needed == Decision(outcome=UNCLEAR, num_tasks=7)
  passed = 0
  for _ in range(400):
    draws = generator.choice([100.0, 0.0, -100.0], 140, p=(0.5, 0.375, 0.125))
    passed += controls.above(estimate_of(draws), 20.0).outcome == PASSED
  assert 0.74 < passed / 400 < 0.92


def test_a_mean_at_the_margin_passes_in_at_most_five_percent():
  generator = np.random.default_rng(1)
  passed = {'above': 0, 'within': 0}
  for _ in range(400):
    draws = generator.choice([100.0, 0.0, -100.0], 60, p=(0.5, 0.4, 0.1))
    passed['above'] += controls.above(estimate_of(draws), 40).outcome == PASSED
    draws = generator.choice([100.0, 0.0, -100.0], 60, p=(0.15, 0.8, 0.05))
    passed['within'] += (
      controls.within(estimate_of(draws), 10).outcome == PASSED
    )
  assert max(passed.values()) <= 20


def test_tasks_with_the_same_inputs_are_no_independent_evidence():
  generator = np.random.default_rng(2)
  passed = {'by instance': 0, 'by input': 0}
  inputs = np.repeat(np.arange(60), 3)
  for _ in range(300):
    # Each input is answered right in all three tasks or in none.
    values = np.repeat(generator.choice([100.0, 0.0], 60, p=(0.4, 0.6)), 3)
    for how, units in (('by instance', None), ('by input', inputs)):
      found = estimate_of(values, num_tasks=3, units=units)
      passed[how] += controls.above(found, 40).outcome == PASSED
  assert passed['by input'] <= 15 < 2 * 15 < passed['by instance']


@pytest.mark.parametrize('value', [0, 100, -1.0, 'wide', None, True])
def test_margins_are_numbers_of_points(value):
  for name in ('positive', 'negative'):
    with pytest.raises(
      InputError,
      match=f'{name.upper()}_CONTROL_MARGIN: expected a number of points above',
    ):
      ControlMargins(**{name: value})
