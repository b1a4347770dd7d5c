"""A study's arms with their scores, and the samples that a report shows."""

from collections.abc import Callable, Sequence
import dataclasses
import math
import os

from it_study.corpus.natinst import CONTROL_CATEGORIES
from it_study.errors import InputError
from it_study.evaluation.stats.comparison import MARGIN
from it_study.predictions import Prediction, read_predictions
from it_study.report.arms import Arm, make_arms
from it_study.report.load import Cell, Study, read_study
from it_study.report.scores import METRICS, Group, score_rows, stack_seeds
from it_study.report.text import count
from it_study.seeding import stable_hash

SAMPLED_TASKS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
  """A study, its arms, and one instance of each of a few test tasks.

  Attributes:
    study: as read.
    arms: scored.
    samples: (task, id) to arm's index to the row of its first seed.
    notes: what a reader should know, the study's own included.
  """

  study: Study
  arms: tuple[Arm, ...]
  samples: dict[tuple[str, str], dict[int, Prediction]]
  notes: tuple[str, ...]

  @property
  def margin(self) -> float:
    """The study's margin of equivalence, in points, fixed before it ran."""
    value = self.study.run.get('equivalence_margin')
    return float(value) if _is_margin(value) else MARGIN

  def groups(self, kind: str, split: str) -> list[Group]:
    """The groups of a kind that occur in a split's metrics, by name."""
    return groups_of(self.arms, kind, split)


def score(
  study_dir: str | os.PathLike[str],
  *,
  on_note: Callable[[str], None] | None = None,
  on_progress: Callable[[int, int], None] | None = None,
) -> Results:
  """Reads and scores a study folder; see `load.read_study`, `score_study`."""
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
    study: as `load.read_study` gives it.
    on_note: called with each note as it comes up.
    on_progress: called with the number of cells scored, and of all.

  Raises:
    InputError: for predictions that cannot be understood.
  """
  notes = list(study.notes)
  arms, samples, done = [], {}, 0
  for index, arm in enumerate(make_arms(study.cells)):
    several = []
    for cell in arm.cells:
      if on_progress is not None:
        on_progress(done, len(study.cells))
      done += 1
      path = study.predictions_path(cell)
      if not path.is_file():
        notes.append(
          f'cells/{cell.cell}/{path.name} is not there: no intervals for '
          'its cell.'
        )
        continue
      rows = _checked(read_predictions(path), str(path))
      if not several and arm.split == 'test':
        for row in _sample(rows):
          samples.setdefault((row.task, row.id), {})[index] = row
      several.append(score_rows(rows))
    if several and len(several) == len(arm.cells):
      seeds = [cell.seed for cell in arm.cells]
      arm = dataclasses.replace(arm, scores=stack_seeds(several, seeds))
      notes += _disagreements(arm)
    arms.append(arm)
  for note in notes:
    if on_note is not None:
      on_note(note)
  return Results(
    study=study, arms=tuple(arms), samples=samples, notes=tuple(notes)
  )


def groups_of(arms: Sequence[Arm], kind: str, split: str) -> list[Group]:
  """The groups of a kind that occur in a split's metrics, by name."""
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
  """Names of the control tasks of a split, as far as its rows tell."""
  tasks: set[str] = set()
  for arm in arms:
    if arm.split == split and arm.scores is not None:
      for group in arm.scores.named_groups():
        if group.kind == 'control':
          tasks |= set(arm.scores.tasks[arm.scores.mask(group)])
  return tasks


def seeds_of(cells: Sequence[Cell]) -> tuple[int, ...]:
  """Seeds of the trainings, in order."""
  seeds = {c.seed for c in cells if c.training and c.seed is not None}
  return tuple(sorted(seeds))


def _checked(rows: list[Prediction], where: str) -> list[Prediction]:
  seen = {(row.task, row.id) for row in rows}
  if len(seen) != len(rows):
    raise InputError(
      f'{where}: {count(len(rows) - len(seen), "instance")} predicted twice; '
      'remove the folder of this cell and run the study again.'
    )
  return rows


def _is_margin(value: object) -> bool:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  return is_number and 0 < value < math.inf


def _sample(rows: list[Prediction]) -> list[Prediction]:
  """One row of each of a few tasks: the same in every cell of a split."""
  first: dict[str, Prediction] = {}
  for row in rows:
    known = first.get(row.task)
    if known is None or _rank(row) < _rank(known):
      first[row.task] = row
  chosen = []
  for kind in ('classification', 'generation'):
    tasks = [name for name, row in first.items() if row.kind == kind]
    tasks.sort(key=lambda name: stable_hash('sample', name))
    chosen += tasks[: SAMPLED_TASKS // 2]
  return [first[name] for name in chosen]


def _rank(row: Prediction) -> tuple[int, str]:
  return stable_hash('sample', row.id), row.id


def _disagreements(arm: Arm) -> list[str]:
  """Notes where predictions give other numbers than metrics.json has."""
  for kind in ('classification', 'generation', 'overall'):
    group = Group('headline', kind)
    for metric in METRICS:
      value = arm.value(metric, group)
      if value is None:
        continue
      points = arm.scores.values[metric][:, arm.scores.mask(group)]
      points = points[points == points]
      if not len(points) or abs(points.mean() - value) > 1e-6:
        return [
          f'cells/{arm.cells[0].cell}: metrics.json and predictions.jsonl do '
          'not agree; remove the folder of this cell and run the study again.'
        ]
  return []
