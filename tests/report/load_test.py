"""Tests of it_study.report.load."""

import json

import pytest
from report_fixture import DEFINITIONS, add_cell, make_rows, make_study

from it_study.errors import InputError
from it_study.report.load import read_study


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  directory = tmp_path_factory.mktemp('load') / 'study'
  return make_study(directory, num_instances=4)


def one_cell(directory, **changes):
  rows = make_rows(
    train_condition=DEFINITIONS[0],
    test_condition=DEFINITIONS[0],
    num_instances=2,
  )
  add_cell(directory, rows, training='first', changes=changes)
  return directory


def test_all_of_a_study_is_read(study):
  read = read_study(study)
  # Six trainings, matched and with real instructions where that differs, on
  # two splits; the untuned model and three baselines.
  assert len(read.cells) == 6 * 2 * 2 - 2 * 2 + 2 * 4
  assert read.run['corpus'] == 'mini'
  assert read.config == 'SEED = 0\n'
  assert len(read.curves) == 6
  assert read.curves[f'{DEFINITIONS[0]}_seed0'][:2] == (
    (1, 4.0),
    (2, 4.0 / 2**0.5),
  )
  assert read.notes == ()


def test_order_does_not_depend_on_what_finished_first(study, tmp_path):
  lines = (study / 'results.jsonl').read_text().splitlines(keepends=True)
  (tmp_path / 'results.jsonl').write_text(''.join(reversed(lines)))
  assert read_study(tmp_path).cells == read_study(study).cells


def test_a_cell_that_comes_twice_counts_once(tmp_path):
  one_cell(one_cell(tmp_path), num_shortened=7)
  cells = read_study(tmp_path).cells
  assert [cell.num_shortened for cell in cells] == [7]


def test_missing_files_are_told(tmp_path):
  notes = read_study(one_cell(tmp_path)).notes
  assert notes == (
    'run.json is not there: how the study was run is not known.',
    'study.gin is not there: the configuration is not known.',
  )


def test_an_unfinished_study_says_what_is_missing(tmp_path):
  one_cell(tmp_path)
  for name in ('first', 'second'):
    rows = make_rows(
      split='validation',
      train_condition=DEFINITIONS[0],
      test_condition=DEFINITIONS[0],
      num_instances=2,
    )
    add_cell(tmp_path, rows, training=name)
  (tmp_path / 'run.json').write_text('{"num_cells": 9}')
  (tmp_path / 'study.gin').write_text('')
  assert read_study(tmp_path).notes == (
    'This study is not finished: 3 of 9 cells are there. Run the same command '
    'again to do the rest.',
    'second lacks tests: matched on test, real instructions on test.',
  )


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
  one_cell(tmp_path)
  with open(tmp_path / 'results.jsonl', 'a') as file:
    file.write('{"cell": "half')
  read = read_study(tmp_path)
  assert len(read.cells) == 1
  assert 'The last line of results.jsonl is cut off and left out.' in read.notes


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
  one_cell(tmp_path)
  lines = (tmp_path / 'results.jsonl').read_text()
  (tmp_path / 'results.jsonl').write_text('{"cell": "half\n' + lines)
  with pytest.raises(InputError, match=r'results\.jsonl:1: not JSON; one JSON'):
    read_study(tmp_path)


def test_no_folder(tmp_path):
  with pytest.raises(InputError, match='nowhere: no such study folder'):
    read_study(tmp_path / 'nowhere')


@pytest.mark.parametrize('content', [None, '', '\n\n'])
def test_nothing_finished(tmp_path, content):
  if content is not None:
    (tmp_path / 'results.jsonl').write_text(content)
  with pytest.raises(InputError, match=r'no finished cell: results\.jsonl is'):
    read_study(tmp_path)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'cell': '../x'}, "cell: found '../x', allowed is a folder's name"),
    ({'cell': '..'}, 'allowed is a folder'),
    ({'split': 'dev'}, "split: found 'dev', allowed are train, validation"),
    ({'seed': 'x'}, "seed: found 'x', allowed is an integer or null"),
    ({'baseline': 'luck'}, "baseline: found 'luck', allowed are random"),
    ({'metrics': None}, 'metrics: found None, allowed is the object of'),
    ({'metrics': {}}, 'metrics.by_category: found None, allowed is an object'),
  ],
)
def test_a_line_outside_the_contract(tmp_path, fields, message):
  one_cell(tmp_path, **fields)
  with pytest.raises(InputError) as caught:
    read_study(tmp_path)
  assert message in str(caught.value)
  assert 'results.jsonl:1: ' in str(caught.value)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('value', [float('nan'), 101, -1, '50', True])
def test_a_metric_that_is_no_percentage(tmp_path, value):
  one_cell(tmp_path)
  line = json.loads((tmp_path / 'results.jsonl').read_text())
  line['metrics']['overall']['rouge_l'] = value
  (tmp_path / 'results.jsonl').write_text(json.dumps(line))
  with pytest.raises(InputError, match=r'metrics\.overall\.rouge_l: found'):
    read_study(tmp_path)


def test_run_json_must_be_an_object(tmp_path):
  one_cell(tmp_path)
  (tmp_path / 'run.json').write_text('[]')
  with pytest.raises(InputError, match=r'run\.json: found list, allowed is'):
    read_study(tmp_path)


def test_a_curve_leaves_out_what_is_no_number(tmp_path):
  one_cell(tmp_path)
  folder = tmp_path / 'trainings' / 'first'
  folder.mkdir(parents=True)
  (folder / 'metrics.jsonl').write_text(
    '{"step": 2, "loss": 1.5}\n{"step": 1, "loss": NaN}\n[]\n'
    '{"step": 3}\n{"step": 1, "loss": 2}\n{"step": 4, "lo'
  )
  assert read_study(tmp_path).curves == {'first': ((1, 2.0), (2, 1.5))}
