"""Reads prediction files of it_study, Tk-Instruct and T5X."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os

from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.errors import InputError
from it_study.predictions import FIELDS, Prediction, without_marks
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
  """The contents of a prediction file.

  Attributes:
    path: Path of the file.
    format: 'it_study', 'tk_instruct' or 't5x'.
    rows: Rows in file order; fields that the file does not hold are None.
    queries: Normalised input of each row's instance, which identifies a row
      without id; None if the file does not hold it.
  """

  path: str
  format: str
  rows: tuple[Prediction, ...]
  queries: tuple[str | None, ...]


def read_rows(path: str | os.PathLike[str]) -> RowFile:
  """Detects a file's format by its first row and reads all rows.

  * it_study: all fields of `predictions.Prediction`.
  * Tk-Instruct's `predicted_examples.jsonl`: `Task`, `Categories`, `id`,
    `Instance` (`input`, `output`, `id`) and `prediction`.
  * T5X's inference JSONL: `prediction` and `inputs` or `input`, an object with
    `inputs_pretokenized` and `targets_pretokenized`, and with `id`, `task` and
    `references` if `input_fields_to_include` lists them.

  Raises:
    InputError: If the file has another format or mixes formats, or a field is
      invalid.
  """
  file_format = None
  rows, queries = [], []
  for number, fields in read_json_lines(path):
    where = f'{path}:{number}'
    row_format = _format_of(fields)
    if row_format is None or file_format not in (None, row_format):
      raise InputError(
        f'{where}: not a row of {file_format or "a known format"}: got the '
        f'fields {", ".join(map(repr, list(fields)[:8])) or "none"}. A file '
        'holds rows of one format: it_study (id, task, ..., prediction, ...), '
        'Tk-Instruct (Task, Instance, prediction) or T5X (inputs as an object, '
        'prediction).'
      )
    file_format = row_format
    row, query = _READERS[file_format](fields, where)
    rows.append(row)
    queries.append(query)
  assert file_format is not None, 'read_json_lines yields at least one row'
  return RowFile(
    path=str(path), format=file_format, rows=tuple(rows), queries=tuple(queries)
  )


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


def _format_of(fields: Mapping[str, object]) -> str | None:
  if 'Instance' in fields:
    return TK_INSTRUCT
  if isinstance(fields.get('inputs', fields.get('input')), dict):
    return T5X
  # Also accepts rows that lack some fields, so that the error can name them.
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
    raise _bad_field(where, 'Instance', instance, 'an object')
  # Tk-Instruct's trainer capitalises the key in its evaluation dumps.
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
  # t5x.infer writes 'inputs', evaluation during training writes 'input'.
  inputs = fields.get('inputs', fields.get('input'))
  assert isinstance(inputs, dict), '`_format_of` has checked it'
  if 'prediction' not in fields:
    raise InputError(
      f'{where}: no prediction, only {", ".join(map(repr, fields))}. Run '
      "t5x.infer with mode='predict'."
    )
  optional = {
    name: None
    if inputs.get(name) is None
    else _text(inputs[name], where, f'inputs.{name}')
    for name in ('id', 'task', 'inputs_pretokenized')
  }
  prompt = optional['inputs_pretokenized']
  prediction, raw = without_marks(
    _text(fields['prediction'], where, 'prediction')
  )
  # The target is a single reference; 'references' holds all of them if asked
  # for.
  references = (
    'references' if 'references' in inputs else 'targets_pretokenized'
  )
  return (
    _foreign_row(
      id=optional['id'],
      task=optional['task'],
      inputs=prompt,
      targets=_texts(inputs.get(references, []), where, f'inputs.{references}'),
      prediction=prediction,
      raw_prediction=raw,
      engine='t5x',
    ),
    None if prompt is None else _query_of(prompt),
  )


_READERS: dict[
  str, Callable[[Mapping[str, object], str], tuple[Prediction, str | None]]
] = {
  IT_STUDY: _read_ours,
  TK_INSTRUCT: _read_tk_instruct,
  T5X: _read_t5x,
}


def _foreign_row(
  *,
  id: str | None,
  task: str | None,
  targets: tuple[str, ...],
  prediction: str,
  raw_prediction: str | None = None,
  category: str | None = None,
  inputs: str | None = None,
  engine: str | None = None,
) -> Prediction:
  """Makes a row of another system, whose other fields are unknown."""
  return Prediction(
    id=id,
    task=task,
    category=category,
    kind=None,
    label_space=None,
    position=None,
    split=None,
    inputs=inputs,
    targets=targets,
    prediction=prediction,
    raw_prediction=raw_prediction,
    engine=engine,
  )


def _text(value: object, where: str, field: str) -> str:
  if not isinstance(value, str):
    raise _bad_field(where, field, value, 'a text')
  return value


def _texts(value: object, where: str, field: str) -> tuple[str, ...]:
  values = [value] if isinstance(value, str) else value
  if not isinstance(values, list):
    raise _bad_field(where, field, value, 'a text or a list of texts')
  return tuple(_text(item, where, field) for item in values)


def _bad_field(
  where: str, field: str, value: object, expected: str
) -> InputError:
  text = repr(value)
  text = text if len(text) <= 60 else text[:57] + '...'
  return InputError(f'{where}: {field}: expected {expected}, got {text}.')


def _query_of(prompt: str) -> str | None:
  """Returns the input in a prompt; None if the prompt is not of our format."""
  _, start, query = prompt.rpartition(_QUERY_START)
  query, end, _ = query.rpartition(_QUERY_END)
  return _query_key(query) if start and end else None


def _query_key(text: str) -> str:
  # Prompts strip the input and add a full stop if it lacks one.
  return text.strip().removesuffix('.').rstrip()


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
  whole = _query_key(instance.input)
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
    by_query.setdefault(_query_key(instance.input), []).append((task, instance))
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
