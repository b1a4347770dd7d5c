"""Intervals for means over instances, with tasks as clusters."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from it_study.errors import InputError, nearest
from it_study.evaluation import metrics
from it_study.predict import Prediction

METRICS = ('exact_match', 'rouge_1', 'rouge_l')
LEVEL = 0.95
NUM_RESAMPLES = 2000
# Bounds the memory of a resample: 8 bytes each, several arrays at a time.
_DRAWS_AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
  """A mean with its percentile bootstrap interval, in the values' unit."""

  mean: float
  low: float
  high: float
  level: float
  num_tasks: int
  num_instances: int


def mean_interval(
  values: Sequence[float],
  tasks: Sequence[str],
  *,
  seed: int = 0,
  level: float = LEVEL,
  num_resamples: int = NUM_RESAMPLES,
) -> Interval:
  """Interval for a mean over instances that come in tasks.

  Two-stage cluster bootstrap (Davison & Hinkley 1997, section 3.8): tasks are
  drawn with replacement, then, within each task drawn, as many instances as it
  has. So an interval speaks of tasks like these, not of these tasks. With a
  single task only its instances vary, and the interval speaks of that task.

  Args:
    values: one an instance.
    tasks: the task of each, in any order.
    seed: of the resamples.
    level: share of resampled means inside the interval.
    num_resamples: number of resampled means.

  Raises:
    InputError: if there are no values.
  """
  if not len(values):
    raise InputError('an interval needs at least one instance, found none.')
  values = np.asarray(values, np.float64)
  names, codes = np.unique(np.asarray(tasks, object), return_inverse=True)
  by_task = values[np.argsort(codes, kind='stable')]
  sizes = np.bincount(codes)
  means = _resampled_means(
    by_task, sizes, np.random.default_rng(seed), num_resamples
  )
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return Interval(
    mean=float(values.mean()),
    low=float(low),
    high=float(high),
    level=level,
    num_tasks=len(names),
    num_instances=len(values),
  )


def metric_interval(
  rows: Sequence[Prediction],
  *,
  metric: str = 'exact_match',
  group: str = 'overall',
  seed: int = 0,
  level: float = LEVEL,
) -> Interval | None:
  """Interval of a metric over a headline group, in points from 0 to 100.

  Returns None where the group has no instances.

  Raises:
    InputError: for an unknown metric or group.
  """
  _check_choice('metric', metric, METRICS)
  _check_choice('group', group, metrics.GROUPS)
  rows = [row for row in rows if metrics.in_group(row, group)]
  if not rows:
    return None
  if any(row.task is None for row in rows):
    raise InputError(
      'the rows do not name their tasks, which an interval needs; score the '
      'file with its corpus, which can find them.'
    )
  return mean_interval(
    _points(rows, metric), [row.task for row in rows], seed=seed, level=level
  )


def paired_difference(
  rows: Sequence[Prediction],
  baseline_rows: Sequence[Prediction],
  *,
  metric: str = 'exact_match',
  group: str = 'overall',
  seed: int = 0,
  level: float = LEVEL,
) -> Interval | None:
  """Interval of `rows` minus `baseline_rows`, instance by instance, in points.

  Both must hold the same instances; kinds and categories are taken from
  `rows`. Returns None where the group has no instances.

  Raises:
    InputError: if an instance is in one only, comes twice or has no id, or for
      an unknown metric or group.
  """
  _check_choice('metric', metric, METRICS)
  _check_choice('group', group, metrics.GROUPS)
  first, second = _by_instance(rows), _by_instance(baseline_rows)
  alone = sorted(first.keys() ^ second.keys())
  if alone:
    raise InputError(
      f'{len(alone)} instances are predicted in one of the two files only, '
      f'{alone[0][1]!r} of task {alone[0][0]!r} first; a paired comparison '
      'needs the same instances in both.'
    )
  keys = [key for key in sorted(first) if metrics.in_group(first[key], group)]
  if not keys:
    return None
  differences = _points([first[key] for key in keys], metric) - _points(
    [second[key] for key in keys], metric
  )
  return mean_interval(
    differences, [task for task, _ in keys], seed=seed, level=level
  )


def _resampled_means(
  values: np.ndarray,
  sizes: np.ndarray,
  generator: np.random.Generator,
  num_resamples: int,
) -> np.ndarray:
  """Means of resamples; float64 [num_resamples].

  Args:
    values: float64 [instances], task after task.
    sizes: int [tasks], instances of each.
    generator: of the draws.
    num_resamples: number of means.
  """
  starts = np.cumsum(sizes) - sizes
  means = []
  at_once = max(1, _DRAWS_AT_ONCE // len(values))
  for done in range(0, num_resamples, at_once):
    count = min(at_once, num_resamples - done)
    drawn = generator.integers(len(sizes), size=(count, len(sizes)))
    totals = sizes[drawn].sum(axis=1)
    each = sizes[drawn].ravel()
    # One entry an instance drawn: its task's start and size.
    start, size = np.repeat(starts[drawn].ravel(), each), np.repeat(each, each)
    draws = values[start + generator.integers(size)]
    sums = np.add.reduceat(draws, np.cumsum(totals) - totals)
    means.append(sums / totals)
  return np.concatenate(means)


def _points(rows: Sequence[Prediction], metric: str) -> np.ndarray:
  return 100.0 * np.array(
    [getattr(metrics.score_row(row), metric) for row in rows]
  )


def _by_instance(
  rows: Sequence[Prediction],
) -> dict[tuple[str, str], Prediction]:
  keyed: dict[tuple[str, str], Prediction] = {}
  for row in rows:
    if row.id is None or row.task is None:
      raise InputError(
        'a row names no instance; a paired comparison needs ids. Score the '
        'file with its corpus, which can find them.'
      )
    if (row.task, row.id) in keyed:
      raise InputError(
        f'instance {row.id!r} of task {row.task!r} is predicted twice in one '
        'file; a paired comparison needs it once.'
      )
    keyed[row.task, row.id] = row
  return keyed


def _check_choice(what: str, name: str, allowed: Sequence[str]) -> None:
  if name not in allowed:
    raise InputError(
      f'{what} {name!r} is unknown; there are {", ".join(allowed)}.'
      f'{nearest(name, allowed)}'
    )
