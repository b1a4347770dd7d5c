"""Cached tokens in, planned batches out: a pure function of (seed, step)."""

import collections
from collections.abc import Mapping
import dataclasses
import functools
import threading
from typing import Any

import numpy as np

from it_study import seeding
from it_study.errors import InputError
from it_study.token_cache import FEATURES, TokenCache

_EPOCHS_HELD = 3
_OPEN_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochPlan:
  """Which examples share which row in one epoch.

  Attributes:
    examples: every example's index once, grouped by row, int64 [num_examples].
    row_starts: where each row's group starts in `examples`, int64 [rows + 1].
  """

  examples: np.ndarray
  row_starts: np.ndarray

  def __len__(self) -> int:
    return len(self.row_starts) - 1

  def row(self, index: int) -> np.ndarray:
    """Returns the examples of one row, int64 [examples in it]."""
    return self.examples[self.row_starts[index] : self.row_starts[index + 1]]


class Feed:
  """Batches for an encoder-decoder, by step.

  Rows of all epochs form one endless stream, and batch `step` is rows
  `step * batch_size` to `(step + 1) * batch_size` of it. So a batch may end one
  epoch and begin the next; every example comes exactly once an epoch, whatever
  the batch size. Every epoch has a shuffle of its own and, when packing, a
  number of rows of its own.

  A batch's features are those of T5X's encoder-decoder converter, int32
  [rows, length] but for the weights, which are float32:

    inputs [[7, 8, 1], [9, 1]], targets [[3, 1], [4, 1]], packed to 6 and 4:
    encoder_input_tokens   7 8 1 9 1 0     decoder_target_tokens  3 1 4 1
    encoder_segment_ids    1 1 1 2 2 0     decoder_input_tokens   0 3 0 4
    encoder_positions      0 1 2 0 1 0     decoder_segment_ids    1 1 2 2
                                           decoder_positions      0 1 0 1
                                           decoder_loss_weights   1 1 1 1

  Segment ids and positions are there only when packing. A sequence longer than
  its feature's length keeps its first tokens and its last one, the end of
  sequence; `num_cut` counts such sequences by feature.
  """

  def __init__(
    self,
    cache: TokenCache,
    *,
    batch_size: int,
    lengths: Mapping[str, int],
    seed: int = 0,
    pack: bool = True,
    max_open_rows: int = _OPEN_ROWS,
  ):
    """Checks the settings; nothing is planned before it is asked for.

    Args:
      cache: the tokens.
      batch_size: rows in a batch, over all hosts.
      lengths: tokens in a row, by feature.
      seed: of the shuffle.
      pack: whether several examples may share a row.
      max_open_rows: rows that packing tries before it opens another.

    Raises:
      InputError: an empty cache, or a size below one.
    """
    if set(lengths) != set(FEATURES):
      raise InputError(
        f'feed lengths are for {sorted(lengths)}; allowed are exactly'
        f' {sorted(FEATURES)}. Give one length for each.'
      )
    sizes = {'batch_size': batch_size, 'max_open_rows': max_open_rows}
    for name, size in {**sizes, **lengths}.items():
      if size < 1:
        raise InputError(f'feed {name} is {size}; give 1 or more.')
    if not len(cache):
      raise InputError(
        f'token cache {cache.path} holds no examples, so there is nothing to'
        ' train on. Check the split and the task names it was made from.'
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
    self._plans: collections.OrderedDict[int, EpochPlan] = (
      collections.OrderedDict()
    )
    self._lock = threading.Lock()

  def metadata(self) -> dict[str, Any]:
    """Returns all that fixes the batches, for JSON."""
    return {
      'cache': self.cache.fingerprint,
      'num_examples': len(self.cache),
      'batch_size': self.batch_size,
      'lengths': self.lengths,
      'seed': self.seed,
      'pack': self.pack,
      'max_open_rows': self.max_open_rows,
    }

  def num_rows(self, *, epochs: int) -> int:
    """Returns how many rows the first `epochs` epochs make."""
    if not epochs:
      return 0
    if not self.pack:
      return epochs * len(self.cache)
    with self._lock:
      self._count_rows(epochs - 1)
      return self._row_ends[epochs - 1]

  def num_steps(self, *, epochs: int) -> int:
    """Returns the steps after which every example came `epochs` times.

    The last batch is filled up with the first rows of the epoch after.
    """
    return -(-self.num_rows(epochs=epochs) // self.batch_size)

  def batch(
    self, step: int, *, rows: slice = slice(None)
  ) -> dict[str, np.ndarray]:
    """Returns the batch of one step, the same whenever and wherever asked.

    Args:
      step: from 0.
      rows: the share of the batch to build, for a host that feeds only part.

    Returns:
      Arrays [rows, length]; the class's docstring names them.
    """
    chosen = range(self.batch_size)[rows]
    features = self._empty(len(chosen))
    for number, offset in enumerate(chosen):
      examples = self._examples(step * self.batch_size + offset)
      filled = dict.fromkeys(FEATURES, 0)
      for segment, example in enumerate(examples, start=1):
        for feature in FEATURES:
          tokens = self._cut(feature, example)
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

  def _cut(self, feature: str, example: int) -> np.ndarray:
    tokens = self.cache.sequence(feature, example)
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

  def _plan(self, epoch: int) -> EpochPlan:
    if epoch not in self._plans:
      self._plans[epoch] = plan_epoch(
        lengths=self._capped_lengths,
        row_lengths=self.lengths,
        seed=self.seed,
        epoch=epoch,
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


def plan_epoch(
  *,
  lengths: Mapping[str, np.ndarray],
  row_lengths: Mapping[str, int],
  seed: int,
  epoch: int,
  pack: bool = True,
  max_open_rows: int = _OPEN_ROWS,
) -> EpochPlan:
  """Shuffles the examples of one epoch and lays them into rows.

  Packing is first fit: in shuffled order, an example joins the earliest opened
  row that has room for its inputs and for its targets; if none has, the oldest
  row is closed when `max_open_rows` are open, and a new one is opened. Row
  length 6 for inputs, shuffled input lengths 4, 3, 2, 3 (targets all 1) give
  the rows (4, 2) and (3, 3).

  The shuffle sorts raw words of a counter-based generator (Philox), so it
  depends on seed, epoch and the number of examples alone, also across versions
  of numpy.

  Args:
    lengths: by feature, length of every example, none above the row's.
    row_lengths: tokens in a row, by feature.
    seed: of the shuffle.
    epoch: from 0.
    pack: whether several examples may share a row.
    max_open_rows: rows that an example may still join.

  Returns:
    The plan; rows are in the order in which they were opened.
  """
  num_examples = len(lengths[FEATURES[0]])
  key = seeding.stable_hash('feed shuffle', seed, epoch)
  words = np.random.Philox(key=key).random_raw(num_examples)
  order = np.argsort(words, kind='stable')
  if not pack:
    return EpochPlan(
      examples=order, row_starts=np.arange(num_examples + 1, dtype=np.int64)
    )
  needs = np.stack([np.asarray(lengths[name]) for name in FEATURES], axis=1)
  rows = _first_fit(
    needs[order],
    capacity=np.array([row_lengths[name] for name in FEATURES]),
    max_open_rows=max_open_rows,
  )
  by_row = np.argsort(rows, kind='stable')
  counts = np.bincount(rows)
  return EpochPlan(
    examples=order[by_row],
    row_starts=np.concatenate([[0], np.cumsum(counts)]),
  )


def _first_fit(
  needs: np.ndarray, *, capacity: np.ndarray, max_open_rows: int
) -> np.ndarray:
  """Returns each example's row, int64 [num_examples]."""
  rows = np.empty(len(needs), np.int64)
  room = np.zeros((max_open_rows, 2), np.int64)
  names = np.zeros(max_open_rows, np.int64)
  num_open = num_rows = 0
  for index, need in enumerate(needs):
    fits = (room[:num_open] >= need).all(axis=1)
    place = int(fits.argmax()) if num_open else 0
    if not num_open or not fits[place]:
      if num_open == max_open_rows:
        room[:-1], names[:-1] = room[1:].copy(), names[1:].copy()
        num_open -= 1
      place = num_open
      room[place], names[place] = capacity, num_rows
      num_open += 1
      num_rows += 1
    room[place] -= need
    rows[index] = names[place]
  return rows


def _fill(
  view: Mapping[str, np.ndarray],
  *,
  feature: str,
  tokens: np.ndarray,
  segment: int,
) -> None:
  """Writes one sequence into its place in a row, all features of its side."""
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
