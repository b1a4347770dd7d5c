"""Token caches mixed by rates, for as long as a training lasts."""

from collections.abc import Mapping, Sequence
import fractions
import heapq
import math
import resource
from typing import Any

import numpy as np

from it_study.errors import InputError
from it_study.input_pipeline.token_cache import (
  TokenCache,
  random_words,
  shuffled,
)

# Shares with no common denominator below are rounded to multiples of one part
# in this: off by one example after 10**12.
_FINEST = 2**40
# Files that a training opens beside the parts.
_OTHER_FILES = 256


class TokenMixture:
  """Token caches mixed by rates, for as long as a training lasts.

  Every part is an endless stream: all its examples in random order, then all of
  them in another order, and so on. The mixture takes its examples from these
  streams in turns that keep to the rates: of its first n examples, a part with
  share r has more than r * n - 1 and less than r * n + 1, whatever n is, so of
  any n in a row r * n to within two. SeqIO draws lots instead, so that of
  10,000 examples a part with share 1/2 has 5,000 +- 50.

  An epoch is as many examples as all parts have together. With rates in
  proportion to sizes every example comes once in it; with other rates the
  examples of a part that is small for its rate come more often than once, those
  of a large one not all.

      parts a (2 examples) and b (4), rates 1 and 1, seed 0, two epochs:
      b3 a0 | b1 a1 | a0 b2        b0 a1 | b3 a0 | a1 b0

  What is example n is a pure function of the seed and n. Examples are numbered
  through all parts: those of a are 0 and 1 here, those of b 2 to 5.
  """

  def __init__(
    self,
    parts: Mapping[str, TokenCache],
    *,
    rates: Mapping[str, fractions.Fraction],
  ):
    """Reads nothing but lengths.

    Args:
      parts: by name; the name is part of the seed of a part's shuffles.
      rates: by the same names, above 0; only their proportions count.

    Raises:
      InputError: a part has no examples.
    """
    for name, cache in parts.items():
      if not len(cache):
        raise InputError(
          f'mixture part {name} has no training examples (token cache'
          f' {cache.path}). Leave it out of the mixture, or check its split.'
        )
    self._names = list(parts)
    self._caches = [parts[name] for name in self._names]
    self._weights = _whole_weights([rates[name] for name in self._names])
    # By seed and epoch, how many each part had given before it.
    self._taken: dict[tuple[int, int], list[int]] = {}
    sizes = [len(cache) for cache in self._caches]
    self._starts = np.concatenate([[0], np.cumsum(sizes)])
    _allow_open_files(len(parts))

  def __len__(self) -> int:
    """The number of examples in an epoch."""
    return int(self._starts[-1])

  def sequence_lengths(self, feature: str) -> np.ndarray:
    """Returns the length of every sequence, int64 [num_examples]."""
    return np.concatenate(
      [cache.sequence_lengths(feature) for cache in self._caches]
    )

  def read(self, examples: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Returns the sequences of some examples by feature, int32 [their lengths].

    Raises:
      DamagedCacheError: what lies there is not what was written.
    """
    examples = np.asarray(examples, np.int64)
    owners = np.searchsorted(self._starts, examples, side='right') - 1
    rows: list[Any] = [None] * len(examples)
    for part in np.unique(owners):
      places = np.flatnonzero(owners == part)
      found = self._caches[part].read(examples[places] - self._starts[part])
      for place, row in zip(places, found, strict=True):
        rows[place] = row
    return rows

  def epoch_order(self, *, seed: int, epoch: int) -> np.ndarray:
    """Returns the examples of one epoch, in order, int64 [num_examples]."""
    taken, turns = self._turns(seed=seed, epoch=epoch)
    by_part = np.argsort(turns, kind='stable')
    ends = np.cumsum(np.bincount(turns, minlength=len(self._names)))
    order = np.empty(len(self), np.int64)
    for part, places in enumerate(np.split(by_part, ends[:-1])):
      order[places] = self._starts[part] + self._stream(
        part, seed=seed, first=taken[part], count=len(places)
      )
    return order

  def metadata(self) -> dict[str, Any]:
    """Returns what tells this mixture from another, for JSON."""
    total = sum(self._weights)
    return {
      'parts': {
        name: {
          'cache': cache.fingerprint,
          'rate': str(fractions.Fraction(weight, total)),
        }
        for name, cache, weight in zip(
          self._names, self._caches, self._weights, strict=True
        )
      },
      'num_examples': len(self),
    }

  def _stream(
    self, part: int, *, seed: int, first: int, count: int
  ) -> np.ndarray:
    """A stretch of a part's endless stream: its own examples, int64 [count]."""
    size, name = len(self._caches[part]), self._names[part]
    rounds = range(first // size, (first + count) // size + 1)
    shuffles = [shuffled(size, seed, number, name) for number in rounds]
    return np.concatenate(shuffles)[first % size :][:count]

  def _turns(self, *, seed: int, epoch: int) -> tuple[list[int], np.ndarray]:
    """How many each part gave before an epoch, and whose turn is when in it."""
    total = sum(self._weights)
    # Epochs after which the turns start anew, all accounts being even.
    period = total // math.gcd(total, len(self))
    known = epoch - epoch % period
    self._taken[seed, known] = [
      known * len(self) * weight // total for weight in self._weights
    ]
    while (seed, epoch) not in self._taken:
      known += 1
      if (seed, known) not in self._taken:
        self._take(seed=seed, epoch=known - 1)
    return self._taken[seed, epoch], self._take(seed=seed, epoch=epoch)

  def _take(self, *, seed: int, epoch: int) -> np.ndarray:
    """Whose turn is when in an epoch; keeps what is taken before the next."""
    taken = list(self._taken[seed, epoch])
    words = random_words(
      len(self) + len(taken), 'mixture turns', seed, epoch
    ).tolist()
    turns = take_turns(
      self._weights,
      taken=taken,
      first=epoch * len(self),
      count=len(self),
      words=words,
    )
    given = np.bincount(turns, minlength=len(taken))
    self._taken[seed, epoch + 1] = [
      before + int(now) for before, now in zip(taken, given, strict=True)
    ]
    return turns


def take_turns(
  weights: Sequence[int],
  *,
  taken: Sequence[int],
  first: int,
  count: int,
  words: Sequence[int],
) -> np.ndarray:
  """Whose turn it is, for `count` turns from turn number `first` on.

  Turn k of a part (from 0) that has the share r may not come before turn
  floor(k / r) of all and must come before turn ceil((k + 1) / r). Whoever must
  come soonest comes next, and every turn comes in time (Baruah, Cohen, Plaxton
  and Varvel 1996, "Proportionate progress: a notion of fairness in resource
  allocation"). Lots decide between parts that must come equally soon:

      weights 1, 2: part 1 has share 2/3, so it may come at turns 0, 1, 3, 4, ..
      and must before 2, 3, 5, 6, ..; part 0 may at 0, 3, .. and must before
      3, 6, ..: turns 1 0 1 1 1 0 or 1 1 0 1 0 1, and two more ways

  Args:
    weights: by part, the share of the turns times the sum of all weights.
    taken: by part, turns before `first`, as an earlier call gave them.
    first: number of the first turn.
    count: number of turns.
    words: random numbers, one for every turn and part.

  Returns:
    Parts by turn, int64 [count].
  """
  total = sum(weights)
  words = iter(words)
  taken = list(taken)
  turns: list[int] = []
  # By turn from `first` on, the parts that may come from then on.
  joining: list[list[int]] = [[] for _ in range(count)]
  for part, weight in enumerate(weights):
    begin = max(taken[part] * total // weight - first, 0)
    if begin < count:
      joining[begin].append(part)
  waiting: list[tuple[int, int, int]] = []
  for turn, parts in enumerate(joining):
    for part in parts:
      end = -(-(taken[part] + 1) * total // weights[part])
      heapq.heappush(waiting, (end, next(words), part))
    part = heapq.heappop(waiting)[2]
    turns.append(part)
    taken[part] += 1
    begin = max(taken[part] * total // weights[part] - first, turn + 1)
    if begin < count:
      joining[begin].append(part)
  return np.array(turns, np.int64)


def _whole_weights(rates: Sequence[fractions.Fraction]) -> list[int]:
  """Rates as whole numbers in the same proportions.

  >>> _whole_weights([fractions.Fraction('0.1'), fractions.Fraction('0.3')])
  [1, 3]
  """
  scale = math.lcm(*(rate.denominator for rate in rates))
  weights = [int(rate * scale) for rate in rates]
  divisor = math.gcd(*weights)
  weights = [weight // divisor for weight in weights]
  total = sum(weights)
  if total <= _FINEST:
    return weights
  return [max(1, round(weight * _FINEST / total)) for weight in weights]


def _allow_open_files(count: int) -> None:
  """Lets this process hold a file open for every part."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  wanted = count + _OTHER_FILES
  if hard != resource.RLIM_INFINITY:
    wanted = min(wanted, hard)
  if soft != resource.RLIM_INFINITY and soft < wanted:
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
