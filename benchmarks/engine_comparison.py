"""Compares two studies of the same grid, run by two engines, with seed noise.

  python benchmarks/engine_comparison.py STUDY_DIR OTHER_STUDY_DIR

Prints, for each cell, its mean over seeds in both studies, their difference,
and the difference that seeds alone can explain: half the width of Welch's 95%
interval for a difference of two means (Welch 1947, Biometrika 34), t(0.975, df)
sqrt(v/n + w/m) for variances v and w over n and m seeds, with df by Welch and
Satterthwaite. Seeds are not paired: the engines draw different initial
parameters from the same seed. Expect about 95% of the cells to lie within
noise, with differences of either sign.
"""

import argparse
from collections.abc import Iterator, Sequence
import dataclasses
import sys

import numpy as np
from scipy import stats

from it_study.errors import InputError
from it_study.evaluation.stats import intervals
from it_study.report.arms import Arm, make_arms
from it_study.report.load import read_study
from it_study.report.scores import CLS, OVERALL

LEVEL = 0.95
METRICS = (('exact_match', CLS), ('exact_match', OVERALL), ('rouge_l', OVERALL))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One metric of a cell in both studies, in points.

  Attributes:
    cell: Training condition, test condition and split.
    metric: Names of the metric and of the group it is averaged over.
    first: Means by seed in the first study.
    second: Means by seed in the second study.
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
    """Half the width of the 95% interval for the difference."""
    if np.ptp(self.first) == np.ptp(self.second) == 0:
      return 0.0
    interval = self._test().confidence_interval(LEVEL)
    return float(interval.high - interval.low) / 2

  @property
  def p_value(self) -> float:
    """P-value of no difference; 0 or 1 where seeds do not vary at all."""
    if self.noise == 0:
      return float(abs(self.difference) < 1e-9)
    return float(self._test().pvalue)

  @property
  def is_within(self) -> bool:
    return abs(self.difference) <= self.noise + 1e-9

  def _test(self):
    return stats.ttest_ind(self.first, self.second, equal_var=False)


def compare(first: str, second: str) -> list[Row]:
  """Returns a row for each metric of each cell that both studies have.

  Raises:
    InputError: If the studies have no cell in common, or a cell has only one
      seed.
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
        f'{row.cell} has only one seed. Run at least two seeds in both studies.'
      )
  return rows


def _name(arm: Arm) -> str:
  trained = 'untuned' if arm.is_untuned else arm.train_condition
  return f'{trained} on {arm.test_condition}, {arm.split}'


def _rows(name: str, first: Arm, second: Arm) -> Iterator[Row]:
  # Baselines do not depend on the engine.
  if first.baseline is not None:
    return
  for metric, group in METRICS:
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
  """Prints a table of the cells, then a summary of each metric."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    'studies', nargs=2, metavar='STUDY_DIR', help='folder of a finished study'
  )
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
    cells = [row for row in rows if row.metric == metric]
    adjusted = intervals.adjust([row.p_value for row in cells])
    print(
      f'{metric}: {sum(row.is_within for row in cells)} of {len(cells)} cells '
      f'within seed noise at {LEVEL:.0%} each; smallest adjusted p-value '
      f'{min(adjusted):.3f} (Holm); mean difference '
      f'{np.mean([row.difference for row in cells]):+.2f}.'
    )


if __name__ == '__main__':
  try:
    main()
  except InputError as input_error:
    print(f'engine_comparison: {input_error}', file=sys.stderr)
    sys.exit(2)
