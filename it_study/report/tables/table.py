"""A table as data: what every format of the report is written from."""

import dataclasses

from it_study.evaluation.stats.intervals import Interval
from it_study.report.text import limits, number, shorten

# Rows, of at most three lines each, of a table that paper keeps whole.
_SHORT = 8


@dataclasses.dataclass(frozen=True)
class Entry:
  """A table's cell: text, a second line in small type, a link, a tone.

  `text` and `detail` are plain text, which formats escape. `tone` is 'good',
  'bad', 'muted' or None.
  """

  text: str
  detail: str | None = None
  href: str | None = None
  tone: str | None = None


@dataclasses.dataclass(frozen=True)
class Column:
  """A column's title, what stands above it, and whether it holds numbers."""

  title: str
  above: str = ''
  is_number: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Rows of entries, in sections; `rows` maps a section's title to its rows.

  The first column is the rows' heading.
  """

  columns: tuple[Column, ...]
  rows: dict[str, tuple[tuple[Entry, ...], ...]]
  caption: str = ''

  def spans(self) -> list[tuple[str, int]]:
    """What stands above the columns, with the number of columns of each."""
    spans: list[tuple[str, int]] = []
    for column in self.columns:
      if spans and spans[-1][0] == column.above:
        spans[-1] = (column.above, spans[-1][1] + 1)
      else:
        spans.append((column.above, 1))
    return spans

  def is_short(self) -> bool:
    """Whether a printed page has room for all of it, and so keeps it whole."""
    return sum(map(len, self.rows.values())) <= _SHORT

  def starts(self) -> set[int]:
    """Indices of the columns at which a span starts, the first apart."""
    indices, position = set(), 0
    for _, width in self.spans():
      indices.add(position)
      position += width
    return indices - {0}


def name_entry(text: str, **fields) -> Entry:
  """A name from data, at a length that can be shown."""
  return Entry(shorten(text), **fields)


def value_entry(
  value: float | None,
  interval: Interval | None = None,
  *,
  signed: bool = False,
  **fields,
) -> Entry:
  """A percentage or difference with its interval below."""
  detail = None if value is None else limits(interval, signed=signed)
  return Entry(number(value, signed=signed), detail, **fields)


def plain_entry(value: object) -> Entry:
  """A count or a text, a dash for None."""
  if value is None:
    return Entry('–')
  if isinstance(value, int) and not isinstance(value, bool):
    return Entry(f'{value:,}')
  if isinstance(value, float):
    return Entry(f'{value:,.1f}')
  return name_entry(str(value))
