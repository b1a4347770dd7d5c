"""An arm's scores by seed and instance, and estimates for groups of them."""

from collections.abc import Iterable, Sequence
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
# Expected score of a uniform guess: a column beside the metrics, but not one.
CHANCE = 'chance'
# Exact match with the references as they were before a renaming: likewise.
PRIOR = 'prior'


class Group(NamedTuple):
  """A set of instances.

  Attributes:
    kind: One of 'headline', 'category', 'task' and 'control'.
    name: Name of the headline group, category or task.
  """

  kind: str
  name: str


OVERALL = Group('headline', 'overall')
CLS = Group('headline', CLASSIFICATION)
GEN = Group('headline', GENERATION)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
  """Scores of the instances of a split, sorted by (task, id).

  Attributes:
    tasks: Task names; object [instances].
    ids: Instance ids; object [instances].
    categories: Task categories; object [instances].
    kinds: Task kinds; object [instances].
    values: Points from 0 to 100 by metric, float64 [seeds, instances]; NaN
      where a metric is not defined.
    answers: Normalized predictions, equal if exact match cannot tell them
      apart; texts where there is a label space, else hashes; object
      [seeds, instances].
    prompts: Hashes of the prompts of control tasks, 0 for other tasks; object
      [instances].
    seeds: Seed of each row of `values`; None if unknown.
    cache: Estimates computed so far.
  """

  tasks: np.ndarray
  ids: np.ndarray
  categories: np.ndarray
  kinds: np.ndarray
  values: dict[str, np.ndarray]
  answers: np.ndarray
  prompts: np.ndarray
  seeds: tuple[int | None, ...] = (None,)
  cache: dict[tuple, Estimate | None] = dataclasses.field(
    default_factory=dict, repr=False
  )

  def mask(self, group: Group) -> np.ndarray:
    """Returns which instances are in a group; bool [instances]."""
    if group.kind == 'task':
      return self.tasks == group.name
    if group.kind in ('category', 'control'):
      return self.categories == group.name
    headline = ~np.isin(self.categories.astype(str), CONTROL_CATEGORIES)
    if group == OVERALL:
      return headline
    return headline & (self.kinds == group.name)

  def estimate(self, metric: str, group: Group) -> Estimate | None:
    """Estimates a metric's mean over a group; None if it has no value there."""
    key = (metric, group)
    if key not in self.cache:
      self.cache[key] = _estimate(
        self, self.values[metric], group, bounds=(0.0, 100.0)
      )
    return self.cache[key]

  def minus(
    self,
    other: 'Scores',
    metric: str,
    group: Group,
    *,
    other_metric: str | None = None,
  ) -> Estimate | None:
    """Estimates the mean difference to `other`, paired by instance and seed.

    Seeds that only one of the two has are left out. If they share no seed, a
    single seed is compared with every seed of the other; otherwise both are
    averaged over their seeds.

    Raises:
      InputError: If the two hold different instances.
    """
    other_metric = other_metric or metric
    key = (other, metric, other_metric, group)
    if key in self.cache:
      return self.cache[key]
    self.check_same_instances(other)
    first, second = self.values[metric], other.values[other_metric]
    common = [seed for seed in self.seeds if seed in other.seeds]
    if common:
      first = first[[self.seeds.index(seed) for seed in common]]
      second = second[[other.seeds.index(seed) for seed in common]]
    elif len(first) > 1 and len(second) > 1:
      first, second = first.mean(axis=0), second.mean(axis=0)
    self.cache[key] = _estimate(
      self,
      np.atleast_2d(first - second),
      group,
      bounds=(-100.0, 100.0),
      chance=self.values[CHANCE][0] if other_metric == CHANCE else None,
      # Without a definition, tasks that share their inputs share prompts, too.
      units=other.prompts if group.kind == 'control' else None,
    )
    return self.cache[key]

  def check_same_instances(self, other: 'Scores') -> None:
    """Raises `InputError` if the two hold different instances."""
    if not (
      np.array_equal(self.tasks, other.tasks)
      and np.array_equal(self.ids, other.ids)
    ):
      raise InputError(
        'two cells of this study predict different instances of the same '
        'split, so they cannot be compared: the corpus changed between them. '
        'Run the study again in a new folder.'
      )

  def named_groups(self) -> tuple[Group, ...]:
    """Returns the categories, controls and tasks, sorted."""
    categories = {
      Group('control' if name in CONTROL_CATEGORIES else 'category', name)
      for name in self.categories
      if name is not None
    }
    return tuple(sorted(categories | {Group('task', n) for n in self.tasks}))


def score_rows(rows: Sequence[Prediction]) -> Scores:
  """Scores the rows of one split, which must hold each instance once."""
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
    PRIOR: [_or_nan(_matches_prior(row)) for row in rows],
  }
  return Scores(
    tasks=_objects(row.task for row in rows),
    ids=_objects(row.id for row in rows),
    categories=_objects(row.category for row in rows),
    kinds=_objects(row.kind for row in rows),
    answers=_objects(map(_answer, rows))[None],
    prompts=_objects(map(_control_prompt, rows)),
    values={
      name: 100.0 * np.array([points], np.float64)
      for name, points in values.items()
    },
  )


def over_chance_range(chance: np.ndarray) -> tuple[float, float]:
  """Returns the smallest and the largest possible score minus chance.

  Args:
    chance: Expected scores of a guess, in points; float64 [instances].
  """
  return -float(chance.max()), 100.0 - float(chance.min())


def stack_seeds(
  by_seed: Sequence[Scores], seeds: Sequence[int | None]
) -> Scores:
  """Stacks the scores of several seeds.

  Raises:
    InputError: If the seeds predicted different instances.
  """
  first = by_seed[0]
  for other in by_seed[1:]:
    first.check_same_instances(other)
  return dataclasses.replace(
    first,
    cache={},
    seeds=tuple(seeds),
    answers=np.concatenate([scores.answers for scores in by_seed]),
    values={
      name: np.concatenate([scores.values[name] for scores in by_seed])
      for name in first.values
    },
  )


def _answer(row: Prediction) -> object:
  answer = normalize_answer(row.prediction)
  # Generated texts would fill the memory; labels are few.
  if row.label_space is None or len(answer) > _LONGEST_ANSWER:
    return stable_hash(answer)
  return sys.intern(answer)


def _matches_prior(row: Prediction) -> float | None:
  """Whether an answer ignores a renaming; None where both answers are right."""
  followed, prior = (
    set(map(normalize_answer, references or ()))
    for references in (row.targets, row.prior_targets)
  )
  if not prior or prior & followed:
    return None
  return float(normalize_answer(row.prediction) in prior)


def _control_prompt(row: Prediction) -> int:
  is_control = row.category in CONTROL_CATEGORIES
  return stable_hash(row.inputs or '') if is_control else 0


def _or_nan(value: float | None) -> float:
  return np.nan if value is None else value


def _objects(items: Iterable[object]) -> np.ndarray:
  values = list(items)
  array = np.empty(len(values), object)
  array[:] = values
  return array


def _estimate(
  scores: Scores,
  values: np.ndarray,
  group: Group,
  *,
  bounds: tuple[float, float],
  chance: np.ndarray | None = None,
  units: np.ndarray | None = None,
) -> Estimate | None:
  mask = scores.mask(group) & ~np.isnan(values).any(axis=0)
  if not mask.any():
    return None
  return intervals.estimate(
    values[:, mask],
    scores.tasks[mask],
    bounds=bounds,
    value_range=None if chance is None else over_chance_range(chance[mask]),
    tasks_are_fixed=group.kind == 'control',
    units=None if units is None else units[mask],
  )
