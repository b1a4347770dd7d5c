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


def test_order_does_not_depend_on_when_cells_finished(study, tmp_path):
  lines = (study / 'results.jsonl').read_text().splitlines(keepends=True)
  (tmp_path / 'results.jsonl').write_text(''.join(reversed(lines)))
  assert read_study(tmp_path).cells == read_study(study).cells


def test_a_cell_that_comes_twice_counts_once(tmp_path):
  one_cell(one_cell(tmp_path), num_shortened=7)
  cells = read_study(tmp_path).cells
  assert [cell.num_shortened for cell in cells] == [7]


def test_missing_files_are_noted(tmp_path):
  notes = read_study(one_cell(tmp_path)).notes
  assert notes == (
    'run.json is missing: how the study was run is unknown.',
    'study.gin is missing: the configuration is unknown.',
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
  (tmp_path / 'study.gin').write_text('SEED = 0\n')
  assert read_study(tmp_path).notes == (
    'This study is not finished: 3 of 9 cells are done. Run the same command '
    'again to resume it.',
    'second has not been tested with its own instructions on the test split '
    'and the real instructions on the test split.',
  )


def test_trainings_on_own_tasks_lack_no_instructions(tmp_path):
  one_cell(tmp_path)
  # As with TRAIN_TASKS = ('a', 'b') and TEST_TASKS = ('a',).
  for task in ('a', 'b'):
    rows = make_rows(train_condition=task, test_condition='a', num_instances=2)
    add_cell(
      tmp_path, rows, training=f'{task}_seed0', changes={'test_task': 'a'}
    )
  (tmp_path / 'run.json').write_text('{"num_cells": 9}')
  (tmp_path / 'study.gin').write_text('SEED = 0\n')
  assert read_study(tmp_path).notes == (
    'This study is not finished: 3 of 9 cells are done. Run the same command '
    'again to resume it.',
  )


def test_a_truncated_last_line_is_skipped(tmp_path):
  one_cell(tmp_path)
  with open(tmp_path / 'results.jsonl', 'a') as file:
    file.write('{"cell": "half')
  read = read_study(tmp_path)
  assert len(read.cells) == 1
  assert (
    'The last line of results.jsonl is truncated and was skipped. Run the '
    'study again to restore it.' in read.notes
  )


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
  one_cell(tmp_path)
  lines = (tmp_path / 'results.jsonl').read_text()
  (tmp_path / 'results.jsonl').write_text('{"cell": "half\n' + lines)
  with pytest.raises(
    InputError,
    match=r'results\.jsonl:1: not JSON: Unterminated string starting at column '
    r'10; expected one JSON object per line\. Run the study again: it rewrites '
    r'results\.jsonl from its cells\.$',
  ):
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
    ({'cell': '../x'}, "cell: expected the name of a folder, got '../x'."),
    ({'cell': '..'}, "cell: expected the name of a folder, got '..'."),
    (
      {'split': 'dev'},
      "split: expected one of train, validation, test, got 'dev'.",
    ),
    ({'seed': 'x'}, "seed: expected an integer or null, got 'x'."),
    ({'baseline': 'luck'}, 'baseline: expected null or one of random, '),
    (
      {'metrics': None},
      'metrics: expected the contents of a metrics.json, got None.',
    ),
    (
      {'metrics': {}},
      'metrics.by_category: expected an object of groups by name, got None.',
    ),
  ],
)
def test_a_line_with_invalid_fields(tmp_path, fields, message):
  one_cell(tmp_path, **fields)
  with pytest.raises(InputError) as caught:
    read_study(tmp_path)
  assert message in str(caught.value)
  assert 'results.jsonl:1: ' in str(caught.value)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('value', [float('nan'), 101, -1, '50', True])
def test_a_metric_that_is_not_a_percentage(tmp_path, value):
  one_cell(tmp_path)
  line = json.loads((tmp_path / 'results.jsonl').read_text())
  line['metrics']['overall']['rouge_l'] = value
  (tmp_path / 'results.jsonl').write_text(json.dumps(line))
  with pytest.raises(
    InputError,
    match=r'metrics\.overall\.rouge_l: expected null or a percentage',
  ):
    read_study(tmp_path)


def test_run_json_must_be_an_object(tmp_path):
  one_cell(tmp_path)
  (tmp_path / 'run.json').write_text('[]')
  with pytest.raises(
    InputError, match=r'run\.json: expected one JSON object, got list'
  ):
    read_study(tmp_path)


def test_a_curve_skips_invalid_lines(tmp_path):
  one_cell(tmp_path)
  folder = tmp_path / 'trainings' / 'first'
  folder.mkdir(parents=True)
  (folder / 'metrics.jsonl').write_text(
    '{"step": 2, "loss": 1.5}\n{"step": 1, "loss": NaN}\n[]\n'
    '{"step": 3}\n{"step": 1, "loss": 2}\n{"step": 4, "lo'
  )
  assert read_study(tmp_path).curves == {'first': ((1, 2.0), (2, 1.5))}
