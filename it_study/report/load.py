"""Reads a study folder: finished cells, settings, loss curves."""

from collections.abc import Mapping
import dataclasses
import math
import os
import pathlib
from typing import Any

from it_study.conditions import is_condition_name
from it_study.corpus.natinst import SPLITS
from it_study.errors import InputError, is_plain_name, nearest_path
from it_study.evaluation.baselines import BASELINES
from it_study.evaluation.metrics import GROUPS
from it_study.report.text import count, join, shorten
from it_study.storage import text_files
from it_study.storage.manifest import DONE, find_change
from it_study.storage.storage_path import expanded

_Path = str | os.PathLike[str]
RESULTS = 'results.jsonl'
PREDICTIONS = 'predictions.jsonl'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """A finished cell: a line of results.jsonl.

  Attributes:
    cell: Name of the cell and of its folder in `STUDY/cells`.
    training: Name of the training; None without one.
    train_condition: Name of the train condition; None if untuned or a baseline.
    test_condition: Name of the test condition; None for a baseline.
    matched: Whether the model was tested as it was trained.
    original_instructions: Whether the model was tested with the real
      instructions.
    split: Split that was predicted, 'test' or 'validation'; any split of an own
      task.
    seed: Seed of the training, or of a baseline's draws.
    engine: Engine, one of 'native', 't5x' and 'baseline'.
    baseline: Name of the baseline; None for a model.
    metrics: Contents of metrics.json.
    num_shortened: Number of prompts whose instance or definition was shortened.
    num_dropped_examples: Number of examples that did not fit.
    input_kept: Share of the instance's text that was kept, from 0 to 1, mean
      over instances; None if unknown, as for a baseline.
    num_unreachable: Number of instances whose references all exceed the targets
      limit; None if unknown, as for a baseline.
    num_cut_targets: Number of training targets that the limit truncated; None
      without a training or if unknown.
    num_train_examples: Number of training examples; None without a training.
    train_steps: Number of training steps; None without a training.
    train_seconds: Training time in seconds; None without a training.
    predict_seconds: Prediction time in seconds; None if unknown.
    test_task: Name of the own task or mixture that was predicted; None for a
      corpus.
    task_metrics: Results of own tasks' metrics, by SeqIO task and name; None
      without any.
  """

  cell: str
  training: str | None = None
  train_condition: str | None = None
  test_condition: str | None = None
  matched: bool = False
  original_instructions: bool = False
  split: str = 'test'
  seed: int | None = None
  engine: str = 'native'
  baseline: str | None = None
  metrics: Mapping
  num_shortened: int | None = None
  num_dropped_examples: int | None = None
  input_kept: float | None = None
  num_unreachable: int | None = None
  num_cut_targets: int | None = None
  num_train_examples: int | None = None
  train_steps: int | None = None
  train_seconds: float | None = None
  predict_seconds: float | None = None
  test_task: str | None = None
  task_metrics: Mapping | None = None

  @property
  def test_name(self) -> str:
    """Name of the own task and its split, for a reader."""
    return f'{shorten(str(self.test_task))}, split {shorten(self.split)}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """The contents of a study folder.

  Attributes:
    directory: Study folder.
    cells: Finished cells, in an order that does not depend on when they
      finished.
    run: Contents of run.json; empty if it is missing.
    config: Text of study.gin; None if it is missing.
    curves: Loss curves as (step, loss) pairs, by name of the training.
    notes: Notes to the reader, one sentence each.
  """

  directory: pathlib.Path
  cells: tuple[Cell, ...]
  run: Mapping
  config: str | None
  curves: Mapping[str, tuple[tuple[int, float], ...]]
  notes: tuple[str, ...]

  def predictions_path(self, cell: Cell) -> pathlib.Path:
    """Returns the path of a cell's predictions."""
    return self.directory / 'cells' / cell.cell / PREDICTIONS

  def check_cell(self, cell: Cell) -> None:
    """Checks a cell's files against its DONE, and its line against them.

    Raises:
      InputError: If its predictions have changed, or results.jsonl does not
        hold its metrics.
    """
    self.check_predictions(cell)
    metrics = self.predictions_path(cell).with_name('metrics.json')
    is_listed = metrics.with_name(DONE).exists() and metrics.exists()
    # A damaged metrics.json is not read here.
    if not is_listed or find_change(metrics) is not None:
      return
    if text_files.read_json(metrics, advice=_REWRITTEN) != cell.metrics:
      raise InputError(
        f'{self.directory / RESULTS}: the metrics of cell {cell.cell} differ '
        f'from its metrics.json. {_REWRITTEN}'
      )

  def check_predictions(self, cell: Cell) -> None:
    """Raises `InputError` if a cell's predictions have changed."""
    path = self.predictions_path(cell)
    change = find_change(path)
    if change is None and not path.is_file():
      change = 'is not a file'
    if change is not None:
      raise InputError(f'{path} {change}. {self.remedy(cell)}')

  def remedy(self, cell: Cell) -> str:
    """Returns advice for damaged predictions."""
    return (
      f'Restore it, or remove the folder cells/{cell.cell} from the study and '
      'run the study again.'
    )


