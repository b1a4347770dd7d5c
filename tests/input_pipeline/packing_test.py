"""Tests of it_study.input_pipeline.packing."""

import collections

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from it_study.input_pipeline.packing import plan_rows


def plan(order, inputs, targets, row_lengths, **settings):
  return plan_rows(
    np.array(order),
    lengths={'inputs': np.array(inputs), 'targets': np.array(targets)},
    row_lengths=dict(zip(('inputs', 'targets'), row_lengths, strict=True)),
    **settings,
  )


def rows_of(planned):
  return [planned.row(index).tolist() for index in range(len(planned))]


def by_the_rule(order, inputs, targets, row_lengths, max_open_rows):
  """First fit, literally as in the docstring."""
  rows, is_open = [], []
  for example in order:
    for row in is_open:
      if (
        sum(inputs[i] for i in row) + inputs[example] <= row_lengths[0]
        and sum(targets[i] for i in row) + targets[example] <= row_lengths[1]
      ):
        row.append(example)
        break
    else:
      if len(is_open) == max_open_rows:
        del is_open[0]
      rows.append([example])
      is_open.append(rows[-1])
  return rows


def test_first_fit_joins_the_earliest_row_with_room():
  planned = plan([0, 1, 2, 3], [4, 3, 2, 3], [1, 1, 1, 1], (6, 9))
  assert rows_of(planned) == [[0, 2], [1, 3]]
  assert planned.examples.tolist() == [0, 2, 1, 3]
  assert planned.row_starts.tolist() == [0, 2, 4]


def test_both_features_need_room():
  planned = plan([0, 1, 2], [1, 1, 1], [2, 2, 1], (9, 3))
  assert rows_of(planned) == [[0, 2], [1]]


def test_an_example_may_come_twice():
  planned = plan([1, 1, 0], [3, 2], [1, 1], (4, 4))
  assert rows_of(planned) == [[1, 1], [0]]


def test_unpacked_rows_have_one_example_each():
  planned = plan([2, 0, 1], [1, 1, 1], [1, 1, 1], (9, 9), pack=False)
  assert rows_of(planned) == [[2], [0], [1]]


def test_one_open_row_keeps_the_order():
  planned = plan(
    [3, 0, 5, 1, 2, 4], range(1, 7), [1] * 6, (7, 7), max_open_rows=1
  )
  assert rows_of(planned) == [[3, 0], [5], [1, 2], [4]]


@hypothesis.given(
  needs=strategies.lists(
    strategies.tuples(strategies.integers(1, 12), strategies.integers(1, 5)),
    min_size=1,
    max_size=120,
  ),
  max_open_rows=strategies.sampled_from([1, 2, 3, 5, 8]),
  seed=strategies.integers(0, 99),
)
def test_the_plan_is_first_fit(needs, max_open_rows, seed):
  inputs, targets = (list(lengths) for lengths in zip(*needs, strict=True))
  order = np.random.default_rng(seed).permutation(len(needs)).tolist()
  planned = plan(order, inputs, targets, (12, 5), max_open_rows=max_open_rows)
  assert rows_of(planned) == by_the_rule(
    order, inputs, targets, (12, 5), max_open_rows
  )


@pytest.mark.parametrize('max_open_rows', [1, 16, 64])
def test_many_rows_always_fit(max_open_rows):
  random = np.random.default_rng(0)
  inputs, targets = random.integers(1, 33, 5000), random.integers(1, 9, 5000)
  order = random.permutation(5000)
  planned = plan(order, inputs, targets, (32, 8), max_open_rows=max_open_rows)
  assert collections.Counter(planned.examples.tolist()) == dict.fromkeys(
    range(5000), 1
  )
  starts = planned.row_starts[:-1]
  for lengths, most in ((inputs, 32), (targets, 8)):
    assert np.add.reduceat(lengths[planned.examples], starts).max() <= most
  # Every row but the first was opened because no earlier one had room.
  firsts = planned.examples[starts]
  assert len(np.unique(firsts)) == len(planned) > 2000
