"""What a baseline scores: closed forms, and their check by simulation."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
from scipy import signal, stats

from it_study.corpus.natinst import CONTROL_CATEGORIES, Corpus
from it_study.evaluation import baselines

LEVEL = 0.95
# Bounds the memory of a simulation: 8 bytes each.
_DRAWS_AT_ONCE = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClosedForm:
  """Mean exact match of one draw of a baseline, in points from 0 to 100.

  Attributes:
    exact_match: expected value.
    standard_deviation: of one draw's mean.
    low: lower end of the range that holds `level` of all draws.
    high: upper end.
    level: share of draws in the range, at least.
    num_tasks: tasks.
    num_instances: instances.
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
  """What a baseline is expected to score on classification.

  The number of right answers is a sum of independent draws with probabilities
  of their own, whose distribution is the convolution of theirs
  (Poisson-binomial; Wang 1993): the range is exact, no normal approximation. A
  baseline that draws nothing has no variance.

  Returns:
    ('headline', 'classification'), ('category', name), ('task', name) and
    ('control', category) to the closed form there. Control tasks enter the last
    two only. Empty for a split without classification.
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
  """Mean exact match of many draws, by drawing answers and judging each.

  Control tasks are left out.

  Returns:
    float64 [num_draws], in points; None for a split without classification.
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
  """Probability of each number of right answers; float64 [instances + 1]."""
  values, counts = np.unique(np.asarray(shares, np.float64), return_counts=True)
  result = np.ones(1)
  for share, count in zip(values, counts, strict=True):
    part = stats.binom.pmf(np.arange(count + 1), count, share)
    result = np.maximum(signal.convolve(result, part, method='direct'), 0.0)
  return result / result.sum()
