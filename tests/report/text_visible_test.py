"""Tests of it_study.report.text.visible on arbitrary text."""

from hypothesis import given, strategies as st

from it_study.report.text import visible


def test_hiding_and_reordering_characters_become_visible():
  assert visible('a\x00\x1b[31m\x7f\x85\u202e\ud800b') == 'a␀␛[31m␡���b'
  assert visible('日本\tа́\n\u00a0👩\u200d🚀') == '日本\tа́\n\u00a0👩\u200d🚀'


@given(st.text())
def test_every_character_becomes_one(text):
  shown = visible(text)
  assert len(shown) == len(text)
  assert all(
    c.isprintable() or c in '\n\t\u200c\u200d' or c.isspace() for c in shown
  )
  assert not set(shown) & set('\x1b\r\b')
