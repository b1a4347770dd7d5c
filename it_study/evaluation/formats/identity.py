"""Finds the instance that a row of a prediction file belongs to."""

from collections.abc import Sequence
import dataclasses

from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.errors import InputError
from it_study.evaluation.formats.rows import RowFile, query_key
from it_study.predictions import Prediction


def identify(
  file: RowFile, *, corpus: Corpus, split: str
) -> tuple[Prediction, ...]:
  """Fills in missing tasks and ids from a corpus.

  Rows with an id keep it, whether or not the corpus has it. If any row lacks
  one, the rows must either be all instances of the split in corpus order, each
  with a matching input and reference, or each must have an input and reference
  that match exactly one instance of the split.

  Raises:
    InputError: If neither holds, since a guess could assign a prediction to the
      wrong instance.
  """
  instances = list(corpus.rows(split))
  if all(row.id is not None for row in file.rows):
    return _with_tasks(file.rows, instances)
  if len(instances) == len(file.rows) and all(
    _fits(row, query, task, instance)
    for row, query, (task, instance) in zip(
      file.rows, file.queries, instances, strict=True
    )
  ):
    return tuple(
      dataclasses.replace(row, id=instance.id, task=task.name)
      for row, (task, instance) in zip(file.rows, instances, strict=True)
    )
  return _identify_by_content(file, instances, split)


def _with_tasks(
  rows: Sequence[Prediction], instances: Sequence[tuple[Task, Instance]]
) -> tuple[Prediction, ...]:
  names: dict[str, set[str]] = {}
  for task, instance in instances:
    names.setdefault(instance.id, set()).add(task.name)
  filled = []
  for row in rows:
    tasks = set() if row.id is None else names.get(row.id, set())
    if row.task is None and len(tasks) == 1:
      row = dataclasses.replace(row, task=next(iter(tasks)))
    filled.append(row)
  return tuple(filled)


def _fits(
  row: Prediction, query: str | None, task: Task, instance: Instance
) -> bool:
  """Returns whether a row may belong to an instance with a truncated input."""
  if query is None or row.id not in (None, instance.id):
    return False
  if row.task not in (None, task.name):
    return False
  if not set(row.targets) <= set(instance.outputs):
    return False
  whole = query_key(instance.input)
  if query == whole:
    return True
  # Truncation removes a span from the middle of an input, and changes the white
  # space around it.
  query, whole = ''.join(query.split()), ''.join(whole.split())
  if not 0 < len(query) < len(whole):
    return False
  pairs = zip(query, whole[: len(query)], strict=True)
  differs = (i for i, (a, b) in enumerate(pairs) if a != b)
  return whole.endswith(query[next(differs, len(query)) :])


def _identify_by_content(
  file: RowFile, instances: Sequence[tuple[Task, Instance]], split: str
) -> tuple[Prediction, ...]:
  by_query: dict[str, list[tuple[Task, Instance]]] = {}
  for task, instance in instances:
    by_query.setdefault(query_key(instance.input), []).append((task, instance))
  rows = []
  for number, (row, query) in enumerate(
    zip(file.rows, file.queries, strict=True), start=1
  ):
    candidates = [] if query is None else by_query.get(query, [])
    fitting = [
      (task, instance)
      for task, instance in candidates
      if _fits(row, query, task, instance)
    ]
    if row.id is None and len(fitting) != 1:
      raise InputError(
        f'{file.path}: row {number} has no id, and {len(fitting)} instances of '
        f'split {split!r} have its input and reference; expected exactly one. '
        'Predict with ids: it-study predict writes them, t5x.infer does with '
        'write_inferences_to_file.input_fields_to_include='
        "['id', 'task', 'references', 'inputs_pretokenized']."
      )
    if row.id is None:
      task, instance = fitting[0]
      row = dataclasses.replace(row, id=instance.id, task=task.name)
    rows.append(row)
  return _with_tasks(rows, instances)
