"""Closed-form scores of baselines, and a simulation to check them."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
from scipy import signal, stats

from it_study.corpus.natinst import CONTROL_CATEGORIES, Corpus
from it_study.evaluation import baselines

LEVEL = 0.95
# Bounds the memory of a simulation: 8 bytes for each draw.
_DRAWS_AT_ONCE = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClosedForm:
  """Mean exact match of one draw of a baseline, in points from 0 to 100.

  Attributes:
    exact_match: Expected value, in points.
    standard_deviation: Standard deviation of the mean of one draw, in points.
    low: Lower end of the range that holds `level` of all draws, in points.
    high: Upper end of that range, in points.
    level: Smallest share of draws in the range, from 0 to 1.
    num_tasks: Number of tasks.
    num_instances: Number of instances.
  """

  exact_match: float
  standard_deviation: float
  low: float
  high: float
  level: float
  num_tasks: int
  num_instances: int


def closed_forms(
  name: str, *, corpus: Corpus, split: str = 'test', level: float = LEVEL
) -> dict[tuple[str, str], ClosedForm]:
  """Computes what a baseline is expected to score on classification.

  The number of right answers is a sum of independent draws with different
  probabilities; its distribution is the convolution of theirs
  (Poisson-binomial; Wang 1993). The range is thus exact, not a normal
  approximation. A baseline that does not draw has no variance.

  Returns:
    Closed forms by ('headline', 'classification'), ('category', name),
    ('task', name) and ('control', category). Control tasks count only in the
    last two. Empty for a split without classification.
  """
  groups: dict[tuple[str, str], list[tuple[str, float]]] = {}
  for task, share in baselines.acceptance(name, corpus=corpus, split=split):
    is_control = task.category in CONTROL_CATEGORIES
    keys = [
      ('control' if is_control else 'category', task.category),
      ('task', task.name),
    ]
    if not is_control:
      keys.insert(0, ('headline', 'classification'))
    for key in keys:
      groups.setdefault(key, []).append((task.name, share))
  return {
    key: _closed_form(
      [share for _, share in pairs],
      num_tasks=len({task for task, _ in pairs}),
      level=level,
    )
    for key, pairs in groups.items()
  }


def simulate(
  name: str,
  *,
  corpus: Corpus,
  split: str = 'test',
  num_draws: int = 100_000,
  seed: int = 0,
) -> np.ndarray | None:
  """Simulates the mean exact match of many draws.

  Control tasks are left out.

  Returns:
    Mean exact match of each draw in points, float64 [num_draws]; None for a
    split without classification.
  """
  generator = np.random.default_rng(seed)
  right, count = np.zeros(num_draws), 0
  for draw in baselines.draws(name, corpus=corpus, split=split):
    if draw.task.category in CONTROL_CATEGORIES:
      continue
    count += 1
    bounds = np.cumsum(draw.weights)
    judged = np.array(draw.is_right)
    for start in range(0, num_draws, _DRAWS_AT_ONCE):
      part = right[start : start + _DRAWS_AT_ONCE]
      answers = generator.integers(bounds[-1], size=len(part))
      part += judged[np.searchsorted(bounds, answers, side='right')]
  return 100.0 * right / count if count else None


def _closed_form(
  shares: Sequence[float], *, num_tasks: int, level: float
) -> ClosedForm:
  count = len(shares)
  variance = math.fsum(share * (1 - share) for share in shares)
  distribution = np.cumsum(_poisson_binomial(shares))
  tail = (1 - level) / 2
  low = int(np.searchsorted(distribution, tail))
  high = int(np.searchsorted(distribution, 1 - tail))
  return ClosedForm(
    exact_match=100.0 * math.fsum(shares) / count,
    standard_deviation=100.0 * math.sqrt(variance) / count,
    low=100.0 * low / count,
    high=100.0 * min(high, count) / count,
    level=level,
    num_tasks=num_tasks,
    num_instances=count,
  )


def _poisson_binomial(shares: Sequence[float]) -> np.ndarray:
  """Returns the probability of each count of hits; float64 [instances + 1]."""
  values, counts = np.unique(np.asarray(shares, np.float64), return_counts=True)
  result = np.ones(1)
  for share, count in zip(values, counts, strict=True):
    part = stats.binom.pmf(np.arange(count + 1), count, share)
    result = np.maximum(signal.convolve(result, part, method='direct'), 0.0)
  return result / result.sum()
