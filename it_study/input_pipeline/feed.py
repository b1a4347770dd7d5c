"""Batches of cached tokens, as a pure function of (seed, step)."""

import collections
from collections.abc import Mapping
import functools
import itertools
import threading
from typing import Any

import numpy as np

from it_study.errors import InputError
from it_study.input_pipeline import packing, row_layouts
from it_study.input_pipeline.token_cache import FEATURES, TokenCache
from it_study.input_pipeline.token_mixture import TokenMixture

_EPOCHS_HELD = 3


class Feed:
  """Batches of a task or a mixture, by step.

  The rows of all epochs form one endless stream, and batch `step` is rows
  `step * batch_size` to `(step + 1) * batch_size - 1` of it. So a batch may
  span the end of one epoch and the start of the next, and every example comes
  exactly once per epoch, whatever the batch size. `TokenMixture` defines the
  epochs of a mixture. Each epoch is shuffled differently, so with packing the
  number of rows varies between epochs.

  The layout says which features a batch has, int32 [rows, length] except for
  the loss weights, which are float32. A sequence longer than its feature's
  length keeps its first tokens and its last one, the end of sequence; `num_cut`
  counts these sequences by feature.
  """

  def __init__(
    self,
    cache: TokenCache | TokenMixture,
    *,
    batch_size: int,
    lengths: Mapping[str, int],
    seed: int = 0,
    pack: bool = True,
    max_open_rows: int = packing.MAX_OPEN_ROWS,
    layout: row_layouts.RowLayout = row_layouts.ENCODER_DECODER,
  ):
    """Checks the settings; epochs are planned on first use.

    Args:
      cache: Tokens of a task or a mixture.
      batch_size: Number of rows in a batch, over all hosts.
      lengths: Number of tokens in a row, by feature.
      seed: Seed of the shuffle.
      pack: Whether several examples may share a row.
      max_open_rows: Maximum number of open rows that packing tries to fill.
      layout: How a row holds its examples.

    Raises:
      InputError: If the cache is empty, or a size is below one.
    """
    if set(lengths) != set(FEATURES):
      raise InputError(
        f'feed lengths are for {sorted(lengths)}; give one length for each of'
        f' {sorted(FEATURES)}.'
      )
    sizes = {'batch_size': batch_size, 'max_open_rows': max_open_rows}
    for name, size in {**sizes, **lengths}.items():
      if size < 1:
        raise InputError(f'feed {name} is {size}; it must be 1 or more.')
    # The parts of a mixture are never empty.
    if isinstance(cache, TokenCache) and not len(cache):
      raise InputError(
        f'token cache {cache.path} holds no examples, so there is nothing to'
        ' train on. Check the split and the tasks it was written for.'
      )
    self.cache = cache
    self.batch_size = batch_size
    self.lengths = {name: int(lengths[name]) for name in FEATURES}
    self.seed = seed
    self.pack = pack
    self.max_open_rows = max_open_rows
    self.layout = layout
    self.num_cut = {
      name: int(np.sum(cache.sequence_lengths(name) > self.lengths[name]))
      for name in FEATURES
    }
    self._row_ends: list[int] = []
    self._plans: collections.OrderedDict[int, packing.EpochPlan] = (
      collections.OrderedDict()
    )
    self._lock = threading.Lock()

  def metadata(self) -> dict[str, Any]:
    """Returns everything that determines the batches, for JSON."""
    metadata = {
      **self.cache.metadata(),
      'batch_size': self.batch_size,
      'lengths': self.lengths,
      'seed': self.seed,
      'pack': self.pack,
      'max_open_rows': self.max_open_rows,
    }
    return metadata | ({'layout': self.layout.name} if self.layout.name else {})

  def num_rows(self, *, epochs: int) -> int:
    """Returns the number of rows in the first `epochs` epochs."""
    if not epochs:
      return 0
    if not self.pack:
      return epochs * len(self.cache)
    with self._lock:
      self._count_rows(epochs - 1)
      return self._row_ends[epochs - 1]

  def num_steps(self, *, epochs: int) -> int:
    """Returns the number of steps in `epochs` epochs, rounded up.

    The last batch is filled with the first rows of the next epoch.
    """
    return -(-self.num_rows(epochs=epochs) // self.batch_size)

  def batch(
    self, step: int, *, rows: slice = slice(None)
  ) -> dict[str, np.ndarray]:
    """Returns the batch of one step, which depends on seed and step alone.

    Args:
      step: Number of the step, from 0.
      rows: Rows of the batch to build, for a host that feeds only a part.

    Returns:
      Arrays [rows, length] by name, as the layout lists them.
    """
    plan = [
      self._examples(step * self.batch_size + offset)
      for offset in range(self.batch_size)[rows]
    ]
    # One read for all examples.
    sequences = iter(self.cache.read([index for row in plan for index in row]))
    features = {
      name: np.zeros((len(plan), length), dtype)
      for name, (length, dtype) in self.layout.shapes(
        self.lengths, pack=self.pack
      ).items()
    }
    for number, indices in enumerate(plan):
      examples = [
        {name: self._cut(name, example[name]) for name in FEATURES}
        for example in itertools.islice(sequences, len(indices))
      ]
      self.layout.fill(
        {name: array[number] for name, array in features.items()}, examples
      )
    return features

  def _cut(self, feature: str, tokens: np.ndarray) -> np.ndarray:
    length = self.lengths[feature]
    if len(tokens) <= length:
      return tokens
    return np.append(tokens[: length - 1], tokens[-1])

  def _examples(self, row: int) -> np.ndarray:
    """Returns the examples of one row of the endless stream."""
    if not self.pack:
      epoch, row = divmod(row, len(self.cache))
      with self._lock:
        return self._plan(epoch).row(row)
    with self._lock:
      epoch = 0
      while self._count_rows(epoch) <= row:
        epoch += 1
      return self._plan(epoch).row(
        row - (self._row_ends[epoch - 1] if epoch else 0)
      )

  def _count_rows(self, epoch: int) -> int:
    """Returns the number of rows up to the end of `epoch`, when packing."""
    while len(self._row_ends) <= epoch:
      before = self._row_ends[-1] if self._row_ends else 0
      self._row_ends.append(before + len(self._plan(len(self._row_ends))))
    return self._row_ends[epoch]

  def _plan(self, epoch: int) -> packing.EpochPlan:
    if epoch not in self._plans:
      self._plans[epoch] = packing.plan_rows(
        self.cache.epoch_order(seed=self.seed, epoch=epoch),
        lengths=self._taken,
        row_lengths=self.layout.room(self.lengths),
        pack=self.pack,
        max_open_rows=self.max_open_rows,
      )
      while len(self._plans) > _EPOCHS_HELD:
        self._plans.popitem(last=False)
    self._plans.move_to_end(epoch)
    return self._plans[epoch]

  @functools.cached_property
  def _taken(self) -> dict[str, np.ndarray]:
    return self.layout.taken(
      {
        name: np.minimum(self.cache.sequence_lengths(name), self.lengths[name])
        for name in FEATURES
      }
    )
