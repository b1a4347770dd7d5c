"""Tests of estimates over crossed seeds and tasks, and of their p-values."""

import math

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from scipy import stats

from it_study.errors import InputError
from it_study.evaluation.stats import intervals, resampling


def simulate(generator, *, seeds, tasks, mean=0.0, by_seed=3.0, by_task=4.0):
  """Differences of a study, in points; float [seeds, 10 tasks' instances]."""
  effects = (
    mean
    + generator.normal(0, by_seed, (seeds, 1))
    + generator.normal(0, by_task, (1, tasks))
    + generator.normal(0, 2, (seeds, tasks))
  )
  noise = generator.normal(0, 20, (1, tasks, 10)) + generator.normal(
    0, 15, (seeds, tasks, 10)
  )
  return (effects[:, :, None] + noise).reshape(seeds, tasks * 10)


def names(tasks, size=10):
  return np.repeat([f't{k:03}' for k in range(tasks)], size)


def test_one_seed_of_equal_tasks_is_the_t_test_over_task_means():
  values = simulate(np.random.default_rng(0), seeds=1, tasks=60, mean=5.0)
  estimate = intervals.estimate(values, names(60), num_resamples=20_000)
  means = values.reshape(60, 10).mean(axis=1)
  expected = stats.ttest_1samp(means, 0.0)
  assert estimate.standard_error == pytest.approx(stats.sem(means), rel=1e-12)
  assert estimate.degrees_of_freedom == pytest.approx(59)
  # Resamples of a sum of 60 are all but normal: 3% off at most.
  wanted = expected.confidence_interval(0.95)
  width = wanted.high - wanted.low
  interval = estimate.interval()
  assert interval.low == pytest.approx(wanted.low, abs=0.03 * width)
  assert interval.high == pytest.approx(wanted.high, abs=0.03 * width)
  assert estimate.p_value(5.0) == pytest.approx(
    stats.ttest_1samp(means, 5.0).pvalue, rel=0.1
  )


def test_equivalence_agrees_with_two_one_sided_t_tests():
  values = simulate(np.random.default_rng(3), seeds=1, tasks=60)
  estimate = intervals.estimate(values, names(60), num_resamples=20_000)
  means = values.reshape(60, 10).mean(axis=1)
  for margin in (1.0, 2.0, 3.0):
    expected = max(
      stats.ttest_1samp(means, -margin, alternative='greater').pvalue,
      stats.ttest_1samp(means, margin, alternative='less').pvalue,
    )
    found = estimate.equivalence(margin).p_value
    assert found == pytest.approx(expected, rel=0.15)


def test_crossed_mean_squares_are_those_of_an_analysis_of_variance():
  # By hand: rows 1 2 6 and 3 6 6; means 3 and 5, columns 2 4 6, all 4.
  values = np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]])
  squares = resampling.mean_squares(values, np.array([1, 1, 1]))
  assert (squares.num_seeds, squares.num_clusters) == (2, 3)
  assert squares.seeds == pytest.approx(6)
  assert squares.clusters == pytest.approx(8)
  # Residuals 0 -1 1 and 0 1 -1 over (2 - 1)(3 - 1).
  assert squares.residual == pytest.approx(2)
  assert squares.variance == pytest.approx((6 + 8 - 2) / 6)
  assert squares.degrees_of_freedom == pytest.approx(
    2**2 / ((6 / 6) ** 2 / 1 + (8 / 6) ** 2 / 2 + (2 / 6) ** 2 / 2)
  )


def test_a_single_task_is_crossed_by_its_instances():
  values = np.array([[1.0, 2.0, 6.0], [3.0, 6.0, 6.0]])
  as_tasks = resampling.mean_squares(values, np.array([1, 1, 1]))
  assert resampling.mean_squares(values, np.array([3])) == as_tasks


