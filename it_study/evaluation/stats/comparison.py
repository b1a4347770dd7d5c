"""Compares two ways of predicting the same instances, seed by seed."""

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
from it_study.evaluation.stats.pairing import by_instance, check_same
from it_study.predictions import Prediction

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
    towards: most frequent new predictions, with how often, of classification;
      none that comes once only.
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
    answers_generation: False where one side is a baseline that abstains from
      generation; what holds generation is then left out, as `score` does.
  """

  margin: float
  differences: tuple['Difference', ...]
  p_values: tuple[float, ...]
  q_values: tuple[float, ...]
  changes: dict[str, 'Changes']
  answers_generation: bool = True

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
  names: Sequence[tuple[str, str]] | None = None,
) -> Compared:
  """Compares two sets of predictions in every metric over every group.

  Args:
    seeds: for each seed, the rows of both, as for `PairedRows`.
    margin: largest difference, in points, that counts as none.
    names: of the files, as for `PairedRows`.

  Raises:
    InputError: for a margin that is not between 0 and 100, for predictions
      that have no group to compare, and as `PairedRows` does.
  """
  check_margin(margin)
  pairs = PairedRows(seeds, names=names)
  differences, p_values, q_values = [], [], []
  for groups in (metrics.GROUPS, pairs.categories()):
    for metric in METRICS:
      found = [pairs.difference(metric, group) for group in groups]
      found = [difference for difference in found if difference is not None]
      differences += found
      bare = [difference.estimate.p_value() for difference in found]
      p_values += intervals.adjust(bare)
      q_values += intervals.adjust(bare, method='benjamini_hochberg')
  if not differences:
    raise InputError(
      'there is nothing to compare: one side is a baseline that answers no '
      'generation, and there is no classification beside it.'
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


def check_margin(margin: object, *, setting: str = 'margin') -> None:
  """Raises `InputError` for a margin that no two percentages could test."""
  is_number = isinstance(margin, int | float) and not isinstance(margin, bool)
  if not is_number or not 0 < margin < 100:
    raise InputError(
      f'{setting}: found {margin!r}, allowed is a number of points above 0 '
      f'and below 100, such as {MARGIN:g}.'
    )


def _finite(value: float) -> float | None:
  return value if math.isfinite(value) else None


class PairedRows:
  """Rows of two ways of predicting, paired by instance, for one seed or more.

  Kinds, categories and label spaces are taken from the first. Where a side is
  a baseline that abstains from generation, groups that hold generation have
  neither difference nor changes.

  Args:
    seeds: for each seed, the rows of both.
    names: what an error calls them, for each seed; None counts them.

  Attributes:
    answers_generation: whether both sides do.

  Raises:
    InputError: if an instance is in one only, comes twice or has no id.
  """

  def __init__(
    self,
    seeds: Sequence[tuple[Sequence[Prediction], Sequence[Prediction]]],
    *,
    names: Sequence[tuple[str, str]] | None = None,
  ):
    if not seeds:
      raise InputError(
        'a comparison needs two sets of predictions, found none.'
      )
    if names is None:
      names = [(f'A{k}', f'B{k}') for k in range(1, len(seeds) + 1)]
    self.answers_generation = all(
      baselines.answers_generation(rows) for pair in seeds for rows in pair
    )
    self._seeds: list[list[_Pair]] = []
    base, keys = None, []
    for pair, pair_names in zip(seeds, names, strict=True):
      both = [
        by_instance(rows, name)
        for rows, name in zip(pair, pair_names, strict=True)
      ]
      if base is None:
        base, keys = both[0], sorted(both[0])
      for several, name in zip(both, pair_names, strict=True):
        check_same(base, several, names[0][0], name)
      self._seeds.append([(both[0][key], both[1][key]) for key in keys])
    self._known: dict[tuple[str, int, int], np.ndarray] = {}

  def categories(self) -> list[str]:
    """Categories of the instances, by name, controls included."""
    return sorted({row.category for row, _ in self._seeds[0]} - {None})

  def difference(
    self, metric: str, group: str = 'overall'
  ) -> Difference | None:
    """The difference in a metric over a group; None where there is none.

    Raises:
      InputError: for an unknown metric or group.
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
      # An empty string is no answer, and no wrong one either.
      return places[:0]
    return places

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
