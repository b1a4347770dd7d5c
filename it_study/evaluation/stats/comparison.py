"""Compares two sets of predictions of the same instances, seed by seed."""

from collections import Counter
from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from it_study.corpus.natinst import CONTROL_CATEGORIES
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.task_kinds import CLASSIFICATION
from it_study.errors import InputError
from it_study.evaluation import baselines, metrics
from it_study.evaluation.stats import intervals
from it_study.evaluation.stats.intervals import Estimate
from it_study.evaluation.stats.margins import MARGIN, check_margin
from it_study.evaluation.stats.pairing import by_instance, check_same
from it_study.predictions import Prediction

METRICS = ('exact_match', 'rouge_1', 'rouge_l', 'format_correctness')
# Bounds of a difference of two percentages.
_BOUNDS = (-100.0, 100.0)
_Pair = tuple[Prediction, Prediction]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """How two prediction files differ in one metric over one group.

  Attributes:
    metric: One of `METRICS`.
    group: One of `metrics.GROUPS`, or the name of a category.
    first: Mean of the first file, in points from 0 to 100.
    second: Mean of the second file, in points from 0 to 100.
    estimate: Estimate of first minus second, in points.
  """

  metric: str
  group: str
  first: float
  second: float
  estimate: Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
  """How individual predictions change from the first file to the second.

  Two predictions are equal if exact match cannot tell them apart. All counts
  are of instances, each counted once for each seed.

  Attributes:
    num_instances: Number of instances compared.
    changed: Number of predictions that differ.
    gained: Number wrong in the first and right in the second.
    lost: Number right in the first and wrong in the second.
    left_format: Number that are a label in the first and none in the second.
    entered_format: Number that are no label in the first and one in the second.
    towards: Most frequent new predictions of classification instances with
      their counts, leaving out those that occur once.
  """

  num_instances: int
  changed: int
  gained: int
  lost: int
  left_format: int
  entered_format: int
  towards: tuple[tuple[str, int], ...]

  @property
  def share(self) -> float:
    """Share of predictions that change, in percent."""
    return 100.0 * self.changed / self.num_instances


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
  """Two sets of predictions, compared in every metric over every group.

  Attributes:
    margin: Margin of equivalence, in points.
    differences: Differences in the headline groups, then in the categories,
      each ordered by metric.
    p_values: Holm-adjusted p-value of each difference. The headline groups of a
      metric are one family, its categories another.
    q_values: P-values adjusted by Benjamini and Hochberg in the same families.
    changes: Changes in each group that has instances, headline groups first.
    answers_generation: Whether both sides answer generation. Otherwise one is a
      baseline that abstains, and groups with generation are left out, as
      `score` does.
  """

  margin: float
  differences: tuple[Difference, ...]
  p_values: tuple[float, ...]
  q_values: tuple[float, ...]
  changes: dict[str, Changes]
  answers_generation: bool = True

  def to_json(self) -> dict:
    """Returns a JSON object."""
    rows = []
    for difference, p_value, q_value in zip(
      self.differences, self.p_values, self.q_values, strict=True
    ):
      estimate = difference.estimate
      interval = estimate.interval()
      equivalence = estimate.equivalence(self.margin)
      rows.append(
        {
          'group': difference.group,
          'metric': difference.metric,
          'first': difference.first,
          'second': difference.second,
          'difference': estimate.mean,
          'varies': estimate.varies,
          'low': interval.low,
          'high': interval.high,
          'p_value': estimate.p_value(),
          'p_value_holm': p_value,
          'q_value_benjamini_hochberg': q_value,
          'equivalence_p_value': equivalence.p_value,
          'equivalent': equivalence.holds,
          'minimum_detectable_effect': _finite(
            estimate.minimum_detectable_effect()
          ),
          'smallest_margin': _finite(estimate.smallest_margin()),
          'num_tasks': estimate.num_tasks,
          'num_instances': estimate.num_instances,
          'num_seeds': estimate.num_seeds,
        }
      )
    return {
      'margin': self.margin,
      'differences': rows,
      'changes': {
        name: dataclasses.asdict(changes) | {'share': changes.share}
        for name, changes in self.changes.items()
      },
    }


def compare(
  seeds: Sequence[tuple[Sequence[Prediction], Sequence[Prediction]]],
  *,
  margin: float = MARGIN,
  names: Sequence[tuple[str, str]] | None = None,
) -> Compared:
  """Compares two sets of predictions in every metric over every group.

  Args:
    seeds: Rows of both sides for each seed, as for `PairedRows`.
    margin: Largest difference that counts as none, in points.
    names: Names of the files, as for `PairedRows`.

  Raises:
    InputError: If the margin is not between 0 and 100, if there is no group to
      compare, or if the rows do not pair.
  """
  check_margin(margin)
  pairs = PairedRows(seeds, names=names)
  differences: list[Difference] = []
  p_values, q_values = [], []
  for groups in (metrics.GROUPS, pairs.categories()):
    for metric in METRICS:
      family = [
        difference
        for group in groups
        if (difference := pairs.difference(metric, group)) is not None
      ]
      differences += family
      unadjusted = [difference.estimate.p_value() for difference in family]
      p_values += intervals.adjust(unadjusted)
      q_values += intervals.adjust(unadjusted, method='benjamini_hochberg')
  if not differences:
    raise InputError(
      'nothing to compare: one side is a baseline that does not answer '
      'generation, and the files hold no classification.'
    )
  changes = {
    group: pairs.changes(group)
    for group in (*metrics.GROUPS, *pairs.categories())
  }
  return Compared(
    margin=margin,
    differences=tuple(differences),
    p_values=tuple(p_values),
    q_values=tuple(q_values),
    changes={name: c for name, c in changes.items() if c is not None},
    answers_generation=pairs.answers_generation,
  )


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


