"""Tests of the traps of the scoring rules."""

import dataclasses

from it_study.evaluation.traps import find_traps
from it_study.predictions import Prediction

ROW = Prediction(
  id='a',
  task='t1',
  category='C',
  kind='classification',
  label_space=('Yes.', 'No.'),
  position=0,
  split='test',
  inputs='',
  targets=('Yes.',),
  prediction='yes',
  engine='native',
)


def test_ordinary_rows_have_none():
  traps = find_traps([ROW])
  assert traps.num_instances == 1
  assert traps.notes() == []


def test_each_trap_is_noted():
  rows = [
    dataclasses.replace(ROW, task='t2', label_space=('He', 'he', 'she', 'She')),
    dataclasses.replace(ROW, id='b', targets=('+', '-')),
    dataclasses.replace(ROW, id='c', targets=('猫',), label_space=None),
    dataclasses.replace(ROW, id='d', targets=('猫', 'cat'), label_space=None),
  ]
  traps = find_traps(rows)
  assert traps.merged_labels == {'t2': (('He', 'he'), ('she', 'She'))}
  assert (traps.nothing_left, traps.no_words) == (1, 2)
  assert traps.notes() == [
    "1 task has labels that exact match cannot tell apart ('He' and 'he' of "
    't2): they count as one.',
    '1 row has a reference that exact match normalises to nothing (b of t1): '
    'an empty answer or bare punctuation counts as right.',
    '2 rows have no reference with an ASCII letter or digit (b of t1): ROUGE '
    'is 0 for any answer.',
  ]


def test_numbers_and_places_are_those_of_the_rows():
  rows = [
    dataclasses.replace(ROW, task='t3', label_space=('A', 'a', 'B')),
    dataclasses.replace(
      ROW, task='t2', label_space=('x', 'X', 'X!', 'x?', ' x')
    ),
    dataclasses.replace(ROW, task=None, label_space=('y', 'Y')),
    dataclasses.replace(ROW, id=None, task=None, targets=('?', 'a')),
    dataclasses.replace(ROW, id='e', targets=('!',)),
  ]
  traps = find_traps(rows)
  assert traps.num_instances == 5
  assert list(traps.merged_labels) == ['t2', 't3']
  assert traps.first_nothing_left == (None, None)
  assert traps.first_no_words == ('t1', 'e')
  assert traps.notes() == [
    "2 tasks have labels that exact match cannot tell apart ('x' and 'X' and "
    "'X!' and 'x?' of t2): they count as one.",
    '2 rows have a reference that exact match normalises to nothing (a row '
    'without id of an unknown task): an empty answer or bare punctuation '
    'counts as right.',
    '1 row has no reference with an ASCII letter or digit (e of t1): ROUGE is '
    '0 for any answer.',
  ]
