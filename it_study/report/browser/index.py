"""Index of a study's predictions: where each is stored, and its score."""

from collections.abc import Iterable, Iterator
import functools
import os
import pathlib
import threading
from typing import Any, NamedTuple

import numpy as np

from it_study.errors import InputError, visible
from it_study.evaluation import metrics
from it_study.predictions import Prediction
from it_study.report.arms import condition_label, headline_arm, make_arms
from it_study.report.browser import prediction_folder, query as query_lib
from it_study.report.browser.query import LIMIT, Entry, Query
from it_study.report.load import Cell, Study, read_study
from it_study.report.text import shorten
from it_study.storage import text_files
from it_study.storage.storage_path import expanded

# Longest texts, in characters, in a list and in the view of an instance.
_SHORT, _LONG = 280, 50_000
# Number of cells to cache, at one entry per row.
_CACHED_CELLS = 512
# The prompt's last part, which holds the instance.
_QUERY_START = 'Now complete the following example -\nInput: '
_QUERY_END = '\nOutput: '


class _Match(NamedTuple):
  """A row that matches a query, and its place in its cell."""

  place: int
  cell: str
  entry: Entry


class Index:
  """Finds rows of a study's cells, each of which is read on first use.

  Cells are in the order of the report. The folder of a prediction is a study of
  one cell.

  Raises:
    InputError: If the folder is neither, or has no predictions.
  """

  def __init__(self, study_dir: str | os.PathLike[str]):
    directory = pathlib.Path(expanded(study_dir))
    self.study: Study
    if prediction_folder.is_prediction(directory):
      self.study = prediction_folder.read_prediction(directory)
    else:
      self.study = read_study(directory)
    present, self._notes = [], list(self.study.notes)
    for cell in self.study.cells:
      path = self.study.predictions_path(cell)
      if path.exists():
        present.append(cell)
      else:
        self._notes.append(
          f'cells/{cell.cell}/{path.name} is missing: its cell is not listed.'
        )
    arms = make_arms(present)
    self._cells: dict[str, Cell] = {
      cell.cell: cell for arm in arms for cell in arm.cells
    }
    if not self._cells:
      raise InputError(
        f'{self.study.directory}: no cell with a predictions.jsonl. Run '
        "'it-study study' with this --study_dir first."
      )
    first = headline_arm(arms) or arms[0]
    self._first_cell = first.cells[0].cell
    # For each cell, the cells that differ at most in seed, sorted by seed.
    self._seeds: dict[str, tuple[str, ...]] = {}
    for arm in arms:
      names = tuple(cell.cell for cell in arm.cells)
      self._seeds |= dict.fromkeys(names, names)
    self._lock = threading.Lock()
    self._entries = functools.lru_cache(maxsize=_CACHED_CELLS)(self._read)
    self._places = functools.lru_cache(maxsize=_CACHED_CELLS)(self._find_places)
    self._starts = functools.lru_cache(maxsize=_CACHED_CELLS)(self._find_starts)

  @property
  def report_path(self) -> pathlib.Path:
    """Path of the study's report, which need not exist."""
    return self.study.directory / 'report' / 'index.html'

  def describe(self) -> dict[str, Any]:
    """Returns the study's name, notes and cells, for the page's head."""
    return {
      'name': visible(self.study.directory.resolve().name),
      'notes': [visible(note) for note in self._notes],
      'has_report': self.report_path.is_file(),
      'first_cell': self._first_cell,
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
    """Returns the names of a cell's tasks and categories, sorted."""
    entries = self.entries(cell)
    return {
      'tasks': sorted({entry.task for entry in entries}),
      'categories': sorted({entry.category for entry in entries}),
    }

  def entries(self, cell: str) -> list[Entry]:
    """Returns the rows of a cell in the order of its file.

    Raises:
      InputError: If the cell is unknown or its file is invalid.
    """
    self._cell(cell)
    with self._lock:
      return self._entries(cell)

  def rows(self, query: Query) -> dict[str, Any]:
    """Returns counts of the rows that match a query, and a page of them.

    Raises:
      InputError: If the cell or group is unknown.
    """
    names = self._requested(query.cell, query.all_seeds)
    if query.group is not None and query.group not in metrics.GROUPS:
      raise InputError(
        f'group: expected one of {", ".join(metrics.GROUPS)}, got '
        f'{shorten(query.group)}.'
      )
    matches = [match for name in names for match in self._matches(name, query)]
    # The sort is stable: the seeds of an instance are listed in order.
    matches.sort(key=lambda match: match.place)
    limit = max(0, min(query.limit, LIMIT))
    page = matches[query.offset : query.offset + limit]
    predictions = {
      name: iter(
        self._parsed(
          name, [match.entry.offset for match in page if match.cell == name]
        )
      )
      for name in names
    }
    judged = [
      match.entry.is_in_format
      for match in matches
      if match.entry.is_in_format is not None
    ]
    return {
      'total': len(matches),
      'num_rows': sum(len(self.entries(name)) for name in names),
      'num_right': sum(match.entry.is_right for match in matches),
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
          'input': _show(_input(row.inputs or ''), _SHORT),
          'prediction': _show(row.prediction, _SHORT),
          'targets': [_show(text, _SHORT) for text in row.targets[:5]],
        }
        for _, name, entry in page
        for row in (next(predictions[name]),)
      ],
    }

  def _matches(self, cell: str, query: Query) -> list[_Match]:
    """Returns the rows of one cell that match a query."""
    matches = [
      _Match(place, cell, entry)
      for place, entry in enumerate(self.entries(cell))
      if query_lib.matches(entry, query)
    ]
    words = query.text.lower().split()
    if not words:
      return matches
    texts = self._texts(cell, (match.entry for match in matches))
    return [
      match
      for match, text in zip(matches, texts, strict=True)
      if all(word in text for word in words)
    ]

  def instance(
    self, *, cell: str, task: str, row_id: str, all_seeds: bool = False
  ) -> dict[str, Any]:
    """Returns one instance in every cell of a split, side by side.

    Args:
      cell: Cell whose split is shown, and which is marked as requested.
      task: Task of the instance.
      row_id: Id of the instance.
      all_seeds: Whether to mark the cells that differ only in seed as well.

    Raises:
      InputError: If the cell does not hold the instance.
    """
    split = self._cell(cell).split
    requested = self._requested(cell, all_seeds)
    place = self._places(cell).get((task, row_id))
    if place is None:
      raise InputError(
        f'cell {shorten(cell)} has no instance {shorten(row_id)} of task '
        f'{shorten(task)}.'
      )
    first = self._parsed(cell, [self.entries(cell)[place].offset])[0]
    answers = []
    for name, other in self._cells.items():
      if other.split != split:
        continue
      row = self._row_at(name, place, task, row_id)
      if row is None:
        continue
      score = metrics.score_row(row)
      answers.append(
        {
          'cell': name,
          'label': _label(other),
          'is_requested': name in requested,
          'inputs': _show(row.inputs or '', _LONG),
          'prediction': _show(row.prediction, _LONG),
          'raw_prediction': _show(row.raw_prediction or '', _LONG),
          'right': bool(score.exact_match),
          'rouge_l': 100.0 * score.rouge_l,
          'in_format': score.in_format,
        }
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
      'cells': answers,
    }

  def _requested(self, cell: str, all_seeds: bool) -> tuple[str, ...]:
    self._cell(cell)
    return self._seeds[cell] if all_seeds else (cell,)

  def _cell(self, name: str) -> Cell:
    if name not in self._cells:
      raise InputError(f'no finished cell {shorten(name)} in this study.')
    return self._cells[name]

  def _path(self, cell: str) -> pathlib.Path:
    return self.study.predictions_path(self._cells[cell])

  def _read(self, cell: str) -> list[Entry]:
    self.study.check_cell(self._cells[cell])
    entries = []
    for offset, row in _lines(self._path(cell)):
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
          is_right=metrics.exact_match(row.prediction, row.targets),
          is_in_format=in_format,
        )
      )
    return entries

  def _find_places(self, cell: str) -> dict[tuple[str, str], int]:
    """Returns the position of each instance in a cell's file."""
    return {
      (entry.task, entry.id): place
      for place, entry in enumerate(self.entries(cell))
    }

  def _row_at(
    self, cell: str, place: int, task: str, row_id: str
  ) -> Prediction | None:
    """Returns an instance's row, or None; looks first at `place`.

    All cells of a split that this package wrote have the same order, so the row
    is usually at the same place, which is found without parsing other rows.
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
    """Returns the offset of each line of a cell's file; int64 [lines]."""
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
    """Yields the searchable text of each row, in lower case."""
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
  fields = text_files.parse_object(
    line, where=str(path), expected='one JSON object per line'
  )
  return Prediction.from_json(fields, where=str(path))


def _input(prompt: str) -> str:
  """Returns the instance's input, of which a baseline's prompt consists.

  >>> _input('Definition: Answer.\\n\\nNow complete the following example -\\n'
  ...        'Input: Who waits?\\nOutput: ')
  'Who waits?'
  """
  return prompt.rpartition(_QUERY_START)[2].removesuffix(_QUERY_END)


def _label(cell: Cell) -> str:
  """Returns the name of a cell for readers."""
  if cell.baseline is not None:
    test = '' if cell.test_task is None else f' on {shorten(cell.test_task)}'
    return visible(
      f'Baseline {cell.baseline}{test}, {cell.split}, seed {cell.seed}'
    )
  trained = 'Untuned'
  if cell.train_condition is not None:
    trained = f'Trained on {condition_label(cell.train_condition)}'
  tested = condition_label(cell.test_condition)
  return visible(
    f'{trained} → tested on {tested}, {cell.split}, seed {cell.seed}'
  )


def _show(text: str, longest: int) -> str:
  """Makes text safe to show, and truncates a very long one."""
  if len(text) <= longest:
    return visible(text)
  return f'{visible(text[:longest])}… [{len(text) - longest:,} more characters]'
