"""Batches of cached tokens, as a pure function of (seed, step)."""

import collections
from collections.abc import Mapping
import functools
import threading
from typing import Any

import numpy as np

from it_study.errors import InputError
from it_study.input_pipeline import packing
from it_study.input_pipeline.token_cache import FEATURES, TokenCache
from it_study.input_pipeline.token_mixture import TokenMixture

_EPOCHS_HELD = 3


class Feed:
  """Batches for an encoder-decoder, by step.

  The rows of all epochs form one endless stream, and batch `step` is rows
  `step * batch_size` to `(step + 1) * batch_size - 1` of it. So a batch may
  span the end of one epoch and the start of the next, and every example comes
  exactly once per epoch, whatever the batch size. `TokenMixture` defines the
  epochs of a mixture. Each epoch is shuffled differently, so with packing the
  number of rows varies between epochs.

  A batch's features are those of T5X's encoder-decoder converter, int32
  [rows, length], except for the weights, which are float32:

    inputs [[7, 8, 1], [9, 1]], targets [[3, 1], [4, 1]], packed to 6 and 4:
    encoder_input_tokens   7 8 1 9 1 0     decoder_target_tokens  3 1 4 1
    encoder_segment_ids    1 1 1 2 2 0     decoder_input_tokens   0 3 0 4
    encoder_positions      0 1 2 0 1 0     decoder_segment_ids    1 1 2 2
                                           decoder_positions      0 1 0 1
                                           decoder_loss_weights   1 1 1 1

  Segment ids and positions are present only with packing. A sequence longer
  than its feature's length keeps its first tokens and its last one, the end of
  sequence; `num_cut` counts these sequences by feature.
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
  ):
    """Checks the settings; epochs are planned on first use.

    Args:
      cache: Tokens of a task or a mixture.
      batch_size: Number of rows in a batch, over all hosts.
      lengths: Number of tokens in a row, by feature.
      seed: Seed of the shuffle.
      pack: Whether several examples may share a row.
      max_open_rows: Maximum number of open rows that packing tries to fill.

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
    return {
      **self.cache.metadata(),
      'batch_size': self.batch_size,
      'lengths': self.lengths,
      'seed': self.seed,
      'pack': self.pack,
      'max_open_rows': self.max_open_rows,
    }

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
      Arrays [rows, length] by name, as listed in the class's docstring.
    """
    plan = [
      self._examples(step * self.batch_size + offset)
      for offset in range(self.batch_size)[rows]
    ]
    # One read for all examples.
    sequences = iter(self.cache.read([index for row in plan for index in row]))
    features = self._empty(len(plan))
    for number, examples in enumerate(plan):
      filled = dict.fromkeys(FEATURES, 0)
      for segment, _ in enumerate(examples, start=1):
        example = next(sequences)
        for feature in FEATURES:
          tokens = self._cut(feature, example[feature])
          start = filled[feature]
          filled[feature] = end = start + len(tokens)
          view = {
            name: array[number, start:end] for name, array in features.items()
          }
          _fill(view, feature=feature, tokens=tokens, segment=segment)
    return features

  def _empty(self, rows: int) -> dict[str, np.ndarray]:
    shapes = {name: (rows, length) for name, length in self.lengths.items()}
    features = {
      'encoder_input_tokens': np.zeros(shapes['inputs'], np.int32),
      'decoder_input_tokens': np.zeros(shapes['targets'], np.int32),
      'decoder_target_tokens': np.zeros(shapes['targets'], np.int32),
      'decoder_loss_weights': np.zeros(shapes['targets'], np.float32),
    }
    if self.pack:
      for side, name in (('encoder', 'inputs'), ('decoder', 'targets')):
        for kind in ('segment_ids', 'positions'):
          features[f'{side}_{kind}'] = np.zeros(shapes[name], np.int32)
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
        lengths=self._capped_lengths,
        row_lengths=self.lengths,
        pack=self.pack,
        max_open_rows=self.max_open_rows,
      )
      while len(self._plans) > _EPOCHS_HELD:
        self._plans.popitem(last=False)
    self._plans.move_to_end(epoch)
    return self._plans[epoch]

  @functools.cached_property
  def _capped_lengths(self) -> dict[str, np.ndarray]:
    return {
      name: np.minimum(self.cache.sequence_lengths(name), self.lengths[name])
      for name in FEATURES
    }


def _fill(
  view: Mapping[str, np.ndarray],
  *,
  feature: str,
  tokens: np.ndarray,
  segment: int,
) -> None:
  """Writes one sequence into its slot in a row, all features."""
  side = 'encoder' if feature == 'inputs' else 'decoder'
  if side == 'encoder':
    view['encoder_input_tokens'][:] = tokens
  else:
    view['decoder_target_tokens'][:] = tokens
    view['decoder_input_tokens'][1:] = tokens[:-1]
    view['decoder_loss_weights'][:] = 1
  if f'{side}_segment_ids' in view:
    view[f'{side}_segment_ids'][:] = segment
    view[f'{side}_positions'][:] = np.arange(len(tokens))
