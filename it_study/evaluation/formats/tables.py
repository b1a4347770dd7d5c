"""Rows of JSON lines or of a CSV file, as objects."""

from collections.abc import Iterator, Mapping, Sequence
import csv
import io
import os
from typing import Any

from it_study.corpus.findings import plural
from it_study.errors import InputError, nearest
from it_study.storage import text_files

# Column whose cells hold JSON.
_LIST = 'references'


def read_table(
  path: str | os.PathLike[str],
) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields the place and the object of each row of a file.

  A path that ends in .csv is a table with a header; a cell is a text, and one
  of the column `references` a JSON list of texts. Any other path has one JSON
  object per line.

  Raises:
    InputError: If the file cannot be read, has no rows, or has a row that is
      malformed.
  """
  if not os.fspath(path).lower().endswith('.csv'):
    for number, fields in text_files.read_json_lines(path):
      yield f'{path}:{number}', fields
    return
  lines = io.StringIO(text_files.read_text(path), newline='')
  reader = csv.reader(lines, strict=True)
  header: list[str] | None = None
  empty = True
  try:
    for cells in reader:
      where = f'{path}:{reader.line_num}'
      if not cells:
        continue
      if header is None:
        header = cells
        _check_header(header, where)
        continue
      if len(cells) != len(header):
        raise InputError(
          f'{where}: {plural(len(cells), "cell")}, but the header has '
          f'{plural(len(header), "column")}: '
          f'{", ".join(map(repr, header[:8]))}. Put texts that hold a '
          'comma, a quotation mark or a line break in double quotation marks.'
        )
      empty = False
      yield where, _parsed(dict(zip(header, cells, strict=True)), where)
  except csv.Error as error:
    raise InputError(f'{path}:{reader.line_num}: not CSV: {error}.') from None
  if empty:
    raise InputError(f'{path}: no rows below the header.')


def check_columns(
  fields: Mapping[str, object], names: Sequence[str], *, where: str
) -> None:
  """Raises `InputError` unless an object has all of some fields."""
  missing = [name for name in names if name not in fields]
  if missing:
    raise InputError(
      f'{where}: no {" and no ".join(map(repr, missing))}; got '
      f'{", ".join(map(repr, list(fields)[:8]))}. A row has '
      f'{" and ".join(names)}.{nearest(missing[0], fields)}'
    )


def _check_header(header: Sequence[str], where: str) -> None:
  repeated = sorted({name for name in header if header.count(name) > 1})
  if repeated:
    raise InputError(f'{where}: column {repeated[0]!r} is repeated.')


def _parsed(fields: dict[str, Any], where: str) -> dict[str, Any]:
  if _LIST in fields:
    fields[_LIST] = text_files.parse_json(
      fields[_LIST],
      where=f'{where}: {_LIST}',
      expected='a JSON list, such as ["yes", "Yes."]',
    )
  return fields
