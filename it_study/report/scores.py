"""A cell's scores instance by instance, and intervals for groups of them."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from it_study.errors import InputError
from it_study.evaluation import metrics, statistics
from it_study.evaluation.statistics import Interval
from it_study.natinst import CONTROL_CATEGORIES
from it_study.normalization import merge_labels
from it_study.predict import Prediction
from it_study.task_kinds import CLASSIFICATION, GENERATION

METRICS = ('exact_match', 'rouge_l', 'format_correctness')
# What a uniform guess is expected to score; no metric of the prediction.
CHANCE = 'chance'


class Group(NamedTuple):
  """A set of instances: `kind` is 'headline', 'category', 'task', 'control'."""

  kind: str
  name: str


OVERALL = Group('headline', 'overall')
CLS = Group('headline', CLASSIFICATION)
GEN = Group('headline', GENERATION)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
  """Scores of the instances of a split, sorted by (task, id).

  Attributes:
    tasks: names, object [instances].
    ids: object [instances].
    categories: object [instances].
    kinds: object [instances].
    values: metric to points from 0 to 100, float64 [instances]; NaN where a
      metric is not defined.
    known: intervals computed so far.
  """

  tasks: np.ndarray
  ids: np.ndarray
  categories: np.ndarray
  kinds: np.ndarray
  values: dict[str, np.ndarray]
  known: dict[tuple, Interval | None] = dataclasses.field(
    default_factory=dict, repr=False
  )

  def mask(self, group: Group) -> np.ndarray:
    """Which instances are in a group; bool [instances]."""
    if group.kind == 'task':
      return self.tasks == group.name
    if group.kind in ('category', 'control'):
      return self.categories == group.name
    headline = ~np.isin(self.categories.astype(str), CONTROL_CATEGORIES)
    if group == OVERALL:
      return headline
    return headline & (self.kinds == group.name)

  def interval(
    self, metric: str, group: Group, *, level: float = statistics.LEVEL
  ) -> Interval | None:
    """Mean and interval of a metric over a group; None where it has none."""
    key = (metric, group, level)
    if key not in self.known:
      self.known[key] = _interval(self, self.values[metric], group, level)
    return self.known[key]

  def minus(
    self,
    other: 'Scores',
    metric: str,
    group: Group,
    *,
    other_metric: str | None = None,
    level: float = statistics.LEVEL,
  ) -> Interval | None:
    """Interval of the mean difference to `other`, instance by instance.

    Raises:
      InputError: if the two hold different instances.
    """
    other_metric = other_metric or metric
    key = (other, metric, other_metric, group, level)
    if key in self.known:
      return self.known[key]
    self.check_same_instances(other)
    difference = self.values[metric] - other.values[other_metric]
    self.known[key] = _interval(self, difference, group, level)
    return self.known[key]

  def check_same_instances(self, other: 'Scores') -> None:
    """Raises `InputError` if the two hold different instances."""
    if not (
      np.array_equal(self.tasks, other.tasks)
      and np.array_equal(self.ids, other.ids)
    ):
      raise InputError(
        'two cells of this study predict different instances of one split, so '
        'they cannot be compared: its corpus has changed in between. Run the '
        'study anew in a new folder.'
      )

  def named_groups(self) -> tuple[Group, ...]:
    """Its categories, tasks and controls, each kind by name."""
    categories = {
      Group('control' if name in CONTROL_CATEGORIES else 'category', name)
      for name in self.categories
    }
    return tuple(sorted(categories | {Group('task', n) for n in self.tasks}))


def score_rows(rows: Sequence[Prediction]) -> Scores:
  """Scores rows of one split; every instance is there once."""
  rows = sorted(rows, key=lambda row: (row.task, row.id))
  scored = [metrics.score_row(row) for row in rows]
  in_format = [
    np.nan if score.in_format is None else score.in_format for score in scored
  ]
  values = {
    'exact_match': [score.exact_match for score in scored],
    'rouge_l': [score.rouge_l for score in scored],
    'format_correctness': in_format,
    CHANCE: [_chance(row.label_space, row.targets) for row in rows],
  }
  return Scores(
    tasks=_objects(row.task for row in rows),
    ids=_objects(row.id for row in rows),
    categories=_objects(row.category for row in rows),
    kinds=_objects(row.kind for row in rows),
    values={
      name: 100.0 * np.array(points, np.float64)
      for name, points in values.items()
    },
  )


def mean_scores(several: Sequence[Scores]) -> Scores:
  """Averages an instance's scores over seeds.

  Raises:
    InputError: if the seeds predicted different instances.
  """
  first = several[0]
  for other in several[1:]:
    first.check_same_instances(other)
  return dataclasses.replace(
    first,
    known={},
    values={
      name: np.mean([scores.values[name] for scores in several], axis=0)
      for name in first.values
    },
  )


def _objects(items) -> np.ndarray:
  items = list(items)
  array = np.empty(len(items), object)
  array[:] = items
  return array


def _interval(
  scores: Scores, values: np.ndarray, group: Group, level: float
) -> Interval | None:
  mask = scores.mask(group) & ~np.isnan(values)
  if not mask.any():
    return None
  return statistics.mean_interval(values[mask], scores.tasks[mask], level=level)


@functools.lru_cache(maxsize=1 << 16)
def _chance(
  label_space: tuple[str, ...] | None, targets: tuple[str, ...]
) -> float:
  """How probable it is that a label drawn uniformly is accepted."""
  if label_space is None:
    return np.nan
  labels = merge_labels(label_space)
  return sum(metrics.exact_match(label, targets) for label in labels) / len(
    labels
  )
