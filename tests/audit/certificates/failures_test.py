"""Tests of failure codes and of texts around a difference."""

from it_study.audit.certificates.failures import (
  CODES,
  differ,
  differ_in_list,
  first_difference,
)


def test_the_first_difference():
  assert first_difference('a red hat', 'a rod hat') == 3
  assert first_difference('a', 'ab') == 1
  assert first_difference('', '') == 0


def test_two_texts_are_shown_around_their_first_difference():
  failure = differ('row-input', 'x' * 60 + 'a' + 'y' * 60, 'x' * 60 + 'b')
  assert failure.at == 60
  assert failure.expected == '…' + 'x' * 40 + 'a' + 'y' * 39 + '…'
  assert failure.found == '…' + 'x' * 40 + 'b'


def test_lists_are_shown_at_the_first_text_that_differs():
  failure = differ_in_list('references', ['yes', 'no'], ['yes', 'nn'])
  assert (failure.expected, failure.found, failure.at) == ('no', 'nn', 1)


def test_lists_of_different_lengths_are_counted():
  failure = differ_in_list('references', ['yes', 'no'], ['yes'])
  assert failure.expected == "2 texts, ['yes', 'no']"
  assert failure.found == "1 texts, ['yes']"
  assert failure.at is None


def test_every_code_has_a_meaning():
  assert len(CODES) >= 50
  assert all(
    meaning and not meaning.endswith('.') for meaning in CODES.values()
  )
