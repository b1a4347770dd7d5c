"""Tests for it_study.errors."""

import functools

from hypothesis import given, strategies as st
import pytest

from it_study.errors import (
  InputError,
  function_name,
  nearest,
  nearest_path,
  shown,
  visible,
)


@pytest.mark.parametrize(
  ('name', 'hint'),
  [
    ('orignal', " Did you mean 'original'?"),
    ('it', ' Did you mean "it\'s"?'),
    ('xyz', ''),
    ('', ''),
    (None, ''),
  ],
)
def test_nearest(name, hint):
  assert nearest(name, iter(['original', 'empty', "it's"])) == hint


def test_nearest_is_one_line_that_can_be_printed():
  hint = nearest('line', ['line\n', 'x'])
  assert hint == " Did you mean 'line\\n'?"
  assert nearest('abc', ['abc\ud800']) == " Did you mean 'abc\\ud800'?"


def test_shown_is_short():
  assert shown('word') == "'word'"
  assert len(shown('word ' * 100)) == 60
  assert shown([1] * 9) == '[1, 1, 1, 1, 1, 1, ...]'
  deep: list = []
  for _ in range(10_000):
    deep = [deep]
  assert len(shown(deep)) < 60


def test_a_partial_function_is_named_like_its_function():
  assert function_name(nearest) == 'it_study.errors.nearest'
  partial = functools.partial(functools.partial(nearest, 'a'), allowed=[])
  assert function_name(partial) == 'it_study.errors.nearest'


def test_input_errors_are_value_errors():
  assert issubclass(InputError, ValueError)


def test_nearest_path(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'cells' / 'one').mkdir(parents=True)
  (tmp_path / 'cells' / 'one' / 'predictions.jsonl').touch()
  for path, hint in (
    ('cells/one/prediction.jsonl', 'cells/one/predictions.jsonl'),
    # What comes after the part that is misspelt is kept, if it is there.
    ('cels/one/predictions.jsonl', 'cells/one/predictions.jsonl'),
    ('cels/two/predictions.jsonl', 'cells'),
    (tmp_path / 'cell', str(tmp_path / 'cells')),
  ):
    assert nearest_path(path) == f' Did you mean {hint!r}?'
  for path in ('cells/one', 'quite/different', 'gs://cells/one', 'a\0b', ''):
    assert nearest_path(path) == ''


def test_hiding_and_reordering_characters_become_visible():
  text = 'a\x00\x1b[31m\x7f\x85\u202e\u2066\ud800b'
  assert visible(text) == 'a␀␛[31m␡����b'


def test_ordinary_text_is_left_alone():
  ordinary = 'línea — 中文 العربية 👩\u200d👧\tа́\ny\xa0z'
  assert visible(ordinary) == ordinary


@given(st.text())
def test_every_character_becomes_one(text):
  seen = visible(text)
  assert len(seen) == len(text)
  assert all(
    c.isprintable() or c in '\n\t\u200c\u200d' or c.isspace() for c in seen
  )
  assert not set(seen) & set('\x1b\r\b')
