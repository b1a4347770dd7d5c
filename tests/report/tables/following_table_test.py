"""Tests of it_study.report.tables.following_table."""

import dataclasses

import pytest
from report_fixture import DEFINITIONS, add_cell, make_rows, make_study

from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.sections import make_report
from it_study.report.tables.following_table import following_table

FLIPPED = 'natinst_def_flipped_ex_original2'
TASKS = tuple((f'Textual Entailment {i}', ('yes', 'no')) for i in range(8))


def with_priors(rows):
  """Gives rows of two labels the other one as the prior, as a flip does."""
  return [
    dataclasses.replace(
      row,
      prior_targets=row.targets
      if row.label_space is None
      else tuple(x for x in row.label_space if x not in row.targets)[:1],
    )
    for row in rows
  ]


def row_of(folder, accuracy):
  """Returns the texts of the table's only row, and the report's sections."""
  study = make_study(folder, accuracies={DEFINITIONS[0]: 0.9}, tasks=TASKS)
  rows = make_rows(
    accuracy=accuracy,
    train_condition=DEFINITIONS[0],
    test_condition=FLIPPED,
    tasks=TASKS,
  )
  add_cell(study, with_priors(rows), training=f'{DEFINITIONS[0]}_seed0')
  results = score_study(read_study(study))
  (row,) = following_table(results).rows['']
  sections = [section.name for section in make_report(results).sections]
  return [entry.text for entry in row], sections


@pytest.mark.parametrize(
  ('accuracy', 'follows'),
  [(0.9, 'the statement'), (0.1, 'the prior'), (0.5, 'cannot tell')],
)
def test_answers_are_counted_by_what_they_follow(tmp_path, accuracy, follows):
  texts, sections = row_of(tmp_path / 'study', accuracy)
  assert texts[:2] == [
    'Original definition, 2 examples',
    'Flipped definition, 2 examples',
  ]
  statement, prior, neither = map(float, texts[2:5])
  assert statement == pytest.approx(100 * accuracy, abs=10)
  assert (statement + prior, neither) == (100, 0)
  assert texts[6] == follows
  assert 'prior' in sections


def test_without_a_renaming_there_is_no_table(tmp_path):
  study = make_study(tmp_path, accuracies={DEFINITIONS[0]: 0.9})
  assert following_table(score_study(read_study(study))) is None


def test_instances_that_both_answers_fit_are_left_out(tmp_path):
  study = make_study(tmp_path, accuracies={DEFINITIONS[0]: 0.9})
  rows = make_rows(train_condition=DEFINITIONS[0], test_condition=FLIPPED)
  rows = [dataclasses.replace(row, prior_targets=row.targets) for row in rows]
  add_cell(study, rows, training=f'{DEFINITIONS[0]}_seed0')
  assert following_table(score_study(read_study(study))) is None
