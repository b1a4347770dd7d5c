"""Groups a study's cells into arms, and compares the arms."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import functools
import math

from it_study import conditions
from it_study.conditions import Condition
from it_study.errors import InputError
from it_study.evaluation.baselines import BASELINES
from it_study.evaluation.stats import intervals
from it_study.evaluation.stats.intervals import Equivalence, Estimate, Interval
from it_study.evaluation.stats.margins import MARGIN
from it_study.report.load import Cell, place_of
from it_study.report.scores import Group, Scores
from it_study.report.text import count, shorten

# Significance level of each family of comparisons.
ALPHA = 0.05

# The condition that another is compared with: the same one with the original
# instructions, or with the original data.
Origin = Callable[[Condition], Condition]
INSTRUCTIONS: Origin = Condition.with_original_instructions
DATA: Origin = Condition.with_original_data


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
  """Cells that differ only in their seed.

  All share the split, the test condition or task, and the train condition or
  baseline.

  Attributes:
    cells: Cells of the arm, one per seed.
    scores: Scores of all seeds; None if predictions are missing.
  """

  cells: tuple[Cell, ...]
  scores: Scores | None = None

  @property
  def _first(self) -> Cell:
    return self.cells[0]

  @property
  def test_task(self) -> str | None:
    """The own task that was tested; None for conditions of a corpus."""
    return self._first.test_task

  @property
  def split(self) -> str:
    """The role of the split, which is 'test' for every split of an own task."""
    return self._first.split if self.test_task is None else 'test'

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
    """Whether it was tested as it was trained; own tasks have one way only."""
    return self._first.matched or self.test_task is not None

  @property
  def has_original_instructions(self) -> bool:
    return self._first.original_instructions

  @property
  def has_original_data(self) -> bool:
    """Whether inputs and training targets are the original ones."""
    condition = self.compared_condition
    return condition is None or DATA(condition) == condition

  @property
  def is_original(self) -> bool:
    """Whether instructions and data are the original ones."""
    return self.has_original_instructions and self.has_original_data

  @property
  def label(self) -> str:
    """The arm's name in the report."""
    if self.baseline is not None:
      return _BASELINE_LABELS[self.baseline]
    if self.is_untuned and self.test_task is not None:
      return training_label(None)
    if self.is_untuned:
      return f'Untuned, {_lower(condition_label(self.test_condition))}'
    return condition_label(self.train_condition)

  @functools.cached_property
  def condition(self) -> Condition | None:
    """The train condition; None if there is none or it is unknown."""
    return parse_condition(self.train_condition)

  @property
  def compared_condition(self) -> Condition | None:
    """The train condition; the test condition of an untuned model."""
    if self.is_untuned:
      return parse_condition(self.test_condition)
    return self.condition

  @property
  def training_amount(self) -> tuple[float, int]:
    """Numbers of training tasks (inf for all) and of instances per task."""
    if self.condition is None:
      return 0, 0
    tasks = self.condition.num_tasks
    return (
      math.inf if tasks is None else tasks,
      self.condition.instances_per_task,
    )

  def require_scores(self) -> Scores:
    """The scores of an arm that is known to have its predictions."""
    assert self.scores is not None, f'{self.label} has no scores'
    return self.scores

  def group(self, cell: Cell, group: Group) -> Mapping | None:
    """Returns a cell's metrics for a group; None if it has none."""
    if group.kind == 'headline':
      return cell.metrics[group.name]
    kind = 'controls' if group.kind == 'control' else f'by_{group.kind}'
    return cell.metrics[kind].get(group.name)

  def value(self, metric: str, group: Group) -> float | None:
    """Returns the mean over seeds of the values in metrics.json, in points."""
    groups = [self.group(cell, group) for cell in self.cells]
    values: list[float] = [
      g[metric] for g in groups if g is not None and g.get(metric) is not None
    ]
    if len(values) != len(self.cells):
      return None
    return sum(values) / len(values)

  def interval(self, metric: str, group: Group) -> Interval | None:
    """Returns the 95% interval of `value`; None if it cannot be computed."""
    if self.scores is None or self.value(metric, group) is None:
      return None
    estimate = self.scores.estimate(metric, group)
    return None if estimate is None else estimate.interval()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
  """An arm with real instructions minus the arm with altered ones.

  Attributes:
    original: Arm trained and tested on the real instructions; untuned, and only
      tested on them, in a study without a trained model.
    altered: The same on altered instructions.
    estimate: Estimate of the difference, in points.
    num_comparisons: Number of comparisons in the family, this one included.
    p_value: Holm-adjusted p-value of the hypothesis of no difference.
    equivalence: Test that the difference is within the study's margin.
    equivalence_p_value: Holm-adjusted p-value of a difference beyond the
      margin.
  """

  original: Arm
  altered: Arm
  estimate: Estimate
  num_comparisons: int
  p_value: float
  equivalence: Equivalence
  equivalence_p_value: float

  @property
  def alteration(self) -> Condition:
    """Condition of the altered arm."""
    condition = self.altered.compared_condition
    assert condition is not None, 'compare() skips such arms'
    return condition

  @property
  def removes_part(self) -> bool:
    """Whether the definition or the examples are removed altogether."""
    return 'empty' in (self.alteration.definition, self.alteration.examples)

  @functools.cached_property
  def interval(self) -> Interval:
    """95% interval of the difference."""
    return self.estimate.interval()

  @functools.cached_property
  def joint(self) -> Interval:
    """Interval widened so that all comparisons hold at 95% (Bonferroni)."""
    return self.estimate.interval(1 - ALPHA / self.num_comparisons)

  @property
  def helps(self) -> bool:
    """Whether the real instructions are shown to be better."""
    return self.p_value < ALPHA and self.estimate.mean > 0

  @property
  def harms(self) -> bool:
    """Whether the real instructions are shown to be worse."""
    return self.p_value < ALPHA and self.estimate.mean < 0

  @property
  def is_equivalent(self) -> bool:
    """Whether a difference beyond the margin is ruled out."""
    return self.equivalence.varies and self.equivalence_p_value < ALPHA

  @property
  def largest(self) -> float:
    """Largest absolute difference inside the joint interval, in points."""
    return max(abs(self.joint.low), abs(self.joint.high))


