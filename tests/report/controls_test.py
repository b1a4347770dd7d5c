"""Tests of it_study.report.controls."""

import pytest
from report_fixture import (
  DEFINITIONS,
  TEST_TASKS,
  TRAINING_TASKS,
  add_cell,
  make_rows,
  make_study,
)

from it_study.evaluation.stats.controls import Decision
from it_study.evaluation.stats.margins import ControlMargins
from it_study.report import answer, controls
from it_study.report.controls import Control
from it_study.report.load import read_study
from it_study.report.results import score_study

CONTROLS = tuple(t for t in TRAINING_TASKS if t[0].endswith('Control'))


def arms_of(directory, conditions=DEFINITIONS, **fields):
  accuracies = dict.fromkeys(conditions, 0.5)
  study = make_study(directory, accuracies=accuracies, **fields)
  return score_study(read_study(study)).arms


def outcomes_of(arms, **fields):
  return [(c.name, c.outcome) for c in controls.controls(arms, **fields)]


def control(status, *, positive=True, split='test'):
  return Control(
    group=controls.POSITIVE_CONTROL if positive else controls.NEGATIVE_CONTROL,
    split=split,
    status=status,
    text='',
  )


def test_controls_pass(tmp_path):
  outcomes = controls.controls(arms_of(tmp_path))
  assert [(c.name, c.status) for c in outcomes] == [
    ('Positive Control, training tasks', 'passed'),
    ('Negative Control, training tasks', 'passed'),
  ]
  assert [c.text for c in outcomes] == [
    'Exact match is 100.0 with the original definition and 0.0 without one, a '
    'difference of +100.0 points [+82.4, +100.0]. The control requires an '
    'interval above 40.0.',
    'Exact match is 100.0 with the original definition and 100.0 without one, '
    'a difference of 0.0 points [−8.8, +8.8]. The control requires an interval '
    'within ±10.0.',
  ]


def test_controls_on_unseen_tasks_come_first(tmp_path):
  arms = arms_of(tmp_path, tasks=TEST_TASKS + CONTROLS)
  assert outcomes_of(arms) == [
    ('Positive Control, unseen tasks', 'passed'),
    ('Negative Control, unseen tasks', 'passed'),
    ('Positive Control, training tasks', 'passed'),
    ('Negative Control, training tasks', 'passed'),
  ]


def test_a_difference_above_the_margin_does_not_pass_by_itself(tmp_path):
  arms = arms_of(
    tmp_path, positive=(0.9, 0.4), negative=(0.9, 0.85), seeds=(0, 1, 2)
  )
  positive, negative = controls.controls(arms)
  assert (positive.outcome, negative.outcome) == ('cannot tell', 'cannot tell')
  assert positive.text == (
    'Exact match is 87.5 with the original definition and 41.7 without one, a '
    'difference of +45.8 points [−3.6, +90.4]. The control requires an '
    'interval above 40.0. About 53 tasks like these instead of 2, or 25 '
    'training seeds instead of 3, would decide with a probability of 80% if '
    'the difference is as measured.'
  )
  assert negative.text == (
    'Exact match is 85.8 with the original definition and 83.3 without one, a '
    'difference of +2.5 points [−8.3, +13.1]. The control requires an interval '
    'within ±10.0. About 21 tasks like these instead of 2 would decide with a '
    'probability of 80% if the difference is as measured.'
  )


def test_the_margins_of_the_study_decide(tmp_path):
  fields = {'positive': (0.9, 0.4), 'negative': (0.9, 0.85), 'seeds': (0, 1, 2)}
  arms = arms_of(tmp_path, **fields)
  # The intervals are [−3.6, +90.4] and [−8.3, +13.1].
  for margins, expected in (
    ((95.0, 14.0), ['failed', 'passed']),
    ((90.0, 13.0), ['cannot tell', 'cannot tell']),
  ):
    margins = ControlMargins(positive=margins[0], negative=margins[1])
    found = outcomes_of(arms, margins=margins)
    assert [outcome for _, outcome in found] == expected


