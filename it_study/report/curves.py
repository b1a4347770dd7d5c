"""Sweeps: scores by amount of training data, and where guessing is beaten."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from it_study.conditions import Condition
from it_study.evaluation.stats.crossing import Crossing, first_crossing
from it_study.report.arms import Arm, condition_label, select
from it_study.report.results import Results
from it_study.report.scores import CHANCE, CLS

# What an amount is of: the field of a condition, and its name on an axis.
AMOUNTS = {
  'instances_per_task': 'Training instances a task',
  'num_tasks': 'Training tasks',
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
  """Arms that differ in one amount of training data alone, smallest first.

  Attributes:
    field: which amount, of `AMOUNTS`.
    condition: of all, with that amount at its default.
    amounts: of each arm.
    arms: at least two, tested as they were trained.
    crossing: where classification first beats guessing; None where that cannot
      be judged.
  """

  field: str
  condition: Condition
  amounts: tuple[int, ...]
  arms: tuple[Arm, ...]
  crossing: Crossing | None

  @property
  def label(self) -> str:
    return condition_label(self.condition.name)


def find_curves(results: Results, *, split: str = 'test') -> list[Curve]:
  """The sweeps of a study, by amount and in the order of its arms."""
  curves = []
  for field in AMOUNTS:
    default = getattr(Condition(), field)
    series: dict[Condition, dict[int, Arm]] = {}
    for arm in select(results.arms, split=split, matched=True):
      amount = _amount(results, arm, field)
      if amount is not None:
        base = dataclasses.replace(arm.condition, **{field: default})
        series.setdefault(base, {})[amount] = arm
    for base, by_amount in series.items():
      if len(by_amount) > 1:
        amounts = tuple(sorted(by_amount))
        arms = tuple(by_amount[amount] for amount in amounts)
        curves.append(
          Curve(
            field=field,
            condition=base,
            amounts=amounts,
            arms=arms,
            crossing=_crossing(amounts, arms),
          )
        )
  return curves


def crossing_text(curve: Curve) -> str:
  """Where a curve first beats guessing, in words."""
  crossing = curve.crossing
  if crossing is None:
    return 'whether it beats guessing is not known'
  if crossing.amount is None:
    never = f' ({100 * crossing.share_never:.0f}% of resamples do not)'
    return f'does not beat guessing at any amount{never}'
  low = 'never' if crossing.low is None else _shown(crossing.low)
  high = 'never' if crossing.high is None else _shown(crossing.high)
  start = (
    'from the least amount on'
    if crossing.amount == curve.amounts[0]
    else f'from {_shown(crossing.amount)} on'
  )
  return f'beats guessing {start} [{low}, {high}]'


def _shown(value: float) -> str:
  return f'{value:,.0f}' if value >= 10 else f'{value:.2g}'


def _amount(results: Results, arm: Arm, field: str) -> int | None:
  if arm.condition is None:
    return None
  amount = getattr(arm.condition, field)
  if amount is None:
    # All tasks: how many these are, the corpus knows.
    stats = results.study.run.get('corpus_stats')
    amount = stats.get('train_tasks') if isinstance(stats, dict) else None
  return amount if isinstance(amount, int) and amount > 0 else None


def _crossing(amounts: Sequence[int], arms: Sequence[Arm]) -> Crossing | None:
  if any(
    arm.scores is None or arm.value('exact_match', CLS) is None for arm in arms
  ):
    return None
  first = arms[0].scores
  seeds = [
    seed
    for seed in first.seeds
    if all(seed in arm.scores.seeds for arm in arms)
  ]
  if not seeds:
    return None
  mask = first.mask(CLS) & ~np.isnan(first.values[CHANCE][0])
  differences = []
  for arm in arms:
    arm.scores.check_same_instances(first)
    rows = [arm.scores.seeds.index(seed) for seed in seeds]
    values = arm.scores.values['exact_match'] - arm.scores.values[CHANCE]
    differences.append(values[rows][:, mask])
  return first_crossing(amounts, differences, first.tasks[mask])
