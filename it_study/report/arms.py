"""What a study compares: cells that differ in their seed only make an arm."""

from collections.abc import Iterable
import dataclasses
import functools
import math

from it_study import conditions
from it_study.conditions import Condition
from it_study.errors import InputError
from it_study.evaluation.baselines import BASELINES
from it_study.evaluation.stats import intervals
from it_study.evaluation.stats.comparison import MARGIN
from it_study.evaluation.stats.intervals import Equivalence, Estimate, Interval
from it_study.report.load import Cell
from it_study.report.scores import Group, Scores
from it_study.report.text import count, shorten

# Of each family of comparisons.
ALPHA = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
  """A way to train (or none, or a baseline) and a way to test, on one split.

  Attributes:
    cells: one a seed.
    scores: of every seed; None where predictions are missing.
  """

  cells: tuple[Cell, ...]
  scores: Scores | None = None

  @property
  def _first(self) -> Cell:
    return self.cells[0]

  @property
  def split(self) -> str:
    return self._first.split

  @property
  def baseline(self) -> str | None:
    return self._first.baseline

  @property
  def train_condition(self) -> str | None:
    return self._first.train_condition

  @property
  def test_condition(self) -> str | None:
    return self._first.test_condition

  @property
  def is_trained(self) -> bool:
    return self.baseline is None and self.train_condition is not None

  @property
  def is_untuned(self) -> bool:
    return self.baseline is None and self.train_condition is None

  @property
  def is_matched(self) -> bool:
    return self._first.matched

  @property
  def has_original_instructions(self) -> bool:
    return self._first.original_instructions

  @property
  def label(self) -> str:
    """What a reader calls it."""
    if self.baseline is not None:
      return _BASELINE_LABELS[self.baseline]
    if self.is_untuned:
      return f'Untuned, {_lower(condition_label(self.test_condition))}'
    return condition_label(self.train_condition)

  @functools.cached_property
  def condition(self) -> Condition | None:
    """The condition it was trained in; None where there is none or unknown."""
    return parse_condition(self.train_condition)

  def group(self, cell: Cell, group: Group) -> dict | None:
    """A cell's metrics of a group, None where it has none."""
    if group.kind == 'headline':
      return cell.metrics[group.name]
    kind = 'controls' if group.kind == 'control' else f'by_{group.kind}'
    return cell.metrics[kind].get(group.name)

  def value(self, metric: str, group: Group) -> float | None:
    """Mean over the seeds, as metrics.json has them, in points."""
    groups = [self.group(cell, group) for cell in self.cells]
    values = [g.get(metric) for g in groups if g is not None]
    if len(values) != len(self.cells) or None in values:
      return None
    return sum(values) / len(values)

  def interval(self, metric: str, group: Group) -> Interval | None:
    """Interval of `value` at 95%; None where there is none to compute."""
    if self.scores is None or self.value(metric, group) is None:
      return None
    estimate = self.scores.estimate(metric, group)
    return None if estimate is None else estimate.interval()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
  """An arm with real instructions minus the arm with altered ones.

  Attributes:
    original: trained and tested on the real instructions.
    altered: trained and tested on altered ones.
    estimate: of the difference, in points.
    num_comparisons: how many are made at once, this one included.
    p_value: of no difference, adjusted for their number (Holm).
    equivalence: whether a difference beyond the study's margin is ruled out.
    equivalence_p_value: of such a difference, adjusted likewise.
  """

  original: Arm
  altered: Arm
  estimate: Estimate
  num_comparisons: int
  p_value: float
  equivalence: Equivalence
  equivalence_p_value: float

  @functools.cached_property
  def interval(self) -> Interval:
    """Of the difference, at 95%."""
    return self.estimate.interval()

  @functools.cached_property
  def joint(self) -> Interval:
    """Widened so that all comparisons hold together at 95% (Bonferroni)."""
    return self.estimate.interval(1 - ALPHA / self.num_comparisons)

  @property
  def helps(self) -> bool:
    """Whether the real instructions are shown to be better."""
    return self.p_value < ALPHA and self.estimate.mean > 0

  @property
  def harms(self) -> bool:
    return self.p_value < ALPHA and self.estimate.mean < 0

  @property
  def is_equivalent(self) -> bool:
    """Whether a difference beyond the margin is ruled out."""
    return self.equivalence_p_value < ALPHA and not self.is_degenerate

  @property
  def is_degenerate(self) -> bool:
    """Whether nothing varies: an interval of no width shows nothing."""
    return self.estimate.standard_error == 0

  @property
  def largest(self) -> float:
    """The largest difference, of either sign, inside the joint interval."""
    return max(abs(self.joint.low), abs(self.joint.high))


def make_arms(cells: Iterable[Cell]) -> tuple[Arm, ...]:
  """Groups cells by all but their seed, in the order of the study's grids."""
  groups: dict[tuple, list[Cell]] = {}
  for cell in cells:
    key = (
      cell.split,
      cell.baseline,
      cell.train_condition,
      cell.test_condition,
    )
    groups.setdefault(key, []).append(cell)
  arms = [
    Arm(
      cells=tuple(sorted(group, key=lambda cell: (cell.seed or 0, cell.cell)))
    )
    for group in groups.values()
  ]
  return tuple(sorted(arms, key=_order))


