"""Reads prediction files: ours, Tk-Instruct's and T5X's."""

from collections.abc import Mapping, Sequence
import dataclasses
import os

from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.errors import InputError
from it_study.predictions import FIELDS, Prediction
from it_study.storage.text_files import read_json_lines

IT_STUDY = 'it_study'
TK_INSTRUCT = 'tk_instruct'
T5X = 't5x'

# The collection renamed this task after Tk-Instruct's first outputs.
_RENAMED = {
  'task121_atomic_question_rewriting': 'task121_zest_question_rewriting'
}
_QUERY_START = 'Now complete the following example -\nInput:'
_QUERY_END = '\nOutput:'


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowFile:
  """What a prediction file holds.

  Attributes:
    path: of the file.
    format: 'it_study', 'tk_instruct' or 't5x'.
    rows: in the order of the file; what the file does not tell is None.
    queries: of each row, the instance's input as the file shows it, by which a
      row without id can be recognised; None where it does not.
  """

  path: str
  format: str
  rows: tuple[Prediction, ...]
  queries: tuple[str | None, ...]


def read_rows(path: str | os.PathLike[str]) -> RowFile:
  """Recognises a file by its first row and reads all of them.

  * ours: `predict.Prediction`, all fields.
  * Tk-Instruct's `predicted_examples.jsonl`: `Task`, `Categories`, `id`,
    `Instance` (`input`, `output`, `id`) and `prediction`.
  * T5X's inference JSONL: `prediction` and `inputs` or `input`, an object that
    holds `inputs_pretokenized` and `targets_pretokenized`, and `id`, `task` and
    `references` where `input_fields_to_include` asked for them.

  Raises:
    InputError: for any other format, or names line, field, found and allowed.
  """
  form = None
  rows, queries = [], []
  for number, fields in read_json_lines(path):
    where = f'{path}:{number}'
    found = _format_of(fields)
    if found is None or form not in (None, found):
      raise InputError(
        f'{where}: not a row of {form or "a known format"}: found the fields '
        f'{", ".join(map(repr, list(fields)[:8])) or "none"}; known are ours '
        "(id, task, ..., prediction, ...), Tk-Instruct's (Task, Instance, "
        "prediction) and T5X's (inputs as an object, prediction), one of them "
        'in a file.'
      )
    form = found
    row, query = _READERS[form](fields, where)
    rows.append(row)
    queries.append(query)
  return RowFile(
    path=str(path), format=form, rows=tuple(rows), queries=tuple(queries)
  )