def test_unequal_tasks_weigh_as_many_instances_as_they_have():
  estimate = intervals.estimate([1.0, 1.0, 1.0, 5.0], list('aaab'))
  # Deviations -1 and 3: sums -3 and 3 in units of the mean size, 2.
  assert estimate.mean == 2.0
  assert estimate.squares.clusters == pytest.approx(2 * 1.5**2)


def test_tasks_that_score_alike_by_chance_still_vary():
  # Both tasks have a mean of 0.5; of 4 instances each, that is known to
  # sqrt(1/3 / 8), half of which variance is the least that is taken.
  estimate = intervals.estimate([0.0, 0.0, 1.0, 1.0] * 2, list('aaaabbbb'))
  assert estimate.standard_error == pytest.approx((1 / 3 / 8 / 2) ** 0.5)
  assert estimate.degrees_of_freedom == 1


def test_fixed_tasks_leave_their_instances_to_vary():
  # Means 0.5 and 10.5; within each a variance of 1/3 of 4 instances.
  values = [0.0, 0.0, 1.0, 1.0, 10.0, 10.0, 11.0, 11.0]
  estimate = intervals.estimate(values, list('aaaabbbb'), tasks_are_fixed=True)
  assert estimate.mean == 5.5
  assert estimate.standard_error == pytest.approx((1 / 3 / 8) ** 0.5)
  assert (estimate.num_tasks, estimate.num_instances) == (2, 8)
  alone = intervals.estimate([1.0, 2.0], list('ab'), tasks_are_fixed=True)
  assert alone.standard_error == 0.5


def test_the_resampled_variance_is_that_of_both_stages():
  # Tasks of 4: variance of task means over tasks plus that within over 4,
  # each with the denominator of a resample.
  values = np.random.default_rng(1).normal(size=(1, 32))
  means = resampling.resampled_means(
    values, np.full(8, 4), num_resamples=40_000
  )
  by_task = values.reshape(8, 4)
  expected = by_task.mean(axis=1).var() / 8 + by_task.var(axis=1).mean() / 32
  assert means.shape == (40_000,)
  assert means.mean() == pytest.approx(values.mean(), abs=0.01)
  assert means.var() == pytest.approx(expected, rel=0.03)


def test_resampled_seeds_are_crossed_with_tasks():
  # Only seeds differ: a resample is a mean of seeds, of one and all tasks.
  values = np.repeat([[0.0], [3.0]], 6, axis=1)
  means = resampling.resampled_means(
    values, np.array([3, 3]), num_resamples=4000
  )
  assert set(means) == {0.0, 1.5, 3.0}
  assert means.var() == pytest.approx(2.25 / 2, rel=0.1)


def test_resamples_made_in_parts_leave_nothing_out(monkeypatch):
  monkeypatch.setattr(resampling, '_DRAWS_AT_ONCE', 10)
  means = resampling.resampled_means(
    np.array([[1.0, 1.0, 3.0]]), np.array([2, 1]), num_resamples=101
  )
  # Drawn are both tasks, the first twice, or the second twice.
  assert set(np.round(means, 6)) == {1.0, round(5 / 3, 6), 3.0}
  assert means.shape == (101,)


@given(
  st.lists(
    st.tuples(st.sampled_from('abcd'), st.floats(-5, 5)), min_size=1, max_size=9
  )
)
@settings(max_examples=30)
def test_an_interval_holds_its_mean_and_keeps_its_bounds(pairs):
  tasks, values = zip(*pairs, strict=True)
  estimate = intervals.estimate(
    values, tasks, num_resamples=50, bounds=(-5.0, 5.0)
  )
  interval = estimate.interval()
  assert -5 <= interval.low <= interval.mean <= interval.high <= 5
  assert interval.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
  assert interval.num_tasks == len(set(tasks))
  assert 0 <= estimate.p_value() <= 1


def test_a_single_instance_tells_nothing():
  estimate = intervals.estimate([1.0], ['a'], bounds=(-100.0, 100.0))
  interval = estimate.interval()
  assert (interval.low, interval.high) == (-100.0, 100.0)
  assert estimate.p_value() == 1.0
  assert not estimate.equivalence(99.0).holds


