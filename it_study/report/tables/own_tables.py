"""Tables of users' own tasks: outcomes, and the tasks' own metrics."""

from collections.abc import Mapping, Sequence
import math

from it_study.report.arms import Arm, select
from it_study.report.own_answer import Difference, Outcome
from it_study.report.results import Results
from it_study.report.tables.score_tables import METRIC_NAMES, score_entry
from it_study.report.tables.table import (
  Column,
  Entry,
  Table,
  name_entry,
  plain_entry,
  value_entry,
)
from it_study.report.text import MISSING, p_value

_NO_ENTRY = Entry(MISSING, tone='muted')


def outcomes_table(outcomes: Sequence[Outcome]) -> Table | None:
  """Makes the table of models beside a guess and the untuned model."""
  rows: dict[str, list[tuple[Entry, ...]]] = {}
  for outcome in outcomes:
    arm = outcome.arm
    rows.setdefault(arm.cells[0].test_name, []).append(
      (
        name_entry(
          arm.label,
          detail=f'{METRIC_NAMES[outcome.metric]}, {outcome.group.name}',
        ),
        score_entry(arm, outcome.metric, outcome.group),
        *_difference(outcome.over_guess),
        *_difference(outcome.over_untuned),
      )
    )
  if not rows:
    return None
  return Table(
    columns=(
      Column('Trained on', is_number=False),
      Column('Score'),
      Column('Difference', above='Score − guess, points'),
      Column('p', above='Score − guess, points'),
      Column('Shown?', above='Score − guess, points', is_number=False),
      Column('Difference', above='Score − untuned, points'),
      Column('p', above='Score − untuned, points'),
      Column('Shown?', above='Score − untuned, points', is_number=False),
    ),
    rows=rows,
  )


def own_metrics_table(results: Results) -> Table | None:
  """Makes the table of what the tasks' own `metric_fns` return.

  Numbers are means over seeds; a text is that of the first seed.
  """
  arms = [
    arm
    for arm in select(results.arms, split='test', matched=True, untuned=True)
    if any(cell.task_metrics for cell in arm.cells)
  ]
  rows: dict[str, list[tuple[Entry, ...]]] = {}
  names = dict.fromkeys(
    (task, name)
    for arm in arms
    for cell in arm.cells
    for task, values in _items(cell.task_metrics)
    for name, _ in _items(values)
  )
  for task, name in names:
    rows.setdefault(task, []).append(
      (name_entry(name), *(_own_value(arm, task, name) for arm in arms))
    )
  if not rows:
    return None
  return Table(
    columns=(
      Column("Task's own metric", is_number=False),
      *(Column(arm.label) for arm in arms),
    ),
    rows=rows,
  )


def _difference(difference: Difference | None) -> tuple[Entry, Entry, Entry]:
  if difference is None:
    return _NO_ENTRY, _NO_ENTRY, _NO_ENTRY
  interval = difference.estimate.interval()
  shown = Entry('not shown')
  if difference.is_better:
    shown = Entry('yes, better', tone='good')
  elif difference.is_worse:
    shown = Entry('yes, worse', tone='bad')
  return (
    value_entry(interval.mean, interval, signed=True),
    Entry(p_value(difference.p_value)),
    shown,
  )


def _items(value: object) -> list[tuple[str, object]]:
  """Returns the entries of an object from a file, none if it is no object."""
  if not isinstance(value, Mapping):
    return []
  return [(str(key), item) for key, item in value.items()]


def _own_value(arm: Arm, task: str, name: str) -> Entry:
  values = [
    dict(_items(dict(_items(cell.task_metrics)).get(task))).get(name)
    for cell in arm.cells
  ]
  numbers = [
    value
    for value in values
    if isinstance(value, int | float) and not isinstance(value, bool)
  ]
  if numbers and len(numbers) == len(values):
    mean = math.fsum(numbers) / len(numbers)
    return Entry(f'{mean:.4g}')
  return plain_entry(values[0])
