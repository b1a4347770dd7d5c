"""The natural-instructions leaderboard's references, in place of a corpus."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import NamedTuple

from it_study.corpus.findings import plural
from it_study.errors import InputError, nearest, shown
from it_study.evaluation.formats import rows, tables
from it_study.evaluation.formats.rows import RowFile
from it_study.predictions import Prediction, check_expected


class Reference(NamedTuple):
  """What is known of an instance without its corpus.

  Attributes:
    task: Task name; None if the file does not hold it.
    category: First category of the task; None if the file does not hold it.
    targets: Accepted references, at least one.
  """

  task: str | None
  category: str | None
  targets: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class References:
  """The references of one track.

  Attributes:
    path: Path of the file.
    track: Name of the track.
    by_id: Instance id to reference, in the order of the file.
    elsewhere: Ids of the instances of other tracks.
  """

  path: str
  track: str
  by_id: Mapping[str, Reference]
  elsewhere: frozenset[str]


def read_references(
  path: str | os.PathLike[str], *, track: str = 'default'
) -> References:
  """Reads a references.jsonl, or a CSV file of the same columns.

  A row has `id` and `references`, and perhaps `task_id`, `task_category` and
  `track`, as natural-instructions' `create_reference_file.py` writes them.

  Args:
    path: Path of the file.
    track: Track to keep; rows that name none are kept.

  Raises:
    InputError: If a row is malformed or has no reference, an id is repeated in
      the track, or no row is of the track.
  """
  by_id: dict[str, Reference] = {}
  elsewhere: set[str] = set()
  tracks: dict[str, None] = {}
  repeated: list[str] = []
  for where, fields in tables.read_table(path):
    tables.check_columns(fields, ('id', 'references'), where=where)
    found = rows.read_instance(fields, where)
    row_id, reference = found.pop('id'), Reference(**found)
    if not reference.targets:
      raise InputError(f'{where}: references: expected at least one text.')
    named = fields.get('track')
    if named is not None and not isinstance(named, str):
      raise InputError(f'{where}: track: expected a text, got {shown(named)}.')
    tracks[named or track] = None
    if named and named != track:
      elsewhere.add(row_id)
      continue
    if row_id in by_id:
      repeated.append(row_id)
    by_id[row_id] = reference
  if repeated:
    raise InputError(
      f'{path}: {plural(len(repeated), "duplicate id")} in track {track!r}, '
      f'the first is {repeated[0]!r}. Remove the repeated lines.'
    )
  if not by_id:
    raise InputError(
      f'{path}: no reference of track {track!r}; there are '
      f'{", ".join(map(repr, tracks))}. Choose one with --track.'
      f'{nearest(track, tracks)}'
    )
  return References(
    path=os.fspath(path),
    track=track,
    by_id=by_id,
    elsewhere=frozenset(elsewhere - by_id.keys()),
  )


def attach(
  file: RowFile, references: References
) -> tuple[tuple[Prediction, ...], tuple[str, ...]]:
  """Gives rows the references, tasks and categories of their instances.

  Predictions for another track are left out.

  Returns:
    Rows in the order of the references, and notes.

  Raises:
    InputError: If ids are missing, duplicate, unknown or not in the file.
  """
  kept: list[Prediction] = []
  left_out: list[Prediction] = []
  for number, row in enumerate(file.rows, start=1):
    if row.id is None:
      raise InputError(
        f'{file.path}: row {number} has no id to find in {references.path}. '
        'Name the corpus instead, with --corpus.'
      )
    (left_out if row.id in references.elsewhere else kept).append(row)
  filled = [_filled(row, references.by_id) for row in kept]
  own_tasks = {row.id: row.task for row in kept}
  check_expected(
    filled,
    expected={
      (own_tasks.get(name) if ref.task is None else ref.task, name)
      for name, ref in references.by_id.items()
    },
    against=references.path,
    source=file.path,
    advice='Predict all instances of the track, or name their own references.',
  )
  notes = _notes(kept, left_out, references)
  by_id = {row.id: row for row in filled}
  return tuple(by_id[name] for name in references.by_id), notes


def _filled(row: Prediction, by_id: Mapping[str, Reference]) -> Prediction:
  reference = by_id.get(row.id or '')
  if reference is None:
    return row
  return dataclasses.replace(
    row,
    # With another task, the row is none of these instances.
    task=reference.task if row.task is None else row.task,
    category=reference.category or row.category,
    targets=reference.targets,
  )


def _notes(
  kept: Sequence[Prediction],
  left_out: Sequence[Prediction],
  references: References,
) -> tuple[str, ...]:
  notes = []
  if left_out:
    notes.append(
      f'{plural(len(left_out), "prediction")} of other tracks than '
      f'{references.track!r} left out, the first is {left_out[0].id!r}.'
    )
  changed = [
    row.id
    for row in kept
    if row.id is not None
    and not set(row.targets) <= set(references.by_id[row.id].targets)
  ]
  if changed:
    notes.append(
      f'{plural(len(changed), "row")} with references that are not in '
      f'{references.path}, the first is {changed[0]!r}; scored against those '
      'of that file.'
    )
  return tuple(notes)
