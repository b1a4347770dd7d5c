"""Deals the labels of the miniature's classification tasks."""

import itertools

from it_study.corpus.miniature.words import LABELS
from it_study.seeding import stable_random

_MOST_TRIES = 1000


class LabelDealer:
  """Deals labels to one task after the other, in ever new combinations.

  Each label is dealt about as often as any other. No two labels of a task are
  both labels of another one, so that a task cannot be told from a pair of its
  labels.
  """

  def __init__(self, seed: int) -> None:
    self._random = stable_random('miniature', seed, 'labels')
    self._deck: list[str] = []
    self._pairs: set[frozenset[str]] = set()

  def deal(self, count: int) -> tuple[str, ...]:
    """Returns the labels of a task."""
    for _ in range(_MOST_TRIES):
      if len(self._deck) < count:
        rest = [label for label in LABELS if label not in self._deck]
        self._deck += self._random.sample(rest, len(rest))
      dealt = tuple(self._random.sample(self._deck, count))
      pairs = {frozenset(pair) for pair in itertools.combinations(dealt, 2)}
      if not pairs & self._pairs:
        self._pairs |= pairs
        self._deck = [label for label in self._deck if label not in dealt]
        return dealt
      if len(self._deck) < 2 * count:
        self._deck = []
    raise ValueError(f'no {count} labels are left that are new together')
