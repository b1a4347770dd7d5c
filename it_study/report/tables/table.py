"""A table as data, which every format of the report renders."""

from collections.abc import Mapping, Sequence
import dataclasses

from it_study.evaluation.stats.intervals import Interval
from it_study.report.text import MISSING, limits, number, shorten

# Most rows, of up to three lines each, of a table that is not split in print.
_SHORT = 8


@dataclasses.dataclass(frozen=True)
class Entry:
  """A table's cell.

  Attributes:
    text: Plain text, which formats escape.
    detail: Plain text of a second line in small type, or None.
    href: Target of a link, or None.
    tone: One of 'good', 'bad' and 'muted', or None.
  """

  text: str
  detail: str | None = None
  href: str | None = None
  tone: str | None = None


@dataclasses.dataclass(frozen=True)
class Column:
  """A column's head.

  Attributes:
    title: Title of the column.
    above: Title shared with neighbouring columns, shown above.
    is_number: Whether the column holds numbers.
  """

  title: str
  above: str = ''
  is_number: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Rows of entries, in sections.

  Attributes:
    columns: Columns, the first of which holds the rows' headings.
    rows: Rows by title of their section.
    caption: Caption, or an empty string.
  """

  columns: tuple[Column, ...]
  rows: Mapping[str, Sequence[tuple[Entry, ...]]]
  caption: str = ''

  def spans(self) -> list[tuple[str, int]]:
    """Returns the titles above the columns, with their numbers of columns."""
    spans: list[tuple[str, int]] = []
    for column in self.columns:
      if spans and spans[-1][0] == column.above:
        spans[-1] = (column.above, spans[-1][1] + 1)
      else:
        spans.append((column.above, 1))
    return spans

  def is_short(self) -> bool:
    """Returns whether the table fits a printed page and is not split."""
    return sum(map(len, self.rows.values())) <= _SHORT

  def starts(self) -> set[int]:
    """Returns the indices of columns that start a span, without the first."""
    indices, position = set(), 0
    for _, width in self.spans():
      indices.add(position)
      position += width
    return indices - {0}


def name_entry(
  text: str, *, detail: str | None = None, href: str | None = None
) -> Entry:
  """Returns an entry for a name from data, shortened if it is long."""
  return Entry(shorten(text), detail, href)


def value_entry(
  value: float | None,
  interval: Interval | None = None,
  *,
  signed: bool = False,
  href: str | None = None,
) -> Entry:
  """Returns an entry for a percentage or difference and its interval."""
  detail = None if value is None else limits(interval, signed=signed)
  return Entry(number(value, signed=signed), detail, href)


def plain_entry(value: object) -> Entry:
  """Returns an entry for a count or a text, with a dash for None."""
  if value is None:
    return Entry(MISSING)
  if isinstance(value, int) and not isinstance(value, bool):
    return Entry(f'{value:,}')
  if isinstance(value, float):
    return Entry(f'{value:,.1f}')
  return name_entry(str(value))
