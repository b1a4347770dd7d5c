"""Scores a study's arms and draws the samples that a report shows."""

from collections.abc import Callable, Sequence
import dataclasses
import math
import os

import numpy as np

from it_study.corpus.natinst import CONTROL_CATEGORIES
from it_study.errors import InputError
from it_study.evaluation.stats.margins import MARGIN, ControlMargins
from it_study.predictions import Prediction, read_predictions
from it_study.report.arms import Arm, make_arms
from it_study.report.load import Cell, Study, read_study
from it_study.report.scores import (
  METRICS,
  Group,
  Scores,
  score_rows,
  stack_seeds,
)
from it_study.report.text import count
from it_study.seeding import stable_hash

SAMPLED_TASKS = 8
Samples = dict[tuple[str | None, str | None], dict[int, Prediction]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
  """A study, its scored arms, and one instance of each of a few test tasks.

  Attributes:
    study: Study as read from its folder.
    arms: Scored arms.
    samples: Rows of the first seed, by (task, id) and by index of the arm.
    notes: Notes to the reader, one sentence each, the study's included.
  """

  study: Study
  arms: tuple[Arm, ...]
  samples: Samples
  notes: tuple[str, ...]

  @property
  def margin(self) -> float:
    """The study's equivalence margin, in points, fixed before it ran."""
    value = self.study.run.get('equivalence_margin')
    if not isinstance(value, int | float) or isinstance(value, bool):
      return MARGIN
    return float(value) if 0 < value < math.inf else MARGIN

  @property
  def control_margins(self) -> ControlMargins:
    """The margins of the study's controls, fixed before it ran."""
    values = self.study.run.get('control_margins')
    try:
      return ControlMargins(**(values if isinstance(values, dict) else {}))
    except (TypeError, InputError):
      return ControlMargins()

  def of_corpus(self) -> 'Results':
    """Returns the results under conditions, on instances of a corpus."""
    return self._where(lambda arm: arm.test_task is None)

  def of_own_tasks(self) -> 'tuple[Results, ...]':
    """Returns the results on each own task and split, in order."""
    tests: dict[tuple[str, str], list[Arm]] = {}
    for arm in self.arms:
      if arm.test_task is not None:
        key = (arm.test_task, arm.cells[0].split)
        tests.setdefault(key, []).append(arm)
    return tuple(self._where(arms.__contains__) for arms in tests.values())

  def _where(self, is_kept: Callable[[Arm], bool]) -> 'Results':
    """Returns the results of some arms."""
    kept = [index for index, arm in enumerate(self.arms) if is_kept(arm)]
    if len(kept) == len(self.arms):
      return self
    samples: Samples = {}
    for key, rows in self.samples.items():
      places = {
        kept.index(index): rows[index] for index in rows if index in kept
      }
      if places:
        samples[key] = places
    return dataclasses.replace(
      self, arms=tuple(self.arms[index] for index in kept), samples=samples
    )

  def groups(self, kind: str, split: str) -> list[Group]:
    """Returns the groups of a kind in a split's metrics; see `groups_of`."""
    return groups_of(self.arms, kind, split)


def score(
  study_dir: str | os.PathLike[str],
  *,
  on_note: Callable[[str], None] | None = None,
  on_progress: Callable[[int, int], None] | None = None,
) -> Results:
  """Reads and scores a study folder; see `read_study` and `score_study`."""
  return score_study(
    read_study(study_dir), on_note=on_note, on_progress=on_progress
  )


def score_study(
  study: Study,
  *,
  on_note: Callable[[str], None] | None = None,
  on_progress: Callable[[int, int], None] | None = None,
) -> Results:
  """Reads and scores every cell's predictions.

  Args:
    study: Study from `load.read_study`.
    on_note: Function called with each note.
    on_progress: Function called with the number of cells scored so far and the
      number of all cells.

  Raises:
    InputError: If predictions are invalid.
  """
  notes = list(study.notes)
  arms: list[Arm] = []
  samples: Samples = {}
  done = 0
  for index, arm in enumerate(make_arms(study.cells)):
    by_seed: list[Scores] = []
    for cell in arm.cells:
      if on_progress is not None:
        on_progress(done, len(study.cells))
      done += 1
      path = study.predictions_path(cell)
      if not path.exists():
        notes.append(
          f'cells/{cell.cell}/{path.name} is missing: its cell has no '
          'intervals.'
        )
        continue
      study.check_cell(cell)
      rows = read_predictions(path)
      _check_unique(rows, str(path))
      if not by_seed and arm.split == 'test':
        for row in _sample(rows):
          samples.setdefault((row.task, row.id), {})[index] = row
      by_seed.append(score_rows(rows))
    if by_seed and len(by_seed) == len(arm.cells):
      seeds = [cell.seed for cell in arm.cells]
      scores = stack_seeds(by_seed, seeds)
      arm = dataclasses.replace(arm, scores=scores)
      notes += _disagreements(arm, scores)
    arms.append(arm)
  for note in notes:
    if on_note is not None:
      on_note(note)
  return Results(
    study=study, arms=tuple(arms), samples=samples, notes=tuple(notes)
  )


def groups_of(arms: Sequence[Arm], kind: str, split: str) -> list[Group]:
  """Returns the groups of a kind that occur in a split's metrics, by name.

  Control tasks are not among the tasks.
  """
  key = 'controls' if kind == 'control' else f'by_{kind}'
  names = {
    name
    for arm in arms
    if arm.split == split
    for cell in arm.cells
    for name in cell.metrics[key]
  }
  if kind == 'control':
    return [Group(kind, name) for name in CONTROL_CATEGORIES if name in names]
  if kind == 'task':
    names -= control_tasks(arms, split)
  return [Group(kind, name) for name in sorted(names)]


def control_tasks(arms: Sequence[Arm], split: str) -> set[str]:
  """Returns the names of a split's control tasks, taken from its rows."""
  tasks: set[str] = set()
  for arm in arms:
    if arm.split == split and arm.scores is not None:
      for group in arm.scores.named_groups():
        if group.kind == 'control':
          tasks |= set(arm.scores.tasks[arm.scores.mask(group)])
  return tasks


def seeds_of(cells: Sequence[Cell]) -> tuple[int, ...]:
  """Returns the seeds of the trainings, sorted."""
  seeds = {c.seed for c in cells if c.training and c.seed is not None}
  return tuple(sorted(seeds))


def _check_unique(rows: list[Prediction], where: str) -> None:
  unique = {(row.task, row.id) for row in rows}
  if len(unique) != len(rows):
    raise InputError(
      f'{where}: {count(len(rows) - len(unique), "instance")} predicted twice. '
      "Delete this cell's folder and run the study again."
    )


def _sample(rows: list[Prediction]) -> list[Prediction]:
  """Returns one row of each of a few tasks, the same in all cells of a split.

  The rows are those with the smallest hashes.
  """
  first: dict[str | None, Prediction] = {}
  for row in rows:
    known = first.get(row.task)
    if known is None or _rank(row) < _rank(known):
      first[row.task] = row
  chosen = []
  for kind in ('classification', 'generation', None):
    tasks = [name for name, row in first.items() if row.kind == kind]
    tasks.sort(key=lambda name: stable_hash('sample', name))
    chosen += tasks[: SAMPLED_TASKS // 2]
  return [first[name] for name in chosen]


def _rank(row: Prediction) -> tuple[int, str]:
  return stable_hash('sample', row.id), row.id or ''


def _disagreements(arm: Arm, scores: Scores) -> list[str]:
  """Returns a note if predictions and metrics.json give different numbers."""
  for kind in ('classification', 'generation', 'overall'):
    group = Group('headline', kind)
    for metric in METRICS:
      value = arm.value(metric, group)
      if value is None:
        continue
      points = scores.values[metric][:, scores.mask(group)]
      points = points[~np.isnan(points)]
      if not len(points) or abs(points.mean() - value) > 1e-6:
        return [
          f'cells/{arm.cells[0].cell}: metrics.json and predictions.jsonl do '
          "not agree. Delete this cell's folder and run the study again."
        ]
  return []
