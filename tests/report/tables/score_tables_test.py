"""Tests of it_study.report.tables.score_tables and background_tables."""

import dataclasses

import pytest
from report_fixture import DEFINITIONS, EXAMPLES, RUN, make_study

from it_study.report.arms import select
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.scores import CLS, GEN, Group
from it_study.report.tables import background_tables, score_tables


@pytest.fixture(scope='module')
def results(tmp_path_factory):
  study = make_study(
    tmp_path_factory.mktemp('tables') / 'study',
    accuracies=dict(
      zip((*DEFINITIONS, *EXAMPLES), (1, 0.5, 0, 1, 0.5, 0), strict=True)
    ),
    num_instances=8,
  )
  return score_study(read_study(study))


def texts(rows):
  return [[entry.text for entry in entries] for entries in rows]


def test_main_table(results):
  table = score_tables.main_table(results)
  assert table.spans() == [
    ('', 1),
    ('Classification', 3),
    ('Generation', 2),
    ('Overall', 2),
  ]
  assert table.starts() == {1, 4, 6}
  assert [len(rows) for rows in table.rows.values()] == [6, 1, 3]
  first = table.rows['Trained and tested on'][0]
  assert [entry.text for entry in first] == [
    'Original definition, 2 examples',
    *['100.0'] * 7,
  ]
  assert first[1].detail == '[39.8, 100.0]'
  random = texts(table.rows['Baselines'])[0]
  assert random[0] == 'Random label'
  assert random[4:] == ['–'] * 4


def test_original_table_has_every_training_once(results):
  rows = score_tables.original_table(results).rows['Trained on']
  assert len({row[0].text for row in rows}) == len(rows) == 6


def test_validation_table_begins_with_the_controls(results):
  table = score_tables.validation_table(results)
  assert [column.above for column in table.columns[1:3]] == [
    'Positive Control',
    'Negative Control',
  ]


def test_controls_table_has_the_control_tasks_of_the_test_split(
  results, tmp_path
):
  assert score_tables.controls_table(results) is None
  study = make_study(
    tmp_path,
    num_instances=5,
    tasks=(('Word Analogy', ('a', 'b')), ('Positive Control', ('c', 'd'))),
  )
  table = score_tables.controls_table(score_study(read_study(study)))
  assert [(c.above, c.title) for c in table.columns[1:]] == [
    ('Positive Control', 'Exact match'),
    ('Positive Control', 'In format'),
  ]
  assert [entry.text for entry in table.rows['Trained and tested on'][0]] == [
    'Original definition, 2 examples',
    '100.0',
    '100.0',
  ]


def test_difference_table(results):
  table = score_tables.difference_table(
    results, metric='exact_match', group=CLS
  )
  rows = texts(table.rows[''])
  assert rows[1] == [
    'No definition, 2 examples',
    '100.0',
    '0.0',
    '+100.0',
    # The smallest but two of four: twice the sign test's 2 * 0.5^4.
    '0.25',
    'not shown',
    'not shown',
    '–',
  ]
  assert table.rows[''][1][5].detail == 'no variation, up to 100.0 possible'
  assert table.rows[''][1][6].detail == 'no variation'
  assert score_tables.difference_table(results, metric='rouge_l', group=GEN)


def test_categories_use_their_headline_metric(results):
  rows = score_tables.category_table(results).rows
  assert {
    title: [r[0].text for r in entries] for title, entries in rows.items()
  } == {
    'By Exact match': [
      'Coreference Resolution',
      'Textual Entailment',
      'Word Analogy',
    ],
    'By ROUGE-L': ['Data to Text', 'Title Generation'],
  }
  assert rows['By Exact match'][1][0].detail == '2 tasks, 16 instances'


def test_every_comparison_in_every_category_is_adjusted(results):
  rows = texts(score_tables.grid_table(results).rows[''])
  # 5 categories, 4 comparisons each.
  assert len(rows) == 20
  for row in rows:
    bare, holm, share = (float(text.lstrip('< ')) for text in row[3:])
    assert bare <= share <= holm


def test_tasks_use_the_metric_of_their_kind(results):
  rows = score_tables.task_table(results).rows
  assert len(rows['By Exact match']) == 4
  assert len(rows['By ROUGE-L']) == 2
  assert rows['By ROUGE-L'][0][0].detail == '8 instances'


def test_baseline_table_gives_expectation_and_deviation(results):
  rows = texts(background_tables.baseline_table(results).rows['Test'])
  assert [row[2:4] for row in rows] == [
    ['45.8', '5.50'],
    ['–', '–'],
    ['–', '–'],
  ]


def test_sources_table_gives_shares():
  rows = background_tables.sources_table(RUN).rows['']
  assert texts(rows) == [
    ['Classification', '25.0%', '75.0%', '–'],
    ['Generation', '50.0%', '–', '50.0%'],
  ]
  assert rows[0][1].detail == '1'


@pytest.mark.parametrize('value', [None, [], {}, {'classification': 3}])
def test_unknown_sources_give_no_table(value):
  assert background_tables.sources_table({'delusive_sources': value}) is None


def test_published_figures_are_the_abstracts(results):
  rows = texts(background_tables.published_table(results).rows[''])
  assert [row[1] for row in rows] == ['42.6', '43', '+30']
  assert rows[0][2] == '45.8'
  assert rows[1][2] == '100.0'


def test_every_cell_links_to_its_predictions(results):
  rows = background_tables.cells_table(results).rows
  links = {row[0].href for entries in rows.values() for row in entries}
  assert len(links) == len(results.study.cells)
  assert ('../cells/random__None__test/predictions.jsonl') in links


def test_a_number_links_to_the_instances_it_is_over(results):
  arm = select(results.arms, split='test', matched=True)[0]
  start = f'../cells/{arm.cells[0].cell}/predictions.jsonl?'
  for group, filters in (
    (CLS, 'group=classification'),
    (Group('task', 'task002_test'), 'task=task002_test'),
    (Group('category', 'Word Analogy'), 'category=Word+Analogy'),
    (Group('control', 'Positive Control'), 'category=Positive+Control'),
  ):
    assert score_tables.predictions_href(arm, group) == start + filters
  # A mean over seeds is over all their instances.
  with_seeds = dataclasses.replace(arm, cells=arm.cells * 2)
  assert score_tables.predictions_href(with_seeds, CLS) == (
    f'{start}group=classification&seeds=all'
  )
  row = score_tables.main_table(results).rows['Trained and tested on'][0]
  assert row[1].href == f'{start}group=classification'
  # A missing number has no link.
  random = score_tables.main_table(results).rows['Baselines'][0]
  assert [entry.href is None for entry in random[4:]] == [True] * 4
