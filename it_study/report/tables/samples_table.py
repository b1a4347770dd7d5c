"""The table of what the models answer to a few instances."""

from it_study.report.arms import Arm, select
from it_study.report.results import Results
from it_study.report.tables.table import Column, Entry, Table, name_entry
from it_study.report.text import shorten

_LONGEST_ANSWER = 300


def samples_table(results: Results) -> Table | None:
  """What each model answers to one instance of a few tasks."""
  arms = [
    (index, arm)
    for index, arm in enumerate(results.arms)
    if arm in select(results.arms, split='test', matched=True, untuned=True)
  ]
  rows = {}
  for (task, _), by_arm in results.samples.items():
    shown = [(arm, by_arm[index]) for index, arm in arms if index in by_arm]
    if not shown:
      continue
    bare = next(
      (
        row.inputs
        for index, row in by_arm.items()
        if results.arms[index].baseline is not None
      ),
      None,
    )
    title = [f'{shorten(task)}']
    if bare is not None:
      title.append(f'Input: {shorten(bare, _LONGEST_ANSWER)}')
    references = ' | '.join(shown[0][1].targets[:5])
    title.append(f'Reference: {shorten(references, _LONGEST_ANSWER)}')
    rows['\n'.join(title)] = tuple(_sample_row(arm, row) for arm, row in shown)
  if not rows:
    return None
  return Table(
    columns=(
      Column('Trained and tested on', is_number=False),
      Column('Answer', is_number=False),
      Column('Exact match', is_number=False),
    ),
    rows=rows,
  )


def _sample_row(arm: Arm, row) -> tuple[Entry, ...]:
  # Imported here, as scoring takes a moment to import.
  from it_study.evaluation.metrics import exact_match

  is_right = exact_match(row.prediction, row.targets)
  text = shorten(row.prediction, _LONGEST_ANSWER)
  return (
    name_entry(arm.label),
    Entry(text) if text else Entry('(empty)', tone='muted'),
    Entry('right', tone='good') if is_right else Entry('wrong', tone='muted'),
  )
