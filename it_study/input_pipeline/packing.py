"""Packs the examples of an epoch into rows."""

from collections.abc import Mapping
import dataclasses

import numpy as np

MAX_OPEN_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpochPlan:
  """Which examples share a row in one epoch.

  Attributes:
    examples: Indices of the epoch's examples, grouped by row, int64
      [num_examples].
    row_starts: Start of each row's group in `examples`, int64 [rows + 1].
  """

  examples: np.ndarray
  row_starts: np.ndarray

  def __len__(self) -> int:
    return len(self.row_starts) - 1

  def row(self, index: int) -> np.ndarray:
    """Returns the examples of one row, int64 [examples in the row]."""
    return self.examples[self.row_starts[index] : self.row_starts[index + 1]]


def plan_rows(
  order: np.ndarray,
  *,
  lengths: Mapping[str, np.ndarray],
  row_lengths: Mapping[str, int],
  pack: bool = True,
  max_open_rows: int = MAX_OPEN_ROWS,
) -> EpochPlan:
  """Assigns the examples of one epoch to rows.

  Packing is first fit: in the given order, each example joins the oldest open
  row with room for its inputs and its targets. If there is none, a new row is
  opened; if `max_open_rows` are open, the oldest one is closed first. Row
  length 6 for inputs and input lengths 4, 3, 2, 3 in this order (all targets 1)
  give the rows (4, 2) and (3, 3).

  Args:
    order: Indices of the epoch's examples, in order, int64 [num_examples].
    lengths: Tokens that every example in the cache takes, by part of a row,
      'inputs' and 'targets'; none exceeds the row's.
    row_lengths: Number of tokens in a row, by part.
    pack: Whether several examples may share a row.
    max_open_rows: Maximum number of open rows.

  Returns:
    The plan, with rows in the order in which they were opened.
  """
  if not pack:
    return EpochPlan(
      examples=order, row_starts=np.arange(len(order) + 1, dtype=np.int64)
    )
  rows = _first_fit(
    lengths['inputs'][order].tolist(),
    lengths['targets'][order].tolist(),
    capacity=(row_lengths['inputs'], row_lengths['targets']),
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

  Open rows are the leaves of a binary tree, oldest first. Each node holds the
  maximum room below it for inputs and for targets, so the search for a row
  skips subtrees without room. The oldest row is always closed first, so open
  rows are contiguous leaves. They move to the right as rows are opened, and
  back to the first leaf at the end of the tree.
  """
  # Twice the open rows, so that moving back is rare.
  num_leaves = 1 << (2 * max_open_rows - 1).bit_length()
  leaf_inputs, leaf_targets = capacity
  room_inputs, room_targets = [-1] * 2 * num_leaves, [-1] * 2 * num_leaves

  def update_parents(node: int) -> None:
    """Propagates a change at a leaf to the root."""
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
      # Move to the next subtree; after the last one `node` becomes 0.
      while node & 1:
        node >>= 1
      if node:
        node += 1
    if not node:
      if end - first == max_open_rows:
        room_inputs[num_leaves + first] = room_targets[num_leaves + first] = -1
        update_parents(num_leaves + first)
        first += 1
      if end == num_leaves:
        for room in (room_inputs, room_targets):
          room[num_leaves:] = room[num_leaves + first :] + [-1] * first
          for parent in range(num_leaves - 1, 0, -1):
            room[parent] = max(room[2 * parent], room[2 * parent + 1])
        first, end = 0, end - first
      node = num_leaves + end
      room_inputs[node], room_targets[node] = leaf_inputs, leaf_targets
      end += 1
      num_rows += 1
    room_inputs[node] -= need_inputs
    room_targets[node] -= need_targets
    update_parents(node)
    # The newest row is the leaf before `end`.
    rows.append(num_rows - (num_leaves + end - node))
  return np.array(rows, np.int64)
