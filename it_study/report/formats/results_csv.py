"""Renders results.csv: one line per cell and group, in full precision."""

from collections.abc import Iterable
import csv
import dataclasses
import io

from it_study.errors import visible
from it_study.evaluation.metrics import GROUPS
from it_study.report.arms import parse_condition
from it_study.report.load import Cell

COLUMNS = (
  'cell',
  'training',
  'train_condition',
  'test_condition',
  'matched',
  'original_instructions',
  'split',
  'seed',
  'engine',
  'baseline',
  'group_type',
  'group',
  'num_tasks',
  'num_instances',
  'exact_match',
  'rouge_1',
  'rouge_l',
  'format_correctness',
  'expected_exact_match',
  'expected_standard_deviation',
  'definition',
  'examples',
  'num_examples',
  'instances_per_task',
)


def render_csv(cells: Iterable[Cell]) -> str:
  """Renders cells in their order: headline groups, categories, controls.

  Missing values are empty, and percentages are the shortest exact decimals.
  Times are left out, so that an interrupted study gives the same bytes.
  """
  file = io.StringIO()
  writer = csv.writer(file, lineterminator='\n')
  writer.writerow(COLUMNS)
  for cell in cells:
    # Of a baseline on an own task, too.
    tested = cell.test_condition or cell.test_task
    named = dataclasses.replace(cell, test_condition=tested)
    shared = [_text(getattr(named, name)) for name in COLUMNS[:10]]
    instructions = _instructions(cell)
    for group_type, name, group in _groups(cell):
      expected = group.get('expected') or {}
      values = [group.get(column) for column in COLUMNS[12:18]]
      values += [
        expected.get('exact_match'),
        expected.get('standard_deviation'),
        *instructions,
      ]
      writer.writerow([*shared, group_type, _text(name), *map(_text, values)])
  return file.getvalue()


def _instructions(cell: Cell) -> list[object]:
  """Returns the last four columns; None where there is no value."""
  condition = parse_condition(cell.train_condition or cell.test_condition)
  if condition is None:
    return [None] * 4
  return [
    condition.definition,
    condition.examples,
    condition.num_examples,
    None if cell.train_condition is None else condition.instances_per_task,
  ]


def _groups(cell: Cell) -> Iterable[tuple[str, str, dict]]:
  groups = [(name, name, cell.metrics[name]) for name in GROUPS]
  for group_type, kind in (
    ('category', 'by_category'),
    ('control', 'controls'),
  ):
    groups += [
      (group_type, name, group)
      for name, group in sorted(cell.metrics[kind].items())
    ]
  return [group for group in groups if group[2] is not None]


def _text(value: object) -> str:
  if value is None:
    return ''
  if isinstance(value, bool):
    return str(value).lower()
  if not isinstance(value, str):
    return repr(value)
  value = visible(value)
  # Quoted, since a spreadsheet would evaluate it as a formula.
  return f"'{value}" if value[:1] in ('=', '+', '-', '@') else value
