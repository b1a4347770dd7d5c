"""Intervals, differences, equivalence and power, for seeds and tasks crossed.

A study varies in what it did not choose: the seeds of training, the tasks of
the test split, the instances of a task. All seeds are tested on the same tasks,
so both are resampled, each on its own. Nesting tasks in seeds instead would
take one seed's tasks for other tasks than the next seed's, and an effect of
tasks for noise that more seeds average out.
"""

from collections.abc import Sequence
import dataclasses
import functools
import gc
import math

import numpy as np
from scipy import stats

from it_study.errors import InputError, nearest
from it_study.evaluation.stats import resampling
from it_study.evaluation.stats.resampling import NUM_RESAMPLES, MeanSquares

LEVEL = 0.95
POWER = 0.8
ADJUSTMENTS = {'holm': 'holm', 'benjamini_hochberg': 'fdr_bh'}
# Beyond these tails so few resamples lie that their quantiles are noise, and
# towards the median a quantile tells nothing of the shape.
_OUTER_TAIL, _INNER_TAIL = 0.005, 0.25
_TAILS = np.geomspace(0.5, _OUTER_TAIL, 64)
# No sum over tasks is more lopsided than this; a lump of few seeds may be.
_SHAPES = (0.5, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
  """A mean with an interval, in the values' unit.

  Attributes:
    mean: over seeds and instances.
    low: lower end.
    high: upper end.
    level: confidence of the interval.
    num_tasks: tasks that it is over.
    num_instances: instances that it is over, once each.
    num_seeds: seeds that it is over; with one, it says nothing of others.
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
  """Outcome of two one-sided tests (Schuirmann 1987).

  Attributes:
    margin: largest difference that counts as none, in the values' unit.
    p_value: larger of the two one-sided ones.
    alpha: of each of the two tests.
    interval: at level 1 - 2 alpha; inside the margin where equivalence holds.
  """

  margin: float
  p_value: float
  alpha: float
  interval: Interval

  @property
  def holds(self) -> bool:
    """Whether a difference as large as the margin is ruled out."""
    return self.p_value < self.alpha


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
  """A mean over seeds and instances, and how far it may be off.

  An interval is the bootstrap's, stretched. Raw percentiles of a crossed
  bootstrap go wrong in two ways: it counts the noise of instances, and that
  between seeds and tasks, more than once (Owen 2007), and few seeds resample
  too narrowly. So deviations of resamples are scaled to the standard error that
  has neither fault (see `MeanSquares.variance`), and widened by the ratio of
  Student's t to the normal quantile (Hesterberg 2015, 'expanded percentiles'),
  with Satterthwaite's degrees of freedom. What remains of the percentiles is
  the shape. P-values invert the same intervals, so the two never disagree.

  Attributes:
    mean: over seeds and instances, each with the same weight.
    squares: mean squares of seeds, clusters and residual.
    num_tasks: tasks.
    num_instances: instances, once each.
    num_seeds: seeds.
    bounds: what a mean can be; intervals end there.
    lower_shape: for each of the tails, quantiles of the resamples below the
      mean relative to a normal distribution's; float64 [tails].
    upper_shape: likewise above.
  """

  mean: float
  squares: MeanSquares
  num_tasks: int
  num_instances: int
  num_seeds: int
  bounds: tuple[float, float]
  lower_shape: np.ndarray = dataclasses.field(repr=False)
  upper_shape: np.ndarray = dataclasses.field(repr=False)

  @property
  def standard_error(self) -> float:
    """Of `mean`; infinite where nothing could vary."""
    if self.squares.num_seeds == self.squares.num_clusters == 1:
      return math.inf
    return math.sqrt(self.squares.variance)

  @property
  def degrees_of_freedom(self) -> float:
    return self.squares.degrees_of_freedom

  def interval(self, level: float = LEVEL) -> Interval:
    """Two-sided interval, clipped to `bounds`."""
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
    """One-sided p-value of the hypothesis that the true mean is <= `than`."""
    return self._p_value(self.mean - than, lower=True)

  def p_less(self, than: float = 0.0) -> float:
    """One-sided p-value of the hypothesis that the true mean is >= `than`."""
    return self._p_value(than - self.mean, lower=False)

  def p_value(self, null: float = 0.0) -> float:
    """Two-sided p-value of the hypothesis that the true mean is `null`."""
    return min(1.0, 2 * min(self.p_greater(null), self.p_less(null)))

  def equivalence(self, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Tests whether the true mean lies within `margin` of 0, on both sides.

    Raises:
      InputError: if the margin is not above 0.
    """
    if not margin > 0 or not math.isfinite(margin):
      raise InputError(
        f'margin of equivalence: found {margin!r}, allowed is a number of '
        'points above 0.'
      )
    return Equivalence(
      margin=margin,
      p_value=max(self.p_greater(-margin), self.p_less(margin)),
      alpha=alpha,
      interval=self.interval(1 - 2 * alpha),
    )

  def minimum_detectable_effect(
    self,
    *,
    power: float = POWER,
    alpha: float = 0.05,
    num_seeds: int | None = None,
    num_tasks: int | None = None,
  ) -> float:
    """Smallest true mean that a two-sided test finds with a power.

    (t_{1-alpha/2} + t_{power}) standard errors (Bloom 1995). With counts, that
    of a design of so many seeds and tasks whose components of variance are the
    ones estimated here.
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
    """Smallest margin at which no difference at all is found equivalent.

    (t_{1-alpha} + t_{(1+power)/2}) standard errors: both tests must reject.
    Counts are as for `minimum_detectable_effect`.
    """
    error, free = self._planned(num_seeds, num_tasks)
    return error * (
      stats.t.isf(alpha, free) + stats.t.ppf((1 + power) / 2, free)
    )

  def _planned(
    self, num_seeds: int | None, num_tasks: int | None
  ) -> tuple[float, float]:
    """Standard error and degrees of freedom of a design like this one."""
    if num_seeds is None and num_tasks is None:
      return self.standard_error, self.degrees_of_freedom
    now = self.squares
    if now.num_seeds == 1 and (num_seeds or 1) > 1:
      raise InputError(
        'how much seeds differ is not known from one seed; two are needed to '
        'plan for more.'
      )
    seeds = num_seeds or now.num_seeds
    clusters = num_tasks or now.num_clusters
    # Components of variance from expected mean squares, none below 0.
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
    """One end of an interval with probability `tail` beyond it."""
    if self.standard_error == 0:
      return self.mean
    if tail < _OUTER_TAIL:
      free = self.degrees_of_freedom
      distance = float(stats.t.isf(tail, free)) * self._outer(lower)
    else:
      # Both ascend: the tails shrink as the distance grows.
      distance = float(
        np.interp(-math.log(tail), -np.log(_TAILS), self._reach(lower))
      )
    return self.mean + (-distance if lower else distance) * self.standard_error

  def _p_value(self, distance: float, *, lower: bool) -> float:
    """Tail beyond which the end of an interval is `distance` from the mean."""
    if distance < 0:
      return 1 - self._p_value(-distance, lower=not lower)
    if self.standard_error == 0:
      return 0.0 if distance > 0 else 1.0
    scaled = distance / self.standard_error
    reach = self._reach(lower)
    if scaled > reach[-1]:
      shape = self._outer(lower)
      return float(stats.t.sf(scaled / shape, self.degrees_of_freedom))
    return math.exp(float(np.interp(scaled, reach, np.log(_TAILS))))

  def _reach(self, lower: bool) -> np.ndarray:
    """Distance to the mean at each of the tails, in standard errors."""
    shape = self.lower_shape if lower else self.upper_shape
    reach = stats.t.isf(_TAILS, self.degrees_of_freedom) * shape
    return np.maximum.accumulate(reach)

  def _outer(self, lower: bool) -> float:
    """The shape where there are too few resamples; it joins with `_reach`."""
    return float(
      self._reach(lower)[-1] / stats.t.isf(_OUTER_TAIL, self.degrees_of_freedom)
    )


def estimate(
  values: Sequence[float] | np.ndarray,
  tasks: Sequence[str] | np.ndarray,
  *,
  bounds: tuple[float, float] = (-math.inf, math.inf),
  tasks_are_fixed: bool = False,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
  """Estimates a mean over seeds and over instances that come in tasks.

  Of two conditions, `values` are the differences, instance by instance and seed
  by seed: pairing takes out what both have in common. It speaks of tasks like
  these; with a single task, of instances like those of that task; with several
  seeds, of training seeds like these, with one, of no other.

  Args:
    values: float [seeds, instances], or [instances] for one seed.
    tasks: the task of each instance, in any order; object [instances].
    bounds: what a mean can be.
    tasks_are_fixed: whether the tasks are the ones of interest, as controls
      are, and no sample of others: only their instances are then resampled.
    seed: of the resamples.
    num_resamples: number of resamples.

  Raises:
    InputError: if there are no values, or values and tasks do not match.
  """
  values = np.atleast_2d(np.asarray(values, np.float64))
  if not values.size:
    raise InputError('an interval needs at least one instance, found none.')
  if values.shape[1] != len(tasks):
    raise InputError(
      f'found {values.shape[1]} values for {len(tasks)} tasks; one task is due '
      'for each.'
    )
  names, codes = np.unique(np.asarray(tasks, object), return_inverse=True)
  values = values[:, np.argsort(codes, kind='stable')]
  sizes = np.bincount(codes)
  mean, strata = float(values.mean()), 1
  if tasks_are_fixed and len(sizes) < values.shape[1]:
    # What differs between tasks is no noise; their instances make one sample.
    starts = np.cumsum(sizes) - sizes
    of_task = np.add.reduceat(values.mean(axis=0), starts) / sizes
    values = values - np.repeat(of_task, sizes) + mean
    strata, sizes = len(sizes), np.array([values.shape[1]])
  squares = resampling.mean_squares(values, sizes)
  if strata > 1:
    free = values.shape[1] - strata
    squares = dataclasses.replace(
      squares, clusters=squares.clusters * (values.shape[1] - 1) / free
    )
  means = resampling.resampled_means(
    values, sizes, seed=seed, num_resamples=num_resamples
  )
  lower, upper = _shapes(means - mean)
  return Estimate(
    mean=mean,
    squares=squares,
    num_tasks=len(names),
    num_instances=values.shape[1],
    num_seeds=len(values),
    bounds=bounds,
    lower_shape=lower,
    upper_shape=upper,
  )


def adjust(p_values: Sequence[float], *, method: str = 'holm') -> list[float]:
  """P-values adjusted for how many there are, in the order given.

  `holm` (1979) holds the chance of any false claim; `benjamini_hochberg` (1995)
  the expected share of false ones among the claims.

  Raises:
    InputError: for an unknown method.
  """
  check_choice('method', method, tuple(ADJUSTMENTS))
  if not len(p_values):
    return []
  # Imported here: it takes a second, and few commands adjust.
  from statsmodels.stats import multitest

  # It collects the garbage of the whole process, which takes a second where JAX
  # and TensorFlow are loaded; what is frozen is left alone.
  gc.freeze()
  try:
    adjusted = multitest.multipletests(p_values, method=ADJUSTMENTS[method])[1]
  finally:
    gc.unfreeze()
  return [float(p) for p in adjusted]


def check_choice(what: str, name: str, allowed: Sequence[str]) -> None:
  """Raises `InputError` for a name that is not allowed."""
  if name not in allowed:
    raise InputError(
      f'{what} {name!r} is unknown; there are {", ".join(allowed)}.'
      f'{nearest(name, allowed)}'
    )


def _shapes(deviations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Quantiles over a normal distribution's, below and above; [tails] each."""
  deviation = deviations.std()
  if deviation == 0 or not math.isfinite(deviation):
    return np.ones_like(_TAILS), np.ones_like(_TAILS)
  tails = np.minimum(_TAILS, _INNER_TAIL)
  normal = _normal_quantiles() * deviation
  lower = -np.quantile(deviations, tails) / normal
  upper = np.quantile(deviations, 1 - tails) / normal
  return np.clip(lower, *_SHAPES), np.clip(upper, *_SHAPES)


@functools.cache
def _normal_quantiles() -> np.ndarray:
  return stats.norm.isf(np.minimum(_TAILS, _INNER_TAIL))
