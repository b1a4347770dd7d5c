"""Two studies of one grid by two engines, cell by cell, against seed noise.

  python benchmarks/engine_comparison.py STUDY_DIR OTHER_STUDY_DIR

Prints each cell's mean over seeds in either study and their difference, with
what seeds alone would make of it: Welch's 95% interval for a difference of two
means (Welch 1947, Biometrika 34), t(0.975, df) sqrt(v/n + w/m) for variances v
and w over n and m seeds, df by Welch and Satterthwaite. Seeds are not paired:
the engines draw other initial parameters from the same seed.
"""

import argparse
from collections.abc import Iterator, Sequence
import dataclasses

import numpy as np
from scipy import stats

from it_study.errors import InputError
from it_study.evaluation.stats import intervals
from it_study.report.arms import Arm, make_arms
from it_study.report.load import read_study
from it_study.report.scores import CLS, OVERALL

LEVEL = 0.95
SHOWN = (('exact_match', CLS), ('exact_match', OVERALL), ('rouge_l', OVERALL))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """A cell in both studies, in points.

  Attributes:
    cell: what was trained, tested, and on which split.
    metric: and the group that it is over.
    first: means by seed of the first study.
    second: and of the second.
  """

  cell: str
  metric: str
  first: Sequence[float]
  second: Sequence[float]

  @property
  def difference(self) -> float:
    return float(np.mean(self.first) - np.mean(self.second))

  @property
  def noise(self) -> float:
    """Half the width of the interval that seeds alone give a difference."""
    if np.ptp(self.first) == np.ptp(self.second) == 0:
      return 0.0
    interval = self._test().confidence_interval(LEVEL)
    return float(interval.high - interval.low) / 2

  @property
  def p_value(self) -> float:
    """Of no difference; 1 where no seed makes one."""
    if self.noise == 0:
      return float(abs(self.difference) < 1e-9)
    return float(self._test().pvalue)

  @property
  def is_within(self) -> bool:
    return abs(self.difference) <= self.noise + 1e-9

  def _test(self):
    return stats.ttest_ind(self.first, self.second, equal_var=False)


def compare(first: str, second: str) -> list[Row]:
  """Every cell that both studies have, by metric.

  Raises:
    InputError: if they have no cell in common, or a cell has a single seed.
  """
  arms = [
    {_name(arm): arm for arm in make_arms(read_study(path).cells)}
    for path in (first, second)
  ]
  names = [name for name in arms[0] if name in arms[1]]
  if not names:
    raise InputError(f'{first} and {second} have no cell in common.')
  rows = [
    row for name in names for row in _rows(name, *(by[name] for by in arms))
  ]
  for row in rows:
    if min(len(row.first), len(row.second)) < 2:
      raise InputError(
        f'{row.cell} has a single seed; two or more tell how much seeds differ.'
      )
  return rows


def _name(arm: Arm) -> str:
  trained = 'untuned' if arm.is_untuned else arm.train_condition
  return f'{trained} on {arm.test_condition}, {arm.split}'


def _rows(name: str, first: Arm, second: Arm) -> Iterator[Row]:
  # Baselines are no engine's.
  if first.baseline is not None:
    return
  for metric, group in SHOWN:
    values = [
      [arm.group(cell, group)[metric] for cell in arm.cells]
      for arm in (first, second)
      if arm.value(metric, group) is not None
    ]
    if len(values) == 2:
      yield Row(
        cell=name,
        metric=f'{metric} {group.name}',
        first=values[0],
        second=values[1],
      )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('studies', nargs=2, metavar='STUDY_DIR')
  rows = compare(*parser.parse_args().studies)
  print('| cell | metric | first | second | difference | noise | within |')
  print('|---|---|---|---|---|---|---|')
  for row in rows:
    print(
      f'| {row.cell} | {row.metric} | {np.mean(row.first):.2f} '
      f'| {np.mean(row.second):.2f} | {row.difference:+.2f} '
      f'| ±{row.noise:.2f} | {"yes" if row.is_within else "NO"} |'
    )
  for metric in dict.fromkeys(row.metric for row in rows):
    some = [row for row in rows if row.metric == metric]
    adjusted = intervals.adjust([row.p_value for row in some])
    print(
      f'{metric}: {sum(row.is_within for row in some)} of {len(some)} cells '
      f'within seed noise at {LEVEL:.0%} each; smallest p-value over all of '
      f'them {min(adjusted):.3f} (Holm); mean difference '
      f'{np.mean([row.difference for row in some]):+.2f}.'
    )


if __name__ == '__main__':
  main()
