"""Tests for it_study.corpus.normalization."""

from hypothesis import given, strategies as st
import pytest

from it_study.corpus.normalization import merge_labels, normalize_answer


@pytest.mark.parametrize(
  ('text', 'normalized'),
  [
    ('', ''),
    (' Yes,  it IS. ', 'yes it is'),
    ('the answer', 'the answer'),
    ('well-known', 'wellknown'),
    ('a - b', 'a b'),
    ('...', ''),
    ('tab\tand\nline\u00a0end', 'tab and line end'),
    ('«Ça va»', '«ça va»'),
    ('$5.00', '500'),
  ],
)
def test_normalize_answer(text, normalized):
  assert normalize_answer(text) == normalized


@given(st.text())
def test_normalize_answer_is_stable(text):
  once = normalize_answer(text)
  assert normalize_answer(once) == once


def test_merge_labels_keeps_the_first():
  assert merge_labels(('He', 'he', 'she', 'She.')) == ('He', 'she')
  assert merge_labels(()) == ()
  assert merge_labels(('.', '')) == ('.',)
