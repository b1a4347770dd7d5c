"""Tests of it_study.report.truncation."""

import json

import pytest
from report_fixture import DEFINITIONS, make_study

from it_study.errors import InputError
from it_study.report import answer, truncation, write_report
from it_study.report.arms import make_arms, select
from it_study.report.load import read_study
from it_study.report.results import score_study

# In a split of the fixture: 6 tasks of 20 instances.
NUM_INSTANCES = 120


def change(study, change_line):
  path = study / 'results.jsonl'
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  for line in lines:
    change_line(line)
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  return study


@pytest.fixture(name='make')
def _make(tmp_path):
  """Makes a study that keeps more text in conditions without a definition."""

  def make(*, kept=None, num_shortened=(0, 0), conditions=DEFINITIONS[::2]):
    study = make_study(tmp_path, accuracies=dict.fromkeys(conditions, 0.5))

    def change_line(line):
      if line['test_condition'] is not None:
        is_empty = 'def_empty' in line['test_condition']
        line['num_shortened'] = num_shortened[is_empty]
        line['input_kept'] = None if kept is None else kept[is_empty]

    return change(study, change_line)

  return make


def warnings(study):
  return truncation.warnings(make_arms(read_study(study).cells))


def test_no_warning_if_nothing_is_truncated(make):
  assert warnings(make(kept=(1.0, 1.0))) == ()


@pytest.mark.parametrize(
  ('shares', 'num_shortened', 'warns'),
  [
    ((0.99, 1.0), (0, 0), False),
    ((0.98, 1.0), (0, 0), True),
    ((1.0, 0.98), (0, 0), True),
    # Two of 120 are less than 2%, three are more.
    ((1.0, 1.0), (2, 0), False),
    ((1.0, 1.0), (3, 0), True),
    ((1.0, 1.0), (0, 3), True),
    # Everything is truncated, in the same way.
    ((0.5, 0.5), (120, 120), False),
    # A study of an older version.
    (None, (2, 0), False),
    (None, (3, 0), True),
  ],
)
def test_the_margins(make, shares, num_shortened, warns):
  warned = warnings(make(kept=shares, num_shortened=num_shortened))
  assert len(warned) == warns


def test_the_text_of_the_warning(make):
  study = make(kept=(0.9, 1.0), num_shortened=(30, 0))
  assert warnings(study) == (
    'The token limit truncates the compared conditions differently. On unseen '
    'tasks (1 of 1 comparison), “Original definition, 2 examples” keeps 90.0% '
    "of an instance's text and shortens 25.0% of its prompts, while “No "
    "definition, 2 examples” keeps 100.0% of an instance's text and shortens "
    '0.0% of its prompts. On held-out instances (1 of 1 comparison), “Original '
    "definition, 2 examples” keeps 90.0% of an instance's text and shortens "
    '25.0% of its prompts, while “No definition, 2 examples” keeps 100.0% of '
    "an instance's text and shortens 0.0% of its prompts. Differences between "
    'them may come from how much of the question the model sees rather than '
    'from the instructions. Conditions with _budget in their name shorten each '
    'instance as its longest definition requires, and so keep the same text '
    "under every definition; a higher TASK_FEATURE_LENGTHS['inputs'] shortens "
    'fewer prompts.',
  )


@pytest.mark.parametrize(
  ('test', 'validation', 'cut', 'facts'),
  [
    (0, 0, 0, ''),
    # One in a hundred.
    (1, 0, 1, ''),
    (
      30,
      60,
      50,
      'On unseen tasks, 25.0% of the instances have no reference that fits, so '
      'no answer to them can be right. On held-out instances, 50.0% of the '
      'instances have no reference that fits, so no answer to them can be '
      'right. In training, 50.0% of the targets were cut.',
    ),
    (0, 0, 2, 'In training, 2.0% of the targets were cut.'),
    (None, None, None, ''),
  ],
)
def test_cut_targets(make, test, validation, cut, facts):
  def change_line(line):
    if line['test_condition'] is not None:
      line['num_unreachable'] = {'test': test, 'validation': validation}[
        line['split']
      ]
    if line['training'] is not None:
      line |= {'num_cut_targets': cut, 'num_train_examples': 100}

  text = (
    f"TASK_FEATURE_LENGTHS['targets'] is short. {facts} A higher limit cuts "
    'fewer.'
  )
  found = warnings(change(make(kept=(1.0, 1.0)), change_line))
  assert found == ((text,) if facts else ())


def test_an_older_study_without_kept_text_still_warns(make):
  (text,) = warnings(make(num_shortened=(30, 0)))
  assert (
    '“Original definition, 2 examples” shortens 25.0% of its prompts, while '
    '“No '
  ) in text


def test_a_matched_budget_that_does_not_match(make):
  names = tuple(f'{name}_budget' for name in DEFINITIONS[::2])
  # The fixture tests with the original instructions without a budget as well.
  study = change(
    make(kept=(0.9, 1.0), conditions=names),
    lambda line: line.update(
      matched=line['train_condition'] is not None
      and line['train_condition'] == line['test_condition']
    ),
  )
  arms = make_arms(read_study(study).cells)
  assert select(arms, split='test', matched=True)
  (text,) = truncation.warnings(arms)
  assert text.endswith(
    'Their budgets are matched, so some definition exceeds the limit by '
    "itself: raise TASK_FEATURE_LENGTHS['inputs']."
  )


def test_the_warning_is_shown_with_the_answer(make):
  study = make(kept=(0.9, 1.0))
  (warning,) = warnings(study)
  assert answer.answer(score_study(read_study(study)).arms).warnings == (
    warning,
  )
  page, markdown, *_ = (
    path.read_text() for path in write_report(study_dir=study)
  )
  before, after = page.split('The token limit truncates the compared')
  assert before.rpartition('<p class=')[2].startswith('"sentence">Trained')
  assert before.endswith('<div class="banner note" role="note"><p>')
  assert 'class="controls"' in after
  assert '> **Warning.** The token limit truncates the' in markdown
  assert '90.00%' in markdown


def test_a_study_of_an_older_version_is_reported(make):
  study = change(make(), lambda line: line.pop('input_kept', None))
  cells = read_study(study).cells
  assert {cell.input_kept for cell in cells} == {None}
  assert warnings(study) == ()
  page, markdown, *_ = (
    path.read_text() for path in write_report(study_dir=study)
  )
  assert 'The token limit' not in page
  assert 'Text kept' in markdown


@pytest.mark.parametrize('share', [-0.1, 1.1, 'all', True, [1]])
def test_an_invalid_share_is_refused(make, share):
  study = change(make(), lambda line: line.update(input_kept=share))
  with pytest.raises(InputError) as error:
    read_study(study)
  assert str(error.value).endswith(
    f':1: input_kept: expected null or a share from 0 to 1, got {share!r}. Run '
    'the study again: it rewrites results.jsonl from its cells.'
  )
