"""Tests of the report of a study without a trained model."""

import pytest
from report_fixture import TRAINING_TASKS, make_untuned_study

from it_study.report import answer, controls
from it_study.report.arms import pair_up
from it_study.report.formats.markdown import render_markdown
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.sections import make_report

TASKS = tuple((f'Textual Entailment {i}', ('yes', 'no')) for i in range(8))
CONTROLS = tuple(t for t in TRAINING_TASKS if t[0].endswith('Control'))
ORIGINAL, SIMPLIFIED, EMPTY, DELUSIVE, NO_EXAMPLES = (
  f'natinst_def_{definition}_ex_{examples}_fmtchat'
  for definition, examples in (
    ('original', 'original2'),
    ('simplified', 'original2'),
    ('empty', 'original2'),
    ('original', 'delusive2'),
    ('original', 'empty0'),
  )
)


def results_of(directory, accuracies, **fields):
  names = (ORIGINAL, SIMPLIFIED, EMPTY, DELUSIVE, NO_EXAMPLES)
  study = make_untuned_study(
    directory,
    dict(zip(names, accuracies, strict=False)),
    **{'tasks': TASKS, **fields},
  )
  return score_study(read_study(study))


@pytest.mark.parametrize(
  ('accuracies', 'verdict'),
  [
    (
      (0.9, 0.2, 0.2, 0.9),
      'This model follows the definition, at least in part.',
    ),
    (
      (0.5, 0.0, 0.0, 0.5),
      (
        'The definition matters to this model, but it was not shown to beat '
        'guessing.'
      ),
    ),
    (
      (0.9, 0.9, 0.9, 0.2),
      (
        'The instructions matter to this model, but it was not shown to follow '
        'the definition.'
      ),
    ),
    (
      (0.9, 0.9, 0.2, 0.9),
      (
        'The instructions help this model, but it was not shown to follow the '
        'definition beyond its label space.'
      ),
    ),
    (
      (0.2, 0.9, 0.2, 0.2),
      (
        'This model does better with the label space alone than with the whole '
        'definition.'
      ),
    ),
    (
      (0.8, 0.8, 0.8, 0.8),
      'Better than guessing, but not shown to follow the instructions.',
    ),
    ((0.5, 0.5, 0.5, 0.5), 'Not shown to differ from guessing.'),
    ((0.1, 0.1, 0.1, 0.1), 'Worse than guessing.'),
  ],
)
def test_verdict_on_an_untuned_model(tmp_path, accuracies, verdict):
  outcome = answer.answer(results_of(tmp_path, accuracies).arms)
  assert outcome.verdict == verdict


def test_sentence_and_caveats(tmp_path):
  outcome = answer.answer(results_of(tmp_path, (1.0, 1.0, 0.0, 1.0)).arms)
  assert outcome.sentence == (
    'Untuned, and tested with the real instructions, the model gets 100.0% of '
    'classification instances exactly right (100.0% in format), more than '
    'random guessing (50.0%, a difference of +50.0 points [+13.1, +50.0]); '
    'altering the instructions costs 100.0 points (no definition) and no '
    'difference was shown for simplified definition and delusive examples (no '
    'score differs, which leaves little to judge by: up to 45.0 points either '
    'way remain possible).'
  )
  assert outcome.caveats[1:] == (
    'The test split has only 8 classification tasks: intervals over so few are '
    'wide and approximate.',
    'No trained model was tested: this says how one model uses instructions, '
    'and nothing about what instruction tuning teaches. “Unseen” tasks are '
    'those of the test split; whether the model knew them is not known.',
  )


def test_without_examples_it_is_compared_with_the_only_original(tmp_path):
  arms = results_of(tmp_path, (0.5,) * 5).arms
  pairs = pair_up(arms, split='test')
  assert [(a.test_condition, b.test_condition) for a, b in pairs] == [
    (ORIGINAL, other) for other in (SIMPLIFIED, EMPTY, NO_EXAMPLES, DELUSIVE)
  ]


def test_one_condition_gives_no_answer(tmp_path):
  outcome = answer.answer(results_of(tmp_path, (0.9,)).arms)
  assert (outcome.verdict, outcome.sentence) == (
    'No answer yet.',
    'No trained model was tested on the test split, and no two conditions of '
    'the untuned one differ only in their instructions, so there is nothing to '
    'compare.',
  )


def controls_of(directory, positive, negative, *, conditions=3):
  probabilities = {
    condition: {'Positive Control': right, 'Negative Control': other}
    for condition, right, other in zip(
      (ORIGINAL, EMPTY), positive, negative, strict=True
    )
  }
  return results_of(
    directory,
    (0.9, 0.2, 0.2)[:conditions],
    tasks=TASKS + CONTROLS,
    controls=probabilities,
  ).arms


def test_controls_are_judged_by_test_conditions(tmp_path):
  outcomes = controls.controls(controls_of(tmp_path, (1.0, 0.0), (1.0, 1.0)))
  assert [(c.name, c.outcome) for c in outcomes] == [
    ('Positive Control, unseen tasks', 'passed'),
    ('Negative Control, unseen tasks', 'passed'),
  ]


def test_a_failed_positive_control_is_a_finding_about_the_model(tmp_path):
  arms = controls_of(tmp_path, (0.6, 0.5), (1.0, 1.0))
  outcome = answer.answer(arms)
  assert outcome.controls[0].outcome == 'failed'
  assert outcome.controls[0].text.endswith(
    'The control requires an interval above 40.0: these tasks cannot be solved '
    'without reading the definition, and this model was shown to gain less '
    'from it.'
  )
  assert outcome.verdict == (
    'This model follows the definition, at least in part.'
  )


def test_a_failed_negative_control_leaves_no_answer(tmp_path):
  outcome = answer.answer(controls_of(tmp_path, (1.0, 0.0), (1.0, 0.5)))
  assert outcome.verdict == 'No answer: this study cannot be trusted.'


def test_controls_without_an_altered_condition_are_not_run_yet(tmp_path):
  arms = controls_of(tmp_path, (1.0, 0.0), (1.0, 1.0), conditions=1)
  positive, _ = controls.controls(arms)
  assert (positive.outcome, positive.text) == (
    'not tested',
    'This needs the test conditions (TEST_CONDITIONS) with the original and '
    'with no definition, both tested on the test split.',
  )


def test_the_report_speaks_of_one_model(tmp_path):
  report = make_report(results_of(tmp_path, (0.9, 0.2, 0.2, 0.9)))
  assert report.title == 'Does this model follow instructions, or guess?'
  assert report.subtitle == 'mini · 6 training tasks · 6 test tasks · an ' + (
    'untuned model · cpu'
  )
  assert report.headline.description.startswith(
    'Exact match on unseen classification tasks, one model under several kinds '
    'of instructions, with 95% intervals.'
  )
  assert (
    'Simplified definition,<br>2 examples,<br>chat format'
    in report.headline.layout['yaxis']['ticktext']
  )
  text = render_markdown(report)
  assert text.startswith(f'# {report.title}\n')
  assert 'One model, as it is, is tested with several kinds of ' in text
  assert 'Untuned, simplified definition, 2 examples, chat format' in text
