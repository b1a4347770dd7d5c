"""Exact bounds of a mean where no value that was seen varies."""

import dataclasses
import math

import numpy as np

from it_study.evaluation.stats.resampling import MeanSquares


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactBounds:
  """What the number of units alone allows, where none differs.

  A standard error of 0 is no certainty: if a share s of all units differs from
  those seen, n units show no difference with probability (1 - s)^n. The bound
  is where this equals the tail (Clopper & Pearson 1934), with the units that
  differ as far away as values can be. With a tail of 5% and n units, s is about
  3 / n, the 'rule of three' (Hanley & Lippman-Hand 1983). Where values are as
  far from the null as they can be on a symmetric scale, the p-value is that of
  the sign test (Dixon & Mood 1946).

  Units are tasks, or instances if there is a single task, all of equal weight.
  Training seeds are not counted, since all see the same tasks: such bounds do
  not speak for other seeds.

  >>> bounds = ExactBounds(num_units=3, below=100.0, above=100.0)
  >>> round(bounds.distance(0.05, lower=True), 1)
  63.2

  Attributes:
    num_units: Number of units.
    below: Distance from the largest value seen down to the smallest possible.
    above: Distance from the smallest value seen up to the largest possible.
  """

  num_units: int
  below: float
  above: float

  def distance(self, tail: float, *, lower: bool) -> float:
    """Returns how far from the mean an interval's end lies.

    Args:
      tail: Probability beyond the end, from 0 to 1.
      lower: Whether it is the lower end.
    """
    share = 1 - tail ** (1 / self.num_units)
    return share * (self.below if lower else self.above)

  def p_value(self, distance: float, *, lower: bool) -> float:
    """Returns the tail of the interval that ends `distance` from the mean.

    It is 1 at and beyond the mean.
    """
    room = self.below if lower else self.above
    if distance <= 0:
      return 1.0
    return max(1 - distance / room, 0.0) ** self.num_units if room else 0.0

  def units(self, distance: float, tail: float) -> int | None:
    """Returns the number of units with which both ends lie within `distance`.

    >>> ExactBounds(num_units=3, below=100.0, above=100.0).units(10.0, 0.025)
    36

    Args:
      distance: Distance from the mean, above 0; None is returned for 0.
      tail: Probability beyond each end, from 0 to 1.
    """
    share = distance / max(self.below, self.above)
    if share >= 1:
      return 1
    return math.ceil(math.log(tail) / math.log1p(-share)) if share else None

  def draws(self, generator: np.random.Generator, count: int) -> np.ndarray:
    """Draws deviations whose quantiles are these bounds; float64 [count]."""
    tails = generator.random(count)
    shares = 1 - np.minimum(tails, 1 - tails) ** (1 / self.num_units)
    return shares * np.where(tails < 0.5, -self.below, self.above)


def exact_bounds(
  values: np.ndarray, squares: MeanSquares, value_range: tuple[float, float]
) -> ExactBounds:
  """Makes the bounds of values that do not vary.

  Args:
    values: Values, each as it was seen; float64 [seeds, instances].
    squares: Mean squares of the values.
    value_range: Smallest and largest possible value.
  """
  units = squares.num_clusters
  return ExactBounds(
    num_units=units if units > 1 else squares.num_seeds,
    below=float(values.max()) - value_range[0],
    above=value_range[1] - float(values.min()),
  )
