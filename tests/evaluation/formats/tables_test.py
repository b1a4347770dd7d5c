"""Tests for it_study.evaluation.formats.tables."""

import pytest

from it_study.errors import InputError
from it_study.evaluation.formats import tables


def _message(path, content) -> str:
  path.write_text(content)
  with pytest.raises(InputError) as error:
    list(tables.read_table(path))
  return str(error.value).replace(str(path), 'PATH')


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('', 'PATH: empty; expected text.'),
    ('id,prediction\n', 'PATH: no rows below the header.'),
    (
      'id,prediction\na,b\nc,d,e\n',
      "PATH:3: 3 cells, but the header has 2 columns: 'id', 'prediction'. Put "
      'texts that hold a comma, a quotation mark or a line break in double '
      'quotation marks.',
    ),
    (
      'id,prediction\na\n',
      "PATH:2: 1 cell, but the header has 2 columns: 'id', 'prediction'. Put "
      'texts that hold a comma, a quotation mark or a line break in double '
      'quotation marks.',
    ),
    ('id,id\na,b\n', "PATH:1: column 'id' is repeated."),
    ('id,p\na,"b\n', 'PATH:2: not CSV: unexpected end of data.'),
    ('id,p\na,"b"c\n', "PATH:2: not CSV: ',' expected after '\"'."),
    (
      'id,references\na,yes\n',
      'PATH:2: references: not JSON: Expecting value at column 1; expected a '
      'JSON list, such as ["yes", "Yes."].',
    ),
  ],
)
def test_malformed_csv_is_refused(tmp_path, content, message):
  assert _message(tmp_path / 'p.csv', content) == message


def test_malformed_json_lines_are_refused(tmp_path):
  assert _message(tmp_path / 'p.jsonl', '{"id": "a"}\n{"id": \n') == (
    'PATH:2: not JSON: Expecting value at column 8; expected one JSON object '
    'per line.'
  )
