"""Tests of it_study.report.browser.index: finding rows and instances."""

import dataclasses
import json

from prompts_fixture import render_named
import pytest
from report_fixture import (
  DEFINITIONS,
  TEST_TASKS,
  add_cell,
  make_rows,
  make_study,
)

from it_study.errors import InputError
from it_study.report.browser.index import Index
from it_study.report.browser.query import LIMIT, Query

HOSTILE = '<script>alert(1)</script>\x1b[31m\u202e&"\'\x00'


@pytest.fixture(name='index', scope='module')
def _index(tmp_path_factory):
  study = make_study(
    tmp_path_factory.mktemp('browser') / 'study',
    accuracies=dict.fromkeys(DEFINITIONS, 0.5),
    num_instances=10,
  )
  return Index(study)


def cell_of(index, *words):
  return next(
    cell['cell']
    for cell in index.describe()['cells']
    if all(word in cell['label'] for word in words)
  )


def test_cells_have_descriptive_labels(index):
  labels = [cell['label'] for cell in index.describe()['cells']]
  assert len(labels) == len(set(labels)) == 18
  assert (
    'Trained on Simplified definition, 2 examples → tested on Original '
    'definition, 2 examples, test, seed 0'
  ) in labels
  assert 'Baseline random, validation, seed 0' in labels
  assert index.describe()['name'] == 'study'


def test_cells_come_in_the_order_of_the_report(index):
  described = index.describe()
  names = [cell['cell'] for cell in described['cells']]
  assert (
    names[0]
    == described['first_cell']
    == cell_of(
      index, 'Trained on Original definition', 'tested on Original', ' test'
    )
  )
  splits = [cell['split'] for cell in described['cells']]
  assert splits == ['test'] * 9 + ['validation'] * 9


def test_notes_say_what_is_missing(tmp_path):
  study = make_study(tmp_path / 'study', num_instances=2)
  assert Index(study).describe()['notes'] == []
  (study / 'run.json').unlink()
  cell = 'untuned__natinst_def_original_ex_original2__test'
  (study / 'cells' / cell / 'predictions.jsonl').unlink()
  described = Index(study).describe()
  assert described['notes'] == [
    'run.json is missing: how the study was run is unknown.',
    f'cells/{cell}/predictions.jsonl is missing: its cell is not listed.',
  ]
  assert cell not in [each['cell'] for each in described['cells']]


def test_the_first_cell_has_the_most_training_data(tmp_path):
  original = DEFINITIONS[0]
  study = make_study(
    tmp_path / 'study',
    accuracies={f'{original}_n1': 0.5, original: 0.5, f'{original}_n10': 0.5},
    num_instances=2,
    seeds=(0, 1),
  )
  first = Index(study).describe()['first_cell']
  assert first == f'{original}_seed0__{original}__test'


def test_without_a_training_the_first_cell_is_that_of_the_report(tmp_path):
  add_cell(tmp_path, make_rows(num_instances=2), baseline='prior')
  add_cell(tmp_path, make_rows(num_instances=2))
  assert Index(tmp_path).describe()['first_cell'] == 'untuned__None__test'


def test_rows_show_the_input_and_not_the_whole_prompt(tmp_path):
  question = 'Who waits?\nInput: nobody'
  prompt = render_named(text=question).text
  rows = [
    dataclasses.replace(row, inputs=prompt if row.position else question)
    for row in make_rows(num_instances=2, tasks=TEST_TASKS[:1])
  ]
  assert prompt.startswith('Definition: ')
  add_cell(tmp_path, rows)
  index = Index(tmp_path)
  listed = index.rows(Query(cell=index.describe()['first_cell']))['rows']
  # A baseline's row holds the input alone, a model's row the whole prompt.
  assert listed[0]['input'] == question
  assert listed[1]['input'] == f'{question}.'


