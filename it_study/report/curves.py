"""Finds sweeps: scores by amount of training data, and their crossings."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from it_study.conditions import Condition
from it_study.evaluation.stats.crossing import Crossing, first_crossing
from it_study.report.arms import Arm, condition_label, select
from it_study.report.results import Results
from it_study.report.scores import CHANCE, CLS, over_chance_range

# Fields of a condition that a sweep varies, with their names on an axis.
AMOUNTS = {
  'instances_per_task': 'Training instances per task',
  'num_tasks': 'Training tasks',
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
  """Arms that differ only in one amount of training data, smallest first.

  Attributes:
    field: Amount that varies, a key of `AMOUNTS`.
    condition: Condition shared by all arms, with that amount at its default.
    amounts: Amount of each arm.
    arms: Two or more arms, tested as they were trained.
    crossing: Amount at which classification first beats guessing; None if this
      cannot be judged.
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
  """Returns the sweeps of a study, by amount and in the order of its arms."""
  curves = []
  for field in AMOUNTS:
    default = getattr(Condition(), field)
    series: dict[Condition, dict[int, Arm]] = {}
    for arm in select(results.arms, split=split, matched=True):
      amount = _amount(results, arm, field)
      if arm.condition is not None and amount is not None:
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
  """Says where a curve first beats guessing; a verb phrase without a subject.

  The bracket holds the 95% interval, in which 'never' stands for an end beyond
  the measured amounts.
  """
  crossing = curve.crossing
  if crossing is None:
    return 'cannot be compared with guessing'
  if crossing.amount is None:
    return (
      'does not beat guessing at any amount '
      f'(nor in {100 * crossing.share_never:.0f}% of resamples)'
    )
  low = 'never' if crossing.low is None else _format(crossing.low)
  high = 'never' if crossing.high is None else _format(crossing.high)
  start = (
    'the smallest amount'
    if crossing.amount == curve.amounts[0]
    else _format(crossing.amount)
  )
  return f'beats guessing from {start} upwards [{low}, {high}]'


def _format(value: float) -> str:
  return f'{value:,.0f}' if value >= 10 else f'{value:.2g}'


def _amount(results: Results, arm: Arm, field: str) -> int | None:
  if arm.condition is None:
    return None
  amount = getattr(arm.condition, field)
  if amount is None:
    # None stands for all tasks of the corpus.
    stats = results.study.run.get('corpus_stats')
    amount = stats.get('train_tasks') if isinstance(stats, dict) else None
  return amount if isinstance(amount, int) and amount > 0 else None


def _crossing(amounts: Sequence[int], arms: Sequence[Arm]) -> Crossing | None:
  if any(
    arm.scores is None or arm.value('exact_match', CLS) is None for arm in arms
  ):
    return None
  scores = [arm.require_scores() for arm in arms]
  first = scores[0]
  seeds = [seed for seed in first.seeds if all(seed in s.seeds for s in scores)]
  if not seeds:
    return None
  mask = first.mask(CLS) & ~np.isnan(first.values[CHANCE][0])
  differences = []
  for of_arm in scores:
    of_arm.check_same_instances(first)
    rows = [of_arm.seeds.index(seed) for seed in seeds]
    values = of_arm.values['exact_match'] - of_arm.values[CHANCE]
    differences.append(values[rows][:, mask])
  return first_crossing(
    amounts,
    differences,
    first.tasks[mask],
    value_range=over_chance_range(first.values[CHANCE][0, mask]),
  )