def read_study(study_dir: _Path) -> Study:
  """Reads a study folder, finished or not.

  Raises:
    InputError: If the folder is missing, has no finished cell, or holds an
      invalid file.
  """
  directory = pathlib.Path(expanded(study_dir))
  if not directory.is_dir():
    raise InputError(
      f'{directory}: no such study folder. Name one written by '
      "'it-study study --study_dir=DIR'."
      f'{nearest_path(directory)}'
    )
  notes: list[str] = []
  cells = _read_cells(directory, notes)
  run = _read_run(directory / 'run.json', notes)
  planned = run.get('num_cells')
  if isinstance(planned, int) and planned > len(cells):
    notes.append(
      f'This study is not finished: {len(cells)} of {planned} cells are done. '
      'Run the same command again to resume it.'
    )
    notes += _missing_tests(cells)
  config = None
  if (directory / 'study.gin').exists():
    config = text_files.read_text(directory / 'study.gin')
  else:
    notes.append('study.gin is missing: the configuration is unknown.')
  return Study(
    directory=directory,
    cells=cells,
    run=run,
    config=config,
    curves=_read_curves(directory, cells, notes),
    notes=tuple(notes),
  )


def _missing_tests(cells: tuple[Cell, ...]) -> list[str]:
  """Returns a note for each training that lacks tests that others have."""
  by_training: dict[str, set[str]] = {}
  for cell in cells:
    # Only conditions have instructions.
    if cell.training and is_condition_name(cell.train_condition or ''):
      tests = by_training.setdefault(cell.training, set())
      if cell.matched:
        tests.add(f'its own instructions on the {cell.split} split')
      if cell.original_instructions:
        tests.add(f'the real instructions on the {cell.split} split')
  all_tests = set().union(*by_training.values())
  return [
    f'{shorten(name)} has not been tested with '
    f'{join(sorted(all_tests - tests))}.'
    for name, tests in sorted(by_training.items())
    if all_tests - tests
  ]


def _read_cells(directory: pathlib.Path, notes: list[str]) -> tuple[Cell, ...]:
  path = directory / RESULTS
  content = text_files.read_bytes(path) if path.exists() else b''
  if not content.strip():
    raise InputError(
      f'{directory}: no finished cell: {RESULTS} is missing or empty. Run '
      "'it-study study --study_dir=DIR' first."
    )
  cells: dict[str, Cell] = {}
  lines = content.split(b'\n')
  for line_number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    where = f'{path}:{line_number}'
    try:
      fields = text_files.parse_object(
        line, where=where, expected='one JSON object per line'
      )
    except InputError as error:
      # Lines end in a line break.
      if line_number == len(lines):
        notes.append(
          f'The last line of {RESULTS} is truncated and was skipped. Run the '
          'study again to restore it.'
        )
        continue
      raise InputError(f'{error} {_REWRITTEN}') from None
    try:
      cell = _parse_cell(fields, where)
    except InputError as error:
      raise InputError(f'{error} {_REWRITTEN}') from None
    cells[cell.cell] = cell
  if not cells:
    raise InputError(f'{path}: no finished cell. {_REWRITTEN}')
  return tuple(sorted(cells.values(), key=_order))


def place_of(split: str) -> tuple[int, str]:
  """Returns the sort key of a split: test first, and unknown ones last."""
  known = ('test', 'validation', 'train')
  return (known.index(split) if split in known else len(known), split)


def _order(cell: Cell) -> tuple:
  return (
    cell.test_task or '',
    place_of(cell.split),
    cell.baseline is not None,
    cell.training or '',
    cell.cell,
  )


def _parse_cell(fields: dict[str, Any], where: str) -> Cell:
  known = {field.name for field in dataclasses.fields(Cell)}
  values = {name: fields[name] for name in fields if name in known}
  name = values.get('cell')
  # The name is a folder's: it must not lead out of the study.
  if not isinstance(name, str) or not is_plain_name(name):
    raise InputError(
      f'{where}: cell: expected the name of a folder, got {name!r:.60}.'
    )
  for field, kinds, expected in _EXPECTED:
    value = values.get(field)
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if not isinstance(value, kinds) or not is_finite:
      raise InputError(
        f'{where}: {field}: expected {expected}, got {value!r:.60}.'
      )
  if values.get('split') not in SPLITS and values.get('test_task') is None:
    raise InputError(
      f'{where}: split: expected one of {", ".join(SPLITS)}, got '
      f'{values.get("split")!r:.60}.'
    )
  if values.get('baseline') not in (None, *BASELINES):
    raise InputError(
      f'{where}: baseline: expected null or one of {", ".join(BASELINES)}, got '
      f'{values["baseline"]!r:.60}.'
    )
  kept = values.get('input_kept')
  if kept is not None and not _is_between(kept, 0, 1):
    raise InputError(
      f'{where}: input_kept: expected null or a share from 0 to 1, got '
      f'{kept!r:.60}.'
    )
  _check_metrics(values['metrics'], where)
  return Cell(**values)