def identify(
  file: RowFile, *, corpus: Corpus, split: str
) -> tuple[Prediction, ...]:
  """Gives task and id to the rows that lack them, from a corpus.

  Rows that have an id keep it, whether the corpus knows it or not. If any has
  none, then the rows are either all instances of the split in the corpus's
  order, each with an input and reference that fit, or each has an input and
  reference that only one instance of the split has.

  Raises:
    InputError: if neither holds: a guess could give one instance's prediction
      to another.
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


def _format_of(fields: Mapping[str, object]) -> str | None:
  if 'Instance' in fields:
    return TK_INSTRUCT
  if isinstance(fields.get('inputs', fields.get('input')), dict):
    return T5X
  # Enough to tell ours with a field lost, whose name is then the message.
  return IT_STUDY if len(fields.keys() & set(FIELDS)) >= 3 else None


def _read_ours(
  fields: Mapping[str, object], where: str
) -> tuple[Prediction, None]:
  return Prediction.from_json(fields, where=where), None


def _read_tk_instruct(
  fields: Mapping[str, object], where: str
) -> tuple[Prediction, str]:
  instance = fields['Instance']
  if not isinstance(instance, dict):
    raise _refuse(where, 'Instance', instance, 'an object')
  # The trainer's dumps of evaluations write the key with a capital.
  key = 'Prediction' if 'Prediction' in fields else 'prediction'
  categories = _texts(fields.get('Categories', []), where, 'Categories')
  name = _text(fields.get('Task'), where, 'Task')
  row_id = fields.get('id', instance.get('id'))
  return (
    _foreign_row(
      id=None if row_id is None else _text(row_id, where, 'id'),
      task=_RENAMED.get(name, name),
      category=categories[0] if categories else None,
      targets=_texts(instance.get('output'), where, 'Instance.output'),
      prediction=_text(fields.get(key), where, key),
    ),
    _query_key(_text(instance.get('input'), where, 'Instance.input')),
  )


def _read_t5x(
  fields: Mapping[str, object], where: str
) -> tuple[Prediction, str | None]:
  # t5x.infer writes 'inputs', evaluation while training 'input'.
  inputs = fields.get('inputs', fields.get('input'))
  if 'prediction' not in fields:
    raise InputError(
      f'{where}: no prediction in it, only {", ".join(map(repr, fields))}; '
      "run t5x.infer with mode='predict'."
    )
  optional = {
    name: None
    if inputs.get(name) is None
    else _text(inputs[name], where, f'inputs.{name}')
    for name in ('id', 'task', 'inputs_pretokenized')
  }
  prompt = optional['inputs_pretokenized']
  # The target is one of the references, which are all there if asked for.
  references = (
    'references' if 'references' in inputs else 'targets_pretokenized'
  )
  return (
    _foreign_row(
      id=optional['id'],
      task=optional['task'],
      inputs=prompt,
      targets=_texts(inputs.get(references, []), where, f'inputs.{references}'),
      prediction=_text(fields['prediction'], where, 'prediction'),
      engine='t5x',
    ),
    None if prompt is None else _query_of(prompt),
  )


_READERS = {
  IT_STUDY: _read_ours,
  TK_INSTRUCT: _read_tk_instruct,
  T5X: _read_t5x,
}


def _foreign_row(**fields) -> Prediction:
  return Prediction(**(dict.fromkeys(FIELDS) | fields))


def _text(value: object, where: str, field: str) -> str:
  if not isinstance(value, str):
    raise _refuse(where, field, value, 'a text')
  return value


def _texts(value: object, where: str, field: str) -> tuple[str, ...]:
  values = [value] if isinstance(value, str) else value
  if not isinstance(values, list):
    raise _refuse(where, field, value, 'a text or a list of texts')
  return tuple(_text(item, where, field) for item in values)


def _refuse(where: str, field: str, found: object, allowed: str) -> InputError:
  shown = repr(found)
  shown = shown if len(shown) <= 60 else shown[:57] + '...'
  return InputError(f'{where}: {field}: found {shown}, allowed is {allowed}.')


def _query_of(prompt: str) -> str | None:
  """The instance's input in a prompt; None if it is not laid out like ours."""
  _, start, query = prompt.rpartition(_QUERY_START)
  query, end, _ = query.rpartition(_QUERY_END)
  return _query_key(query) if start and end else None


def _query_key(text: str) -> str:
  # A prompt strips a text and adds a full stop to most.
  return text.strip().removesuffix('.').rstrip()


def _with_tasks(
  rows: Sequence[Prediction], instances: Sequence[tuple[Task, Instance]]
) -> tuple[Prediction, ...]:
  names: dict[str, set[str]] = {}
  for task, instance in instances:
    names.setdefault(instance.id, set()).add(task.name)
  filled = []
  for row in rows:
    tasks = names.get(row.id, ())
    if row.task is None and len(tasks) == 1:
      row = dataclasses.replace(row, task=next(iter(tasks)))
    filled.append(row)
  return tuple(filled)


def _fits(
  row: Prediction, query: str | None, task: Task, instance: Instance
) -> bool:
  """Whether a row can be that of an instance, whose input may be cut."""
  if query is None or row.id not in (None, instance.id):
    return False
  if row.task not in (None, task.name):
    return False
  if not set(row.targets) <= set(instance.outputs):
    return False
  whole = _query_key(instance.input)
  if query == whole:
    return True
  # A prompt that is too long loses a span from within its input; what is left
  # of it is joined by other white space.
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
    by_query.setdefault(_query_key(instance.input), []).append((task, instance))
  rows = []
  for number, (row, query) in enumerate(
    zip(file.rows, file.queries, strict=True), start=1
  ):
    fitting = [
      (task, instance)
      for task, instance in by_query.get(query, ())
      if _fits(row, query, task, instance)
    ]
    if row.id is None and len(fitting) != 1:
      raise InputError(
        f'{file.path}: row {number} has no id, and {len(fitting)} instances of '
        f'split {split!r} have its input and reference; exactly one is needed. '
        'Predict with ids: it-study predict writes them, t5x.infer does with '
        'write_inferences_to_file.input_fields_to_include='
        "['id', 'task', 'references', 'inputs_pretokenized']."
      )
    if row.id is None:
      task, instance = fitting[0]
      row = dataclasses.replace(row, id=instance.id, task=task.name)
    rows.append(row)
  return _with_tasks(rows, instances)