def make_arms(cells: Iterable[Cell]) -> tuple[Arm, ...]:
  """Groups cells that differ only in seed, in the order of the study's grid."""
  groups: dict[tuple, list[Cell]] = {}
  for cell in cells:
    key = (
      cell.test_task,
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
  """Returns the arms of a split that are of any of the requested kinds.

  Beside trained arms, untuned ones are restricted to those tested with the real
  instructions, if there are any.
  """
  arms = [arm for arm in arms if arm.split == split]
  untuned_arms = [arm for arm in arms if arm.is_untuned]
  if any(arm.is_trained for arm in arms):
    untuned_arms = [
      arm for arm in untuned_arms if arm.has_original_instructions
    ] or untuned_arms
  return [
    arm
    for arm in arms
    if (matched and arm.is_trained and arm.is_matched)
    or (original and arm.is_trained and arm.has_original_instructions)
    or (untuned and arm in untuned_arms)
    or (baselines and arm.baseline is not None)
  ]


def headline_arm(arms: Iterable[Arm]) -> Arm | None:
  """Returns the arm that the report opens with; None if nothing was trained.

  It is the arm trained and tested on the real instructions, with the most
  training data; without such an arm, any that is tested as it was trained.
  """
  trained = select(arms, split='test', matched=True)
  original = [arm for arm in trained if arm.is_original]
  return max(
    original or trained, key=lambda arm: arm.training_amount, default=None
  )


def pair_up(
  arms: Iterable[Arm], *, split: str, origin: Origin = INSTRUCTIONS
) -> list[tuple[Arm, Arm]]:
  """Returns (original, altered) pairs of arms tested as they were trained.

  Without a trained model, they are pairs of an untuned one's test conditions.

  Args:
    arms: Arms of a study.
    split: Split that the arms were tested on.
    origin: Function that returns the original of a condition.
  """
  arms = tuple(arms)
  is_untuned = are_untuned(arms)
  chosen = select(arms, split=split, matched=True, untuned=is_untuned)
  by_condition = {
    arm.compared_condition: arm for arm in chosen if arm.compared_condition
  }
  pairs = []
  for condition, arm in by_condition.items():
    original = by_condition.get(origin(condition))
    if original is None and is_untuned and not condition.num_examples:
      # Without examples, a condition does not tell how many its original has.
      found = [
        other
        for other in by_condition
        if other.num_examples
        and dataclasses.replace(other, num_examples=1) == origin(condition)
      ]
      original = by_condition[found[0]] if len(found) == 1 else None
    if original is not None and original is not arm:
      pairs.append((original, arm))
  return pairs


def are_untuned(arms: Iterable[Arm]) -> bool:
  """Returns whether models were tested, but no trained one."""
  models = [arm for arm in arms if arm.baseline is None]
  return bool(models) and not any(arm.is_trained for arm in models)


def compare(
  arms: Iterable[Arm],
  *,
  split: str,
  metric: str,
  group: Group,
  margin: float = MARGIN,
  origin: Origin = INSTRUCTIONS,
) -> tuple[Comparison, ...]:
  """Compares each altered arm with its original.

  Pairs without predictions, or without a value for the group, are left out.

  Args:
    arms: Arms of a study.
    split: Split to compare on.
    metric: Metric to compare.
    group: Instances to compare on.
    margin: Largest difference, in points, that counts as none.
    origin: Function that returns the original of a condition.
  """
  pairs, estimates = [], []
  for original, altered in pair_up(arms, split=split, origin=origin):
    if any(
      arm.scores is None or arm.value(metric, group) is None
      for arm in (original, altered)
    ):
      continue
    estimate = original.require_scores().minus(
      altered.require_scores(), metric, group
    )
    if estimate is not None:
      pairs.append((original, altered))
      estimates.append(estimate)
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


def trained_heading(arms: Iterable[Arm]) -> str:
  """Returns the heading of trained models in tables."""
  if any(arm.test_task is not None for arm in arms):
    return 'Trained on'
  return 'Trained and tested on'


def tested_as(arms: Iterable[Arm]) -> str:
  """Says in captions what the models were tested with."""
  if are_untuned(arms):
    return 'one model under several kinds of instructions'
  return 'each model tested as it was trained'


@functools.lru_cache(maxsize=1024)
def parse_condition(name: str | None) -> Condition | None:
  """Parses a condition's name; returns None for an unknown one."""
  try:
    return None if name is None else Condition.from_name(name)
  except InputError:
    return None


def condition_label(name: str | None) -> str:
  """Describes a condition in words.

  >>> condition_label('natinst_def_empty_ex_delusive1_n10')
  'No definition, 1 delusive example, 10 instances a task'
  """
  condition = parse_condition(name)
  if condition is None:
    return 'unknown' if name is None else shorten(name)
  definition = _LEVELS.get(condition.definition, condition.definition)
  examples = 'no examples'
  if condition.num_examples:
    level = '' if condition.examples == 'original' else condition.examples + ' '
    examples = count(condition.num_examples, f'{level}example')
  plain = Condition(
    definition=condition.definition,
    examples=condition.examples,
    num_examples=condition.num_examples,
    prefix=condition.prefix,
  )
  rest = condition.name.removeprefix(plain.name).strip('_').split('_')
  rest = [_suffix_label(suffix) for suffix in rest if suffix]
  if condition.prefix != Condition().prefix:
    rest.append(f'{condition.prefix} prompts')
  label = f'{definition} definition, {examples}'
  return ', '.join([label[0].upper() + label[1:], *rest])


def _suffix_label(suffix: str) -> str:
  """Describes a suffix in words; one of a user's own level is kept."""
  letters = suffix.rstrip('0123456789')
  describe = _NUMBERED_SUFFIXES.get(letters)
  if describe is not None and suffix != letters:
    return describe(int(suffix.removeprefix(letters)))
  return _SUFFIXES.get(suffix, suffix)


def training_label(train_condition: str | None) -> str:
  """Describes what a model was trained on.

  >>> training_label(None)
  'Untuned'
  """
  if train_condition is None:
    return 'Untuned'
  return condition_label(train_condition)


_SUFFIXES = {
  'expl': 'with explanations',
  'trunctk': "Tk-Instruct's truncation",
  'budget': 'matched budget',
  'tgtswapped': 'swapped targets',
  'tgtrandom': 'random targets',
  'inputempty': 'no input',
  'fmtalpaca': 'Alpaca format',
  'fmtchat': 'chat format',
}
_NUMBERED_SUFFIXES: Mapping[str, Callable[[int], str]] = {
  'neg': lambda number: count(number, 'negative example'),
  'n': lambda number: f'{count(number, "instance")} a task',
  't': lambda number: count(number, 'training task'),
  's': lambda number: f'sample {number}',
  'sep': lambda number: f'surface {number}',
}
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

# Levels of conditions outside the grid, in the order of tables and figures.
_EXAMPLES = ('original', 'delusive', 'empty')
_DEFINITIONS = ('original', 'simplified', 'empty', 'shuffled')


def _lower(text: str) -> str:
  return text[:1].lower() + text[1:]


def _order(arm: Arm) -> tuple:
  return (
    arm.test_task or '',
    place_of(arm.cells[0].split),
    arm.baseline is not None,
    BASELINES.index(arm.baseline) if arm.baseline else 0,
    arm.train_condition is None,
    _place(arm.train_condition),
    _place(arm.test_condition),
  )


@functools.lru_cache(maxsize=1024)
def _place(name: str | None) -> tuple:
  """Sort key of a condition: its place in the grid, then its training data."""
  condition = parse_condition(name)
  if condition is None:
    return (2, 0, 0.0, 0, 0, 0, name or '')
  base = dataclasses.replace(
    condition,
    num_tasks=None,
    instances_per_task=conditions.INSTANCES_PER_TASK,
    prompt_format='plain',
    prefix=Condition().prefix,
  ).name
  known = base in _GRID
  return (
    0 if known else 1,
    _GRID.index(base) if known else 0,
    math.inf if condition.num_tasks is None else condition.num_tasks,
    condition.instances_per_task,
    0 if known else _rank(condition.examples, _EXAMPLES),
    0 if known else _rank(condition.definition, _DEFINITIONS),
    name,
  )


def _rank(level: str, levels: Sequence[str]) -> int:
  return levels.index(level) if level in levels else len(levels)
