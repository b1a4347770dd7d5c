"""An arm's scores by seed and instance, and estimates for groups of them."""

from collections.abc import Sequence
import dataclasses
import sys
from typing import NamedTuple

import numpy as np

from it_study.corpus.natinst import CONTROL_CATEGORIES
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.task_kinds import CLASSIFICATION, GENERATION
from it_study.errors import InputError
from it_study.evaluation import metrics
from it_study.evaluation.chance import uniform_chance
from it_study.evaluation.stats import intervals
from it_study.evaluation.stats.intervals import Estimate
from it_study.predictions import Prediction
from it_study.seeding import stable_hash

METRICS = ('exact_match', 'rouge_l', 'format_correctness')
_LONGEST_ANSWER = 80
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
    values: metric to points from 0 to 100, float64 [seeds, instances]; NaN
      where a metric is not defined.
    answers: what was predicted, as far as exact match can tell answers apart:
      a text where there is a label space, else a hash; object
      [seeds, instances].
    seeds: one for each row of `values`; None where not known.
    known: estimates made so far.
  """

  tasks: np.ndarray
  ids: np.ndarray
  categories: np.ndarray
  kinds: np.ndarray
  values: dict[str, np.ndarray]
  answers: np.ndarray
  seeds: tuple[int | None, ...] = (None,)
  known: dict[tuple, Estimate | None] = dataclasses.field(
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

  def estimate(self, metric: str, group: Group) -> Estimate | None:
    """Mean of a metric over a group; None where it has none."""
    key = (metric, group)
    if key not in self.known:
      self.known[key] = _estimate(
        self, self.values[metric], group, bounds=(0.0, 100.0)
      )
    return self.known[key]

  def minus(
    self,
    other: 'Scores',
    metric: str,
    group: Group,
    *,
    other_metric: str | None = None,
  ) -> Estimate | None:
    """Mean difference to `other`: instance by instance, seed by seed.

    Seeds that only one of the two has are left out. Where none is in both, the
    one with a single seed is held against every seed of the other; else both
    are averaged over their seeds.

    Raises:
      InputError: if the two hold different instances.
    """
    other_metric = other_metric or metric
    key = (other, metric, other_metric, group)
    if key in self.known:
      return self.known[key]
    self.check_same_instances(other)
    first, second = self.values[metric], other.values[other_metric]
    common = [seed for seed in self.seeds if seed in other.seeds]
    if common:
      first = first[[self.seeds.index(seed) for seed in common]]
      second = second[[other.seeds.index(seed) for seed in common]]
    elif len(first) > 1 and len(second) > 1:
      first, second = first.mean(axis=0), second.mean(axis=0)
    self.known[key] = _estimate(
      self, np.atleast_2d(first - second), group, bounds=(-100.0, 100.0)
    )
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
    CHANCE: [
      _or_nan(uniform_chance(row.label_space, row.targets)) for row in rows
    ],
  }
  return Scores(
    tasks=_objects(row.task for row in rows),
    ids=_objects(row.id for row in rows),
    categories=_objects(row.category for row in rows),
    kinds=_objects(row.kind for row in rows),
    answers=_objects(map(_answer, rows))[None],
    values={
      name: 100.0 * np.array([points], np.float64)
      for name, points in values.items()
    },
  )


def stack_seeds(
  several: Sequence[Scores], seeds: Sequence[int | None]
) -> Scores:
  """Puts the scores of seeds on top of each other.

  Raises:
    InputError: if the seeds predicted different instances.
  """
  first = several[0]
  for other in several[1:]:
    first.check_same_instances(other)
  return dataclasses.replace(
    first,
    known={},
    seeds=tuple(seeds),
    answers=np.concatenate([scores.answers for scores in several]),
    values={
      name: np.concatenate([scores.values[name] for scores in several])
      for name in first.values
    },
  )


def _answer(row: Prediction) -> object:
  answer = normalize_answer(row.prediction)
  # Texts of generation would fill the memory; labels are few.
  if row.label_space is None or len(answer) > _LONGEST_ANSWER:
    return stable_hash(answer)
  return sys.intern(answer)


def _or_nan(value: float | None) -> float:
  return np.nan if value is None else value


def _objects(items) -> np.ndarray:
  items = list(items)
  array = np.empty(len(items), object)
  array[:] = items
  return array


def _estimate(
  scores: Scores,
  values: np.ndarray,
  group: Group,
  *,
  bounds: tuple[float, float],
) -> Estimate | None:
  mask = scores.mask(group) & ~np.isnan(values).any(axis=0)
  if not mask.any():
    return None
  return intervals.estimate(
    values[:, mask],
    scores.tasks[mask],
    bounds=bounds,
    tasks_are_fixed=group.kind == 'control',
  )
