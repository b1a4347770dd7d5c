"""What the browser looks up: where each prediction lies, and how it scored."""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools
import json
import pathlib
import threading
from typing import Any, NamedTuple

import numpy as np

from it_study.errors import InputError
from it_study.evaluation import metrics
from it_study.predictions import Prediction
from it_study.report.arms import condition_label, make_arms
from it_study.report.load import Cell, Study, read_study
from it_study.report.text import shorten, visible

LIMIT = 200
# A list shows the start of a text, an instance nearly all of it.
_SHORT, _LONG = 280, 50_000
# Parsed cells kept in memory, of which each holds one entry a row.
_KEPT_CELLS = 512


class Entry(NamedTuple):
  """A row of a cell: where its line starts, and what a filter asks for."""

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
    cell: its name.
    all_seeds: whether to list the cells that differ from it by seed alone too.
    text: words that all stand in the id, prompt, references or prediction,
      whatever their case.
    group: one of `metrics.GROUPS`, which hold no control, or None for all.
    task: name, or None for all.
    category: name, or None for all.
    right: whether exact match holds, or None for both.
    in_format: whether it is a label, or None for both; rows without a label
      space are then left out.
    offset: rows to pass over.
    limit: most rows to return, up to `LIMIT`.
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


class Index:
  """Finds rows of a study's cells; cells are read when first asked for.

  Raises:
    InputError: if the folder is no study, or lacks every prediction.
  """

  def __init__(self, study_dir: str | pathlib.Path):
    self.study: Study = read_study(study_dir)
    self._cells: dict[str, Cell] = {
      cell.cell: cell
      for cell in self.study.cells
      if self.study.predictions_path(cell).is_file()
    }
    if not self._cells:
      raise InputError(
        f'{self.study.directory}: no cell with a predictions.jsonl. Run '
        "'it-study study' with this --study_dir first."
      )
    # Of each cell, itself and those that differ by seed alone, by seed.
    self._seeds: dict[str, tuple[str, ...]] = {}
    for arm in make_arms(self._cells.values()):
      names = tuple(cell.cell for cell in arm.cells)
      self._seeds |= dict.fromkeys(names, names)
    self._lock = threading.Lock()
    self._entries = functools.lru_cache(maxsize=_KEPT_CELLS)(self._read)
    self._places = functools.lru_cache(maxsize=_KEPT_CELLS)(self._find_places)
    self._starts = functools.lru_cache(maxsize=_KEPT_CELLS)(self._find_starts)

  @property
  def report_path(self) -> pathlib.Path:
    """Where the study's report is, if it has one."""
    return self.study.directory / 'report' / 'index.html'

  def describe(self) -> dict[str, Any]:
    """The study's name and cells, for the page's menus."""
    return {
      'name': visible(self.study.directory.resolve().name),
      'has_report': self.report_path.is_file(),
      'cells': [
        {
          'cell': cell.cell,
          'label': _label(cell),
          'split': cell.split,
          'num_seeds': len(self._seeds[cell.cell]),
          'exact_match': (cell.metrics['overall'] or {}).get('exact_match'),
          'num_instances': cell.metrics.get('num_instances'),
        }
        for cell in self._cells.values()
      ],
    }

  def names(self, cell: str) -> dict[str, list[str]]:
    """Tasks and categories of a cell, by name."""
    entries = self.entries(cell)
    return {
      'tasks': sorted({entry.task for entry in entries}),
      'categories': sorted({entry.category for entry in entries}),
    }

  def entries(self, cell: str) -> list[Entry]:
    """The rows of a cell in the order of its file.

    Raises:
      InputError: for an unknown cell or a file that cannot be understood.
    """
    self._cell(cell)
    with self._lock:
      return self._entries(cell)

  def rows(self, query: Query) -> dict[str, Any]:
    """The rows that a query finds: how many, how good, and a page of them.

    Raises:
      InputError: for an unknown cell or group.
    """
    names = self._asked(query.cell, query.all_seeds)
    entries = [self.entries(name) for name in names]
    if query.group not in (None, *metrics.GROUPS):
      raise InputError(
        f'group: found {shorten(query.group)}, allowed are '
        f'{", ".join(metrics.GROUPS)}.'
      )
    words = query.text.lower().split()
    places = []
    for name, several in zip(names, entries, strict=True):
      fitting = [
        (place, name, entry)
        for place, entry in enumerate(several)
        if _fits(entry, query)
      ]
      if words:
        texts = self._texts(name, (entry for _, _, entry in fitting))
        fitting = [
          found
          for found, text in zip(fitting, texts, strict=True)
          if all(word in text for word in words)
        ]
      places += fitting
    # The seeds of an instance side by side: a sort keeps their order.
    places.sort(key=lambda found: found[0])
    found = [entry for _, _, entry in places]
    limit = max(0, min(query.limit, LIMIT))
    page = places[query.offset : query.offset + limit]
    texts = {
      name: iter(
        self._parsed(name, [e.offset for _, cell, e in page if cell == name])
      )
      for name in names
    }
    judged = [e.is_in_format for e in found if e.is_in_format is not None]
    return {
      'total': len(found),
      'num_rows': sum(map(len, entries)),
      'num_right': sum(entry.is_right for entry in found),
      'num_judged': len(judged),
      'num_in_format': sum(judged),
      'rows': [
        {
          'id': visible(entry.id),
          'key': [entry.task, entry.id],
          'seed': self._cells[name].seed,
          'task': visible(entry.task),
          'category': visible(entry.category),
          'right': entry.is_right,
          'in_format': entry.is_in_format,
          'prediction': _show(row.prediction, _SHORT),
          'targets': [_show(text, _SHORT) for text in row.targets[:5]],
        }
        for _, name, entry in page
        for row in (next(texts[name]),)
      ],
    }

  def instance(
    self, *, cell: str, task: str, row_id: str, all_seeds: bool = False
  ) -> dict[str, Any]:
    """One instance in every cell of the split of `cell`, side by side.

    Asked for is `cell`, with `all_seeds` also what differs by seed alone.

    Raises:
      InputError: if the cell does not hold the instance.
    """
    split = self._cell(cell).split
    asked = self._asked(cell, all_seeds)
    found = []
    place = self._places(cell).get((task, row_id))
    for name, other in self._cells.items():
      if other.split != split or place is None:
        continue
      row = self._row_at(name, place, task, row_id)
      if row is None:
        continue
      score = metrics.score_row(row)
      found.append(
        {
          'cell': name,
          'label': _label(other),
          'is_asked': name in asked,
          'inputs': _show(row.inputs or '', _LONG),
          'prediction': _show(row.prediction, _LONG),
          'right': bool(score.exact_match),
          'rouge_l': 100.0 * score.rouge_l,
          'in_format': score.in_format,
        }
      )
      if name == cell:
        first = row
    if place is None:
      raise InputError(
        f'cell {shorten(cell)} holds no instance {shorten(row_id)} of task '
        f'{shorten(task)}.'
      )
    return {
      'id': visible(row_id),
      'task': visible(task),
      'category': visible(first.category or ''),
      'kind': first.kind,
      'label_space': [
        _show(label, _SHORT) for label in first.label_space or ()
      ],
      'targets': [_show(text, _LONG) for text in first.targets[:50]],
      'cells': found,
    }

  def _asked(self, cell: str, all_seeds: bool) -> tuple[str, ...]:
    self._cell(cell)
    return self._seeds[cell] if all_seeds else (cell,)

  def _cell(self, name: str) -> Cell:
    if name not in self._cells:
      raise InputError(f'no finished cell {shorten(name)} in this study.')
    return self._cells[name]

  def _path(self, cell: str) -> pathlib.Path:
    return self.study.predictions_path(self._cells[cell])

  def _read(self, cell: str) -> list[Entry]:
    entries = []
    for offset, row in _lines(self._path(cell)):
      answer = metrics.exact_match(row.prediction, row.targets)
      in_format = None
      if row.label_space is not None:
        in_format = metrics.is_in_format(row.prediction, row.label_space)
      entries.append(
        Entry(
          offset=offset,
          id=row.id or '',
          task=row.task or '',
          category=row.category or '',
          kind=row.kind or '',
          is_right=answer,
          is_in_format=in_format,
        )
      )
    return entries

  def _find_places(self, cell: str) -> dict[tuple[str, str], int]:
    """Where in a cell's file each instance stands."""
    return {
      (entry.task, entry.id): place
      for place, entry in enumerate(self.entries(cell))
    }

  def _row_at(
    self, cell: str, place: int, task: str, row_id: str
  ) -> Prediction | None:
    """An instance's row, looked for first where another cell has it.

    Cells of a split are sorted alike, so that it stands there unless a file was
    made by others; to find a line takes no parsing of those before it.
    """
    starts = self._starts(cell)
    if place < len(starts):
      row = self._parsed(cell, [int(starts[place])])[0]
      if (row.task, row.id) == (task, row_id):
        return row
    other = self._places(cell).get((task, row_id))
    if other is None:
      return None
    return self._parsed(cell, [self.entries(cell)[other].offset])[0]

  def _find_starts(self, cell: str) -> np.ndarray:
    """Offset of each line of a cell's file; int64 [lines]."""
    content = np.fromfile(self._path(cell), np.uint8)
    ends = np.flatnonzero(content == ord('\n')) + 1
    starts = np.concatenate([[0], ends]).astype(np.int64)
    return starts[starts < len(content)]

  def _parsed(self, cell: str, offsets: Iterable[int]) -> list[Prediction]:
    path = self._path(cell)
    rows = []
    with open(path, 'rb') as file:
      for offset in offsets:
        file.seek(offset)
        rows.append(_parse(file.readline(), path))
    return rows

  def _texts(self, cell: str, entries: Iterable[Entry]) -> Iterator[str]:
    """All that is searched of each row, in lower case."""
    for row in self._parsed(cell, (entry.offset for entry in entries)):
      parts = (row.id, row.task, row.inputs, row.prediction, *row.targets)
      yield '\n'.join(filter(None, parts)).lower()