class PairedRows:
  """Two sets of predictions, paired by instance, for one seed or more.

  Kinds, categories and label spaces are those of the first set. If one side is
  a baseline that abstains from generation, groups with generation have neither
  a difference nor changes.

  Args:
    seeds: Rows of both sides for each seed.
    names: Names of both sides for each seed, for error messages; None for A1,
      B1, A2 and so on.

  Attributes:
    answers_generation: Whether both sides answer generation.

  Raises:
    InputError: If an instance is missing from a side, occurs twice or has no
      id.
  """

  def __init__(
    self,
    seeds: Sequence[tuple[Sequence[Prediction], Sequence[Prediction]]],
    *,
    names: Sequence[tuple[str, str]] | None = None,
  ):
    if not seeds:
      raise InputError('a comparison needs two sets of predictions, got none.')
    if names is None:
      names = [(f'A{k}', f'B{k}') for k in range(1, len(seeds) + 1)]
    self.answers_generation = all(
      baselines.answers_generation(rows) for pair in seeds for rows in pair
    )
    self._seeds: list[list[_Pair]] = []
    first, keys = None, []
    for pair, pair_names in zip(seeds, names, strict=True):
      both = [
        by_instance(rows, name)
        for rows, name in zip(pair, pair_names, strict=True)
      ]
      if first is None:
        first, keys = both[0], sorted(both[0])
      for keyed, name in zip(both, pair_names, strict=True):
        check_same(first, keyed, names[0][0], name)
      self._seeds.append([(both[0][key], both[1][key]) for key in keys])
    self._cached_points: dict[tuple[str, int, int], np.ndarray] = {}

  def categories(self) -> list[str]:
    """Returns the sorted categories of the instances, controls included."""
    return sorted(
      {row.category for row, _ in self._seeds[0] if row.category is not None}
    )

  def difference(
    self, metric: str, group: str = 'overall'
  ) -> Difference | None:
    """Estimates the difference in a metric over a group.

    Returns:
      None if the metric is defined for no instance of the group.

    Raises:
      InputError: If the metric or group is unknown.
    """
    intervals.check_choice('metric', metric, METRICS)
    places = self._places(group)
    values = np.stack(
      [
        [self._points(metric, seed, side)[places] for side in (0, 1)]
        for seed in range(len(self._seeds))
      ]
    )
    defined = ~np.isnan(values).any(axis=(0, 1))
    if not defined.any():
      return None
    values = values[:, :, defined]
    tasks = np.array([row.task for row, _ in self._seeds[0]], object)
    return Difference(
      metric=metric,
      group=group,
      first=float(values[:, 0].mean()),
      second=float(values[:, 1].mean()),
      estimate=intervals.estimate(
        values[:, 0] - values[:, 1],
        tasks[places][defined],
        bounds=_BOUNDS,
        tasks_are_fixed=group in CONTROL_CATEGORIES,
      ),
    )

  def changes(self, group: str = 'overall', *, most: int = 5) -> Changes | None:
    """Counts how predictions change; None if the group has no instance.

    Args:
      group: One of `metrics.GROUPS`, or the name of a category.
      most: Maximum number of new predictions to list.
    """
    places = self._places(group)
    if not len(places):
      return None
    counts: Counter[str] = Counter()
    towards: Counter[str] = Counter()
    for pairs in self._seeds:
      for place in places:
        first, second = pairs[place]
        answer = normalize_answer(second.prediction)
        if normalize_answer(first.prediction) == answer:
          continue
        was, now = metrics.score_row(first), metrics.score_row(second)
        counts['changed'] += 1
        counts['gained'] += now.exact_match > was.exact_match
        counts['lost'] += now.exact_match < was.exact_match
        counts['left_format'] += bool(was.in_format) and now.in_format is False
        counts['entered_format'] += bool(now.in_format) and (
          was.in_format is False
        )
        if first.label_space is not None:
          towards[answer] += 1
    often = [item for item in towards.items() if item[1] > 1]
    ranked = sorted(often, key=lambda item: (-item[1], item[0]))
    return Changes(
      num_instances=len(places) * len(self._seeds),
      towards=tuple(ranked[:most]),
      **{
        name: counts[name]
        for name in (
          'changed',
          'gained',
          'lost',
          'left_format',
          'entered_format',
        )
      },
    )

  def _places(self, group: str) -> np.ndarray:
    rows = [row for row, _ in self._seeds[0]]
    categories = self.categories()
    if group in categories:
      chosen = [row.category == group for row in rows]
    else:
      allowed = (*metrics.GROUPS, *categories)
      intervals.check_choice('group', group, allowed)
      chosen = [metrics.in_group(row, group) for row in rows]
    places = np.flatnonzero(chosen)
    if not self.answers_generation and (
      group == 'overall'
      or any(rows[place].kind != CLASSIFICATION for place in places)
    ):
      # The baseline's empty strings are abstentions, not wrong answers.
      return places[:0]
    return places

  def _points(self, metric: str, seed: int, side: int) -> np.ndarray:
    key = (metric, seed, side)
    if key not in self._cached_points:
      self._cached_points[key] = np.array(
        [_points_of(pair[side], metric) for pair in self._seeds[seed]]
      )
    return self._cached_points[key]


def _points_of(row: Prediction, metric: str) -> float:
  score = metrics.score_row(row)
  if metric == 'format_correctness':
    return np.nan if score.in_format is None else 100.0 * score.in_format
  return 100.0 * getattr(score, metric)