def test_filters_agree_with_the_rows(index):
  cell = cell_of(index, 'Trained on No definition', 'tested on No', 'test')
  every = index.rows(Query(cell=cell))
  assert every['total'] == 60
  assert len(every['rows']) == 50
  right = index.rows(Query(cell=cell, right=True))
  wrong = index.rows(Query(cell=cell, right=False))
  assert right['total'] + wrong['total'] == 60
  assert all(row['right'] for row in right['rows'])
  # Generation has no label space, so it is neither in format nor out of it.
  assert index.rows(Query(cell=cell, in_format=True))['total'] == 40
  assert index.rows(Query(cell=cell, in_format=False))['total'] == 0
  analogy = index.rows(Query(cell=cell, category='Word Analogy'))
  assert {row['task'] for row in analogy['rows']} == {'task002_test'}
  assert index.rows(Query(cell=cell, task='task002_test')) == analogy
  assert index.names(cell)['tasks'][0] == 'task000_test'


def test_search_requires_every_word(index):
  cell = cell_of(index, 'Untuned', 'test')
  found = index.rows(Query(cell=cell, text='INPUT  task001_test-7'))
  assert [row['id'] for row in found['rows']] == ['task001_test-7']
  assert index.rows(Query(cell=cell, text='no such word'))['total'] == 0


def test_pages_cover_everything_once(index):
  cell = cell_of(index, 'Untuned', 'test')
  pages = [
    index.rows(Query(cell=cell, offset=offset, limit=25))['rows']
    for offset in (0, 25, 50, 75)
  ]
  assert [len(page) for page in pages] == [25, 25, 10, 0]
  assert len({row['id'] for page in pages for row in page}) == 60
  assert len(index.rows(Query(cell=cell, limit=10**6))['rows']) <= LIMIT


def test_an_instance_is_shown_in_every_cell_of_its_split(index):
  cell = cell_of(index, 'Untuned', 'test')
  found = index.instance(
    cell=cell, task='task000_test', row_id='task000_test-3'
  )
  assert found['targets'] == ['no']
  assert found['label_space'] == ['yes', 'no']
  # 3 trainings with 5 tests, the untuned model, 3 baselines.
  assert len(found['cells']) == 9
  assert [c['cell'] for c in found['cells'] if c['is_requested']] == [cell]
  assert all(c['inputs'] == 'input 3' for c in found['cells'])


def test_the_seeds_of_a_mean_are_listed_together(tmp_path):
  study = make_study(
    tmp_path / 'study',
    accuracies={DEFINITIONS[0]: 0.5},
    num_instances=2,
    seeds=(0, 1, 2),
  )
  index = Index(study)
  cell = cell_of(index, 'Trained on', 'tested on Original', ' test, seed 0')
  one = index.rows(Query(cell=cell))
  every = index.rows(Query(cell=cell, all_seeds=True))
  assert [
    c['num_seeds'] for c in index.describe()['cells'] if c['cell'] == cell
  ] == [3]
  assert every['total'] == every['num_rows'] == 3 * one['total']
  assert [row['seed'] for row in every['rows'][:4]] == [0, 1, 2, 0]
  assert len({tuple(row['key']) for row in every['rows'][:3]}) == 1
  asked = Query(cell=cell, all_seeds=True, text='task001_test-1')
  assert index.rows(asked)['total'] == 3
  found = index.instance(
    cell=cell, task='task000_test', row_id='task000_test-1', all_seeds=True
  )
  labels = [c['label'] for c in found['cells'] if c['is_requested']]
  assert [label.split(', ')[-1] for label in labels] == [
    f'seed {k}' for k in range(3)
  ]
  # A baseline has one.
  random = cell_of(index, 'Baseline random, test')
  assert index.rows(Query(cell=random)) == index.rows(
    Query(cell=random, all_seeds=True)
  )


def test_an_instance_is_found_in_a_file_with_another_order(tmp_path):
  rows = make_rows(num_instances=3)
  add_cell(tmp_path, rows)
  add_cell(tmp_path, make_rows(num_instances=3, accuracy=1.0), baseline='prior')
  index = Index(tmp_path)
  first, second = (cell['cell'] for cell in index.describe()['cells'])
  path = tmp_path / 'cells' / second / 'predictions.jsonl'
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([lines[-1], *lines[:-2]]))
  key = {'task': 'task000_test', 'row_id': 'task000_test-1'}
  found = index.instance(cell=first, **key)
  assert [cell['cell'] for cell in found['cells']] == [first, second]
  assert found['cells'][1]['right']
  # The second file lacks the row before the last.
  key = {'task': 'task005_test', 'row_id': 'task005_test-1'}
  assert len(index.instance(cell=first, **key)['cells']) == 1


