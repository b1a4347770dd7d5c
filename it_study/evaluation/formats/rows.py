"""Reads prediction files of it_study and of other systems."""

import collections
from collections.abc import Callable, Mapping
import dataclasses
import os
from typing import Any

from it_study.corpus.findings import plural
from it_study.errors import InputError, nearest
from it_study.evaluation.formats import lm_eval, tables
from it_study.predictions import FIELDS, Prediction, without_marks

IT_STUDY = 'it_study'
LEADERBOARD = 'leaderboard'
LM_EVAL = 'lm_eval'
TK_INSTRUCT = 'tk_instruct'
T5X = 't5x'

# Columns of the leaderboard's files that belong to an instance.
_REFERENCE_COLUMNS = ('references', 'task_id', 'task_category')
_LEADERBOARD_COLUMNS = ('id', 'prediction', *_REFERENCE_COLUMNS)
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
    format: 'it_study', 'tk_instruct', 't5x', 'lm_eval' or 'leaderboard'.
    rows: Rows in file order; fields that the file does not hold are None.
    queries: Normalised input of each row's instance, which identifies a row
      without id; None if the file does not hold it.
    notes: Columns that are not read, one sentence each.
  """

  path: str
  format: str
  rows: tuple[Prediction, ...]
  queries: tuple[str | None, ...]
  notes: tuple[str, ...] = ()

  @property
  def are_ranked(self) -> bool:
    """Whether the file is of a multiple-choice task of the harness.

    Such a task has no generation tasks.
    """
    return self.format == LM_EVAL and all(row.scores for row in self.rows)


def read_rows(path: str | os.PathLike[str]) -> RowFile:
  """Detects a file's format by its first row and reads all rows.

  * it_study: all fields of `predictions.Prediction`.
  * Tk-Instruct's `predicted_examples.jsonl`: `Task`, `Categories`, `id`,
    `Instance` (`input`, `output`, `id`) and `prediction`. Its dumps of GPT-3
    may have `gpt3_response` instead; the answer is then cut at the first full
    stop, as its `run_gpt3.py` does.
  * T5X's inference JSONL: `prediction` and `inputs` or `input`, an object with
    `inputs_pretokenized` and `targets_pretokenized`, and with `id`, `task` and
    `references` if `input_fields_to_include` lists them.
  * lm-evaluation-harness's samples (`--log_samples`) of a task that
    `it-study export lm_eval` wrote: `doc`, `arguments`, `filtered_resps`.
  * The natural-instructions leaderboard's: `id` and `prediction`, and perhaps
    `references`, `task_id` and `task_category`. Also as CSV with these columns,
    if the path ends in .csv; `references` is then a JSON list.

  Raises:
    InputError: If the file has another format or mixes formats, or a field is
      invalid.
  """
  file_format = None
  rows, queries = [], []
  unread: collections.Counter[str] = collections.Counter()
  for where, fields in tables.read_table(path):
    row_format = _format_of(fields)
    if row_format is None or file_format not in (None, row_format):
      raise InputError(
        f'{where}: not a row of {file_format or "a known format"}: got the '
        f'fields {", ".join(map(repr, list(fields)[:8])) or "none"}. A file '
        'holds rows of one format: it_study (id, task, ..., prediction, ...), '
        'Tk-Instruct (Task, Instance, prediction), T5X (inputs as an object, '
        'prediction), lm-evaluation-harness (doc, filtered_resps) or the '
        'leaderboard (id, prediction).'
      )
    file_format = row_format
    if file_format == LEADERBOARD:
      unread.update(fields.keys() - set(_LEADERBOARD_COLUMNS))
    row, query = _READERS[file_format](fields, where)
    rows.append(row)
    queries.append(query)
  assert file_format is not None, '`read_table` yields at least one row'
  return RowFile(
    path=str(path),
    format=file_format,
    rows=tuple(rows),
    queries=tuple(queries),
    notes=tuple(
      f'{name!r} is not read; {plural(count, "row")} '
      f'{"has" if count == 1 else "have"} it.'
      f'{nearest(name, _LEADERBOARD_COLUMNS)}'
      for name, count in sorted(unread.items())
    ),
  )


def _format_of(fields: Mapping[str, object]) -> str | None:
  if 'Instance' in fields:
    return TK_INSTRUCT
  if {'doc', 'filtered_resps'} <= fields.keys():
    return LM_EVAL
  if isinstance(fields.get('inputs', fields.get('input')), dict):
    return T5X
  # Also accepts rows that lack some fields, so that the error can name them.
  if len(fields.keys() & set(FIELDS)) >= 3:
    return IT_STUDY
  return LEADERBOARD if fields.keys() & {'id', 'prediction'} else None


def _read_ours(
  fields: Mapping[str, object], where: str
) -> tuple[Prediction, None]:
  return Prediction.from_json(fields, where=where), None


def _read_lm_eval(
  fields: Mapping[str, object], where: str
) -> tuple[Prediction, None]:
  return lm_eval.read_sample(fields, where), None


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
      prediction=(
        _gpt3_answer(fields['gpt3_response'], where)
        if key not in fields and 'gpt3_response' in fields
        else _text(fields.get(key), where, key)
      ),
    ),
    query_key(_text(instance.get('input'), where, 'Instance.input')),
  )


def _gpt3_answer(response: object, where: str) -> str:
  """Returns the answer in a response of OpenAI's completions."""
  try:
    text = response['choices'][0]['text']  # type: ignore[index]
  except (TypeError, KeyError, IndexError):
    raise _bad_field(
      where, 'gpt3_response', response, '{"choices": [{"text": ...}]}'
    ) from None
  return _text(text, where, 'gpt3_response').strip().split('.')[0]


def _read_leaderboard(
  fields: Mapping[str, object], where: str
) -> tuple[Prediction, None]:
  tables.check_columns(fields, ('id', 'prediction'), where=where)
  return (
    _foreign_row(
      prediction=_text(fields['prediction'], where, 'prediction'),
      **read_instance(fields, where),
    ),
    None,
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
  LM_EVAL: _read_lm_eval,
  LEADERBOARD: _read_leaderboard,
}


def read_instance(fields: Mapping[str, object], where: str) -> dict[str, Any]:
  """Returns `id`, `task`, `category` and `targets` of a leaderboard's row.

  All but the id may be missing or null; `targets` is then empty.

  Raises:
    InputError: If a field is of another type, or the id is empty.
  """
  row_id = _text(fields['id'], where, 'id')
  if not row_id:
    raise _bad_field(where, 'id', row_id, 'a text that is not empty')
  references, task, category = map(fields.get, _REFERENCE_COLUMNS)
  name = None if task is None else _text(task, where, 'task_id')
  return {
    'id': row_id,
    'task': None if name is None else _RENAMED.get(name, name),
    'category': (
      None if category is None else _text(category, where, 'task_category')
    ),
    'targets': (
      () if references is None else _texts(references, where, 'references')
    ),
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
  return query_key(query) if start and end else None


def query_key(text: str) -> str:
  """Returns an input as prompts hold it, to recognise an instance by.

  Prompts strip the input and add a full stop if it lacks one.
  """
  return text.strip().removesuffix('.').rstrip()
