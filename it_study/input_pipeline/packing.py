"""Which examples of an epoch share which row."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from it_study.input_pipeline.token_cache import FEATURES

MAX_OPEN_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochPlan:
  """Which examples share which row in one epoch.

  Attributes:
    examples: the epoch's examples, grouped by row, int64 [num_examples].
    row_starts: where each row's group starts in `examples`, int64 [rows + 1].
  """

  examples: np.ndarray
  row_starts: np.ndarray

  def __len__(self) -> int:
    return len(self.row_starts) - 1

  def row(self, index: int) -> np.ndarray:
    """Returns the examples of one row, int64 [examples in it]."""
    return self.examples[self.row_starts[index] : self.row_starts[index + 1]]


def plan_rows(
  order: np.ndarray,
  *,
  lengths: Mapping[str, np.ndarray],
  row_lengths: Mapping[str, int],
  pack: bool = True,
  max_open_rows: int = MAX_OPEN_ROWS,
) -> EpochPlan:
  """Lays the examples of one epoch into rows.

  Packing is first fit: in the order given, an example joins the earliest opened
  row that has room for its inputs and for its targets; if none has, the oldest
  row is closed when `max_open_rows` are open, and a new one is opened. Row
  length 6 for inputs, input lengths 4, 3, 2, 3 in order (targets all 1) give
  the rows (4, 2) and (3, 3).

  Args:
    order: the epoch's examples, int64 [num_examples].
    lengths: by feature, length of every example there is, none above the row's.
    row_lengths: tokens in a row, by feature.
    pack: whether several examples may share a row.
    max_open_rows: rows that an example may still join.

  Returns:
    The plan; rows are in the order in which they were opened.
  """
  if not pack:
    return EpochPlan(
      examples=order, row_starts=np.arange(len(order) + 1, dtype=np.int64)
    )
  rows = _first_fit(
    *(lengths[name][order].tolist() for name in FEATURES),
    capacity=tuple(row_lengths[name] for name in FEATURES),
    max_open_rows=max_open_rows,
  )
  return EpochPlan(
    examples=order[np.argsort(rows, kind='stable')],
    row_starts=np.concatenate([[0], np.cumsum(np.bincount(rows))]),
  )


def _first_fit(
  inputs: list[int],
  targets: list[int],
  *,
  capacity: tuple[int, int],
  max_open_rows: int,
) -> np.ndarray:
  """Returns each example's row, int64 [num_examples].

  Open rows are the leaves of a binary tree, oldest first, and every node knows
  the most room below it, of inputs and of targets; so an example finds its row
  in some steps up and down. As a row is opened only by closing the oldest, open
  rows are always the newest ones, and the leaves move on through a window that
  is laid anew when its end is reached.
  """
  # Twice as many as are open, so that the window seldom has to be laid anew.
  num_leaves = 1 << (2 * max_open_rows - 1).bit_length()
  leaf_inputs, leaf_targets = capacity
  room_inputs, room_targets = [-1] * 2 * num_leaves, [-1] * 2 * num_leaves

  def settle(node: int) -> None:
    """Takes what changed at a leaf up to the root."""
    while node > 1:
      node >>= 1
      left = 2 * node
      for room in (room_inputs, room_targets):
        a, b = room[left], room[left + 1]
        room[node] = a if a > b else b

  rows = []
  end = first = num_rows = 0
  for need_inputs, need_targets in zip(inputs, targets, strict=True):
    node = 1
    while node:
      if (
        room_inputs[node] >= need_inputs and room_targets[node] >= need_targets
      ):
        if node >= num_leaves:
          break
        node *= 2
        continue
      # On to the next subtree; beyond the last one the root is left.
      while node & 1:
        node >>= 1
      if node:
        node += 1
    if not node:
      if end - first == max_open_rows:
        room_inputs[num_leaves + first] = room_targets[num_leaves + first] = -1
        settle(num_leaves + first)
        first += 1
      if end == num_leaves:
        for room in (room_inputs, room_targets):
          kept = room[num_leaves + first :]
          room[num_leaves:] = kept + [-1] * first
          for parent in range(num_leaves - 1, 0, -1):
            room[parent] = max(room[2 * parent], room[2 * parent + 1])
        first, end = 0, end - first
      node = num_leaves + end
      room_inputs[node], room_targets[node] = leaf_inputs, leaf_targets
      end += 1
      num_rows += 1
    room_inputs[node] -= need_inputs
    room_targets[node] -= need_targets
    settle(node)
    # The newest row is the leaf before `end`.
    rows.append(num_rows - (num_leaves + end - node))
  return np.array(rows, np.int64)