@pytest.mark.parametrize('level', [0.5, 0.9, 0.95, 0.99, 0.999, 0.99999])
@pytest.mark.parametrize('seeds', [1, 3])
def test_p_values_invert_the_intervals(level, seeds):
  values = simulate(np.random.default_rng(5), seeds=seeds, tasks=12)
  estimate = intervals.estimate(values, names(12))
  interval = estimate.interval(level)
  tail = (1 - level) / 2
  assert estimate.p_greater(interval.low) == pytest.approx(tail, rel=1e-6)
  assert estimate.p_less(interval.high) == pytest.approx(tail, rel=1e-6)


def test_the_seed_of_the_resamples_alone_decides():
  values, tasks = [0.0, 1.0, 1.0, 0.0, 1.0, 0.5], list('aabbcc')
  first = intervals.estimate(values, tasks, num_resamples=99).interval()
  again = intervals.estimate(
    values[2:] + values[:2], tasks[2:] + tasks[:2], num_resamples=99
  )
  # Tasks go by name, whatever the order of the rows.
  moved = again.interval()
  assert (moved.low, moved.high) == pytest.approx((first.low, first.high))
  other = intervals.estimate(values, tasks, num_resamples=99, seed=1)
  assert other.interval() != first


@pytest.mark.parametrize(
  ('seeds', 'low', 'high'),
  # 3 standard errors of 1,500 studies are 1.7 points.
  [(10, 3.3, 6.7), (3, 2.0, 7.5)],
)
def test_equivalence_errs_at_the_margin_as_often_as_it_says(seeds, low, high):
  generator = np.random.default_rng(seeds)
  found = [
    intervals.estimate(
      simulate(generator, seeds=seeds, tasks=30, mean=5.0),
      names(30),
      num_resamples=500,
    )
    .equivalence(5.0)
    .holds
    for _ in range(1500)
  ]
  assert low < 100 * np.mean(found) < high


def test_a_planted_difference_is_not_equivalent():
  values = simulate(
    np.random.default_rng(0), seeds=10, tasks=119, mean=5.0, by_seed=1.0
  )
  planted = intervals.estimate(values, names(119))
  assert not planted.equivalence(3.0).holds
  assert planted.p_value() < 1e-4


def test_power_is_what_the_minimum_detectable_effect_promises():
  generator = np.random.default_rng(8)
  effect = intervals.estimate(
    simulate(generator, seeds=10, tasks=200), names(200)
  ).minimum_detectable_effect(num_tasks=40)
  studies = [
    intervals.estimate(
      simulate(generator, seeds=10, tasks=40, mean=effect),
      names(40),
      num_resamples=300,
    )
    for _ in range(400)
  ]
  power = np.mean([study.p_value() < 0.05 for study in studies])
  # 80%, with what one study can tell of components of variance.
  assert power == pytest.approx(0.8, abs=0.12)


def test_a_design_is_planned_from_components_of_variance():
  values = simulate(np.random.default_rng(2), seeds=4, tasks=20)
  estimate = intervals.estimate(values, names(20))
  now = estimate.minimum_detectable_effect()
  assert estimate.minimum_detectable_effect(
    num_seeds=4, num_tasks=20
  ) == pytest.approx(now)
  assert estimate.minimum_detectable_effect(num_seeds=40, num_tasks=200) < now
  assert estimate.smallest_margin(num_seeds=10) < estimate.smallest_margin()
  alone = intervals.estimate(values[0], names(20))
  with pytest.raises(InputError, match='run at least two to plan for more'):
    alone.minimum_detectable_effect(num_seeds=3)
  # More tasks can be planned from one seed.
  assert alone.minimum_detectable_effect(num_tasks=20) == pytest.approx(
    alone.minimum_detectable_effect()
  )