def _lines(path: pathlib.Path) -> Iterator[tuple[int, Prediction]]:
  with open(path, 'rb') as file:
    offset = 0
    for line in file:
      if line.strip():
        yield offset, _parse(line, path)
      offset += len(line)


def _parse(line: bytes, path: pathlib.Path) -> Prediction:
  try:
    fields = json.loads(line)
  except (ValueError, RecursionError):
    raise InputError(
      f'{path}: a line that is not JSON; one JSON object a line is allowed.'
    ) from None
  if not isinstance(fields, dict):
    raise InputError(f'{path}: a line that is no JSON object.')
  return Prediction.from_json(fields, where=str(path))


def _fits(entry: Entry, query: Query) -> bool:
  checks: tuple[tuple[object, Callable[[], object]], ...] = (
    (query.task, lambda: entry.task),
    (query.category, lambda: entry.category),
    (query.right, lambda: entry.is_right),
    (query.in_format, lambda: entry.is_in_format),
  )
  if query.group is not None and not metrics.in_group(entry, query.group):
    return False
  return all(asked is None or asked == has() for asked, has in checks)


def _label(cell: Cell) -> str:
  """What a reader calls a cell."""
  if cell.baseline is not None:
    return f'Baseline {cell.baseline}, {cell.split}, seed {cell.seed}'
  trained = 'Untuned'
  if cell.train_condition is not None:
    trained = f'Trained on {condition_label(cell.train_condition)}'
  tested = condition_label(cell.test_condition)
  return visible(
    f'{trained} → tested on {tested}, {cell.split}, seed {cell.seed}'
  )


def _show(text: str, longest: int) -> str:
  """Text made fit to show, cut where it is very long."""
  if len(text) <= longest:
    return visible(text)
  return f'{visible(text[:longest])}… [{len(text) - longest:,} more characters]'
