"""Decides controls by intervals: above a margin, or within it."""

import bisect
from collections.abc import Callable
import dataclasses
import functools
import math

from it_study.evaluation.stats.intervals import LEVEL, Estimate

PASSED, FAILED, UNCLEAR = 'passed', 'failed', 'unclear'
# A study that would have to be larger by more than this is not suggested.
_LARGEST_FACTOR = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
  """What a 95% interval says about a margin.

  The numbers of seeds and of tasks are those with which a study like this
  decides with a probability of 80% if the true mean is the measured one, either
  number changed alone. None if the number would have to grow by more than a
  factor of 100 or, for seeds, if a single seed leaves their variance unknown.

  Attributes:
    outcome: One of `PASSED`, `FAILED` and `UNCLEAR`.
    num_seeds: Number of training seeds that would decide; None also if decided.
    num_tasks: Number of tasks that would decide; None also if decided.
  """

  outcome: str
  num_seeds: int | None = None
  num_tasks: int | None = None


def above(estimate: Estimate, margin: float) -> Decision:
  """Decides whether a mean is above a margin.

  Passed if the whole 95% interval is above `margin`, failed if none of it is.
  A mean at the margin passes with a probability of at most 2.5%.
  """
  interval = estimate.interval()
  if interval.low > margin:
    return Decision(outcome=PASSED)
  if interval.high <= margin:
    return Decision(outcome=FAILED)
  return _unclear(
    estimate,
    abs(estimate.mean - margin),
    estimate.minimum_detectable_effect,
  )


def within(estimate: Estimate, margin: float) -> Decision:
  """Decides whether a mean lies between -`margin` and `margin`.

  Passed if the whole 95% interval lies between them (two one-sided tests at
  2.5% each; Schuirmann 1987), failed if none of it does. Unlike equivalence
  of two conditions, this also passes where nothing varies, if the exact bounds
  are within the margin: most models answer such tasks the same either way.
  """
  interval = estimate.interval()
  if -margin < interval.low and interval.high < margin:
    return Decision(outcome=PASSED)
  if interval.low >= margin or interval.high <= -margin:
    return Decision(outcome=FAILED)
  gap = margin - abs(estimate.mean)
  if gap < 0:
    return _unclear(estimate, -gap, estimate.minimum_detectable_effect)
  # Both ends must come inside.
  reach = functools.partial(estimate.smallest_margin, alpha=(1 - LEVEL) / 2)
  return _unclear(estimate, gap, reach)


def _unclear(
  estimate: Estimate, gap: float, reach: Callable[..., float]
) -> Decision:
  """Returns the outcome with the numbers that would decide.

  Args:
    estimate: Estimate whose interval decides nothing.
    gap: Distance of its mean from the margin.
    reach: Function that returns the distance that a study can bridge with
      numbers of seeds and tasks.
  """
  if not estimate.varies:
    units, now = estimate.exact.units(gap, (1 - LEVEL) / 2), _units(estimate)
    if units is None or units > _LARGEST_FACTOR * now:
      return Decision(outcome=UNCLEAR)
    return Decision(outcome=UNCLEAR, num_tasks=_tasks(estimate, units))
  seeds = None
  if estimate.num_seeds > 1:
    seeds = _fewest(
      lambda n: reach(num_seeds=n) <= gap, more_than=estimate.num_seeds
    )
  units = _fewest(
    lambda n: reach(num_tasks=n) <= gap, more_than=_units(estimate)
  )
  return Decision(
    outcome=UNCLEAR,
    num_seeds=seeds,
    num_tasks=None if units is None else _tasks(estimate, units),
  )


def _units(estimate: Estimate) -> int:
  """Number of clusters: instances if the tasks are fixed, else tasks."""
  return estimate.squares.num_clusters


def _tasks(estimate: Estimate, units: int) -> int:
  """Converts a number of clusters to tasks like those of the estimate."""
  return math.ceil(estimate.num_tasks * units / _units(estimate))


def _fewest(is_enough: Callable[[int], bool], *, more_than: int) -> int | None:
  """Returns the smallest number above `more_than` that is enough, if any is."""
  numbers = range(more_than + 1, _LARGEST_FACTOR * more_than + 1)
  place = bisect.bisect_left(numbers, True, key=is_enough)
  return numbers[place] if place < len(numbers) else None
