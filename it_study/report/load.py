"""Reads a study folder: finished cells, how they were run, loss curves."""

from collections.abc import Mapping
import dataclasses
import json
import math
import os
import pathlib

from it_study.corpus.natinst import SPLITS
from it_study.errors import InputError, nearest_path
from it_study.evaluation.baselines import BASELINES
from it_study.evaluation.metrics import GROUPS
from it_study.report.text import shorten

_Path = str | os.PathLike[str]
RESULTS = 'results.jsonl'
PREDICTIONS = 'predictions.jsonl'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """A finished cell, as a line of results.jsonl tells it.

  Attributes:
    cell: name, which is also that of its folder in `STUDY/cells`.
    training: name of the training, None without one.
    train_condition: name of a condition; None if untuned, and for a baseline.
    test_condition: name of a condition; None for a baseline.
    matched: whether it was tested as it was trained.
    original_instructions: whether it was tested under the real instructions.
    split: 'test' or 'validation'.
    seed: of the training, or of a baseline's draws.
    engine: 'native', 't5x' or 'baseline'.
    baseline: name of a baseline, or None.
    metrics: the contents of its metrics.json.
    num_shortened: prompts whose instance or definition had to be cut.
    num_dropped_examples: examples that did not fit.
    input_kept: share of the instance's text that is left, 0 to 1, the mean
      over instances; None where not known, as for a baseline.
    train_steps: None where there was no training.
    train_seconds: likewise.
    predict_seconds: None where not known.
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
  train_steps: int | None = None
  train_seconds: float | None = None
  predict_seconds: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """What a study folder holds.

  Attributes:
    directory: the folder.
    cells: finished ones, in the same order whatever order they finished in.
    run: contents of run.json, empty if it is not there.
    config: text of study.gin, None if it is not there.
    curves: training to its (step, loss) pairs.
    notes: what a reader should know, one sentence each.
  """

  directory: pathlib.Path
  cells: tuple[Cell, ...]
  run: Mapping
  config: str | None
  curves: Mapping[str, tuple[tuple[int, float], ...]]
  notes: tuple[str, ...]

  def predictions_path(self, cell: Cell) -> pathlib.Path:
    return self.directory / 'cells' / cell.cell / PREDICTIONS


def read_study(study_dir: _Path) -> Study:
  """Reads what there is; a study need not be finished.

  Raises:
    InputError: if the folder is missing, has no finished cell, or holds a file
      that cannot be understood.
  """
  directory = pathlib.Path(study_dir)
  if not directory.is_dir():
    raise InputError(
      f'{directory}: no such study folder. Name one that '
      "'it-study study --study_dir=DIR' has written."
      f'{nearest_path(directory)}'
    )
  notes: list[str] = []
  cells = _read_cells(directory, notes)
  run = _read_run(directory / 'run.json', notes)
  planned = run.get('num_cells')
  if isinstance(planned, int) and planned > len(cells):
    notes.append(
      f'This study is not finished: {len(cells)} of {planned} cells are there. '
      'Run the same command again to do the rest.'
    )
    notes += _missing_tests(cells)
  config = _read_text(directory / 'study.gin')
  if config is None:
    notes.append('study.gin is not there: the configuration is not known.')
  return Study(
    directory=directory,
    cells=cells,
    run=run,
    config=config,
    curves=_read_curves(directory, cells),
    notes=tuple(notes),
  )


def _missing_tests(cells: tuple[Cell, ...]) -> list[str]:
  """A note for each training that lacks tests which others have."""
  by_training: dict[str, set[str]] = {}
  for cell in cells:
    if cell.training:
      kinds = by_training.setdefault(cell.training, set())
      if cell.matched:
        kinds.add(f'matched on {cell.split}')
      if cell.original_instructions:
        kinds.add(f'real instructions on {cell.split}')
  every = set().union(*by_training.values())
  return [
    f'{shorten(name)} lacks tests: {", ".join(sorted(every - kinds))}.'
    for name, kinds in sorted(by_training.items())
    if every - kinds
  ]


def _read_cells(directory: pathlib.Path, notes: list[str]) -> tuple[Cell, ...]:
  path = directory / RESULTS
  text = _read_text(path)
  if text is None or not text.strip():
    raise InputError(
      f'{directory}: no finished cell: {RESULTS} is missing or empty. Run '
      "'it-study study --study_dir=DIR' first."
    )
  cells: dict[str, Cell] = {}
  lines = text.split('\n')
  for line_number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    try:
      fields = json.loads(line)
    except (ValueError, RecursionError):
      # A killed process may leave half a line; that cell will be run again.
      if line_number == len(lines):
        notes.append(f'The last line of {RESULTS} is cut off and left out.')
        continue
      raise InputError(
        f'{path}:{line_number}: not JSON; one JSON object a line is allowed.'
      ) from None
    cell = _parse_cell(fields, f'{path}:{line_number}')
    cells[cell.cell] = cell
  if not cells:
    raise InputError(f'{path}: no finished cell in it. Run the study again.')
  return tuple(sorted(cells.values(), key=_order))


def _order(cell: Cell) -> tuple:
  return (
    ('test', 'validation', 'train').index(cell.split),
    cell.baseline is not None,
    cell.training or '',
    cell.cell,
  )


def _parse_cell(fields: object, where: str) -> Cell:
  if not isinstance(fields, dict):
    raise InputError(
      f'{where}: found {type(fields).__name__}, allowed is one JSON object.'
    )
  known = {field.name for field in dataclasses.fields(Cell)}
  values = {name: fields[name] for name in fields if name in known}
  name = values.get('cell')
  # The name is a folder's: it must not lead out of the study.
  if not isinstance(name, str) or not _is_folder(name):
    raise InputError(
      f"{where}: cell: found {name!r:.60}, allowed is a folder's name."
    )
  for field, kinds, allowed in _ALLOWED:
    if not isinstance(values.get(field), kinds):
      raise InputError(
        f'{where}: {field}: found {values.get(field)!r:.60}, allowed is '
        f'{allowed}.'
      )
  if values.get('split') not in SPLITS:
    raise InputError(
      f'{where}: split: found {values.get("split")!r:.60}, allowed are '
      f'{", ".join(SPLITS)}.'
    )
  if values.get('baseline') not in (None, *BASELINES):
    raise InputError(
      f'{where}: baseline: found {values["baseline"]!r:.60}, allowed are '
      f'{", ".join(BASELINES)} and null.'
    )
  kept = values.get('input_kept')
  if kept is not None and not _is_share(kept):
    raise InputError(
      f'{where}: input_kept: found {kept!r:.60}, allowed is a share from 0 to '
      '1, or null.'
    )
  _check_metrics(values['metrics'], where)
  return Cell(**values)


def _is_folder(name: str) -> bool:
  return name not in ('', '.', '..') and not set(name) & set('/\\\0')


_TEXT_OR_NONE = (str, type(None))
_NUMBER_OR_NONE = (int, float, type(None))
_ALLOWED = (
  ('training', _TEXT_OR_NONE, 'a text or null'),
  ('train_condition', _TEXT_OR_NONE, 'a text or null'),
  ('test_condition', _TEXT_OR_NONE, 'a text or null'),
  ('seed', (int, type(None)), 'an integer or null'),
  ('num_shortened', _NUMBER_OR_NONE, 'a number or null'),
  ('num_dropped_examples', _NUMBER_OR_NONE, 'a number or null'),
  ('train_steps', _NUMBER_OR_NONE, 'a number or null'),
  ('train_seconds', _NUMBER_OR_NONE, 'a number or null'),
  ('predict_seconds', _NUMBER_OR_NONE, 'a number or null'),
  ('metrics', dict, 'the object of a metrics.json'),
)
_NAMED_GROUPS = ('by_category', 'by_task', 'controls')
_VALUES = ('exact_match', 'rouge_1', 'rouge_l', 'format_correctness')


def _check_metrics(metrics: dict, where: str) -> None:
  groups = {name: metrics.get(name) for name in GROUPS}
  for kind in _NAMED_GROUPS:
    named = metrics.get(kind)
    if not isinstance(named, dict):
      raise InputError(
        f'{where}: metrics.{kind}: found {named!r:.60}, allowed is an object '
        'of name to group.'
      )
    groups |= {f'{kind}.{name}': group for name, group in named.items()}
  for name, group in groups.items():
    if group is None:
      continue
    if not isinstance(group, dict):
      raise InputError(
        f'{where}: metrics.{name:.60}: found {group!r:.60}, allowed is a group '
        'of metrics or null.'
      )
    for metric in _VALUES:
      value = group.get(metric)
      if value is not None and not _is_percentage(value):
        raise InputError(
          f'{where}: metrics.{name:.60}.{metric}: found {value!r:.60}, allowed '
          'is a percentage from 0 to 100 or null.'
        )


def _is_percentage(value: object) -> bool:
  # Sums of floats may end a hair above 100.
  return _is_number(value) and -1e-9 <= value <= 100 + 1e-9


def _is_share(value: object) -> bool:
  return _is_number(value) and -1e-9 <= value <= 1 + 1e-9


def _is_number(value: object) -> bool:
  return (
    isinstance(value, int | float)
    and not isinstance(value, bool)
    and math.isfinite(value)
  )


def _read_run(path: pathlib.Path, notes: list[str]) -> Mapping:
  text = _read_text(path)
  if text is None:
    notes.append('run.json is not there: how the study was run is not known.')
    return {}
  try:
    run = json.loads(text)
  except (ValueError, RecursionError):
    raise InputError(f'{path}: not JSON; one JSON object is due.') from None
  if not isinstance(run, dict):
    raise InputError(
      f'{path}: found {type(run).__name__}, allowed is one JSON object.'
    )
  return run


def _read_curves(
  directory: pathlib.Path, cells: tuple[Cell, ...]
) -> dict[str, tuple[tuple[int, float], ...]]:
  names = dict.fromkeys(cell.training for cell in cells if cell.training)
  curves = {}
  for name in sorted(names):
    if not _is_folder(name):
      continue
    text = _read_text(directory / 'trainings' / name / 'metrics.jsonl') or ''
    points = dict(filter(None, map(_parse_point, text.splitlines())))
    if points:
      curves[name] = tuple(sorted(points.items()))
  return curves


def _parse_point(line: str) -> tuple[int, float] | None:
  """Step and loss of a line; None if it is cut off or of another kind."""
  try:
    fields = json.loads(line)
    step, loss = int(fields['step']), float(fields['loss'])
  except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
    return None
  return (step, loss) if math.isfinite(loss) else None


def _read_text(path: pathlib.Path) -> str | None:
  """A file's text, None if there is no such file."""
  try:
    return path.read_bytes().decode('utf-8-sig')
  except FileNotFoundError:
    return None
  except UnicodeDecodeError as error:
    raise InputError(
      f'{path}: not UTF-8 at byte {error.start}: {error.reason}.'
    ) from None
  except OSError as error:
    raise InputError(
      f'{path}: cannot be read: {error.strerror or error}.'
    ) from None
