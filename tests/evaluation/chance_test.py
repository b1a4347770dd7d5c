"""Tests of what a uniform guess has right, and of skill beyond it."""

import pytest

from it_study.evaluation import chance


@pytest.mark.parametrize(
  ('labels', 'targets', 'expected'),
  [
    (('He', 'he', 'she'), ('he',), 0.5),
    (('a1', 'b', 'c', 'd'), ('b', 'C.'), 0.5),
    (('a', 'b'), ('c',), 0.0),
    (None, ('b',), None),
    ((), ('b',), None),
  ],
)
def test_uniform_chance(labels, targets, expected):
  assert chance.uniform_chance(labels, targets) == expected


def test_skill():
  assert chance.skill(0.75, 0.5) == 0.5
  assert chance.skill(0.25, 0.5) == -0.5
  assert chance.skill(1.0, 0.2) == 1.0
  assert chance.skill(1.0, 1.0) is None
