"""Tests of sweeps: curves, where they beat guessing, figures and table."""

import json

import pytest
from report_fixture import RUN, make_study

from it_study.report import answer, curves
from it_study.report.arms import compare
from it_study.report.figures import curve_figures
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.scores import CLS

TASKS = tuple((f'Textual Entailment {i}', ('yes', 'no')) for i in range(12))
ORIGINAL = 'natinst_def_original_ex_original2'
ACCURACIES = {
  f'{ORIGINAL}_n1': 0.1,
  f'{ORIGINAL}_n10': 0.4,
  ORIGINAL: 0.9,
  'natinst_def_empty_ex_original2_n1': 0.1,
  'natinst_def_empty_ex_original2_n10': 0.2,
  f'{ORIGINAL}_t4': 0.5,
}


@pytest.fixture(name='results', scope='module')
def _results(tmp_path_factory):
  study = make_study(
    tmp_path_factory.mktemp('curves') / 'study',
    accuracies=ACCURACIES,
    tasks=TASKS,
    seeds=(0, 1),
    run=RUN,
  )
  return score_study(read_study(study))


def test_a_curve_varies_exactly_one_amount(results):
  amounts = {
    (c.field, c.condition.name): c.amounts for c in curves.find_curves(results)
  }
  assert amounts == {
    ('instances_per_task', ORIGINAL): (1, 10, 100),
    ('instances_per_task', 'natinst_def_empty_ex_original2'): (1, 10),
    # The default is all tasks, of which this corpus has 6.
    ('num_tasks', ORIGINAL): (4, 6),
  }


def test_the_crossing_is_where_guessing_is_beaten(results):
  original, empty, _ = curves.find_curves(results)
  crossing = original.crossing
  # 0.4 is below a guess of 0.5, 0.9 above: a quarter of the way in logarithms.
  assert 12 < crossing.amount < 30
  assert crossing.low <= crossing.amount <= crossing.high
  assert empty.crossing.amount is None
  assert curves.crossing_text(original).startswith('beats guessing from ')
  assert curves.crossing_text(empty) == (
    'does not beat guessing at any amount (nor in 100% of resamples)'
  )


def test_the_figures_draw_guessing_across_the_curves(results):
  figures = curve_figures.curve_figures(results)
  assert [figure.name for figure in figures] == [
    'curve_instances_per_task_exact_match',
    'curve_instances_per_task_format_correctness',
    'curve_num_tasks_exact_match',
    'curve_num_tasks_format_correctness',
  ]
  first = figures[0]
  assert first.layout['xaxis']['type'] == 'log'
  assert first.layout['xaxis']['ticktext'] == ['1', '10', '100']
  texts = [note['text'] for note in first.layout['annotations']]
  assert texts == ['guessing 45.8']
  # A band and a line for each curve, and where one beats guessing.
  assert len(first.data) == 5
  assert first.data[1]['x'] == [1, 10, 100]
  json.dumps([figure.data for figure in figures], allow_nan=False)


def test_the_table_has_every_amount(results):
  rows = curve_figures.crossing_table(results).rows
  assert [len(entries) for entries in rows.values()] == [3, 2, 2]
  titles = list(rows)
  # The crossing is given once per curve, not once per amount.
  assert titles[0].startswith('Original definition, 2 examples: beats guessing')
  assert titles[0].endswith(']\nTraining instances per task')
  assert [entries[0].text for entries in rows[titles[0]]] == ['1', '10', '100']


def test_the_figure_marks_where_guessing_is_beaten(results):
  curve, never, _ = curves.find_curves(results)
  figure = curve_figures.curve_figures(results)[0]
  marks = [
    trace
    for trace in figure.data
    if trace.get('marker', {}).get('symbol') == 'diamond'
  ]
  assert never.crossing.amount is None
  assert [mark['x'] for mark in marks] == [[curve.crossing.amount]]
  assert marks[0]['y'] == [answer.chance(results.arms, 'test').expected]
  error = marks[0]['error_x']
  assert marks[0]['x'][0] + error['array'][0] == curve.crossing.high
  assert marks[0]['x'][0] - error['arrayminus'][0] == curve.crossing.low
  assert 'A diamond marks where' in figure.description


def test_a_study_without_a_sweep_has_none(tmp_path):
  study = make_study(tmp_path, accuracies={ORIGINAL: 0.5}, tasks=TASKS)
  results = score_study(read_study(study))
  assert curve_figures.curve_figures(results) == []
  assert curve_figures.crossing_table(results) is None


def test_a_sweep_alone_gives_the_answer(tmp_path):
  study = make_study(
    tmp_path,
    accuracies={f'{ORIGINAL}_n1': 0.1, ORIGINAL: 0.9},
    tasks=TASKS,
  )
  results = score_study(read_study(study))
  outcome = answer.answer(results.arms, curves=curves.find_curves(results))
  assert outcome.verdict == 'Tuning beats guessing once there is enough data.'
  assert 'beats guessing from ' in outcome.sentence
  assert '100 training instances per task' in outcome.sentence


def test_the_answer_compares_at_the_most_data(results):
  outcome = answer.answer(results.arms, curves=curves.find_curves(results))
  pairs = compare(results.arms, split='test', metric='exact_match', group=CLS)
  # At 1 and at 10 instances; at 100 the real instructions stand alone.
  assert len(pairs) == 2
  score = pairs[1].original.value('exact_match', CLS)
  assert f'gets {score:.1f}% of unseen' in outcome.sentence
  assert '(Holm, 2 comparisons)' in outcome.caveats[0]
