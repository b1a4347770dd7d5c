"""Finds the amount of training data at which a curve first beats guessing."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from it_study.evaluation.stats import intervals, resampling
from it_study.evaluation.stats.exact import exact_bounds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crossing:
  """The smallest amount at which a curve is above 0, with an interval.

  Attributes:
    amount: Amount at which the curve first rises above 0, interpolated on a
      logarithmic scale; the smallest measured amount if it starts above 0; None
      if it never rises above 0.
    low: Lower end of the interval; None beyond the measured amounts.
    high: Upper end of the interval; None beyond the measured amounts.
    level: Confidence level of the interval, from 0 to 1.
    share_never: Share of resamples that never rise above 0.
    share_from_start: Share of resamples above 0 at the smallest amount.
  """

  amount: float | None
  low: float | None
  high: float | None
  level: float
  share_never: float
  share_from_start: float


def first_crossing(
  amounts: Sequence[float],
  differences: Sequence[np.ndarray],
  tasks: Sequence[str],
  *,
  value_range: tuple[float, float] = (-100.0, 100.0),
  level: float = intervals.LEVEL,
  seed: int = 0,
) -> Crossing:
  """Finds where mean differences first rise above 0, with a bootstrap interval.

  Resamples seeds, tasks and instances as `intervals.estimate` does, the same
  ones at every amount, and scales the deviations at each amount to its standard
  error. Where nothing varies, draws from the exact bounds instead.

  Args:
    amounts: Amounts of training data, above 0 and ascending.
    differences: Differences at each amount; float64 [seeds, instances] each,
      over the same instances and number of seeds.
    tasks: Task of each instance; object [instances].
    value_range: Smallest and largest possible difference.
    level: Confidence level of the interval, from 0 to 1.
    seed: Seed of the resampling.
  """
  _, codes = np.unique(np.asarray(tasks, object), return_inverse=True)
  order, sizes = np.argsort(codes, kind='stable'), np.bincount(codes)
  curves: list[np.ndarray] = []
  means = []
  for values in differences:
    values = np.atleast_2d(np.asarray(values, np.float64))[:, order]
    resampled = resampling.resampled_means(values, sizes, seed=seed)
    deviations = resampled - values.mean()
    squares = resampling.mean_squares(values, sizes)
    error, spread = math.sqrt(squares.variance), deviations.std()
    if error:
      deviations = deviations * (error / spread) if spread else 0.0
    else:
      generator = np.random.default_rng([seed, len(curves)])
      exact = exact_bounds(values, squares, value_range)
      deviations = exact.draws(generator, len(resampled))
    means.append(values.mean())
    curves.append(values.mean() + deviations)
  crossings = np.array(
    [_rises(amounts, curve) for curve in np.array(curves).T], np.float64
  )
  tail = (1 - level) / 2
  # Without interpolation, since curves that never rise cross at infinity.
  low, high = np.quantile(
    crossings, [tail, 1 - tail], method='inverted_cdf'
  ).tolist()
  own = _rises(amounts, means)
  return Crossing(
    amount=None if math.isinf(own) else own,
    low=None if math.isinf(low) else low,
    high=None if math.isinf(high) else high,
    level=level,
    share_never=float(np.isinf(crossings).mean()),
    share_from_start=float((crossings == amounts[0]).mean()),
  )


def _rises(amounts: Sequence[float], curve: Sequence[float]) -> float:
  """Returns the amount at which a curve first exceeds 0, or infinity."""
  above = np.flatnonzero(np.asarray(curve) > 0)
  if not len(above):
    return math.inf
  place = int(above[0])
  if place == 0:
    return float(amounts[0])
  below, here = float(curve[place - 1]), float(curve[place])
  share = -below / (here - below)
  start, end = math.log(amounts[place - 1]), math.log(amounts[place])
  return math.exp(start + share * (end - start))
