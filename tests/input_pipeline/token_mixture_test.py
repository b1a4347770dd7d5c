"""Tests of it_study.input_pipeline.token_mixture."""

import collections
import fractions
import resource

import grain
import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from it_study.errors import InputError
from it_study.input_pipeline import token_mixture
from it_study.input_pipeline.token_cache import write_token_cache
from it_study.input_pipeline.token_mixture import TokenMixture, take_turns


@pytest.fixture(name='write', scope='module')
def _write(tmp_path_factory):
  """Makes a cache; its first input tokens are `mark`, `mark` + 1 and so on."""

  def write(size, mark):
    return write_token_cache(
      tmp_path_factory.mktemp('part') / 'cache',
      [
        {'inputs': [mark + i, *[7] * (i % 3), 1], 'targets': [mark + i, 1]}
        for i in range(size)
      ],
    )

  return write


@pytest.fixture(name='parts', scope='module')
def _parts(write):
  return {'a': write(2, 100), 'b': write(5, 200), 'c': write(3, 300)}


def mix(parts, **rates):
  return TokenMixture(
    {name: parts[name] for name in rates},
    rates={name: fractions.Fraction(rate) for name, rate in rates.items()},
  )


def stream(mixture, *, epochs, seed=0):
  """The first input token of every example of the first epochs."""
  return [
    int(row['inputs'][0])
    for epoch in range(epochs)
    for row in mixture.read(mixture.epoch_order(seed=seed, epoch=epoch))
  ]


def test_examples_are_numbered_through_all_parts(parts):
  mixture = mix(parts, a=1, b=1)
  assert len(mixture) == 7
  read = mixture.read([6, 0, 2, 0])
  assert [row['inputs'][0] for row in read] == [204, 100, 200, 100]
  assert [row['targets'].tolist() for row in read[:2]] == [[204, 1], [100, 1]]
  assert mixture.sequence_lengths('inputs').tolist() == [2, 3, 2, 3, 4, 2, 3]


def test_rates_in_proportion_to_sizes_give_every_example_once(parts):
  mixture = mix(parts, a='0.2', b='0.5', c='0.3')
  marks = stream(mixture, epochs=3)
  assert len(mixture) == 10
  everything = [100, 101, *range(200, 205), *range(300, 303)]
  orders = [marks[start : start + 10] for start in (0, 10, 20)]
  assert [sorted(order) for order in orders] == [everything] * 3
  assert len({tuple(order) for order in orders}) == 3


def test_every_part_repeats_in_new_orders(parts):
  marks = stream(mix(parts, a=1, b=1, c=1), epochs=30)
  for first, size in ((100, 2), (200, 5), (300, 3)):
    own = [mark for mark in marks if first <= mark < first + 100]
    assert len(own) == 100
    rounds = [tuple(own[i : i + size]) for i in range(0, 100 - size, size)]
    for order in rounds:
      assert sorted(order) == list(range(first, first + size))
    assert len(set(rounds)) > 1


def test_rates_hold_in_every_window(parts):
  marks = stream(mix(parts, a=1, b=3, c=2), epochs=12)
  for first, share in ((100, 1 / 6), (200, 1 / 2), (300, 1 / 3)):
    taken = np.cumsum([0] + [first <= mark < first + 100 for mark in marks])
    lag = taken - share * np.arange(len(taken))
    assert np.abs(lag).max() < 1
  # After every six turns each part has exactly its share.
  assert (np.array(marks[:120]).reshape(-1, 6) < 200).sum(axis=1).tolist() == [
    1
  ] * 20


@hypothesis.given(
  weights=strategies.lists(strategies.integers(1, 30), min_size=1, max_size=7),
  cuts=strategies.lists(strategies.integers(1, 40), min_size=1, max_size=4),
  seed=strategies.integers(0, 99),
)
def test_turns_keep_to_any_shares_over_several_calls(weights, cuts, seed):
  total, first = sum(weights), 0
  taken, turns = [0] * len(weights), []
  for count in cuts:
    words = np.random.default_rng(seed).integers(0, 9, count + len(weights))
    now = take_turns(
      weights, taken=taken, first=first, count=count, words=words.tolist()
    ).tolist()
    turns += now
    first += count
    taken = [turns.count(part) for part in range(len(weights))]
  counts = [0] * len(weights)
  for number, part in enumerate(turns, start=1):
    counts[part] += 1
    for count, weight in zip(counts, weights, strict=True):
      assert abs(count * total - weight * number) < total


