"""Scores a prediction file of any known format."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import json
import os
from typing import NamedTuple

from it_study import instructions
from it_study.conditions import Condition, is_condition_name
from it_study.corpus.natinst import Corpus
from it_study.corpus.task_kinds import CLASSIFICATION
from it_study.errors import InputError
from it_study.evaluation import baselines, formats
from it_study.evaluation.metrics import compute_metrics
from it_study.evaluation.rouge import Rouge
from it_study.evaluation.traps import find_traps
from it_study.predictions import Prediction, check_complete, check_unique
from it_study.storage.manifest import find_change
from it_study.storage.text_files import write_text

_Path = str | os.PathLike[str]


class Score(NamedTuple):
  """The contents of metrics.json, and notes for the reader."""

  metrics: dict
  notes: tuple[str, ...]


class Rows(NamedTuple):
  """Rows ready to be scored, their split if known, and notes."""

  rows: tuple[Prediction, ...]
  split: str | None
  notes: tuple[str, ...]


def score_file(
  path: _Path,
  *,
  corpus: Corpus | None = None,
  references: formats.References | None = None,
  split: str | None = None,
  out: _Path | None = None,
  scorer: Rouge | None = None,
) -> Score:
  """Scores a file of any format that `formats.read_rows` reads.

  Args:
    path: Path of the predictions.
    corpus: Corpus that was predicted. Every instance of the split must occur
      exactly once; kinds, label spaces, categories and references are taken
      from it. None relies on the rows.
    references: References to score against in place of a corpus's; they hold
      every instance that was predicted.
    split: Split of rows that do not name theirs; None for 'test'.
    out: Path of the metrics.json to write; None writes nothing.
    scorer: ROUGE scorer; None for that of the English track.

  Returns:
    The metrics of `metrics.compute_metrics` (of `baselines.metrics_of_rows` for
    a baseline's rows), and notes, one sentence each.

  Raises:
    InputError: If the file cannot be read, ids are duplicate, missing or
      unknown, the file holds several splits, or `out` cannot be written.
  """
  loaded = load_rows(path, corpus=corpus, references=references, split=split)
  metrics = score_rows(
    loaded.rows,
    corpus=corpus,
    split=loaded.split or 'test',
    scorer=scorer,
  )
  if out is not None:
    write_metrics(out, metrics)
  traps = find_traps(loaded.rows)
  notes = (*loaded.notes, *_left_out(metrics), *traps.notes())
  return Score(metrics, notes)


def load_rows(
  path: _Path,
  *,
  corpus: Corpus | None = None,
  references: formats.References | None = None,
  split: str | None = None,
) -> Rows:
  """Reads and checks a prediction file; takes arguments of `score_file`.

  With a corpus, rows are sorted by (task, position) and their fields taken from
  the corpus. With references they are in the order of these; else they are
  returned as read.
  """
  rows = _load_rows(path, corpus, references, split)
  change = None
  # A damaged DONE says nothing of the predictions.
  with contextlib.suppress(InputError):
    change = find_change(path)
  if change is None:
    return rows
  note = (
    f'{os.path.basename(path)} {change}: it is not what its study predicted.'
  )
  return rows._replace(notes=(note, *rows.notes))


def score_rows(
  rows: Sequence[Prediction],
  *,
  corpus: Corpus | None = None,
  split: str = 'test',
  scorer: Rouge | None = None,
) -> dict:
  """Computes the metrics of rows in memory, a baseline's as for a baseline.

  With a corpus, `classification` of a drawing baseline has `expected`.

  Raises:
    InputError: If a row has no reference.
  """
  for row in rows:
    if not row.targets:
      raise InputError(
        f'row {row.id or row.inputs or ""!r:.60} has no reference to score '
        'against; name the corpus, or a file of references.'
      )
  name = baselines.baseline_of(rows)
  if name is None:
    return compute_metrics(rows, scorer=scorer)
  return baselines.metrics_of_rows(
    name, rows, corpus=corpus, split=split, scorer=scorer
  )


def write_metrics(path: _Path, metrics: Mapping) -> None:
  """Writes metrics.json; raises `InputError` if it cannot be written."""
  write_text(path, json.dumps(metrics, indent=2, allow_nan=False) + '\n')


def _load_rows(
  path: _Path,
  corpus: Corpus | None,
  references: formats.References | None,
  split: str | None,
) -> Rows:
  file = formats.read_rows(path)
  split = _one_split(file, split)
  if references is not None:
    attached, found = formats.attach(file, references)
    notes = [*file.notes, *found, *_unknown_fields(attached)]
    return Rows(attached, split, tuple(notes))
  if corpus is None:
    return _without_corpus(file, split)
  split = split or 'test'
  rows = formats.identify(file, corpus=corpus, split=split)
  check_complete(
    rows,
    corpus=corpus,
    split=split,
    source=file.path,
    kind=CLASSIFICATION if file.are_ranked else None,
  )
  known = {
    (task.name, instance.id): (task, instance)
    for task, instance in corpus.rows(split)
  }
  conditions = {
    name: _condition(name) for name in {row.test_condition for row in rows}
  }
  filled, changed = [], []
  for row in rows:
    assert row.task is not None, '`check_complete` has checked it'
    assert row.id is not None, '`check_complete` has checked it'
    task, instance = known[row.task, row.id]
    condition = conditions[row.test_condition]
    if condition is not None:
      task, instance = instructions.rewrite(
        task=task, instance=instance, condition=condition
      )
    # T5X writes only one of the references.
    if not set(row.targets) <= set(instance.outputs):
      changed.append(row.id)
      if condition is None and is_condition_name(row.test_condition or ''):
        # Its references cannot be made without its levels.
        Condition.from_name(row.test_condition or '')
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
  notes = list(file.notes)
  if changed:
    notes.append(
      f'{len(changed)} rows have references that are not in the corpus, the '
      f'first is {changed[0]!r}; scored against those of the corpus.'
    )
  filled.sort(key=lambda row: (row.task, row.position))
  return Rows(tuple(filled), split, tuple(notes))


def _left_out(metrics: Mapping) -> list[str]:
  """Returns a note if tokens were left out of answers."""
  parts = [
    f'{metrics[name]:,} had {what} tokens'
    for name, what in (
      ('num_with_special_tokens', 'special'),
      ('num_with_unknown_tokens', 'unknown'),
    )
    if name in metrics
  ]
  if not parts:
    return []
  return [
    f'Of {metrics["num_instances"]:,} answers, {" and ".join(parts)}. Scores '
    'leave these tokens out, as Tk-Instruct does; raw_prediction shows them.'
  ]


def _one_split(file: formats.RowFile, split: str | None) -> str | None:
  splits = sorted({row.split for row in file.rows if row.split is not None})
  if len(splits) > 1:
    raise InputError(
      f'{file.path}: rows of several splits: {", ".join(splits)}. Only one '
      'split can be scored at a time; write one file for each.'
    )
  if splits and split not in (None, splits[0]):
    raise InputError(
      f'{file.path}: expected rows of split {split!r}, got {splits[0]!r}. '
      'Omit the split, or name the file of that split.'
    )
  return splits[0] if splits else split


def _condition(name: str | None) -> Condition | None:
  """Returns the condition that rows were made under, if it is a known one.

  Rows of other systems and of custom tasks have none.
  """
  try:
    return Condition.from_name(name or '').for_test()
  except InputError:
    return None


def _without_corpus(file: formats.RowFile, split: str | None) -> Rows:
  check_unique(file.rows, source=file.path)
  notes = [
    'No corpus was named: missing instances cannot be detected.',
    *file.notes,
    *_unknown_fields(file.rows),
  ]
  if any(row.id is None for row in file.rows):
    notes.append('Some rows have no id: duplicates cannot be detected.')
  if file.format == formats.T5X and all(
    len(row.targets) == 1 for row in file.rows
  ):
    notes.append('The rows have one reference each; others may be missing.')
  return Rows(file.rows, split, tuple(notes))


def _unknown_fields(rows: Sequence[Prediction]) -> Iterator[str]:
  if any(row.kind is None for row in rows):
    yield 'Some rows have no kind: classification and generation are left out.'
  if any(row.category is None for row in rows):
    yield (
      'Some rows have no category: their control tasks count in the headline.'
    )
