"""Tests of it_study.report.answer."""

import pytest
from report_fixture import (
  DEFINITIONS,
  EXAMPLES,
  add_cell,
  make_rows,
  make_study,
)

from it_study.report import answer, arms as arms_module
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.scores import CLS
from it_study.report.sections import make_report

TASKS = tuple((f'Textual Entailment {i}', ('yes', 'no')) for i in range(8))


def arms_of(directory, accuracies, *, num_instances=20, **fields):
  study = make_study(
    directory,
    accuracies=dict(zip((*DEFINITIONS, *EXAMPLES), accuracies, strict=False)),
    num_instances=num_instances,
    tasks=TASKS,
    **fields,
  )
  return score_study(read_study(study)).arms


@pytest.mark.parametrize(
  ('accuracies', 'verdict'),
  [
    (
      (0.9, 0.5, 0.5, 0.9, 0.2, 0.9),
      'They followed the instructions, at least in part.',
    ),
    (
      (0.9, 0.9, 0.3, 0.9, 0.9, 0.9),
      (
        'The instructions helped, but the models were not shown to follow them.'
      ),
    ),
    (
      (0.8, 0.8, 0.8, 0.8, 0.8, 0.8),
      'Better than guessing, but not shown to follow the instructions.',
    ),
    (
      (0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
      'Not shown to differ from guessing.',
    ),
    ((0.1, 0.1, 0.1, 0.1, 0.1, 0.1), 'Worse than guessing.'),
    (
      (0.5, 0.1, 0.5, 0.5, 0.5, 0.5),
      (
        'The instructions mattered, but the models were not shown to beat '
        'guessing.'
      ),
    ),
  ],
)
def test_verdict(tmp_path, accuracies, verdict):
  assert answer.answer(arms_of(tmp_path, accuracies)).verdict == verdict


def test_sentence_when_nothing_varies(tmp_path):
  arms = arms_of(tmp_path, (1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
  assert answer.answer(arms).sentence == (
    'Trained and tested with the real instructions, the model gets 100.0% of '
    'unseen classification instances exactly right, more than random guessing '
    '(50.0%, a difference of +50.0 points [+13.1, +50.0]); no difference was '
    'shown for any of the 4 altered instructions (no score differs, which '
    'leaves little to judge by: up to 47.0 points either way remain possible).'
  )


def test_sentence_when_nothing_is_shown(tmp_path):
  arms = arms_of(tmp_path, (0.5,) * 6)
  largest = max(
    pair.largest
    for pair in arms_module.compare(
      arms, split='test', metric='exact_match', group=CLS
    )
  )
  assert answer.answer(arms).sentence.endswith(
    'no difference was shown for any of the 4 altered '
    f'instructions (up to {largest:.1f} points either way remain possible).'
  )


def test_sentence_names_costs_gains_and_the_rest(tmp_path):
  arms = arms_of(tmp_path, (0.5, 0.0, 1.0, 1.0, 1.0, 0.0))
  sentence = answer.answer(arms).sentence
  assert 'not shown to differ from random guessing (50.0%, a diff' in sentence
  assert 'points (simplified definition) and 100.0 points (no examples)' in (
    sentence
  )
  assert 'altering them gains ' in sentence
  assert 'points (no definition)' in sentence
  assert sentence.endswith(
    'no difference was shown for delusive examples (no score differs, which '
    'leaves little to judge by: up to 47.0 points either way remain possible).'
  )


def test_equivalence_is_claimed_where_a_difference_is_ruled_out(tmp_path):
  study = make_study(
    tmp_path, accuracies=dict.fromkeys(EXAMPLES, 0.97), num_instances=200
  )
  arms = score_study(read_study(study)).arms
  outcome = answer.answer(arms, margin=15.0)
  assert (
    outcome.verdict == 'Damaged instructions work as well as the real ones.'
  )
  assert outcome.sentence.endswith(
    '; differences of more than 15.0 points either way are ruled out for '
    'delusive examples and no examples.'
  )
  assert 'one of more than 15.0 points as ruled out' in outcome.caveats[0]
  narrow = answer.answer(arms, margin=0.1)
  assert narrow.verdict.startswith('Better than guessing')
  assert 'ruled out for' not in narrow.sentence


def test_nothing_is_called_the_same_where_little_is_known(tmp_path):
  outcome = answer.answer(arms_of(tmp_path, (0.6,) * 6, num_instances=5))
  text = f'{outcome.verdict} {outcome.sentence}'
  assert not any(w in text for w in ('same', 'equal', 'equivalent', 'compar'))


def test_without_a_comparison_there_is_no_answer(tmp_path):
  outcome = answer.answer(arms_of(tmp_path, (0.6,)))
  assert outcome.verdict == 'No answer yet.'


def test_chance_is_the_closed_form_of_the_baseline(tmp_path):
  arms = arms_of(tmp_path, (0.5,))
  assert answer.chance(arms, 'test') == answer.Chance(45.83333333333333, 5.5)
  bare = [arm for arm in arms if arm.baseline is None]
  assert answer.chance(bare, 'test') == answer.Chance(50.0, None)
  assert answer.chance([], 'test') is None


def test_caveats(tmp_path):
  one = answer.answer(arms_of(tmp_path / 'one', (0.5,) * 2)).caveats
  assert '(Holm, 1 comparison)' in one[0]
  assert one[1].startswith('The test split has only 8 classification tasks:')
  assert one[2] == (
    'There is only one training seed: the variation between seeds is unknown.'
  )
  two = answer.answer(arms_of(tmp_path / 'two', (0.5,), seeds=(0, 1))).caveats
  assert two == (
    'Scores are means over 2 training seeds; the intervals include the '
    'variation between seeds, which is only roughly known with so few.',
  )


@pytest.mark.parametrize(
  ('trained', 'missing'),
  [
    (
      'natinst_def_empty_ex_delusive1_n2',
      'natinst_def_original_ex_original1_n2',
    ),
    ('natinst_def_original_ex_original2', 'natinst_def_empty_ex_original2'),
  ],
)
def test_no_answer_yet_names_the_condition_to_add(tmp_path, trained, missing):
  study = make_study(tmp_path, accuracies={trained: 0.5})
  outcome = answer.answer(score_study(read_study(study)).arms)
  assert outcome.verdict == 'No answer yet.'
  assert outcome.sentence == (
    'No two finished trainings tested on the test split differ only in their '
    'instructions, so there is nothing to compare. Unless it is still to be '
    f'trained, add {missing} to the conditions (run_study.conditions or '
    'named_conditions.names) and run the study again in this folder: finished '
    'cells are kept.'
  )


def test_altered_data_is_no_altered_instruction(tmp_path):
  study = make_study(tmp_path, accuracies={DEFINITIONS[0]: 0.9}, tasks=TASKS)
  name = f'{DEFINITIONS[0]}_tgtswapped'
  rows = make_rows(
    accuracy=0.2,
    train_condition=name,
    test_condition=DEFINITIONS[0],
    tasks=TASKS,
  )
  add_cell(study, rows, training=f'{name}_seed0', changes={'matched': True})
  results = score_study(read_study(study))
  assert answer.answer(results.arms).verdict == 'No answer yet.'
  (section,) = [s for s in make_report(results).sections if s.name == 'data']
  (row,) = section.blocks[1].rows['']
  assert row[0].text == 'Original definition, 2 examples, swapped targets'
  assert row[5].text == 'yes, real is better'
  assert (
    arms_module.headline_arm(results.arms).train_condition == DEFINITIONS[0]
  )


def test_instructions_are_compared_on_the_real_data(tmp_path):
  study = make_study(tmp_path, accuracies={DEFINITIONS[0]: 0.9}, tasks=TASKS)
  for definition, accuracy in ((DEFINITIONS[0], 0.9), (DEFINITIONS[1], 0.1)):
    name = f'{definition}_tgtswapped'
    rows = make_rows(
      accuracy=accuracy,
      train_condition=name,
      test_condition=definition,
      tasks=TASKS,
    )
    add_cell(study, rows, training=f'{name}_seed0', changes={'matched': True})
  results = score_study(read_study(study))
  assert answer.answer(results.arms).verdict == 'No answer yet.'
