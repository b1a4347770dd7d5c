"""Crossed bootstrap of a mean over seeds, tasks and instances of a task."""

import dataclasses
import functools
import math

import numpy as np
from scipy import stats

NUM_RESAMPLES = 2000
# Beyond the outer tail there are too few resamples for reliable quantiles, and
# quantiles near the median say nothing about the shape.
OUTER_TAIL, _INNER_TAIL = 0.005, 0.25
TAILS = np.geomspace(0.5, OUTER_TAIL, 64)
# Bounds of the shape. No sum over tasks is more skewed than this; a clump of a
# few seeds may be.
_SHAPES = (0.5, 2.0)
# Deviations smaller than this, relative to the values, are rounding errors.
_ROUNDING = 1e-9
# Bounds the memory of a resample: 8 bytes each, several arrays at a time.
_DRAWS_AT_ONCE = 1 << 20
# Cached sets of weights, one for each set of tasks: 24 MB each for 119 tasks of
# 100 instances.
_CACHED_WEIGHTS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanSquares:
  """Mean squares of a seeds by clusters table, as in an analysis of variance.

  Without any effect, each has the variance of one cell as its expectation. A
  cluster is a task, or an instance where there is a single task.

  Attributes:
    seeds: Mean square between seeds, with `num_seeds` - 1 degrees of freedom;
      0 for one seed.
    clusters: Mean square between clusters, with `num_clusters` - 1 degrees of
      freedom; 0 for one cluster. At least half of what the noise of the
      instances alone would give: otherwise two tasks that happen to score alike
      would give an interval of no width.
    residual: Residual mean square, with the product of both degrees of freedom;
      0 for one seed.
    num_seeds: Number of rows of the table.
    num_clusters: Number of columns of the table.
  """

  seeds: float
  clusters: float
  residual: float
  num_seeds: int
  num_clusters: int

  @property
  def variance(self) -> float:
    """Variance of the mean over the table.

    For crossed random seeds and clusters (Searle, Casella & McCulloch 1992,
    section 4.3), (seeds + clusters - residual) / (S C) is unbiased but may by
    chance be small or negative, so the sum is at least half of the larger of
    the first two. If both are 0, what varies is the residual.
    """
    if self.seeds == self.clusters == 0:
      return self.residual / (self.num_seeds * self.num_clusters)
    total = self.seeds + self.clusters - self.residual
    total = max(total, max(self.seeds, self.clusters) / 2)
    return total / (self.num_seeds * self.num_clusters)

  @property
  def degrees_of_freedom(self) -> float:
    """Satterthwaite's (1946) degrees of freedom of `variance`; at least 1."""
    rows, columns = self.num_seeds - 1, self.num_clusters - 1
    total = self.variance * self.num_seeds * self.num_clusters
    if total == 0:
      return float(max(columns, 1))
    terms = (
      (self.seeds, rows),
      (self.clusters, columns),
      (self.residual, rows * columns),
    )
    # Divides before squaring: the square of a tiny variance is 0.
    spread = sum((square / total) ** 2 / free for square, free in terms if free)
    return max(1 / spread, 1.0)


def mean_squares(
  values: np.ndarray, sizes: np.ndarray, *, scale: float | None = None
) -> MeanSquares:
  """Computes the mean squares of a mean over seeds and instances of tasks.

  A cell of the table is the sum of a task's deviations from the mean, in units
  of the mean task size, which allows for tasks of different sizes (Taylor
  linearisation of a ratio; Särndal, Swensson & Wretman 1992, section 5.6).
  Instances need no term: the cell of their task includes their noise.

  Args:
    values: Values grouped by task; float64 [seeds, instances].
    sizes: Number of instances of each task; int [tasks].
    scale: Largest absolute value before any centring, relative to which
      rounding errors are judged; None for that of `values`.
  """
  num_seeds, num_instances = values.shape
  deviations = values - values.mean()
  if len(sizes) == 1:
    table = deviations
  else:
    starts = np.cumsum(sizes) - sizes
    table = np.add.reduceat(deviations, starts, axis=1)
    table *= len(sizes) / num_instances
  num_clusters = table.shape[1]
  rows, columns = table.mean(axis=1), table.mean(axis=0)
  seeds = clusters = residual = 0.0
  if num_seeds > 1:
    seeds = num_clusters * float(rows @ rows) / (num_seeds - 1)
  if num_clusters > 1:
    clusters = num_seeds * float(columns @ columns) / (num_clusters - 1)
  if len(sizes) > 1:
    clusters = max(
      clusters, num_seeds * _noise(deviations.mean(axis=0), sizes) / 2
    )
  if num_seeds > 1 and num_clusters > 1:
    rest = table - rows[:, None] - columns
    free = (num_seeds - 1) * (num_clusters - 1)
    residual = float((rest * rest).sum()) / free
  if scale is None:
    scale = float(np.abs(values).max())
  seeds, clusters, residual = (
    0.0 if square <= (_ROUNDING * scale) ** 2 else square
    for square in (seeds, clusters, residual)
  )
  return MeanSquares(
    seeds=seeds,
    clusters=clusters,
    residual=residual,
    num_seeds=num_seeds,
    num_clusters=num_clusters,
  )