def test_unknown_cells_and_instances_are_refused(index):
  with pytest.raises(InputError, match='no finished cell x'):
    index.rows(Query(cell='x'))
  cell = cell_of(index, 'Untuned', 'test')
  with pytest.raises(InputError, match='has no instance nothing of task t'):
    index.instance(cell=cell, task='t', row_id='nothing')


def test_a_name_cannot_leave_the_study(index):
  for name in ('../secrets', '/etc/passwd', ''):
    with pytest.raises(InputError, match='no finished cell'):
      index.entries(name)


def test_hostile_and_huge_texts_are_made_safe_to_show(tmp_path):
  rows = [
    dataclasses.replace(
      row,
      prediction=HOSTILE if row.position else 'a' * 3_000_000,
      inputs=HOSTILE,
      targets=(HOSTILE,),
    )
    for row in make_rows(num_instances=2)
  ]
  add_cell(tmp_path, rows)
  index = Index(tmp_path)
  (cell,) = index.describe()['cells']
  listed = index.rows(Query(cell=cell['cell']))
  shown = index.instance(
    cell=cell['cell'], task='task000_test', row_id='task000_test-1'
  )
  text = json.dumps([listed, shown])
  assert len(text) < 100_000
  assert '\\u001b' not in text
  assert '\\u0000' not in text
  assert '\\u202e' not in text
  huge = index.instance(
    cell=cell['cell'], task='task000_test', row_id='task000_test-0'
  )
  assert huge['cells'][0]['prediction'].endswith(
    'a… [2,950,000 more characters]'
  )


def test_an_instance_has_its_raw_predictions(tmp_path):
  rows = make_rows(num_instances=2)
  rows[0] = dataclasses.replace(rows[0], raw_prediction='<extra_id_0> yes')
  add_cell(tmp_path, rows)
  index = Index(tmp_path)
  (cell,) = index.describe()['cells']
  shown = [
    index.instance(cell=cell['cell'], task=row.task, row_id=row.id)['cells']
    for row in rows[:2]
  ]
  assert [cells[0]['raw_prediction'] for cells in shown] == [
    '<extra_id_0> yes',
    '',
  ]


def test_a_damaged_file_is_named(tmp_path):
  add_cell(tmp_path, make_rows(num_instances=2))
  index = Index(tmp_path)
  (cell,) = index.describe()['cells']
  path = tmp_path / 'cells' / cell['cell'] / 'predictions.jsonl'
  path.write_text('{"id": \n')
  with pytest.raises(InputError, match='not JSON: Expecting value at column'):
    index.rows(Query(cell=cell['cell']))
  path.unlink()
  with pytest.raises(InputError, match=r'no cell with a predictions\.jsonl'):
    Index(tmp_path)


def test_a_group_holds_the_instances_of_its_score(index):
  cell = cell_of(index, 'Trained on No definition', 'tested on No', 'test')
  metrics = next(c for c in index.study.cells if c.cell == cell).metrics
  for group in ('overall', 'classification', 'generation'):
    found = index.rows(Query(cell=cell, group=group))
    assert found['num_rows'] == 60
    assert found['total'] == metrics[group]['num_instances']
    assert 100 * found['num_right'] / found['total'] == pytest.approx(
      metrics[group]['exact_match']
    )
  assert (found['num_judged'], found['num_in_format']) == (0, 0)
  # Controls are in no headline, and are found by their category.
  cell = cell_of(
    index, 'Trained on No definition', 'tested on No', 'validation'
  )
  assert index.rows(Query(cell=cell))['total'] == 60
  assert index.rows(Query(cell=cell, group='overall'))['total'] == 20
  control = Query(cell=cell, category='Positive Control')
  assert index.rows(control)['total'] == 20
  with pytest.raises(
    InputError, match='group: expected one of overall, classification, '
  ):
    index.rows(Query(cell=cell, group='CLS'))
