"""Tests of the tables of form, knowledge, and changed answers."""

import dataclasses

import pytest
from report_fixture import (
  DEFINITIONS,
  EXAMPLES,
  add_cell,
  make_rows,
  make_study,
)

from it_study.report.arms import select
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.scores import CLS, GEN
from it_study.report.tables import background_tables, parts_tables


@pytest.fixture(name='results', scope='module')
def _results(tmp_path_factory):
  study = make_study(
    tmp_path_factory.mktemp('parts') / 'study',
    accuracies=dict(
      zip((*DEFINITIONS, *EXAMPLES), (1, 1, 0, 1, 0.5, 0), strict=True)
    ),
    seeds=(0, 1),
    num_instances=10,
  )
  return score_study(read_study(study))


def texts(entries):
  return [entry.text for entry in entries]


def test_the_parts_of_exact_match(results):
  arms = select(results.arms, split='test', matched=True)
  parts = parts_tables.decomposition_of(arms[4], CLS)
  assert parts.num_instances == 2 * 40
  assert parts.in_format == 1.0
  assert parts.exact_match == pytest.approx(
    arms[4].value('exact_match', CLS) / 100
  )
  assert parts_tables.decomposition_of(arms[0], GEN) is None


def test_decomposition_table(results):
  rows = parts_tables.decomposition_table(results).rows
  assert list(rows) == ['Trained and tested on', 'Not trained', 'Baselines']
  # Chance is the mean over three tasks of two labels and one of three.
  assert texts(rows['Trained and tested on'][0])[1:] == [
    '100.0',
    '100.0',
    '100.0',
    '45.8',
    '100.0',
    '45.8',
    '100.0',
  ]
  assert texts(rows['Trained and tested on'][2])[5] == '−84.6'


def test_skill_is_given_by_category_and_task(results):
  rows = parts_tables.skill_table(results).rows
  assert len(rows['Categories']) == 3
  assert len(rows['Tasks']) == 4


def test_the_matrix_shows_a_dash_for_missing_cells(results):
  table = parts_tables.matrix_table(results)
  assert [column.title for column in table.columns][1:3] == [
    'Original definition, 2 examples',
    'Simplified definition, 2 examples',
  ]
  rows = {row[0].text: texts(row)[1:] for row in table.rows['']}
  assert rows['Simplified definition, 2 examples'][:3] == [
    '100.0',
    '100.0',
    '–',
  ]
  assert rows['Untuned'][1] == '–'


def test_sensitivity_counts_what_the_instruction_changes(results):
  rows = parts_tables.sensitivity_table(results).rows['']
  by_name = {(row[0].text, row[1].text): texts(row)[2:] for row in rows}
  # Trained on no definition it is always wrong, with two labels the same way.
  assert by_name['No definition, 2 examples', 'classification'][1:3] == [
    '0.0',
    '0.0',
  ]
  mixed = by_name['Original definition, 1 delusive example', 'classification']
  assert float(mixed[0]) > 0
  assert mixed[3].startswith('“')


def test_rules_that_choose_tasks_are_listed():
  rules = [
    {'rule': 'at most 9 labels', 'num_tasks': 3, 'expected_exact_match': 40.04},
    {'rule': 'at most 10 labels', 'num_tasks': 0, 'expected_exact_match': None},
    {'rule': 'at most 11 labels', 'num_tasks': 4, 'expected_exact_match': 38.0},
    'damaged',
  ]
  rows = background_tables.label_rules_table({'label_rules': rules}).rows
  assert list(rows) == ['From 38.0 to 40.0, depending on the rule']
  assert len(rows['From 38.0 to 40.0, depending on the rule']) == 3
  for broken in (None, 'x', [], [{'rule': 'x'}]):
    assert background_tables.label_rules_table({'label_rules': broken}) is None


def test_skill_can_be_recomputed_from_the_columns_beside_it(tmp_path):
  study = make_study(tmp_path, accuracies={DEFINITIONS[0]: 0.6})
  # The harder task is answered out of format: a guess on the rest is better.
  rows = [
    dataclasses.replace(
      row,
      prediction='?' if len(row.label_space or ()) == 3 else row.prediction,
    )
    for row in make_rows(
      accuracy=0.7,
      train_condition=DEFINITIONS[1],
      test_condition=DEFINITIONS[1],
    )
  ]
  add_cell(study, rows, training='other_seed0')
  table = parts_tables.decomposition_table(score_study(read_study(study)))
  titles = [(column.above, column.title) for column in table.columns[1:]]
  assert titles[-2:] == [
    ('Beyond a guess, if in format', 'Guess'),
    ('Beyond a guess, if in format', 'Skill'),
  ]
  guesses = set()
  for row in table.rows['Trained and tested on']:
    match, in_format, right, guess, skill, inner_guess, inner_skill = (
      float(text.replace('−', '-')) for text in texts(row)[1:]
    )
    assert match == pytest.approx(in_format * right / 100, abs=0.1)
    assert skill == pytest.approx(
      100 * (match - guess) / (100 - guess), abs=0.3
    )
    assert inner_skill == pytest.approx(
      100 * (right - inner_guess) / (100 - inner_guess), abs=0.3
    )
    guesses.add((guess, inner_guess))
  assert guesses == {(45.8, 45.8), (45.8, 50.0)}


def test_an_answer_given_once_is_not_listed_as_frequent(tmp_path):
  # Trained on no definition it is always wrong: twice 'no', else a label each.
  rows = [
    dataclasses.replace(row, prediction=row.targets[0])
    for row in make_rows(
      num_instances=1,
      train_condition=DEFINITIONS[2],
      test_condition=DEFINITIONS[0],
    )
  ]
  add_cell(tmp_path, rows, training='t')
  wrong = make_rows(
    accuracy=0,
    num_instances=1,
    train_condition=DEFINITIONS[2],
    test_condition=DEFINITIONS[2],
  )
  add_cell(tmp_path, wrong, training='t')
  table = parts_tables.sensitivity_table(score_study(read_study(tmp_path)))
  row = next(r for r in table.rows[''] if r[1].text == 'classification')
  assert texts(row)[2:] == ['100.0', '0.0', '100.0', '“no” 50%']


def test_a_share_of_no_answers_is_not_defined(tmp_path):
  rows = [
    dataclasses.replace(row, prediction='?')
    for row in make_rows(
      num_instances=2,
      train_condition=DEFINITIONS[0],
      test_condition=DEFINITIONS[0],
    )
  ]
  add_cell(tmp_path, rows, training='t')
  table = parts_tables.decomposition_table(score_study(read_study(tmp_path)))
  (row,) = table.rows['Trained and tested on']
  assert texts(row)[1:] == [
    '0.0',
    '0.0',
    'not defined',
    '45.8',
    '−84.6',
    'not defined',
    'not defined',
  ]


def test_left_out_table(results, tmp_path):
  assert parts_tables.left_out_table(results) is None
  study = make_study(tmp_path, accuracies=dict.fromkeys(DEFINITIONS, 0.5))
  rows = [
    dataclasses.replace(
      row, raw_prediction='<extra_id_0> ⁇' if k < 6 else '<extra_id_0>'
    )
    if k < 12
    else row
    for k, row in enumerate(make_rows(test_condition=DEFINITIONS[2]))
  ]
  add_cell(study, rows)
  table = parts_tables.left_out_table(score_study(read_study(study)))
  share = 1200 / len(rows)
  assert [texts(row) for row in table.rows['']] == [
    [
      'Untuned',
      'No definition, 2 examples',
      f'{share:.1f}',
      f'{share / 2:.1f}',
    ]
  ]
