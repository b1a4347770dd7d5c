"""Tests of the report on SeqIO tasks of the user's own."""

import io

import pytest
from report_fixture import DEFINITIONS, add_cell, make_rows
from rich.console import Console

from it_study.report import (
  own_answer,
  render_terminal_table,
  results as results_lib,
  write_report,
)
from it_study.report.browser.index import Index
from it_study.report.browser.query import Query
from it_study.report.sections import contents

TESTS = {
  'rte': (('NLI', ('yes', 'no')),),
  'all': (('NLI', ('yes', 'no')), (None, None)),
}


@pytest.fixture(name='study', scope='module')
def _study(tmp_path_factory):
  """A model that learnt `rte`, an untuned one and a baseline, on two tests."""
  study = tmp_path_factory.mktemp('own') / 'study'
  study.mkdir()
  for test, tasks in TESTS.items():
    for training, accuracy in (('mix', 0.95), (None, 0.05)):
      rows = make_rows(
        split='dev',
        accuracy=accuracy,
        tasks=tasks,
        train_condition=training,
        test_condition=test,
        num_instances=60,
      )
      add_cell(
        study,
        rows,
        training=training and f'{training}_seed0',
        changes={
          'test_task': test,
          'task_metrics': {'rte': {'points': accuracy / 3, 'name': 'x<y'}},
        },
      )
    rows = make_rows(
      split='dev',
      tasks=tasks,
      test_condition=test,
      engine='baseline:random',
      num_instances=60,
    )
    add_cell(
      study,
      rows,
      baseline='random',
      changes={'test_task': test, 'test_condition': None},
    )
  return study


def test_every_model_is_compared_with_a_guess_and_the_untuned_one(study):
  tests = results_lib.score(study).of_own_tasks()
  assert [
    (
      outcome.arm.test_task,
      outcome.arm.label,
      outcome.group.name,
      outcome.metric,
      outcome.over_guess and outcome.over_guess.is_better,
      outcome.over_guess and outcome.over_guess.is_worse,
      outcome.over_untuned and outcome.over_untuned.is_better,
    )
    for outcome in own_answer.outcomes(tests)
  ] == [
    ('all', 'mix', 'classification', 'exact_match', True, False, True),
    ('all', 'Untuned', 'classification', 'exact_match', False, True, None),
    ('all', 'mix', 'generation', 'rouge_l', None, None, True),
    ('all', 'Untuned', 'generation', 'rouge_l', None, None, None),
    ('rte', 'mix', 'classification', 'exact_match', True, False, True),
    ('rte', 'Untuned', 'classification', 'exact_match', False, True, None),
  ]
  answer = own_answer.answer(tests)
  assert answer.verdict == (
    'Training was shown to help in 3 of 3 comparisons with the untuned model.'
  )
  assert answer.sentence == (
    'Of 4 scores on classification, 2 are shown to be better than guessing, 2 '
    'worse.'
  )
  assert answer.caveats[1] == (
    'A difference counts as shown only if p is below 5% after adjusting (Holm) '
    'for 3 comparisons with the untuned model and, separately, for 4 '
    'comparisons with guessing.'
  )


def test_the_report_names_tasks_and_their_own_metrics(study):
  page, markdown, table, latex = (
    path.read_text() for path in write_report(study_dir=study)
  )
  headings = [line for line in markdown.splitlines() if line.startswith('#')]
  assert headings == [
    '# How well do the models do on these tasks?',
    '## Compared with guessing and with the untuned model',
    '## all, split dev',
    '## What the models answer: all, split dev',
    '## rte, split dev',
    '## What the models answer: rte, split dev',
    '## How it was run',
  ]
  for word in ('condition', 'unseen', 'instructions', 'Control'):
    assert word not in markdown.partition('How it was run')[0]
  assert '| points | 0.3167 | 0.01667 |' in markdown
  assert '| name | x&lt;y | x&lt;y |' in markdown
  assert 'x&lt;y' in page
  assert '2 tasks, 120 instances.' in markdown
  assert '95% intervals over instances of this task.' in markdown
  assert 'data-figure="test-2"' in page
  assert r'Results on all, split dev, with 95\% intervals.' in latex
  baseline = next(row for row in table.splitlines() if ',random,' in row)
  assert ',,,all,false,false,dev,0,baseline,random,' in baseline


def test_the_terminal_shows_a_table_of_each_test(study):
  console = Console(file=io.StringIO(), width=100)
  render_terminal_table(study, console=console)
  text = ' '.join(console.file.getvalue().split())
  assert 'all, split dev. Scores from 0 to 100, with 95% intervals over' in text
  assert 'rte, split dev. Scores from 0 to 100' in text
  assert 'How well do the models do on these tasks? Training was' in text


def test_predictions_on_a_task_are_browsed(study):
  index = Index(study)
  labels = [cell['label'] for cell in index.describe()['cells']]
  assert labels == [
    'Trained on mix → tested on all, dev, seed 0',
    'Untuned → tested on all, dev, seed 0',
    'Baseline random on all, dev, seed 0',
    'Trained on mix → tested on rte, dev, seed 0',
    'Untuned → tested on rte, dev, seed 0',
    'Baseline random on rte, dev, seed 0',
  ]
  cell = index.describe()['first_cell']
  rows = index.rows(Query(cell=cell, category=''))
  assert (rows['total'], rows['num_rows']) == (60, 120)
  row = rows['rows'][0]
  answers = index.instance(cell=cell, task=row['task'], row_id=row['id'])
  assert [answer['label'] for answer in answers['cells']] == labels[:3]


def test_cut_targets_are_told_of_beside_conditions(tmp_path):
  for test, number in ((DEFINITIONS[0], 0), ('rte', 30)):
    rows = make_rows(
      train_condition=DEFINITIONS[0],
      test_condition=test,
      tasks=TESTS['rte'],
      num_instances=60,
    )
    changes = {'num_unreachable': number}
    if test == 'rte':
      changes['test_task'] = test
    add_cell(tmp_path, rows, training='first_seed0', changes=changes)
  answer = contents.answer_of(results_lib.score(tmp_path))
  assert answer.warnings == (
    "TASK_FEATURE_LENGTHS['targets'] is short. On rte, 50.0% of the instances "
    'have no reference that fits, so no answer to them can be right. A higher '
    'limit cuts fewer.',
  )