def _noise(values: np.ndarray, sizes: np.ndarray) -> float:
  """Variance of a cell of the table if tasks differ only by their instances.

  Args:
    values: Values grouped by task; float64 [instances].
    sizes: Number of instances of each task; int [tasks].
  """
  starts = np.cumsum(sizes) - sizes
  means = np.add.reduceat(values, starts) / sizes
  squares = np.add.reduceat((values - np.repeat(means, sizes)) ** 2, starts)
  variances = squares * sizes / np.maximum(sizes - 1, 1)
  return float(variances.sum()) * len(sizes) / len(values) ** 2


def resampled_means(
  values: np.ndarray,
  sizes: np.ndarray,
  *,
  seed: int = 0,
  num_resamples: int = NUM_RESAMPLES,
) -> np.ndarray:
  """Returns the means of bootstrap resamples; float64 [num_resamples].

  Draws seeds and tasks independently, with replacement (the pigeonhole
  bootstrap; Owen 2007). Then draws, for each drawn task, as many of its
  instances as it has: the same for every seed, since all seeds predict the same
  instances.

  Args:
    values: Values grouped by task; float64 [seeds, instances].
    sizes: Number of instances of each task; int [tasks].
    seed: Seed of the draws, which do not depend on the values.
    num_resamples: Number of resamples.
  """
  num_seeds = len(values)
  # Cached, since many metrics and arms share the same tasks.
  weights = _instance_weights(tuple(map(int, sizes)), seed, num_resamples)
  means = np.empty((num_resamples, num_seeds))
  at_once = max(1, _DRAWS_AT_ONCE // values.shape[1])
  for start in range(0, num_resamples, at_once):
    part = weights[start : start + at_once].astype(np.float64)
    totals = part.sum(axis=1, keepdims=True)
    means[start : start + at_once] = part @ values.T / totals
  if num_seeds == 1:
    return means[:, 0]
  generator = np.random.default_rng([seed, num_seeds])
  drawn = generator.multinomial(
    num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_resamples
  )
  return (means * drawn).sum(axis=1) / num_seeds


def shapes(deviations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns quantiles relative to a normal distribution's; float64 [tails].

  Args:
    deviations: Deviations of resampled means; float64 [num_resamples].

  Returns:
    Those below and those above the mean, one for each of `TAILS`.
  """
  deviation = deviations.std()
  if deviation == 0 or not math.isfinite(deviation):
    return np.ones_like(TAILS), np.ones_like(TAILS)
  tails = np.minimum(TAILS, _INNER_TAIL)
  normal = _normal_quantiles() * deviation
  lower = -np.quantile(deviations, tails) / normal
  upper = np.quantile(deviations, 1 - tails) / normal
  return np.clip(lower, *_SHAPES), np.clip(upper, *_SHAPES)


@functools.cache
def _normal_quantiles() -> np.ndarray:
  return stats.norm.isf(np.minimum(TAILS, _INNER_TAIL))


@functools.lru_cache(maxsize=_CACHED_WEIGHTS)
def _instance_weights(
  task_sizes: tuple[int, ...], seed: int, num_resamples: int
) -> np.ndarray:
  """How often each instance is drawn; uint8 [num_resamples, instances].

  The expected weight is 1, so 255 is never reached.
  """
  generator = np.random.default_rng(seed)
  sizes = np.array(task_sizes)
  starts, num_instances = np.cumsum(sizes) - sizes, int(sizes.sum())
  weights = np.empty((num_resamples, num_instances), np.uint8)
  at_once = max(1, _DRAWS_AT_ONCE // num_instances)
  for done in range(0, num_resamples, at_once):
    count = min(at_once, num_resamples - done)
    drawn = generator.integers(len(sizes), size=(count, len(sizes)))
    totals = sizes[drawn].sum(axis=1)
    each = sizes[drawn].ravel()
    # One entry for each drawn instance: its task's start and size, its row.
    start, size = np.repeat(starts[drawn].ravel(), each), np.repeat(each, each)
    row = np.repeat(np.arange(count), totals)
    instance = start + generator.integers(size)
    weights[done : done + count] = np.bincount(
      row * num_instances + instance, minlength=count * num_instances
    ).reshape(count, num_instances)
  return weights
