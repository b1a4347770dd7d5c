"""Where a curve over amounts of training data first beats guessing."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from it_study.evaluation.stats import intervals, resampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crossing:
  """The least amount at which a curve lies above 0, and how sure that is.

  Attributes:
    amount: where the curve first rises above 0, between the measured amounts on
      a logarithmic scale; the least one where it lies above 0 from the start;
      None where it never does.
    low: lower end of the interval; None where it is beyond the amounts.
    high: upper end, likewise.
    level: share of resamples in the interval.
    share_never: share of resamples that never rise above 0.
    share_from_start: share that lie above 0 from the least amount on.
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
  level: float = intervals.LEVEL,
  seed: int = 0,
) -> Crossing:
  """Finds where mean differences first rise above 0, with a bootstrap interval.

  Seeds, tasks and instances are resampled as for `statistics.estimate`, the
  same ones at every amount, and each amount's deviations are scaled to the
  standard error that it has there.

  Args:
    amounts: above 0, ascending.
    differences: for each, values float64 [seeds, instances]; all of the same
      instances and as many seeds.
    tasks: of the instances; object [instances].
    level: share of resamples in the interval.
    seed: of the resamples.
  """
  _, codes = np.unique(np.asarray(tasks, object), return_inverse=True)
  order, sizes = np.argsort(codes, kind='stable'), np.bincount(codes)
  curves, means = [], []
  for values in differences:
    values = np.atleast_2d(np.asarray(values, np.float64))[:, order]
    resampled = resampling.resampled_means(values, sizes, seed=seed)
    deviations = resampled - values.mean()
    error = math.sqrt(resampling.mean_squares(values, sizes).variance)
    spread = deviations.std()
    scale = error / spread if spread else 0.0
    means.append(values.mean())
    curves.append(values.mean() + deviations * scale)
  found = np.array(
    [_rises(amounts, curve) for curve in np.array(curves).T], np.float64
  )
  tail = (1 - level) / 2
  # Ranks, as those that never rise lie beyond every amount.
  low, high = np.quantile(
    found, [tail, 1 - tail], method='inverted_cdf'
  ).tolist()
  own = _rises(amounts, means)
  return Crossing(
    amount=None if math.isinf(own) else own,
    low=None if math.isinf(low) else low,
    high=None if math.isinf(high) else high,
    level=level,
    share_never=float(np.isinf(found).mean()),
    share_from_start=float((found == amounts[0]).mean()),
  )


def _rises(amounts: Sequence[float], curve: Sequence[float]) -> float:
  """Amount at which a curve first lies above 0, infinite if it never does."""
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
