"""Table of the models' answers to a few instances."""

from it_study.predictions import Prediction
from it_study.report.arms import Arm, select, trained_heading
from it_study.report.results import Results
from it_study.report.tables.table import Column, Entry, Table, name_entry
from it_study.report.text import shorten

_LONGEST_ANSWER = 300


def samples_table(results: Results) -> Table | None:
  """Makes the table of each model's answers to one instance of a few tasks."""
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
    # Baselines see only the input, models a whole prompt.
    input_text = next(
      (
        row.inputs
        for index, row in by_arm.items()
        if results.arms[index].baseline is not None
      ),
      None,
    )
    title = [shorten(task or '')]
    if input_text is not None:
      title.append(f'Input: {shorten(input_text, _LONGEST_ANSWER)}')
    references = ' | '.join(shown[0][1].targets[:5])
    title.append(f'Reference: {shorten(references, _LONGEST_ANSWER)}')
    rows['\n'.join(title)] = tuple(_sample_row(arm, row) for arm, row in shown)
  if not rows:
    return None
  return Table(
    columns=(
      Column(trained_heading(results.arms), is_number=False),
      Column('Answer', is_number=False),
      Column('Exact match', is_number=False),
    ),
    rows=rows,
  )


def _sample_row(arm: Arm, row: Prediction) -> tuple[Entry, ...]:
  # Imported here because scoring is slow to import.
  from it_study.evaluation.metrics import exact_match

  is_right = exact_match(row.prediction, row.targets)
  text = shorten(row.prediction, _LONGEST_ANSWER)
  return (
    name_entry(arm.label),
    Entry(text) if text else Entry('(empty)', tone='muted'),
    Entry('right', tone='good') if is_right else Entry('wrong', tone='muted'),
  )
