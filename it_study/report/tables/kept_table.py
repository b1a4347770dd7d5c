"""The table of exact match by the share of the definition's words kept."""

import dataclasses

from it_study.conditions import Condition
from it_study.report.arms import Arm, condition_label, select
from it_study.report.results import Results
from it_study.report.scores import CLS
from it_study.report.tables.score_tables import score_entry
from it_study.report.tables.table import Column, Entry, Table, name_entry
from it_study.report.text import MISSING

# Share of the words in percent, by level of the definition.
_SHARES = {
  'empty': 0,
  'keep25': 25,
  'keep50': 50,
  'keep75': 75,
  'original': 100,
}


def kept_table(results: Results) -> Table | None:
  """Makes the table; None unless a model was trained on a part of the words."""
  series: dict[Condition, dict[str, Arm]] = {}
  for arm in select(results.arms, split='test', matched=True):
    if arm.condition is not None and arm.condition.definition in _SHARES:
      whole = dataclasses.replace(arm.condition, definition='original')
      series.setdefault(whole, {})[arm.condition.definition] = arm
  rows = tuple(
    (
      name_entry(condition_label(whole.name)),
      *(
        score_entry(by_level[level], 'exact_match', CLS)
        if level in by_level
        else Entry(MISSING, tone='muted')
        for level in _SHARES
      ),
    )
    for whole, by_level in series.items()
    if set(by_level) - {'empty', 'original'}
  )
  if not rows:
    return None
  return Table(
    columns=(
      Column('Trained and tested on', is_number=False),
      *(
        Column(f'{share}%', above='Words of the definition that are kept')
        for share in _SHARES.values()
      ),
    ),
    rows={'': rows},
  )