def test_margins_come_from_the_record(tmp_path):
  study = make_study(tmp_path, run={'control_margins': {'positive': 90.0}})
  results = score_study(read_study(study))
  assert results.control_margins == ControlMargins(positive=90.0, negative=10.0)
  for number, damaged in enumerate(([1], {'positive': 'x'}, {'other': 1})):
    study = make_study(tmp_path / f'{number}', run={'control_margins': damaged})
    results = score_study(read_study(study))
    assert results.control_margins == ControlMargins()


def test_controls_that_fail(tmp_path):
  arms = arms_of(tmp_path, positive=(0.6, 0.5), negative=(1.0, 0.5))
  positive, negative = controls.controls(arms)
  assert positive.outcome == 'failed'
  assert positive.text.endswith(
    'The control requires an interval above 40.0: these tasks cannot be solved '
    'without reading the definition, so either this model has not learned to '
    'read it or this study cannot detect that it has.'
  )
  assert negative.outcome == 'failed'
  assert negative.text.endswith(
    'The control requires an interval within ±10.0: the definitions of these '
    'tasks carry no useful information, so this study detects differences that '
    'do not exist.'
  )
  outcome = answer.answer(arms)
  assert outcome.verdict == 'No answer: this study cannot be trusted.'
  assert outcome.sentence == (
    'The positive control and the negative control failed, so the numbers '
    'below say nothing about instructions.'
  )


def test_a_sweep_is_judged_at_its_largest_amount(tmp_path):
  names = [f'{name}_t{t}' for t in (2, 4) for name in DEFINITIONS]
  arms = arms_of(tmp_path, names, seeds=(0,))
  pair = controls._find_pair(arms, 'validation', controls.POSITIVE_CONTROL)
  assert pair.altered.train_condition == 'natinst_def_empty_ex_original2_t4'


def test_a_difference_that_no_study_size_settles(tmp_path):
  arms = arms_of(tmp_path)
  pair = controls._find_pair(arms, 'validation', controls.POSITIVE_CONTROL)
  assert controls._settled_by(Decision(outcome='unclear'), pair) == (
    ' The difference is too close to the margin for more tasks alone, or more '
    'training seeds alone, to decide.'
  )


@pytest.mark.parametrize(
  ('outcomes', 'fatal'),
  [
    ([control('failed')], [0]),
    ([control('failed'), control('passed', split='validation')], []),
    ([control('failed'), control('unclear', split='validation')], [0]),
    ([control('passed'), control('failed', positive=False)], [1]),
    ([control('unclear'), control('unclear', positive=False)], []),
  ],
)
def test_which_failures_leave_no_answer(outcomes, fatal):
  assert controls.fatal(outcomes) == tuple(outcomes[k] for k in fatal)


def test_caveats_say_what_controls_leave_open():
  passed = [control('passed'), control('passed', positive=False)]
  assert controls.caveats(passed) == []
  assert controls.caveats([control('failed')]) == []
  training = control('passed', split='validation')
  assert controls.caveats([control('failed'), training]) == [
    'On unseen tasks, this model was shown not to read the definition even '
    'where nothing else helps (positive control): instructions without effect '
    'there may say more about the model than about the instructions.'
  ]
  unclear = [control('unclear'), control('unclear', positive=False)]
  assert controls.caveats(unclear) == [
    'No positive control has passed: it is not shown that this study would '
    'detect a model that follows instructions.',
    'The negative control does not rule out that this study detects '
    'differences that do not exist.',
  ]


def test_caveats_are_part_of_the_answer(tmp_path):
  arms = arms_of(tmp_path, positive=(0.9, 0.4), seeds=(0, 1, 2))
  assert answer.answer(arms).caveats[0].startswith('No positive control has')


def test_controls_that_were_not_tested(tmp_path):
  outcomes = controls.controls(arms_of(tmp_path, DEFINITIONS[:1]))
  assert [c.outcome for c in outcomes] == ['not tested', 'not tested']
  assert outcomes[0].text == (
    'This needs the trainings with the original and with no definition, both '
    'tested on the validation split.'
  )


def test_a_corpus_without_controls_has_none(tmp_path):
  for condition in DEFINITIONS:
    rows = make_rows(
      train_condition=condition, test_condition=condition, num_instances=4
    )
    add_cell(tmp_path, rows, training=condition)
  arms = score_study(read_study(tmp_path)).arms
  assert controls.controls(arms) == ()
  assert controls.no_controls(arms).startswith('No control was tested: the te')
