"""Tests of it_study.report.figures.score_figures and plot."""

import dataclasses

import pytest
from report_fixture import DEFINITIONS, EXAMPLES, make_study

from it_study.report.figures import plot, score_figures
from it_study.report.load import read_study
from it_study.report.results import score_study


@pytest.fixture(scope='module')
def results(tmp_path_factory):
  study = make_study(
    tmp_path_factory.mktemp('figures') / 'study',
    accuracies=dict(
      zip((*DEFINITIONS, *EXAMPLES), (1, 0.5, 0, 1, 0.5, 0), strict=True)
    ),
    num_instances=8,
  )
  return score_study(read_study(study))


def test_headline_has_a_row_for_each_model(results):
  figure = score_figures.headline_figure(results)
  (trace,) = figure.data
  assert trace['x'][0] == 100
  assert trace['x'][2] == 0
  assert len(trace['x']) == 7
  assert figure.layout['yaxis']['ticktext'][2] == 'No definition,<br>2 examples'
  # The mark's shape shows the alteration too, not only its colour.
  assert trace['marker']['symbol'] == [
    'circle',
    'diamond',
    'circle-open',
    'circle',
    'x',
    'circle-open',
    'square',
  ]
  # All right in each of 4 tasks: 1 - 0.025^(1/4).
  assert trace['error_x']['arrayminus'][0] == pytest.approx(60.24, abs=0.005)
  assert all(reach >= 0 for reach in trace['error_x']['array'])


def test_headline_draws_guessing(results):
  layout = score_figures.headline_figure(results).layout
  texts = [note['text'] for note in layout['annotations']]
  assert texts[0] == 'guessing 45.8'
  assert [shape['type'] for shape in layout['shapes'][:2]] == ['rect', 'line']


def test_labels_near_the_right_edge_end_at_their_line(results):
  # A centred label would be clipped on a narrow screen.
  assert plot.above(61, 'copy input', highest=100)['xanchor'] == 'right'
  assert plot.above(60, 'copy input', highest=100)['xanchor'] == 'center'
  for figure in (
    score_figures.headline_figure(results),
    score_figures.generation_figure(results),
  ):
    _, right = figure.layout['xaxis']['range']
    for note in figure.layout['annotations']:
      if note.get('yref') == 'paper':
        is_near = note['x'] > 0.6 * right / 1.06
        assert note['xanchor'] == ('right' if is_near else 'center')


def test_joint_intervals_hold_the_others(results):
  joint, main = score_figures.difference_figure(results).data
  pairs = zip(joint['error_x']['array'], main['error_x']['array'], strict=True)
  assert all(wide >= narrow for wide, narrow in pairs)
  assert main['x'][1] == 100


def test_loss_keeps_the_last_step(results):
  curves = {'t': tuple((step, 1.0) for step in range(1, 1001))}
  study = dataclasses.replace(results.study, curves=curves)
  figure = score_figures.loss_figure(dataclasses.replace(results, study=study))
  (trace,) = figure.data
  assert trace['x'][-1] == 1000
  assert len(trace['x']) <= 300


def test_lines_break_and_escape():
  assert plot.lines('Untuned, no definition') == 'Untuned,<br>no definition'
  assert plot.lines('<b>' * 4) == '&lt;b&gt;' * 4
  assert plot.lines('a' * 100) == '<br>'.join(['a' * 22] * 2 + ['a' * 21 + '…'])
  assert plot.lines('') == ''
