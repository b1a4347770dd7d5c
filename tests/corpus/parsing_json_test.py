"""Tests of it_study.corpus.parsing: the JSON of a task file."""

import pickle

import pytest

from it_study.corpus import parsing
from it_study.corpus.parsing import TaskFileError


def _message(text: str) -> str:
  with pytest.raises(TaskFileError) as error:
    parsing.load_json(text, path='a.json')
  return str(error.value)


def test_an_object_is_read():
  assert parsing.load_json('{"a": [1, NaN]}', path='a.json')['a'][0] == 1


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (
      '{"Definition": ',
      'not JSON, truncated: Expecting value at line 1, column 16. Fetch the '
      'file again or fix it.',
    ),
    (
      '{"Definition": ["Say wh',
      'not JSON, truncated: Unterminated string starting at line 1, column '
      '17. Fetch the file again or fix it.',
    ),
    (
      '{"Definition": "a\nb"}',
      'not JSON: Invalid control character at line 1, column 18. Fetch the '
      'file again or fix it.',
    ),
    ('[1]', "file: expected one JSON object, got 'list'."),
    ('{"a": ' + '[' * 100_000, 'not a task: JSON nested too deeply.'),
    (
      '{"Definition": "a", "Definition": "b"}',
      "field 'Definition' appears 2 times in one object. Keep one.",
    ),
  ],
)
def test_broken_json_is_refused(text, message):
  assert _message(text) == f'a.json: {message}'


@pytest.mark.parametrize(
  ('text', 'code', 'where'),
  [
    ('{"Definition": "a', 'truncated-json', ''),
    ('{"Definition": a}', 'not-json', ''),
    ('{"a": 1, "a": 2}', 'repeated-field', "'a'"),
    ('[1]', 'bad-field', 'file'),
  ],
)
def test_a_fault_has_its_kind_and_place(text, code, where):
  with pytest.raises(TaskFileError) as error:
    parsing.load_json(text, path='a.json')
  assert (error.value.code, error.value.where) == (code, where)
  copy = pickle.loads(pickle.dumps(error.value))
  assert (str(copy), copy.code) == (str(error.value), code)


def test_a_number_of_too_many_digits_is_refused():
  assert _message('1' * 5000).startswith(
    'a.json: not a task: Exceeds the limit'
  )
