"""Compares two ways of predicting the same instances, seed by seed."""

from collections import Counter
from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from it_study.errors import InputError
from it_study.evaluation import metrics, statistics
from it_study.evaluation.statistics import Estimate
from it_study.natinst import CONTROL_CATEGORIES
from it_study.normalization import normalize_answer
from it_study.predict import Prediction

METRICS = ('exact_match', 'rouge_1', 'rouge_l', 'format_correctness')
MARGIN = 3.0
# A difference of two percentages.
_BOUNDS = (-100.0, 100.0)
_Pair = tuple[Prediction, Prediction]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """How the first file and the second differ in a metric over a group.

  Attributes:
    metric: one of `METRICS`.
    group: one of `metrics.GROUPS`, or the name of a category.
    first: mean of the first, in points from 0 to 100.
    second: mean of the second.
    estimate: of first minus second.
  """

  metric: str
  group: str
  first: float
  second: float
  estimate: Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
  """What becomes of single predictions from the first file to the second.

  Two predictions are the same if exact match cannot tell them apart. Counts
  are of instances, each once a seed.

  Attributes:
    num_instances: all.
    changed: predictions that differ.
    gained: wrong in the first, right in the second.
    lost: right in the first, wrong in the second.
    left_format: a label in the first, none in the second.
    entered_format: no label in the first, one in the second.
    towards: most frequent new predictions, with how often, of classification.
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
  """Two ways of predicting, compared in every metric over every group.

  Attributes:
    margin: of equivalence, in points.
    differences: headline groups first, then categories, each by metric.
    p_values: of no difference, adjusted over the headline groups of a metric
      and over its categories, each on its own (Holm); one a difference.
    q_values: likewise, adjusted for the share of false claims (Benjamini and
      Hochberg).
    changes: of the groups that there are, headline groups first.
  """

  margin: float
  differences: tuple['Difference', ...]
  p_values: tuple[float, ...]
  q_values: tuple[float, ...]
  changes: dict[str, 'Changes']

  def to_json(self) -> dict:
    """All of it as plain values."""
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
) -> Compared:
  """Compares two sets of predictions in every metric over every group.

  Args:
    seeds: for each seed, the rows of both, as for `PairedRows`.
    margin: largest difference, in points, that counts as none.

  Raises:
    InputError: for a margin that is not above 0, and as `PairedRows` does.
  """
  pairs = PairedRows(seeds)
  differences, p_values, q_values = [], [], []
  for groups in (metrics.GROUPS, pairs.categories()):
    for metric in METRICS:
      found = [pairs.difference(metric, group) for group in groups]
      found = [difference for difference in found if difference is not None]
      for difference in found:
        # Refuses a bad margin before anything is shown.
        difference.estimate.equivalence(margin)
      differences += found
      bare = [difference.estimate.p_value() for difference in found]
      p_values += statistics.adjust(bare)
      q_values += statistics.adjust(bare, method='benjamini_hochberg')
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
  )


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


class PairedRows:
  """Rows of two ways of predicting, paired by instance, for one seed or more.

  Kinds, categories and label spaces are taken from the first.

  Args:
    seeds: for each seed, the rows of both.

  Raises:
    InputError: if an instance is in one only, comes twice or has no id.
  """

  def __init__(
    self, seeds: Sequence[tuple[Sequence[Prediction], Sequence[Prediction]]]
  ):
    if not seeds:
      raise InputError(
        'a comparison needs two sets of predictions, found none.'
      )
    self._seeds: list[list[_Pair]] = []
    keys = None
    for rows, others in seeds:
      first, second = _by_instance(rows), _by_instance(others)
      keys = sorted(first) if keys is None else keys
      for several in (first, second):
        _check_same(keys, several)
      self._seeds.append([(first[key], second[key]) for key in keys])
    self._known: dict[tuple[str, int, int], np.ndarray] = {}

  def categories(self) -> list[str]:
    """Categories of the instances, by name, controls included."""
    return sorted({row.category for row, _ in self._seeds[0]} - {None})

  def difference(
    self, metric: str, group: str = 'overall'
  ) -> Difference | None:
    """The difference in a metric over a group; None where it has no instance.

    Raises:
      InputError: for an unknown metric or group.
    """
    statistics.check_choice('metric', metric, METRICS)
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
      estimate=statistics.estimate(
        values[:, 0] - values[:, 1],
        tasks[places][defined],
        bounds=_BOUNDS,
        tasks_are_fixed=group in CONTROL_CATEGORIES,
      ),
    )

  def changes(self, group: str = 'overall', *, most: int = 5) -> Changes | None:
    """How single predictions change; None where the group has no instance."""
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
    ranked = sorted(towards.items(), key=lambda item: (-item[1], item[0]))
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
      statistics.check_choice('group', group, allowed)
      chosen = [metrics.in_group(row, group) for row in rows]
    return np.flatnonzero(chosen)

  def _points(self, metric: str, seed: int, side: int) -> np.ndarray:
    key = (metric, seed, side)
    if key not in self._known:
      self._known[key] = np.array(
        [_points_of(pair[side], metric) for pair in self._seeds[seed]]
      )
    return self._known[key]


def _points_of(row: Prediction, metric: str) -> float:
  score = metrics.score_row(row)
  if metric == 'format_correctness':
    return np.nan if score.in_format is None else 100.0 * score.in_format
  return 100.0 * getattr(score, metric)


def _by_instance(
  rows: Sequence[Prediction],
) -> dict[tuple[str, str], Prediction]:
  keyed: dict[tuple[str, str], Prediction] = {}
  for row in rows:
    if row.id is None or row.task is None:
      raise InputError(
        'a row names no instance; a paired comparison needs ids. Name the '
        'corpus, which can find them.'
      )
    if (row.task, row.id) in keyed:
      raise InputError(
        f'instance {row.id!r} of task {row.task!r} is predicted twice in one '
        'file; a paired comparison needs it once.'
      )
    keyed[row.task, row.id] = row
  return keyed


def _check_same(
  keys: Sequence[tuple[str, str]], rows: dict[tuple[str, str], Prediction]
) -> None:
  alone = sorted(set(keys) ^ rows.keys())
  if alone:
    raise InputError(
      f'{len(alone)} instances are predicted in one of the files only, '
      f'{alone[0][1]!r} of task {alone[0][0]!r} first; a paired comparison '
      'needs the same instances in all.'
    )
