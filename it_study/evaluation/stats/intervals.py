"""Intervals, differences, equivalence and power, for seeds and tasks crossed.

A study samples training seeds, test tasks and instances of a task. All seeds
are tested on the same tasks, so seeds and tasks are crossed and resampled
independently. Nesting tasks within seeds would treat one seed's tasks as
different from the next seed's, and a task effect as noise that more seeds
average out.
"""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
from scipy import stats

from it_study.errors import InputError, nearest
from it_study.evaluation.stats import resampling
from it_study.evaluation.stats.exact import ExactBounds, exact_bounds
from it_study.evaluation.stats.resampling import (
  NUM_RESAMPLES,
  OUTER_TAIL,
  TAILS,
  MeanSquares,
)

LEVEL = 0.95
POWER = 0.8
ADJUSTMENTS = ('holm', 'benjamini_hochberg')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
  """A mean with an interval, in the values' unit.

  Attributes:
    mean: Mean over seeds and instances.
    low: Lower end.
    high: Upper end.
    level: Confidence level, from 0 to 1.
    num_tasks: Number of tasks.
    num_instances: Number of instances, each counted once.
    num_seeds: Number of training seeds; with one, the interval does not speak
      for other seeds.
  """

  mean: float
  low: float
  high: float
  level: float
  num_tasks: int
  num_instances: int
  num_seeds: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equivalence:
  """Result of two one-sided tests (Schuirmann 1987).

  Attributes:
    margin: Largest difference that counts as none, in the values' unit.
    p_value: Larger of the two one-sided p-values.
    alpha: Significance level of each of the two tests.
    interval: Interval at level 1 - 2 alpha; inside the margin where equivalence
      holds.
    varies: Whether anything varies. If not, equivalence is not claimed, however
      many instances agree: models that answer nothing agree, too.
  """

  margin: float
  p_value: float
  alpha: float
  interval: Interval
  varies: bool = True

  @property
  def holds(self) -> bool:
    """Whether a difference as large as the margin is ruled out."""
    return self.varies and self.p_value < self.alpha


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
  """A mean over seeds and instances, with its uncertainty.

  Intervals are rescaled bootstrap percentiles. Raw percentiles of a crossed
  bootstrap are wrong in two ways: they count the noise of instances, and that
  between seeds and tasks, more than once (Owen 2007), and they are too narrow
  for few seeds. So the deviations of the resamples are scaled to a standard
  error that has neither fault (see `MeanSquares.variance`), and widened by the
  ratio of Student's t to the normal quantile (Hesterberg 2015, 'expanded
  percentiles') with Satterthwaite's degrees of freedom. The percentiles then
  contribute only the shape. P-values invert the same intervals, so the two
  never disagree.

  Where no value varies, a standard error of 0 is no certainty: the bounds are
  then those of `ExactBounds`.

  Attributes:
    mean: Mean over seeds and instances, equally weighted.
    squares: Mean squares of seeds, clusters and residual.
    num_tasks: Number of tasks.
    num_instances: Number of instances, each counted once.
    num_seeds: Number of training seeds.
    bounds: Smallest and largest possible mean; intervals are clipped to them.
    exact: Bounds that hold where nothing varies.
    lower_shape: Quantiles of the resamples below the mean relative to those of
      a normal distribution, one for each tail; float64 [tails].
    upper_shape: The same above the mean; float64 [tails].
  """

  mean: float
  squares: MeanSquares
  num_tasks: int
  num_instances: int
  num_seeds: int
  bounds: tuple[float, float]
  exact: ExactBounds
  lower_shape: np.ndarray = dataclasses.field(repr=False)
  upper_shape: np.ndarray = dataclasses.field(repr=False)

  @property
  def standard_error(self) -> float:
    """Standard error of `mean`; infinite for one seed of one cluster."""
    if self.squares.num_seeds == self.squares.num_clusters == 1:
      return math.inf
    return math.sqrt(self.squares.variance)

  @property
  def varies(self) -> bool:
    """Whether there is a variance to judge by; if not, bounds are exact."""
    return self.standard_error > 0

  @property
  def degrees_of_freedom(self) -> float:
    return self.squares.degrees_of_freedom

  def interval(self, level: float = LEVEL) -> Interval:
    """Returns the two-sided interval, clipped to `bounds`."""
    tail = (1 - level) / 2
    low = self._bound(tail, lower=True)
    high = self._bound(tail, lower=False)
    return Interval(
      mean=self.mean,
      low=min(max(low, self.bounds[0]), self.mean),
      high=max(min(high, self.bounds[1]), self.mean),
      level=level,
      num_tasks=self.num_tasks,
      num_instances=self.num_instances,
      num_seeds=self.num_seeds,
    )

  def p_greater(self, than: float = 0.0) -> float:
    """Returns the one-sided p-value of a true mean of at most `than`."""
    return self._p_value(self.mean - than, lower=True)

  def p_less(self, than: float = 0.0) -> float:
    """Returns the one-sided p-value of a true mean of at least `than`."""
    return self._p_value(than - self.mean, lower=False)

  def p_value(self, null: float = 0.0) -> float:
    """Returns the two-sided p-value of a true mean of `null`."""
    return min(1.0, 2 * min(self.p_greater(null), self.p_less(null)))

  def equivalence(self, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Tests whether the true mean lies between -`margin` and `margin`.

    Raises:
      InputError: If the margin is not a finite number above 0.
    """
    if not margin > 0 or not math.isfinite(margin):
      raise InputError(
        'margin of equivalence: expected a number of points above 0, got '
        f'{margin!r}.'
      )
    return Equivalence(
      margin=margin,
      p_value=max(self.p_greater(-margin), self.p_less(margin)),
      alpha=alpha,
      interval=self.interval(1 - 2 * alpha),
      varies=self.varies,
    )

  def minimum_detectable_effect(
    self,
    *,
    power: float = POWER,
    alpha: float = 0.05,
    num_seeds: int | None = None,
    num_tasks: int | None = None,
  ) -> float:
    """Returns the smallest true mean that a two-sided test would detect.

    (t_{1-alpha/2} + t_{power}) standard errors (Bloom 1995); infinite if
    nothing varies, since there is then no variance to plan with.

    Args:
      power: Probability of detecting it, from 0 to 1.
      alpha: Significance level of the test.
      num_seeds: Number of training seeds of a planned study, with the variance
        components estimated here; None for as many as were estimated from.
      num_tasks: Number of tasks of the planned study; None likewise.

    Raises:
      InputError: If more seeds are planned and only one was measured.
    """
    error, free = self._planned(num_seeds, num_tasks)
    return error * (stats.t.isf(alpha / 2, free) + stats.t.ppf(power, free))

  def smallest_margin(
    self,
    *,
    power: float = POWER,
    alpha: float = 0.05,
    num_seeds: int | None = None,
    num_tasks: int | None = None,
  ) -> float:
    """Returns the smallest margin at which a true mean of 0 is equivalent.

    (t_{1-alpha} + t_{(1+power)/2}) standard errors: both tests must reject.
    Takes the arguments of `minimum_detectable_effect`.
    """
    error, free = self._planned(num_seeds, num_tasks)
    return error * (
      stats.t.isf(alpha, free) + stats.t.ppf((1 + power) / 2, free)
    )

  def _planned(
    self, num_seeds: int | None, num_tasks: int | None
  ) -> tuple[float, float]:
    """Returns standard error and degrees of freedom of a planned study."""
    if not self.varies:
      return math.inf, self.degrees_of_freedom
    if num_seeds is None and num_tasks is None:
      return self.standard_error, self.degrees_of_freedom
    now = self.squares
    if now.num_seeds == 1 and (num_seeds or 1) > 1:
      raise InputError(
        'the variance between seeds cannot be estimated from one seed; run at '
        'least two to plan for more.'
      )
    seeds = num_seeds or now.num_seeds
    clusters = num_tasks or now.num_clusters
    # Variance components from expected mean squares, none below 0.
    by_seed = max(now.seeds - now.residual, 0.0) / now.num_clusters
    by_cluster = max(now.clusters - now.residual, 0.0) / now.num_seeds
    planned = MeanSquares(
      seeds=now.residual + clusters * by_seed,
      clusters=now.residual + seeds * by_cluster,
      residual=now.residual,
      num_seeds=seeds,
      num_clusters=clusters,
    )
    return math.sqrt(planned.variance), planned.degrees_of_freedom

  def _bound(self, tail: float, *, lower: bool) -> float:
    """Returns the end of an interval with probability `tail` beyond it."""
    if not self.varies:
      distance = self.exact.distance(tail, lower=lower)
      return self.mean + (-distance if lower else distance)
    if tail < OUTER_TAIL:
      free = self.degrees_of_freedom
      distance = float(stats.t.isf(tail, free)) * self._outer(lower)
    else:
      # Both ascend: the tails shrink as the distance grows.
      distance = float(
        np.interp(-math.log(tail), -np.log(TAILS), self._reach(lower))
      )
    return self.mean + (-distance if lower else distance) * self.standard_error

  def _p_value(self, distance: float, *, lower: bool) -> float:
    """Returns the tail of the interval that ends `distance` from the mean."""
    if not self.varies:
      return self.exact.p_value(distance, lower=lower)
    if distance < 0:
      return 1 - self._p_value(-distance, lower=not lower)
    scaled = distance / self.standard_error
    reach = self._reach(lower)
    if scaled > reach[-1]:
      shape = self._outer(lower)
      return float(stats.t.sf(scaled / shape, self.degrees_of_freedom))
    return math.exp(float(np.interp(scaled, reach, np.log(TAILS))))

  def _reach(self, lower: bool) -> np.ndarray:
    """Distance from the mean at each tail, in standard errors; [tails]."""
    shape = self.lower_shape if lower else self.upper_shape
    reach = stats.t.isf(TAILS, self.degrees_of_freedom) * shape
    return np.maximum.accumulate(reach)

  def _outer(self, lower: bool) -> float:
    """Shape beyond the outermost tail; continuous with `_reach`."""
    return float(
      self._reach(lower)[-1] / stats.t.isf(OUTER_TAIL, self.degrees_of_freedom)
    )


def estimate(
  values: Sequence[float] | np.ndarray,
  tasks: Sequence[str] | np.ndarray,
  *,
  bounds: tuple[float, float] = (-math.inf, math.inf),
  value_range: tuple[float, float] | None = None,
  tasks_are_fixed: bool = False,
  units: np.ndarray | None = None,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
  """Estimates a mean over seeds and over instances grouped by task.

  To compare two conditions, pass their differences by instance and seed as
  `values`: pairing removes what both have in common. The result generalises to
  tasks like these, or with a single task to instances like its own; with
  several seeds also to training seeds like these, with one seed to no other.

  Args:
    values: One value for each seed and instance; float [seeds, instances], or
      [instances] for one seed.
    tasks: Task of each instance, in any order; object [instances].
    bounds: Smallest and largest possible mean.
    value_range: Smallest and largest possible value, which matter where nothing
      varies; None for `bounds`.
    tasks_are_fixed: Whether the tasks are themselves of interest, as controls
      are, rather than a sample; only their instances are then resampled.
    units: Unit of each instance of fixed tasks; those of a unit are resampled
      together, as several tasks with the same input depend on each other.
      Object [instances]; None if each instance is a unit.
    seed: Seed of the resampling.
    num_resamples: Number of bootstrap resamples.

  Raises:
    InputError: If there are no values, or values and tasks do not match.
  """
  values = np.atleast_2d(np.asarray(values, np.float64))
  if not values.size:
    raise InputError('an interval needs at least one instance, got none.')
  if values.shape[1] != len(tasks):
    raise InputError(
      f'expected one task for each of {values.shape[1]} values, got '
      f'{len(tasks)} tasks.'
    )
  names, codes = np.unique(np.asarray(tasks, object), return_inverse=True)
  order = np.argsort(codes, kind='stable')
  values = values[:, order]
  sizes = np.bincount(codes)
  seen, mean, strata = values, float(values.mean()), 1
  if tasks_are_fixed and len(sizes) < values.shape[1]:
    # Differences between tasks are no noise; the instances form one sample.
    starts = np.cumsum(sizes) - sizes
    of_task = np.add.reduceat(values.mean(axis=0), starts) / sizes
    values = values - np.repeat(of_task, sizes) + mean
    units = np.arange(len(order)) if units is None else units
    values, sizes, strata = _by_unit(values, units[order], codes[order])
  squares = resampling.mean_squares(
    values, sizes, scale=float(np.abs(seen).max())
  )
  count = squares.num_clusters
  if 1 < strata < count:
    squares = dataclasses.replace(
      squares, clusters=squares.clusters * (count - 1) / (count - strata)
    )
  means = resampling.resampled_means(
    values, sizes, seed=seed, num_resamples=num_resamples
  )
  lower, upper = resampling.shapes(means - mean)
  return Estimate(
    mean=mean,
    squares=squares,
    num_tasks=len(names),
    num_instances=values.shape[1],
    num_seeds=len(values),
    bounds=bounds,
    exact=exact_bounds(seen, squares, value_range or bounds),
    lower_shape=lower,
    upper_shape=upper,
  )


def _by_unit(
  values: np.ndarray, units: np.ndarray, tasks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
  """Groups values by unit; each is a sample of its set of tasks.

  Args:
    values: Values of fixed tasks; float64 [seeds, instances].
    units: Unit of each instance; [instances].
    tasks: Task of each instance; int [instances].

  Returns:
    Values by unit, the number of instances of each unit, and the number of sets
    of tasks; where every unit is one instance, they stay one sample.
  """
  _, codes = np.unique(units, return_inverse=True)
  sizes = np.bincount(codes)
  if len(sizes) == len(units):
    return values, np.array([len(units)]), len(np.unique(tasks))
  order = np.argsort(codes, kind='stable')
  of_unit = np.split(tasks[order], np.cumsum(sizes)[:-1])
  return values[:, order], sizes, len({tuple(sorted(set(t))) for t in of_unit})


def adjust(p_values: Sequence[float], *, method: str = 'holm') -> list[float]:
  """Adjusts p-values for multiple testing, keeping their order.

  >>> adjust([0.25, 0.125])
  [0.25, 0.25]

  Args:
    p_values: Unadjusted p-values, from 0 to 1.
    method: 'holm' (1979) bounds the probability of any false rejection,
      'benjamini_hochberg' (1995) the expected share of false rejections.

  Raises:
    InputError: If the method is unknown.
  """
  check_choice('method', method, ADJUSTMENTS)
  if not len(p_values):
    return []
  if method == 'benjamini_hochberg':
    return stats.false_discovery_control(p_values).tolist()
  return _holm(np.asarray(p_values, np.float64)).tolist()


def check_choice(what: str, name: str, allowed: Sequence[str]) -> None:
  """Raises `InputError` for a name that is not allowed."""
  if name not in allowed:
    raise InputError(
      f'{what} {name!r} is unknown; expected one of {", ".join(allowed)}.'
      f'{nearest(name, allowed)}'
    )


def _holm(p_values: np.ndarray) -> np.ndarray:
  order = np.argsort(p_values)
  scaled = p_values[order] * np.arange(len(p_values), 0, -1)
  adjusted = np.empty_like(p_values)
  adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
  return adjusted