def test_grain_s_mix_drifts_where_this_mixture_does_not():
  """The reason for not using `grain.MapDataset.mix`; see `TokenMixture`."""
  rates = np.array([7, 11, 13])
  number = 3000
  parts = [grain.MapDataset.source([part]).repeat() for part in range(3)]
  theirs = np.array(list(grain.MapDataset.mix(parts, rates.tolist())[:number]))
  words = np.random.default_rng(0).integers(0, 9, number + 3).tolist()
  ours = take_turns(
    rates.tolist(), taken=[0] * 3, first=0, count=number, words=words
  )
  expected = np.arange(1, number + 1)[:, None] * rates / rates.sum()

  def worst(turns):
    taken = np.cumsum(turns[:, None] == np.arange(3), axis=0)
    return np.abs(taken - expected).max()

  assert worst(ours) < 1
  assert worst(theirs) > 3


def test_the_example_of_the_docstring():
  ways = {
    tuple(
      take_turns(
        [1, 2], taken=[0, 0], first=0, count=6, words=list(words)
      ).tolist()
    )
    for words in np.random.default_rng(0).integers(0, 9, (200, 8))
  }
  assert {(1, 0, 1, 1, 1, 0), (1, 1, 0, 1, 0, 1)} <= ways
  assert len(ways) == 4


@pytest.mark.parametrize('rates', [(1, 1, 1), (2, 5, 3), ('0.1', '0.7', '1')])
def test_an_epoch_does_not_depend_on_earlier_calls(parts, rates):
  def orders(epochs):
    mixture = mix(parts, **dict(zip('abc', rates, strict=True)))
    return {
      epoch: mixture.epoch_order(seed=4, epoch=epoch).tolist()
      for epoch in epochs
    }

  in_order, jumping = orders(range(8)), orders((7, 2, 5, 0))
  assert jumping == {epoch: in_order[epoch] for epoch in (7, 2, 5, 0)}


def test_another_seed_gives_another_order(parts):
  mixture = mix(parts, a=1, b=1, c=1)
  assert stream(mixture, epochs=2, seed=0) != stream(mixture, epochs=2, seed=1)
  assert stream(mixture, epochs=2, seed=0) == stream(mixture, epochs=2, seed=0)


def test_the_order_is_the_same_with_every_version_of_numpy(write):
  mixture = mix({'a': write(2, 100), 'b': write(4, 200)}, a=1, b=1)
  assert mixture.epoch_order(seed=0, epoch=0).tolist() == [5, 0, 3, 1, 0, 4]
  assert mixture.epoch_order(seed=0, epoch=1).tolist() == [2, 1, 5, 0, 1, 2]


def test_parts_of_the_same_size_are_shuffled_independently(write):
  parts = {name: write(40, 100) for name in 'ab'}
  order = mix(parts, a=1, b=1).epoch_order(seed=0, epoch=0)
  own = [order[order < 40], order[order >= 40] - 40]
  assert sorted(own[0]) == sorted(own[1])
  assert own[0].tolist() != own[1].tolist()


def test_metadata_names_parts_and_shares(parts):
  mixture = mix(parts, a='0.3', b='0.1')
  assert mixture.metadata() == {
    'parts': {
      'a': {'cache': parts['a'].fingerprint, 'rate': '3/4'},
      'b': {'cache': parts['b'].fingerprint, 'rate': '1/4'},
    },
    'num_examples': 7,
  }
  assert mix(parts, a=6, b=2).metadata() == mixture.metadata()


def test_rates_without_a_common_denominator_are_rounded(write):
  names = 'abcdefgh'
  parts = {name: write(1, 100) for name in names}
  rates = {
    name: fractions.Fraction(prime**0.5).limit_denominator(10**9)
    for name, prime in zip(names, (2, 3, 5, 7, 11, 13, 17, 19), strict=True)
  }
  marks = TokenMixture(parts, rates=rates).epoch_order(seed=0, epoch=999)
  assert len(marks) == 8
  assert collections.Counter(marks.tolist()).keys() <= set(range(8))


def test_an_empty_part_is_named(parts, write):
  with pytest.raises(
    InputError, match=r'mixture part none has no training examples \(token'
  ):
    mix(parts | {'none': write(0, 0)}, a=1, none=1)


def test_a_file_can_be_held_open_for_every_part(monkeypatch):
  asked = []
  monkeypatch.setattr(resource, 'getrlimit', lambda kind: (1024, 4096))
  monkeypatch.setattr(resource, 'setrlimit', lambda kind, to: asked.append(to))
  for count in (700, 800, 9000):
    token_mixture._allow_open_files(count)
  assert asked == [(1056, 4096), (4096, 4096)]
