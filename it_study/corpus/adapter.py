"""Writes a data set of the user's own as a corpus of task files."""

from collections.abc import Iterable, Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

from it_study.corpus import files, natinst
from it_study.corpus.parsing import parse_task
from it_study.corpus.schema import NO_CATEGORY
from it_study.errors import InputError, nearest, shown
from it_study.storage import local_folders, text_files
from it_study.storage.storage_path import expanded


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptFields:
  """Which field of a row plays which part of a prompt.

  All but the input, the output and the id belong to the task: they are the same
  in all rows of one.

  Attributes:
    task: Name of the field with the name of the task.
    definition: Name of the field with the definition.
    input: Name of the field with the instance's input.
    output: Name of the field with the accepted answers, a text or a list.
    examples: Name of the field with the positive examples, mappings of 'input',
      'output' and perhaps 'explanation'; None if rows have none.
    negative_examples: Name of the field with the negative examples; None if
      rows have none.
    label_space: Name of the field with the labels; None if the outputs tell, as
      they do for natural-instructions.
    category: Name of the field with the category; None if rows have none.
    id: Name of the field with an id that no other row has; None to make it of
      task and position.
  """

  task: str
  definition: str
  input: str
  output: str
  examples: str | None = None
  negative_examples: str | None = None
  label_space: str | None = None
  category: str | None = None
  id: str | None = None


def write_corpus(
  directory: str | os.PathLike[str],
  *,
  train: Iterable[Mapping[str, Any]],
  test: Iterable[Mapping[str, Any]],
  fields: PromptFields,
) -> natinst.Corpus:
  """Writes rows as task files and split files, which every command reads.

  As in any corpus, 10 instances of a training task are held out for validation,
  and the first 100 of a test task are tested.

  Args:
    directory: New or empty directory.
    train: Rows of the training tasks; may be empty.
    test: Rows of the test tasks.
    fields: Parts that the fields of the rows play.

  Returns:
    The corpus.

  Raises:
    InputError: If the directory is in use, a row lacks a field or holds
      something else than is expected, two rows of a task differ in what belongs
      to the task, two have the same id, a task is in both splits, or no row is
      to be tested.
  """
  directory = pathlib.Path(expanded(directory))
  if directory.exists() and (
    not directory.is_dir() or any(directory.iterdir())
  ):
    raise InputError(f'{directory} is in use. Name a new or empty directory.')
  ids: dict[str, str] = {}
  splits = {
    split: _tasks(rows, split, fields, ids)
    for split, rows in (('train', train), ('test', test))
  }
  if not splits['test']:
    raise InputError(
      f'corpus {directory}: test has no rows; give at least one row to test.'
    )
  for name in splits['train']:
    if name in splits['test']:
      raise InputError(
        f'corpus {directory}: task {name!r} has rows in train and in test. A '
        'corpus tests tasks that it does not train on: give the rows of test '
        'another name of the task.'
      )
  for split, tasks in splits.items():
    for name, task in tasks.items():
      parse_task(
        json.dumps(task),
        name=name,
        path=str(files.task_path(directory, name)),
        is_test=split == 'test',
      )
  # Nothing is written of rows that are not valid.
  for folder in ('tasks', 'splits/default'):
    local_folders.make_directory(directory / folder)
  for split, tasks in splits.items():
    for name, task in tasks.items():
      text_files.write_json(files.task_path(directory, name), task)
    names = ''.join(f'{name}\n' for name in tasks)
    text_files.write_text(
      directory / 'splits' / 'default' / f'{split}_tasks.txt', names
    )
  return natinst.open_corpus(directory)


def _tasks(
  rows: Iterable[Mapping[str, Any]],
  split: str,
  fields: PromptFields,
  ids: dict[str, str],
) -> dict[str, dict[str, Any]]:
  """Returns the contents of the task files of a split, by name of the task.

  Args:
    rows: Rows of the split.
    split: Name of the split.
    fields: Parts that the fields of the rows play.
    ids: Row of each id so far; extended.
  """
  tasks: dict[str, dict[str, Any]] = {}
  first: dict[str, int] = {}
  for position, row in enumerate(rows):
    where = f'{split}, row {position}'
    if not isinstance(row, Mapping):
      raise InputError(
        f'{where} is {shown(row)}; expected a mapping from fields to values.'
      )
    name = _text(row, fields.task, where)
    files.check_task_name(name, where=where)
    facts = _facts(row, fields, where)
    task = tasks.setdefault(name, {**facts, 'Instances': []})
    number = first.setdefault(name, position)
    for key, value in facts.items():
      if task[key] != value:
        raise InputError(
          f'{where}: task {name!r} has another {key} than in row {number}, '
          f'{shown(value)} for {shown(task[key])}. Give the rows another name '
          'of the task.'
        )
    instances = task['Instances']
    id_ = f'{name}-{len(instances)}'
    if fields.id is not None:
      id_ = str(_value(row, fields.id, where))
    other = ids.setdefault(id_, where)
    if other != where:
      raise InputError(
        f'{where}: id {id_!r} is also that of {other}. Give every row its own, '
        'or leave the field out of PromptFields.'
      )
    instances.append(
      {
        'id': id_,
        'input': _text(row, fields.input, where),
        'output': _texts(row, fields.output, where),
      }
    )
  return tasks


def _facts(
  row: Mapping[str, Any], fields: PromptFields, where: str
) -> dict[str, Any]:
  """Returns what a row says of its task, by field of the task file."""
  category = NO_CATEGORY
  if fields.category is not None:
    category = _text(row, fields.category, where)
  facts: dict[str, Any] = {
    'Definition': [_text(row, fields.definition, where)],
    'Categories': [category],
    'Positive Examples': _examples(row, fields.examples, where),
    'Negative Examples': _examples(row, fields.negative_examples, where),
  }
  if fields.label_space is not None:
    facts['Label Space'] = _texts(row, fields.label_space, where)
  return facts


def _examples(
  row: Mapping[str, Any], name: str | None, where: str
) -> list[dict[str, str]]:
  if name is None:
    return []
  examples = _value(row, name, where)
  if not isinstance(examples, list | tuple) or not all(
    isinstance(example, Mapping) for example in examples
  ):
    raise InputError(
      f'{where}: {name} is {shown(examples)}; expected a list of mappings of '
      "'input' and 'output'."
    )
  return [
    {
      key: _text(example, key, f'{where}, {name}')
      for key in ('input', 'output', 'explanation')
      if key != 'explanation' or example.get(key) is not None
    }
    for example in examples
  ]


def _value(row: Mapping[str, Any], name: str, where: str) -> Any:
  if name not in row:
    raise InputError(
      f'{where}: no field {name!r}, only {", ".join(map(str, row))}.'
      f'{nearest(name, map(str, row))}'
    )
  value = row[name]
  # NumPy's arrays, as TFDS gives them.
  value = value.tolist() if hasattr(value, 'tolist') else value
  return value.decode() if isinstance(value, bytes) else value


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
  value = _value(row, name, where)
  if not isinstance(value, str):
    raise InputError(f'{where}: {name} is {shown(value)}; expected a text.')
  return value


def _texts(row: Mapping[str, Any], name: str, where: str) -> list[str]:
  """Returns the texts of a field that holds one or several."""
  value = _value(row, name, where)
  values = value if isinstance(value, list | tuple) else [value]
  texts = [v.decode() if isinstance(v, bytes) else v for v in values]
  if not texts or not all(isinstance(text, str) for text in texts):
    raise InputError(
      f'{where}: {name} is {shown(value)}; expected a text or a list of texts.'
    )
  return texts