_TEXT_OR_NONE = (str, type(None))
_NUMBER_OR_NONE = (int, float, type(None))
_EXPECTED: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
  ('training', _TEXT_OR_NONE, 'a string or null'),
  ('train_condition', _TEXT_OR_NONE, 'a string or null'),
  ('test_condition', _TEXT_OR_NONE, 'a string or null'),
  ('test_task', _TEXT_OR_NONE, 'a string or null'),
  ('task_metrics', (dict, type(None)), 'an object or null'),
  ('seed', (int, type(None)), 'an integer or null'),
  ('num_shortened', _NUMBER_OR_NONE, 'a number or null'),
  ('num_dropped_examples', _NUMBER_OR_NONE, 'a number or null'),
  ('num_unreachable', _NUMBER_OR_NONE, 'a number or null'),
  ('num_cut_targets', _NUMBER_OR_NONE, 'a number or null'),
  ('num_train_examples', _NUMBER_OR_NONE, 'a number or null'),
  ('train_steps', _NUMBER_OR_NONE, 'a number or null'),
  ('train_seconds', _NUMBER_OR_NONE, 'a number or null'),
  ('predict_seconds', _NUMBER_OR_NONE, 'a number or null'),
  ('metrics', dict, 'the contents of a metrics.json'),
)
_REWRITTEN = f'Run the study again: it rewrites {RESULTS} from its cells.'
_NAMED_GROUPS = ('by_category', 'by_task', 'controls')
_VALUES = ('exact_match', 'rouge_1', 'rouge_l', 'format_correctness')


def _check_metrics(metrics: dict, where: str) -> None:
  groups = {name: metrics.get(name) for name in GROUPS}
  for kind in _NAMED_GROUPS:
    named = metrics.get(kind)
    if not isinstance(named, dict):
      raise InputError(
        f'{where}: metrics.{kind}: expected an object of groups by name, got '
        f'{named!r:.60}.'
      )
    groups |= {f'{kind}.{name}': group for name, group in named.items()}
  for name, group in groups.items():
    if group is None:
      continue
    if not isinstance(group, dict):
      raise InputError(
        f'{where}: metrics.{name:.60}: expected null or an object of metrics, '
        f'got {group!r:.60}.'
      )
    for metric in _VALUES:
      value = group.get(metric)
      if value is not None and not _is_between(value, 0, 100):
        raise InputError(
          f'{where}: metrics.{name:.60}.{metric}: expected null or a '
          f'percentage from 0 to 100, got {value!r:.60}.'
        )


def _is_between(value: object, low: float, high: float) -> bool:
  """Whether a value is a number in a range, up to rounding errors of sums."""
  return (
    isinstance(value, int | float)
    and not isinstance(value, bool)
    and low - 1e-9 <= value <= high + 1e-9
  )


def _read_run(path: pathlib.Path, notes: list[str]) -> Mapping:
  if not path.exists():
    notes.append('run.json is missing: how the study was run is unknown.')
    return {}
  return text_files.read_sealed(
    path, advice='Remove the file and run the study again to write it anew.'
  )


def _read_curves(
  directory: pathlib.Path, cells: tuple[Cell, ...], notes: list[str]
) -> dict[str, tuple[tuple[int, float], ...]]:
  names = dict.fromkeys(cell.training for cell in cells if cell.training)
  curves = {}
  for name in sorted(names):
    path = directory / 'trainings' / name / 'metrics.jsonl'
    if not is_plain_name(name) or not path.exists():
      continue
    change = find_change(path)
    if change is not None:
      notes.append(
        f'trainings/{shorten(name)}/{path.name} {change}: the loss curve may '
        'be wrong.'
      )
    lines = text_files.read_bytes(path).splitlines()
    points = [_parse_point(line) for line in lines]
    if None in points and change is None:
      notes.append(
        f'trainings/{shorten(name)}/{path.name}: '
        f'{count(points.count(None), "line")} cannot be read; the loss curve '
        'lacks them.'
      )
    curve = dict(point for point in points if point is not None)
    if curve:
      curves[name] = tuple(sorted(curve.items()))
  return curves


def _parse_point(line: bytes) -> tuple[int, float] | None:
  """Returns a line's step and loss; None if it is damaged or has none."""
  try:
    fields = text_files.parse_object(line, where='')
    step, loss = int(fields['step']), float(fields['loss'])
  except (ValueError, KeyError, TypeError, OverflowError):
    return None
  return (step, loss) if math.isfinite(loss) else None