def test_a_component_of_variance_is_never_negative_nor_made_up():
  # The same effect in both seeds, up to noise that cancels: seeds differ by
  # less than chance, and so do not add to the error of more of them.
  noise = np.repeat([1.0, -1.0] * 10, 10)
  values = np.stack([noise, -noise])
  estimate = intervals.estimate(values, names(20))
  squares = estimate.squares
  assert squares.seeds < squares.residual
  assert squares.clusters < squares.residual
  # Only the residual is left: 4 times the cells halve its standard error.
  once = estimate.minimum_detectable_effect(num_seeds=200, num_tasks=200)
  more = estimate.minimum_detectable_effect(num_seeds=400, num_tasks=400)
  assert more == pytest.approx(once / 2, rel=0.01)


@pytest.mark.parametrize(
  ('p_values', 'holm', 'benjamini_hochberg'),
  # What `multipletests` of statsmodels 0.15.0 returns.
  [
    ([], [], []),
    ([0.03], [0.03], [0.03]),
    ([1.0], [1.0], [1.0]),
    ([0.0], [0.0], [0.0]),
    (
      [0.01, 0.04, 0.03, 0.005],
      [0.03, 0.06, 0.06, 0.02],
      [0.02, 0.04, 0.04, 0.02],
    ),
    ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06], [0.02, 0.02, 0.02]),
    (
      [0.04, 0.01, 0.01, 0.04, 1.0],
      [0.12, 0.05, 0.05, 0.12, 1.0],
      [
        0.049999999999999996,
        0.024999999999999998,
        0.024999999999999998,
        0.049999999999999996,
        1.0,
      ],
    ),
    ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    (
      [1e-300, 5e-324, 1e-17, 0.5],
      [3e-300, 2e-323, 2e-17, 0.5],
      [2e-300, 2e-323, 1.3333333333333335e-17, 0.5],
    ),
    ([0.0, 0.0, 0.9], [0.0, 0.0, 0.9], [0.0, 0.0, 0.9]),
    ([0.9, 0.8, 0.7, 0.6], [1.0, 1.0, 1.0, 1.0], [0.9, 0.9, 0.9, 0.9]),
    (
      [0.6, 0.3, 0.3, 0.25, 0.05],
      [1.0, 1.0, 1.0, 1.0, 0.25],
      [
        0.6,
        0.37499999999999994,
        0.37499999999999994,
        0.37499999999999994,
        0.25,
      ],
    ),
    (
      [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
      [0.7000000000000001, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
      [0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7],
    ),
    (
      [0.0123, 0.9999999, 0.31, 0.049, 0.05, 0.051, 2e-09],
      [0.0738, 0.9999999, 0.62, 0.245, 0.245, 0.245, 1.4000000000000001e-08],
      [
        0.043050000000000005,
        0.9999999,
        0.3616666666666667,
        0.07139999999999999,
        0.07139999999999999,
        0.07139999999999999,
        1.4000000000000001e-08,
      ],
    ),
  ],
)
def test_adjusted_p_values_are_those_of_statsmodels(
  p_values, holm, benjamini_hochberg
):
  assert intervals.adjust(p_values) == holm
  # scipy multiplies where statsmodels divides: the last bit may differ.
  assert intervals.adjust(
    p_values, method='benjamini_hochberg'
  ) == pytest.approx(benjamini_hochberg, rel=4e-16, abs=0)


def test_an_unknown_adjustment_is_refused():
  with pytest.raises(
    InputError,
    match="method 'hulm' is unknown; expected one of holm, "
    r"benjamini_hochberg\. Did you mean 'holm'\?",
  ):
    intervals.adjust([0.5], method='hulm')


def test_bad_values_are_refused():
  with pytest.raises(InputError, match='at least one instance, got none'):
    intervals.estimate([], [])
  with pytest.raises(
    InputError, match='one task for each of 2 values, got 3 tasks'
  ):
    intervals.estimate([1.0, 2.0], list('aab'))
  estimate = intervals.estimate([1.0, 2.0], list('ab'))
  for margin in (0.0, -1.0, math.inf, math.nan):
    with pytest.raises(
      InputError, match='expected a number of points above 0, got'
    ):
      estimate.equivalence(margin)


