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


def arms_by_share(results: Results) -> dict[str, dict[int, Arm]]:
  """Returns arms that differ in the share of the definition's words.

  Only if one of them was trained on a part of the words. The first key is the
  label of the condition with all words, the second the share in percent, which
  increases.
  """
  series: dict[Condition, dict[int, Arm]] = {}
  for arm in select(results.arms, split='test', matched=True):
    if arm.condition is not None and arm.condition.definition in _SHARES:
      whole = dataclasses.replace(arm.condition, definition='original')
      share = _SHARES[arm.condition.definition]
      series.setdefault(whole, {})[share] = arm
  return {
    condition_label(whole.name): dict(sorted(by_share.items()))
    for whole, by_share in series.items()
    if set(by_share) - {0, 100}
  }


def kept_table(results: Results) -> Table | None:
  """Makes the table; None unless a model was trained on a part of the words."""
  rows = tuple(
    (
      name_entry(label),
      *(
        score_entry(by_share[share], 'exact_match', CLS)
        if share in by_share
        else Entry(MISSING, tone='muted')
        for share in _SHARES.values()
      ),
    )
    for label, by_share in arms_by_share(results).items()
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
