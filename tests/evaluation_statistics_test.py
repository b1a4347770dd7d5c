"""Tests of the cluster bootstrap and the paired difference."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from it_study.errors import InputError
from it_study.evaluation import statistics
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


def test_a_constant_has_no_width():
  interval = statistics.mean_interval([7.0] * 6, list('aabbbc'))
  assert interval == statistics.Interval(
    mean=7.0, low=7.0, high=7.0, level=0.95, num_tasks=3, num_instances=6
  )


def test_one_task_gives_the_width_of_independent_instances():
  interval = statistics.mean_interval([0.0, 1.0] * 200, ['a'] * 400)
  # 1.96 sqrt(0.25 / 400) = 0.049; a quantile of 2,000 resamples is near it.
  assert interval.mean == 0.5
  assert 0.5 - interval.low == pytest.approx(0.049, abs=0.006)
  assert interval.high - 0.5 == pytest.approx(0.049, abs=0.006)


def test_tasks_are_the_unit_where_their_instances_agree():
  values = np.repeat([0.0, 1.0] * 10, 20)
  tasks = np.repeat(np.arange(20), 20)
  interval = statistics.mean_interval(values, tasks, num_resamples=40_000)
  # Quantiles of a binomial count out of 20 tasks: P(5 or fewer) is 2.1%,
  # P(6 or fewer) 5.8%. Independent instances would give 0.45 to 0.55.
  assert interval.low == pytest.approx(6 / 20, abs=1e-12)
  assert interval.high == pytest.approx(14 / 20, abs=1e-12)
  assert (interval.num_tasks, interval.num_instances) == (20, 400)


def test_resampled_variance_is_that_of_both_stages():
  # Tasks of 4: variance of task means over tasks plus that within over 4,
  # each with the denominator of a resample.
  generator = np.random.default_rng(1)
  values = generator.normal(size=(8, 4))
  means = statistics._resampled_means(
    values.ravel(), np.full(8, 4), np.random.default_rng(0), 40_000
  )
  expected = values.mean(axis=1).var() / 8 + values.var(axis=1).mean() / 32
  assert means.shape == (40_000,)
  assert means.mean() == pytest.approx(values.mean(), abs=0.01)
  assert means.var() == pytest.approx(expected, rel=0.03)


@given(
  st.lists(
    st.tuples(st.sampled_from('abcd'), st.floats(-5, 5)), min_size=1, max_size=9
  )
)
@settings(max_examples=30)
def test_an_interval_stays_within_the_values(pairs):
  tasks, values = zip(*pairs, strict=True)
  interval = statistics.mean_interval(values, tasks, num_resamples=50)
  assert min(values) - 1e-9 <= interval.low <= interval.high
  assert interval.high <= max(values) + 1e-9
  assert interval.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
  assert interval.num_tasks == len(set(tasks))


def test_the_seed_alone_decides():
  values, tasks = [0.0, 1.0, 1.0, 0.0, 1.0, 0.5], list('aabbcc')
  first = statistics.mean_interval(values, tasks, num_resamples=99)
  assert statistics.mean_interval(values, tasks, num_resamples=99) == first
  moved = statistics.mean_interval(
    values[2:] + values[:2], tasks[2:] + tasks[:2], num_resamples=99
  )
  assert moved == dataclasses.replace(first, mean=moved.mean)
  other = statistics.mean_interval(values, tasks, num_resamples=99, seed=1)
  assert other != first


def test_many_resamples_are_made_in_parts(monkeypatch):
  monkeypatch.setattr(statistics, '_DRAWS_AT_ONCE', 10)
  means = statistics._resampled_means(
    np.array([1.0, 1.0, 3.0]),
    np.array([2, 1]),
    np.random.default_rng(0),
    100,
  )
  # Drawn are both tasks, the first twice, or the second twice.
  assert set(np.round(means, 6)) == {1.0, round(5 / 3, 6), 3.0}
  assert means.shape == (100,)


def test_no_values_are_refused():
  with pytest.raises(InputError, match='at least one instance, found none'):
    statistics.mean_interval([], [])


def test_metric_interval_is_in_points_and_over_its_group():
  rows = (
    make_rows(['yes'] * 20)
    + make_rows(['x'] * 10, task='g{}', kind='generation')
    + make_rows(['x'] * 10, task='c{}', category='Positive Control')
  )
  interval = statistics.metric_interval(rows, group='classification')
  assert (interval.mean, interval.low, interval.high) == (100, 100, 100)
  assert (interval.num_tasks, interval.num_instances) == (2, 20)
  overall = statistics.metric_interval(rows, metric='rouge_l')
  assert overall.mean == pytest.approx(200 / 3)
  assert overall.num_tasks == 3
  assert statistics.metric_interval(rows[:20], group='generation') is None


def test_identical_files_do_not_differ():
  rows = make_rows(['yes', 'no'] * 15)
  interval = statistics.paired_difference(rows, rows)
  assert (interval.mean, interval.low, interval.high) == (0, 0, 0)


def test_a_planted_difference_is_found_whatever_the_order():
  better = make_rows(['yes'] * 50)
  worse = make_rows((['yes'] * 8 + ['no'] * 2) * 5)
  interval = statistics.paired_difference(better, worse[::-1])
  assert interval.mean == pytest.approx(20)
  assert 0 < interval.low < 20 < interval.high < 40
  back = statistics.paired_difference(worse, better)
  assert back.mean == pytest.approx(-20)
  assert statistics.paired_difference(better, worse, group='generation') is None


def test_files_that_do_not_pair_are_refused():
  rows = make_rows(['yes'] * 3)
  with pytest.raises(
    InputError,
    match="1 instances are predicted in one of the two files only, 'i2' of "
    "task 't0' first",
  ):
    statistics.paired_difference(rows, rows[:2])
  with pytest.raises(InputError, match="'i0' of task 't0' is predicted twice"):
    statistics.paired_difference([*rows, rows[0]], rows)
  nameless = [dataclasses.replace(row, task=None) for row in rows]
  with pytest.raises(InputError, match='a row names no instance'):
    statistics.paired_difference(nameless, rows)
  with pytest.raises(InputError, match='the rows do not name their tasks'):
    statistics.metric_interval(nameless)


def test_unknown_choices_are_refused():
  rows = make_rows(['yes'])
  with pytest.raises(
    InputError,
    match="metric 'rouge' is unknown; there are exact_match, rouge_1, rouge_l",
  ):
    statistics.metric_interval(rows, metric='rouge')
  with pytest.raises(InputError, match="Did you mean 'overall'"):
    statistics.paired_difference(rows, rows, group='all')
