"""Tests for it_study.evaluation.formats.rows: files of other systems."""

import json

import pytest

from it_study.errors import InputError
from it_study.evaluation import formats


def _write(path, *objects):
  path.write_text(''.join(json.dumps(line) + '\n' for line in objects))
  return path


def test_the_leaderboard_s_rows(tmp_path):
  path = _write(
    tmp_path / 'p.jsonl',
    {'id': 'a', 'prediction': 'x'},
    {
      'id': 'b',
      'prediction': '',
      'references': ['y', 'z'],
      'task_id': 'task121_atomic_question_rewriting',
      'task_category': 'Question Rewriting',
      'taskid': 't',
    },
  )
  file = formats.read_rows(path)
  assert file.format == 'leaderboard'
  first, second = file.rows
  assert (first.id, first.prediction, first.task) == ('a', 'x', None)
  assert (first.category, first.targets) == (None, ())
  assert (second.id, second.prediction) == ('b', '')
  assert second.task == 'task121_zest_question_rewriting'
  assert second.category == 'Question Rewriting'
  assert second.targets == ('y', 'z')
  assert file.queries == (None, None)
  assert file.notes == (
    "'taskid' is not read; 1 row has it. Did you mean 'task_id'?",
  )


def test_the_same_rows_as_csv(tmp_path):
  path = tmp_path / 'p.CSV'
  path.write_bytes(
    b'\xef\xbb\xbfid,prediction,references,task_id\r\n'
    b'a,"one, ""two""\nthree","[""y"", ""z""]",t1\r\n'
    b'\r\n'
    b'b,,"[""no""]",t1\r\n'
  )
  file = formats.read_rows(path)
  assert file.format == 'leaderboard'
  assert [(r.id, r.prediction, r.targets, r.task) for r in file.rows] == [
    ('a', 'one, "two"\nthree', ('y', 'z'), 't1'),
    ('b', '', ('no',), 't1'),
  ]
  assert file.notes == ()


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    (
      {'id': 'a', 'predicton': 'x'},
      "no 'prediction'; got 'id', 'predicton'. A row has id and prediction. "
      "Did you mean 'predicton'?",
    ),
    (
      {'prediction': 'x'},
      "no 'id'; got 'prediction'. A row has id and prediction.",
    ),
    (
      {'id': 'a', 'prediction': None},
      'prediction: expected a text, got None.',
    ),
    ({'id': 7, 'prediction': 'x'}, 'id: expected a text, got 7.'),
    (
      {'id': '', 'prediction': 'x'},
      "id: expected a text that is not empty, got ''.",
    ),
    (
      {'id': 'a', 'prediction': ['x']},
      "prediction: expected a text, got ['x'].",
    ),
    (
      {'id': 'a', 'prediction': 'x', 'references': [1]},
      'references: expected a text, got 1.',
    ),
  ],
)
def test_a_wrong_row_of_the_leaderboard_is_refused(tmp_path, line, message):
  path = _write(tmp_path / 'p.jsonl', {'id': 'z', 'prediction': ''}, line)
  with pytest.raises(InputError) as error:
    formats.read_rows(path)
  assert str(error.value) == f'{path}:2: {message}'


def test_tk_instruct_s_dump_of_gpt3(tmp_path):
  def row(**fields):
    return {
      'Task': 't',
      'Categories': ['C'],
      'Instance': {'id': 'a', 'input': 'x', 'output': ['y']},
      'gpt3_input': 'x',
      'gpt3_target': 'y',
      'gpt3_response': {'choices': [{'text': '\n Yes. It is.'}]},
      **fields,
    }

  path = _write(tmp_path / 'p.jsonl', row(), row(prediction='No. No.'))
  # Tk-Instruct has cut an answer that it has written.
  assert [r.prediction for r in formats.read_rows(path).rows] == [
    'Yes',
    'No. No.',
  ]
  for response in ('Yes', {'choices': []}, {'choices': [{'logprobs': None}]}):
    _write(path, row(gpt3_response=response))
    with pytest.raises(InputError) as error:
      formats.read_rows(path)
    assert str(error.value) == (
      f'{path}:1: gpt3_response: expected {{"choices": [{{"text": ...}}]}}, '
      f'got {response!r}.'
    )
