"""The table of answers that follow a renaming of labels, or ignore it."""

import numpy as np

from it_study.report.arms import Arm, condition_label, training_label
from it_study.report.results import Results
from it_study.report.scores import CLS, PRIOR
from it_study.report.tables.table import (
  Column,
  Entry,
  Table,
  name_entry,
  value_entry,
)

_ANSWERS = 'Percentage of answers'


def following_table(results: Results) -> Table | None:
  """Makes the table; None if no test renames labels."""
  rows = [
    row
    for arm in results.arms
    if arm.split == 'test' and arm.baseline is None
    if (row := _row(arm)) is not None
  ]
  if not rows:
    return None
  return Table(
    columns=(
      Column('Trained on', is_number=False),
      Column('Tested on', is_number=False),
      Column('Statement', above=_ANSWERS),
      Column('Prior', above=_ANSWERS),
      Column('Neither', above=_ANSWERS),
      Column('Statement − prior', above='Points'),
      Column('Follows', is_number=False),
    ),
    rows={'': tuple(rows)},
  )


def _row(arm: Arm) -> tuple[Entry, ...] | None:
  scores = arm.scores
  if scores is None:
    return None
  estimate = scores.minus(scores, 'exact_match', CLS, other_metric=PRIOR)
  if estimate is None:
    return None
  mask = scores.mask(CLS) & ~np.isnan(scores.values[PRIOR]).any(axis=0)
  followed, prior = (
    float(scores.values[name][:, mask].mean())
    for name in ('exact_match', PRIOR)
  )
  interval = estimate.interval()
  follows = 'cannot tell'
  if interval.low > 0:
    follows = 'the statement'
  elif interval.high < 0:
    follows = 'the prior'
  return (
    name_entry(training_label(arm.train_condition)),
    name_entry(condition_label(arm.test_condition)),
    value_entry(followed),
    value_entry(prior),
    value_entry(100 - followed - prior),
    value_entry(interval.mean, interval, signed=True),
    Entry(follows),
  )
