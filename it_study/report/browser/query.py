"""Queries for the rows of a cell, and the entries that they filter."""

import dataclasses
from typing import NamedTuple

from it_study.evaluation import metrics

LIMIT = 200


class Entry(NamedTuple):
  """A row of a cell: the offset of its line, and the fields to filter by."""

  offset: int
  id: str
  task: str
  category: str
  kind: str
  is_right: bool
  is_in_format: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
  """Which rows of a cell to list.

  Attributes:
    cell: Name of the cell.
    all_seeds: Whether to include the cells that differ only in seed.
    text: Words that must all occur in the id, prompt, references or prediction,
      in any case.
    group: Headline group, one of `metrics.GROUPS`; None for all rows.
    task: Name of the task; None for all.
    category: Name of the category; None for all.
    right: Whether the prediction is an exact match; None for both.
    in_format: Whether the prediction is a label, which leaves out rows without
      a label space; None for both.
    offset: Number of rows to skip.
    limit: Maximum number of rows to return, up to `LIMIT`.
  """

  cell: str
  all_seeds: bool = False
  text: str = ''
  group: str | None = None
  task: str | None = None
  category: str | None = None
  right: bool | None = None
  in_format: bool | None = None
  offset: int = 0
  limit: int = 50


def matches(entry: Entry, query: Query) -> bool:
  """Returns whether an entry passes all filters, the search apart."""
  checks = (
    (query.task, entry.task),
    (query.category, entry.category),
    (query.right, entry.is_right),
    (query.in_format, entry.is_in_format),
  )
  if query.group is not None and not metrics.in_group(entry, query.group):
    return False
  return all(wanted is None or wanted == value for wanted, value in checks)
