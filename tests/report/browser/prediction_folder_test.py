"""Tests of browsing the folder of one prediction."""

import pytest
from report_fixture import make_rows

from it_study.errors import InputError
from it_study.predictions import write_predictions
from it_study.report.browser import prediction_folder
from it_study.report.browser.index import Index
from it_study.report.browser.query import Query


def write(folder, **settings):
  defaults = {'split': 'dev', 'tasks': (('NLI', ('yes', 'no')), (None, None))}
  rows = make_rows(accuracy=1.0, **{**defaults, **settings})
  folder.mkdir(exist_ok=True)
  write_predictions(folder / 'predictions.jsonl', rows)


def test_a_prediction_is_one_cell(tmp_path):
  write(tmp_path / 'out', train_condition='mix', test_condition='rte')
  index = Index(tmp_path / 'out')
  described = index.describe()
  assert described['name'] == 'out'
  assert (described['notes'], described['has_report']) == ([], False)
  (cell,) = described['cells']
  assert cell == {
    'cell': 'prediction',
    'label': 'Trained on mix → tested on rte, dev, seed 0',
    'split': 'dev',
    'num_seeds': 1,
    'exact_match': 100.0,
    'num_instances': 40,
  }
  rows = index.rows(Query(cell='prediction', group='classification'))
  assert (rows['total'], rows['num_rows'], rows['num_right']) == (20, 40, 20)
  row = rows['rows'][0]
  answers = index.instance(
    cell='prediction', task=row['task'], row_id=row['id']
  )
  assert [answer['right'] for answer in answers['cells']] == [True]


@pytest.mark.parametrize(
  ('settings', 'label'),
  [
    (
      {'test_condition': 'natinst_def_empty_ex_empty0', 'split': 'test'},
      'Untuned → tested on No definition, no examples, test, seed 0',
    ),
    (
      {'engine': 'baseline:majority'},
      'Baseline majority, dev, seed 0',
    ),
  ],
)
def test_labels_of_predictions(tmp_path, settings, label):
  write(tmp_path, **settings)
  (cell,) = Index(tmp_path).describe()['cells']
  assert cell['label'] == label


def test_lost_predictions_of_no_study(tmp_path):
  write(tmp_path)
  folder = prediction_folder.read_prediction(tmp_path)
  (tmp_path / 'predictions.jsonl').unlink()
  with pytest.raises(InputError) as raised:
    folder.check_cell(folder.cells[0])
  assert str(raised.value) == (
    f'{tmp_path}/predictions.jsonl is not a file. Restore it, or predict again.'
  )


def test_an_empty_file_of_predictions(tmp_path):
  (tmp_path / 'predictions.jsonl').touch()
  with pytest.raises(InputError) as raised:
    Index(tmp_path)
  assert str(raised.value) == (
    f'{tmp_path}/predictions.jsonl: no rows; expected one JSON object per line '
    'for each instance.'
  )
