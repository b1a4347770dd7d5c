"""Tests of it_study.report.results."""

import json

import pytest
from report_fixture import DEFINITIONS, add_cell, make_rows

from it_study.errors import InputError
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.scores import Group

CELL = 'one__natinst_def_original_ex_original2__test'


def rows(**fields):
  return make_rows(
    train_condition=DEFINITIONS[0],
    test_condition=DEFINITIONS[0],
    **({'num_instances': 3} | fields),
  )


def test_groups_are_those_of_the_metrics(tmp_path):
  add_cell(tmp_path, rows(), training='one')
  add_cell(tmp_path, rows(split='validation'), training='one')
  results = score_study(read_study(tmp_path))
  assert results.groups('category', 'test') == [
    Group('category', name)
    for name in (
      'Coreference Resolution',
      'Data to Text',
      'Textual Entailment',
      'Title Generation',
      'Word Analogy',
    )
  ]
  assert [g.name for g in results.groups('control', 'validation')] == [
    'Positive Control',
    'Negative Control',
  ]
  # Four control tasks are left out.
  assert [g.name for g in results.groups('task', 'validation')] == [
    'task000_validation',
    'task001_validation',
  ]


def test_samples_are_the_same_instances_in_every_arm(tmp_path):
  add_cell(tmp_path, rows(), training='one')
  add_cell(tmp_path, make_rows(num_instances=3))
  samples = score_study(read_study(tmp_path)).samples
  assert len(samples) == 6
  assert {tuple(by_arm) for by_arm in samples.values()} == {(0, 1)}


def test_missing_predictions_cost_only_the_intervals(tmp_path):
  add_cell(tmp_path, rows(accuracy=1), training='one')
  (tmp_path / 'cells' / CELL / 'predictions.jsonl').unlink()
  heard = []
  results = score_study(read_study(tmp_path), on_note=heard.append)
  note = f'cells/{CELL}/predictions.jsonl is missing: its cell has no '
  assert any(text.startswith(note) for text in heard)
  assert heard == list(results.notes)
  overall = Group('headline', 'overall')
  assert results.arms[0].value('exact_match', overall) == 100
  assert results.arms[0].interval('exact_match', overall) is None


def test_metrics_that_disagree_with_predictions_are_noted(tmp_path):
  add_cell(tmp_path, rows(accuracy=1), training='one')
  path = tmp_path / 'results.jsonl'
  line = json.loads(path.read_text())
  line['metrics']['classification']['exact_match'] = 99.0
  path.write_text(json.dumps(line))
  notes = score_study(read_study(tmp_path)).notes
  assert any('metrics.json and predictions.jsonl do not' in n for n in notes)


def test_an_instance_predicted_twice_is_an_error(tmp_path):
  add_cell(tmp_path, rows(), training='one')
  path = tmp_path / 'cells' / CELL / 'predictions.jsonl'
  lines = path.read_text()
  path.write_text(lines + lines.splitlines(keepends=True)[0])
  with pytest.raises(InputError, match=r'1 instance predicted twice\. Delete'):
    score_study(read_study(tmp_path))