def test_detectable_effects_are_sums_of_quantiles():
  values = simulate(np.random.default_rng(2), seeds=4, tasks=20)
  estimate = intervals.estimate(values, names(20))
  error, free = estimate.standard_error, estimate.degrees_of_freedom
  quantile = stats.t(free).ppf
  assert estimate.minimum_detectable_effect() == pytest.approx(
    error * (quantile(0.975) + quantile(0.8))
  )
  assert estimate.minimum_detectable_effect(
    power=0.9, alpha=0.01
  ) == pytest.approx(error * (quantile(0.995) + quantile(0.9)))
  assert estimate.smallest_margin() == pytest.approx(
    error * (quantile(0.95) + quantile(0.9))
  )
  assert estimate.smallest_margin(power=0.6, alpha=0.01) == pytest.approx(
    error * (quantile(0.99) + quantile(0.8))
  )


def test_equivalence_is_shown_by_the_interval_at_one_minus_two_alpha():
  values = simulate(np.random.default_rng(3), seeds=3, tasks=40)
  estimate = intervals.estimate(values, names(40))
  for alpha in (0.05, 0.2):
    found = estimate.equivalence(3.0, alpha=alpha)
    assert (found.margin, found.alpha) == (3.0, alpha)
    assert found.interval == estimate.interval(1 - 2 * alpha)
    # The margin at which the test is passed is where the interval ends.
    reach = max(-found.interval.low, found.interval.high)
    assert estimate.equivalence(reach * 1.001, alpha=alpha).holds
    assert not estimate.equivalence(reach * 0.999, alpha=alpha).holds


def test_one_sided_p_values_point_the_right_way():
  estimate = intervals.estimate([1.0, 2.0, 3.0, 4.0], list('abcd'))
  assert estimate.p_greater(0.0) < 0.05 < 0.95 < estimate.p_less(0.0)
  assert estimate.p_less(9.0) < 0.05 < 0.95 < estimate.p_greater(9.0)
  assert estimate.p_value(0.0) == 2 * estimate.p_greater(0.0)


def test_intervals_of_skewed_values_are_skewed():
  # One task in 20 far above the rest.
  values = [0.0] * 19 + [20.0]
  interval = intervals.estimate(
    values, [f't{k:02}' for k in range(20)]
  ).interval()
  assert interval.high - interval.mean > 1.2 * (interval.mean - interval.low)


def test_units_of_fixed_tasks_are_resampled_together():
  values = np.random.default_rng(3).choice([0.0, 100.0], 30)
  once = intervals.estimate(values, ['a'] * 30, tasks_are_fixed=True)
  # Two tasks that agree on every input are no more evidence than one.
  twice = intervals.estimate(
    np.tile(values, 2),
    ['a'] * 30 + ['b'] * 30,
    tasks_are_fixed=True,
    units=np.tile(np.arange(30), 2),
  )
  assert twice.standard_error == pytest.approx(once.standard_error)
  assert twice.degrees_of_freedom == once.degrees_of_freedom == 29
  assert (twice.num_tasks, twice.num_instances) == (2, 60)


def test_units_of_one_instance_each_change_nothing():
  generator = np.random.default_rng(4)
  values = generator.choice([0.0, 100.0], (2, 40))
  tasks = np.repeat(['a', 'b'], 20)
  plain, by_unit = (
    intervals.estimate(values, tasks, tasks_are_fixed=True, units=units)
    for units in (None, generator.permutation(40))
  )
  assert plain.squares == by_unit.squares
  assert plain.interval() == by_unit.interval()


def test_every_unit_may_have_tasks_of_its_own():
  found = intervals.estimate(
    [0.0, 100.0, 50.0, 50.0, 100.0, 0.0],
    ['a', 'a', 'b', 'c', 'd', 'd'],
    tasks_are_fixed=True,
    units=np.array([0, 0, 1, 1, 2, 2]),
  )
  assert found.squares.num_clusters == 3
  assert found.interval().low <= found.mean == 50.0
