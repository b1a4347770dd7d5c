"""Scores a prediction file of any known format; shows metrics as a table."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
from typing import NamedTuple

from it_study import instructions
from it_study.conditions import Condition
from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.errors import InputError
from it_study.evaluation import baselines, formats
from it_study.evaluation.metrics import compute_metrics
from it_study.evaluation.rouge import Rouge
from it_study.evaluation.traps import find_traps
from it_study.predictions import Prediction, check_complete, check_unique
from it_study.storage.text_files import write_text

_Path = str | os.PathLike[str]


class Score(NamedTuple):
  """The contents of metrics.json, and what a reader of them should know."""

  metrics: dict
  notes: tuple[str, ...]


class Rows(NamedTuple):
  """Rows ready to be scored, their split if known, and notes on them."""

  rows: tuple[Prediction, ...]
  split: str | None
  notes: tuple[str, ...]


def score_file(
  path: _Path,
  *,
  corpus: Corpus | None = None,
  split: str | None = None,
  out: _Path | None = None,
  scorer: Rouge | None = None,
) -> Score:
  """Scores a file of any format that `formats.read_rows` reads.

  Args:
    path: of the predictions.
    corpus: checks that every instance of the split is there exactly once, and
      gives kinds, label spaces, categories and references.
    split: of rows that do not name theirs; None means 'test' for them.
    out: where to write metrics.json; None writes nothing.
    scorer: splits words for ROUGE; None takes the English track's.

  Returns:
    Metrics as `metrics.compute_metrics` gives them (for a baseline's rows as
    `baselines.metrics_of_rows` does), and notes, one sentence each.

  Raises:
    InputError: if the file cannot be read, ids are duplicate, missing or
      foreign, there are several splits in it, or `out` cannot be written.
  """
  loaded = load_rows(path, corpus=corpus, split=split)
  metrics = score_rows(
    loaded.rows,
    corpus=corpus,
    split=loaded.split or 'test',
    scorer=scorer,
  )
  if out is not None:
    write_metrics(out, metrics)
  traps = find_traps(loaded.rows)
  return Score(metrics, (*loaded.notes, *traps.notes()))


def load_rows(
  path: _Path, *, corpus: Corpus | None = None, split: str | None = None
) -> Rows:
  """Reads and checks a prediction file; arguments as for `score_file`.

  With a corpus the rows come sorted by (task, position), with all that the
  corpus knows of them; without one, as the file has them.
  """
  file = formats.read_rows(path)
  split = _one_split(file, split)
  if corpus is None:
    return _without_corpus(file, split)
  split = split or 'test'
  rows = formats.identify(file, corpus=corpus, split=split)
  check_complete(rows, corpus=corpus, split=split, source=file.path)
  known = {
    (task.name, instance.id): (task, instance)
    for task, instance in corpus.rows(split)
  }
  filled, changed = [], []
  for row in rows:
    task, instance = _as_seen(*known[row.task, row.id], row)
    # T5X shows one reference of several.
    if not set(row.targets) <= set(instance.outputs):
      changed.append(row.id)
    filled.append(
      dataclasses.replace(
        row,
        category=task.category,
        kind=task.kind,
        label_space=task.label_space,
        position=instance.position,
        split=split,
        targets=instance.outputs,
      )
    )
  notes = []
  if changed:
    notes.append(
      f'{len(changed)} rows have references that the corpus lacks, '
      f"{changed[0]!r} first; the corpus's were used."
    )
  filled.sort(key=lambda row: (row.task, row.position))
  return Rows(tuple(filled), split, tuple(notes))


def score_rows(
  rows: Sequence[Prediction],
  *,
  corpus: Corpus | None = None,
  split: str = 'test',
  scorer: Rouge | None = None,
) -> dict:
  """Metrics of rows in memory; a baseline's are scored as a baseline.

  With a corpus, which gives what chance is expected to score, a drawing
  baseline's `classification` has `expected`.

  Raises:
    InputError: if a row has no reference.
  """
  for row in rows:
    if not row.targets:
      raise InputError(
        f'row {row.id or row.inputs or ""!r:.60} has no reference to be scored '
        'against; name the corpus.'
      )
  name = baselines.baseline_of(rows)
  if name is None:
    return compute_metrics(rows, scorer=scorer)
  return baselines.metrics_of_rows(
    name, rows, corpus=corpus, split=split, scorer=scorer
  )


def write_metrics(path: _Path, metrics: Mapping) -> None:
  """Writes metrics.json. Raises `InputError` if it cannot."""
  write_text(path, json.dumps(metrics, indent=2, allow_nan=False) + '\n')


def _one_split(file: formats.RowFile, split: str | None) -> str | None:
  splits = sorted({row.split for row in file.rows if row.split is not None})
  if len(splits) > 1:
    raise InputError(
      f'{file.path}: rows of several splits in one file: {", ".join(splits)}; '
      'one split is scored at a time. Write one file for each.'
    )
  if splits and split not in (None, splits[0]):
    raise InputError(
      f'{file.path}: rows of split {splits[0]!r}, asked for is {split!r}. '
      'Leave the split out, or name the file of that one.'
    )
  return splits[0] if splits else split


def _as_seen(
  task: Task, instance: Instance, row: Prediction
) -> tuple[Task, Instance]:
  """The task and instance as the row's condition shows and asks for them."""
  try:
    condition = Condition.from_name(row.test_condition or '')
  except InputError:
    # Of others' files and of tasks of one's own no alteration is known.
    return task, instance
  return instructions.rewrite(
    task=task, instance=instance, condition=condition.for_test()
  )


def _without_corpus(file: formats.RowFile, split: str | None) -> Rows:
  check_unique(file.rows, source=file.path)
  notes = ['No corpus was named: whether instances are missing is not known.']
  if any(row.kind is None for row in file.rows):
    notes.append(
      'The rows do not tell classification from generation: both are left out.'
    )
  if any(row.category is None for row in file.rows):
    notes.append('The rows name no category: control tasks are not set apart.')
  if any(row.id is None for row in file.rows):
    notes.append('The rows have no ids: repeated instances are not noticed.')
  if file.format == formats.T5X and all(
    len(row.targets) == 1 for row in file.rows
  ):
    notes.append('The rows show one reference each, others are not known.')
  return Rows(file.rows, split, tuple(notes))
