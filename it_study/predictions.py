"""The one row schema: predictions.jsonl, written, read and checked."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import math

from it_study.corpus.natinst import SPLITS, Corpus, Instance, Task
from it_study.corpus.task_kinds import KINDS
from it_study.errors import InputError, nearest
from it_study.storage.text_files import (
  _Path,
  json_line,
  read_json_lines,
  write_text,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
  """One instance and what was predicted for it; a line of predictions.jsonl.

  A line holds these fields in this order. `label_space`, `scores`,
  `train_condition`, `test_condition` and `seed` may be null there; the other
  nulls stand for what a row of another system does not tell, and are never
  written.

  Attributes:
    id: of the instance.
    task: name of its task.
    category: the task's first category.
    kind: 'classification' or 'generation'.
    label_space: the labels of a classification task, else None.
    position: index in the task file's `Instances`.
    split: 'train', 'validation' or 'test'.
    inputs: the prompt as the model saw it; a baseline sees the bare input.
    targets: accepted references, at least one.
    prediction: the text.
    scores: label to log-likelihood in nats, where labels were scored.
    train_condition: name of a condition, None if untuned.
    test_condition: name of a condition, None for a baseline.
    seed: of the training, or of a baseline's draws.
    engine: 'native', 't5x', 'baseline:random' and so on.
  """

  id: str | None
  task: str | None
  category: str | None
  kind: str | None
  label_space: tuple[str, ...] | None
  position: int | None
  split: str | None
  inputs: str | None
  targets: tuple[str, ...]
  prediction: str
  scores: Mapping[str, float] | None = None
  train_condition: str | None = None
  test_condition: str | None = None
  seed: int | None = None
  engine: str | None = None

  @classmethod
  def of_instance(
    cls, task: Task, instance: Instance, *, split: str, **fields
  ) -> 'Prediction':
    """A row with all that the corpus knows of it; `fields` are the others."""
    return cls(
      id=instance.id,
      task=task.name,
      category=task.category,
      kind=task.kind,
      label_space=task.label_space,
      position=instance.position,
      split=split,
      targets=instance.outputs,
      **fields,
    )

  @classmethod
  def from_json(
    cls, fields: Mapping[str, object], *, where: str
  ) -> 'Prediction':
    """Makes a row of one line's object.

    Raises:
      InputError: begins with `where`; names field, what was found and what is
        allowed.
    """
    _check_fields(fields, where)
    values = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in fields.items()
    }
    return cls(**values)

  def to_json(self) -> dict[str, object]:
    """The object of a line, fields in the order of the schema."""
    values = {name: getattr(self, name) for name in FIELDS}
    for name in ('label_space', 'targets'):
      if isinstance(values[name], tuple):
        values[name] = list(values[name])
    if values['scores'] is not None:
      values['scores'] = dict(values['scores'])
    return values


FIELDS = tuple(field.name for field in dataclasses.fields(Prediction))


def write_predictions(path: _Path, rows: Iterable[Prediction]) -> None:
  """Writes rows, sorted by (task, position), as UTF-8, one object a line.

  Raises:
    InputError: for a row outside the schema, an instance that comes twice, no
      rows at all, or a path that cannot be written. Nothing is left behind
      then, and a file that was there stays as it was.
  """
  rows = list(rows)
  if not rows:
    raise InputError(f'{path}: no predictions to write; one at least is due.')
  for row in rows:
    _check_fields(row.to_json(), f'{path}: row {row.id!r}')
  repeated = _repeated(rows)
  if repeated:
    raise InputError(
      f'{path}: {len(repeated)} instances are predicted twice, '
      f'{repeated[0]!r} first; every instance of a split comes exactly once.'
    )
  rows.sort(key=lambda row: (row.task, row.position))
  write_text(path, ''.join(json_line(row.to_json()) for row in rows))


def read_predictions(path: _Path) -> list[Prediction]:
  """Reads the rows of a predictions.jsonl in the order of the file.

  Raises:
    InputError: names file and line, field, what was found and what is allowed.
  """
  return [
    Prediction.from_json(fields, where=f'{path}:{number}')
    for number, fields in read_json_lines(path)
  ]


def check_complete(
  rows: Sequence[Prediction],
  *,
  corpus: Corpus,
  split: str,
  source: str = 'predictions',
) -> None:
  """Checks that `rows` hold every instance of a split exactly once.

  Args:
    rows: with task and id.
    corpus: whose instances are due.
    split: of the corpus.
    source: what an error calls the rows, such as the name of their file.

  Raises:
    InputError: one line with the count and the first id of each fault.
  """
  due = {(task.name, instance.id) for task, instance in corpus.rows(split)}
  found = {(row.task, row.id) for row in rows}
  faults = []
  repeated = _repeated(rows)
  if repeated:
    faults.append(f'{len(repeated)} duplicate, {repeated[0]!r} first')
  missing = sorted(due - found)
  if missing:
    faults.append(
      f'{len(missing)} of {len(due)} missing, {missing[0][1]!r} first'
    )
  foreign = sorted(found - due, key=repr)
  hint = ''
  if foreign:
    task, name = foreign[0]
    faults.append(f'{len(foreign)} foreign, {name!r} of task {task!r} first')
    # Within a task: comparing thousands of near ids would take minutes.
    hint = nearest(str(name), [known for other, known in due if other == task])
  if faults:
    raise InputError(
      f'{source}: ids do not fit split {split!r} of corpus {corpus.directory}, '
      f'each of whose instances is due exactly once: {"; ".join(faults)}. '
      f'Predict this split anew, or name the corpus that was predicted.{hint}'
    )


def check_unique(rows: Sequence[Prediction], *, source: str) -> None:
  """Raises `InputError` if two rows have the same task and id."""
  repeated = _repeated([row for row in rows if row.id is not None])
  if repeated:
    raise InputError(
      f'{source}: {len(repeated)} duplicate ids, {repeated[0]!r} first; an '
      'instance is predicted once. Take the repeated lines out.'
    )


def _repeated(rows: Sequence[Prediction]) -> list[str | None]:
  seen: set[tuple[str | None, str | None]] = set()
  repeated: dict[tuple[str | None, str | None], None] = {}
  for row in rows:
    key = (row.task, row.id)
    if key in seen:
      repeated[key] = None
    seen.add(key)
  return [name for _, name in repeated]


def _is_text(value: object) -> bool:
  return isinstance(value, str)


def _is_name(value: object) -> bool:
  return isinstance(value, str) and bool(value)


def _is_integer(value: object) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _is_texts(value: object) -> bool:
  return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _is_scores(value: object) -> bool:
  return isinstance(value, dict) and all(
    isinstance(score, (int, float))
    and not isinstance(score, bool)
    and math.isfinite(score)
    for score in value.values()
  )


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
  return lambda value: value is None or check(value)


_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
  'id': (_is_name, 'a text that is not empty'),
  'task': (_is_name, 'a text that is not empty'),
  'category': (_is_text, 'a text'),
  'kind': (lambda value: value in KINDS, ' or '.join(map(repr, KINDS))),
  'label_space': (_or_none(_is_texts), 'a list of at least one text, or null'),
  'position': (lambda v: _is_integer(v) and v >= 0, 'an integer from 0'),
  'split': (lambda value: value in SPLITS, ', '.join(map(repr, SPLITS))),
  'inputs': (_is_text, 'a text'),
  'targets': (_is_texts, 'a list of at least one text'),
  'prediction': (_is_text, 'a text'),
  'scores': (_or_none(_is_scores), 'label to finite number, or null'),
  'train_condition': (_or_none(_is_name), 'the name of a condition, or null'),
  'test_condition': (_or_none(_is_name), 'the name of a condition, or null'),
  'seed': (_or_none(_is_integer), 'an integer, or null'),
  'engine': (_is_name, 'a text that is not empty'),
}


def _check_fields(fields: Mapping[str, object], where: str) -> None:
  for name in fields:
    if name not in _ALLOWED:
      raise InputError(
        f'{where}: field {name!r} is unknown; allowed are '
        f'{", ".join(_ALLOWED)}.{nearest(name, _ALLOWED)}'
      )
  missing = [n for n in _ALLOWED if n not in fields and n != 'scores']
  if missing:
    raise InputError(
      f'{where}: missing: {", ".join(missing)}; a row has {", ".join(_ALLOWED)}'
      ' (scores may be left out).'
    )
  for name, value in fields.items():
    check, allowed = _ALLOWED[name]
    if not check(value):
      shown = repr(value)
      shown = shown if len(shown) <= 60 else shown[:57] + '...'
      raise InputError(f'{where}: {name}: found {shown}, allowed is {allowed}.')
