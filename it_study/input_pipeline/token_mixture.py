"""Mixes token caches by rates into an endless stream."""

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

# Shares without a common denominator up to this are rounded to multiples of its
# inverse, which is off by one example after 10**12.
_FINEST = 2**40
# Number of files that a training opens besides the parts.
_OTHER_FILES = 256


class TokenMixture:
  """Token caches mixed by rates into an endless stream.

  Every part is an endless stream: all its examples in random order, then all of
  them in another order, and so on. The mixture takes turns among these streams
  and holds the rates exactly: for every n, its first n examples have more than
  r * n - 1 and fewer than r * n + 1 of a part with share r, so any n in a row
  have r * n to within two. SeqIO draws at random instead: of 10,000 examples, a
  part with share 1/2 gets 5,000 +- 50. `grain.MapDataset.mix` truncates rates
  to 1/100 of the smallest and drifts: 3,000 examples at rates 7 : 11 : 13 are
  off by 3. It also takes no seed and ends with the shortest part.

  An epoch has as many examples as all parts together. With rates in proportion
  to sizes every example comes once per epoch. With other rates, the examples of
  a part that is small for its rate come several times, and those of a part that
  is large for its rate do not all come.

      parts a (2 examples) and b (4), rates 1 and 1, seed 0, two epochs:
      b3 a0 | b1 a1 | a0 b2        b0 a1 | b3 a0 | a1 b0

  Example n of the stream is a pure function of the seed and n. Examples are
  numbered across parts: here those of a are 0 and 1, those of b 2 to 5.
  """

  def __init__(
    self,
    parts: Mapping[str, TokenCache],
    *,
    rates: Mapping[str, fractions.Fraction],
  ):
    """Initialises the mixture; reads only lengths.

    Args:
      parts: Caches by name; the name is part of the seed of a part's shuffles.
      rates: Rates by the same names, above 0; only their proportions matter.

    Raises:
      InputError: If a part has no examples.
    """
    for name, cache in parts.items():
      if not len(cache):
        raise InputError(
          f'mixture part {name} has no training examples (token cache'
          f' {cache.path}). Remove it from the mixture, or check its split.'
        )
    self._names = list(parts)
    self._caches = [parts[name] for name in self._names]
    self._weights = _whole_weights([rates[name] for name in self._names])
    # Number of examples each part gave before an epoch, by seed and epoch.
    self._taken: dict[tuple[int, int], list[int]] = {}
    sizes = [len(cache) for cache in self._caches]
    self._starts = np.concatenate([[0], np.cumsum(sizes)])
    _allow_open_files(len(parts))

  def __len__(self) -> int:
    """The number of examples in an epoch."""
    return int(self._starts[-1])

  @property
  def num_cut_targets(self) -> int | None:
    """The number of truncated targets of all parts; None if unknown."""
    counts = [cache.num_cut_targets for cache in self._caches]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None

  def sequence_lengths(self, feature: str) -> np.ndarray:
    """Returns the length of every sequence, int64 [num_examples]."""
    return np.concatenate(
      [cache.sequence_lengths(feature) for cache in self._caches]
    )

  def read(self, examples: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Returns the sequences of some examples by feature, int32 [their lengths].

    Raises:
      DamagedCacheError: If the records are not what was written.
    """
    indices = np.asarray(examples, np.int64)
    owners = np.searchsorted(self._starts, indices, side='right') - 1
    rows: list[dict[str, np.ndarray]] = [{}] * len(indices)
    for part in np.unique(owners):
      places = np.flatnonzero(owners == part)
      part_rows = self._caches[part].read(
        (indices[places] - self._starts[part]).tolist()
      )
      for place, row in zip(places, part_rows, strict=True):
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
    """Returns what identifies this mixture, for JSON."""
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
    """Indices of `count` examples of a part's stream, int64 [count]."""
    size, name = len(self._caches[part]), self._names[part]
    rounds = range(first // size, (first + count) // size + 1)
    shuffles = [shuffled(size, seed, number, name) for number in rounds]
    return np.concatenate(shuffles)[first % size :][:count]

  def _turns(self, *, seed: int, epoch: int) -> tuple[list[int], np.ndarray]:
    """Each part's examples before an epoch, and the parts by turn within it."""
    total = sum(self._weights)
    # After this many epochs every part has exactly its share.
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
    """Parts by turn in an epoch; records the counts before the next epoch."""
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
    counts = np.bincount(turns, minlength=len(taken))
    self._taken[seed, epoch + 1] = [
      before + int(now) for before, now in zip(taken, counts, strict=True)
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
  """Assigns `count` turns, from turn number `first` on, to parts.

  Turn k (from 0) of a part with share r is released at turn floor(k / r) of all
  and due before turn ceil((k + 1) / r). The earliest deadline goes first, which
  meets all deadlines (Baruah, Cohen, Plaxton and Varvel 1996, "Proportionate
  progress: a notion of fairness in resource allocation"). Random numbers break
  ties:

      weights 1, 2: part 1 has share 2/3; its turns are released at 0, 1, 3, 4,
      .. and due before 2, 3, 5, 6, ..; those of part 0 are released at 0, 3, ..
      and due before 3, 6, ..: turns 1 0 1 1 1 0, 1 1 0 1 0 1 or two more orders

  Args:
    weights: Weight of each part; its share is the weight over their sum.
    taken: Number of each part's turns before `first`, from earlier calls.
    first: Number of the first turn.
    count: Number of turns.
    words: Random numbers, one for every turn and part.

  Returns:
    Parts by turn, int64 [count].
  """
  total = sum(weights)
  lots = iter(words)
  taken = list(taken)
  turns: list[int] = []
  # The parts whose next turn is released at each turn from `first` on.
  released: list[list[int]] = [[] for _ in range(count)]
  for part, weight in enumerate(weights):
    begin = max(taken[part] * total // weight - first, 0)
    if begin < count:
      released[begin].append(part)
  waiting: list[tuple[int, int, int]] = []
  for turn, parts in enumerate(released):
    for part in parts:
      end = -(-(taken[part] + 1) * total // weights[part])
      heapq.heappush(waiting, (end, next(lots), part))
    part = heapq.heappop(waiting)[2]
    turns.append(part)
    taken[part] += 1
    begin = max(taken[part] * total // weights[part] - first, turn + 1)
    if begin < count:
      released[begin].append(part)
  return np.array(turns, np.int64)


def _whole_weights(rates: Sequence[fractions.Fraction]) -> list[int]:
  """Rates as integers in the same proportions.

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
  """Raises this process's limit to one open file per part and some more."""
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  limit = count + _OTHER_FILES
  if hard != resource.RLIM_INFINITY:
    limit = min(limit, hard)
  if soft != resource.RLIM_INFINITY and soft < limit:
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