def select(
  arms: Iterable[Arm],
  *,
  split: str,
  matched: bool = False,
  original: bool = False,
  untuned: bool = False,
  baselines: bool = False,
) -> list[Arm]:
  """Arms of a split that are of any kind asked for.

  Untuned arms are those under the real instructions, where there are any.
  """
  arms = [arm for arm in arms if arm.split == split]
  bare = [arm for arm in arms if arm.is_untuned]
  bare = [arm for arm in bare if arm.has_original_instructions] or bare
  return [
    arm
    for arm in arms
    if (matched and arm.is_trained and arm.is_matched)
    or (original and arm.is_trained and arm.has_original_instructions)
    or (untuned and arm in bare)
    or (baselines and arm.baseline is not None)
  ]


def pair_up(arms: Iterable[Arm], *, split: str) -> list[tuple[Arm, Arm]]:
  """Each altered arm, tested as it was trained, with its original before it."""
  matched = [
    arm
    for arm in select(arms, split=split, matched=True)
    if arm.condition is not None
  ]
  by_condition = {arm.condition: arm for arm in matched}
  pairs = []
  for arm in matched:
    original = by_condition.get(arm.condition.with_original_instructions())
    if original not in (None, arm):
      pairs.append((original, arm))
  return pairs


def compare(
  arms: Iterable[Arm],
  *,
  split: str,
  metric: str,
  group: Group,
  margin: float = MARGIN,
) -> tuple[Comparison, ...]:
  """Each altered arm against its original, as `pair_up` has them.

  Args:
    arms: of a study.
    split: the one to compare on.
    metric: the metric to compare.
    group: the instances to compare on.
    margin: largest difference, in points, that counts as none.
  """
  pairs = [
    pair
    for pair in pair_up(arms, split=split)
    if all(
      arm.scores is not None and arm.value(metric, group) is not None
      for arm in pair
    )
  ]
  estimates = [
    original.scores.minus(altered.scores, metric, group)
    for original, altered in pairs
  ]
  outcomes = [estimate.equivalence(margin) for estimate in estimates]
  different = intervals.adjust([e.p_value() for e in estimates])
  equivalent = intervals.adjust([outcome.p_value for outcome in outcomes])
  return tuple(
    Comparison(
      original=original,
      altered=altered,
      estimate=estimates[k],
      num_comparisons=len(pairs),
      p_value=different[k],
      equivalence=outcomes[k],
      equivalence_p_value=equivalent[k],
    )
    for k, (original, altered) in enumerate(pairs)
  )


@functools.lru_cache(maxsize=1024)
def parse_condition(name: str | None) -> Condition | None:
  """A condition by its name; None for one that is not known here."""
  try:
    return None if name is None else Condition.from_name(name)
  except InputError:
    return None


def condition_label(name: str | None) -> str:
  """A condition in words.

  >>> condition_label('natinst_def_empty_ex_delusive1_n10')
  'No definition, 1 delusive example, n10'
  """
  condition = parse_condition(name)
  if condition is None:
    return 'not known' if name is None else shorten(name)
  definition = _LEVELS.get(condition.definition, condition.definition)
  examples = 'no examples'
  if condition.num_examples:
    level = '' if condition.examples == 'original' else condition.examples + ' '
    examples = count(condition.num_examples, f'{level}example')
  plain = Condition(
    definition=condition.definition,
    examples=condition.examples,
    num_examples=condition.num_examples,
  )
  rest = condition.name.removeprefix(plain.name).strip('_').split('_')
  label = f'{definition} definition, {examples}'
  return ', '.join([label[0].upper() + label[1:], *filter(None, rest)])


_LEVELS = {'empty': 'no'}
_BASELINE_LABELS = {
  'random': 'Random label',
  'majority': 'Majority label',
  'prior': 'Label prior',
  'copy_input': 'Copy the input',
  'copy_demo': 'Copy an example',
}
_GRID = [
  condition.name
  for condition in (
    *conditions.definition_experiments(),
    *conditions.example_experiments(),
  )
]


def _lower(text: str) -> str:
  return text[:1].lower() + text[1:]


def _order(arm: Arm) -> tuple:
  return (
    ('test', 'validation', 'train').index(arm.split),
    arm.baseline is not None,
    BASELINES.index(arm.baseline) if arm.baseline else 0,
    arm.train_condition is None,
    _place(arm.train_condition),
    _place(arm.test_condition),
  )


@functools.lru_cache(maxsize=1024)
def _place(name: str | None) -> tuple:
  """Where a condition stands: by the grid, then by its training data."""
  condition = parse_condition(name)
  if condition is None:
    return (2, 0, 0.0, 0, name or '')
  base = dataclasses.replace(
    condition,
    num_tasks=None,
    instances_per_task=conditions.INSTANCES_PER_TASK,
  ).name
  known = base in _GRID
  return (
    0 if known else 1,
    _GRID.index(base) if known else 0,
    math.inf if condition.num_tasks is None else condition.num_tasks,
    condition.instances_per_task,
    name,
  )
