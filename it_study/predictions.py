"""The row schema of predictions.jsonl: writes, reads and checks rows."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
import dataclasses
import math
import re
from typing import Any

from it_study.corpus.findings import plural
from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.corpus.task_kinds import KINDS
from it_study.errors import InputError, nearest
from it_study.storage.text_files import (
  _Path,
  json_line,
  read_json_lines,
  write_text,
)

# Where an id comes from that the data does not have.
POSITION = 'position'
# How raw predictions show tokens that are left out of predictions.
UNKNOWN = '\u2047'
NO_TOKEN = '<id {}>'
_SPECIAL = re.compile('<extra_id_[0-9]+>|<id [0-9]+>')
# Of answers that SeqIO has decoded: SentencePiece writes spaces around the mark
# of an unknown token.
_MARKS = re.compile(f' ?{UNKNOWN} ?|<extra_id_[0-9]+>')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
  """An instance with its prediction; a line of predictions.jsonl.

  A line holds these fields in this order; `raw_prediction`, `prior_targets` and
  `id_source` only if they are not None. There `label_space`, `scores`,
  `train_condition`, `test_condition` and `seed` may be null, and `category` and
  `kind` for a SeqIO task that declares none. Other fields are None only in rows
  of another system that lack them; such rows are never written.

  Attributes:
    id: Instance id.
    task: Task name.
    category: First category of the task.
    kind: 'classification' or 'generation'.
    label_space: Labels of a classification task; None for generation.
    position: Index in the task file's `Instances`.
    split: 'train', 'validation' or 'test'; any split of a SeqIO task.
    inputs: Prompt as the model saw it; the bare input for a baseline.
    targets: Accepted references, at least one.
    prediction: Predicted text, without special and unknown tokens.
    raw_prediction: Predicted text with them; None if there are none.
    scores: Log-likelihood of each label in nats; None if labels were not
      scored.
    train_condition: Name of the training condition; None if untuned.
    test_condition: Name of the test condition; None for a baseline.
    seed: Seed of the training, or of a baseline's draws.
    engine: 'native', 't5x', 'baseline:random' and so on.
    prior_targets: References without the renaming of labels that the test
      condition states; None if it states none.
    id_source: `POSITION` if the id is a hash of task, split and position; None
      if the data has it.
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
  raw_prediction: str | None = None
  scores: Mapping[str, float] | None = None
  train_condition: str | None = None
  test_condition: str | None = None
  seed: int | None = None
  engine: str | None = None
  prior_targets: tuple[str, ...] | None = None
  id_source: str | None = None

  @classmethod
  def of_instance(
    cls, task: Task, instance: Instance, *, split: str, **fields: Any
  ) -> 'Prediction':
    """Makes a row from an instance; `fields` are those not in the corpus."""
    return cls(
      id=instance.id,
      task=task.name,
      category=task.category,
      kind=task.kind,
      label_space=task.label_space,
      position=instance.position,
      split=split,
      targets=instance.outputs,
      id_source=None if instance.has_own_id else POSITION,
      **fields,
    )

  @classmethod
  def from_json(
    cls, fields: Mapping[str, object], *, where: str
  ) -> 'Prediction':
    """Makes a row from the object of a line.

    Args:
      fields: JSON object of the line.
      where: Place of the line, such as 'FILE:NUMBER', for error messages.

    Raises:
      InputError: If a field is missing, unknown or invalid.
    """
    _check_fields(fields, where)
    # The check has established the types.
    values: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in fields.items()
    }
    return cls(**values)

  def to_json(self) -> dict[str, object]:
    """Returns the object of a line, fields in the order of the schema."""
    values: dict[str, Any] = {name: getattr(self, name) for name in FIELDS}
    for name in ('label_space', 'targets', 'prior_targets'):
      if isinstance(values[name], tuple):
        values[name] = list(values[name])
    if values['scores'] is not None:
      values['scores'] = dict(values['scores'])
    for name in ('raw_prediction', 'prior_targets', 'id_source'):
      if values[name] is None:
        del values[name]
    return values

  @property
  def has_special_tokens(self) -> bool:
    """Whether sentinels, control tokens or ids without a token are left out."""
    return bool(_SPECIAL.search(self.raw_prediction or ''))

  @property
  def has_unknown_tokens(self) -> bool:
    """Whether the unknown token is left out."""
    return UNKNOWN in (self.raw_prediction or '')


def without_marks(text: str) -> tuple[str, str | None]:
  """Returns a text that SeqIO decoded as we decode it, and its raw text.

  The raw text is None if nothing is left out.

  >>> without_marks('<extra_id_0> yes ⁇ ')
  ('yes', '<extra_id_0> yes ⁇')
  >>> without_marks('yes ')
  ('yes ', None)
  """
  cleaned = _MARKS.sub('', text)
  return (text, None) if cleaned == text else (cleaned.strip(), text.strip())


FIELDS = tuple(field.name for field in dataclasses.fields(Prediction))


def write_predictions(path: _Path, rows: Iterable[Prediction]) -> None:
  """Writes rows as JSON lines in UTF-8, sorted by (task, position).

  The write is atomic: on an error an existing file stays unchanged.

  Raises:
    InputError: If a row violates the schema, an instance occurs twice, there
      are no rows, or the path cannot be written.
  """
  rows = list(rows)
  if not rows:
    raise InputError(f'{path}: no predictions to write; need at least one.')
  for row in rows:
    _check_fields(row.to_json(), f'{path}: row {row.id!r}')
  repeated = _repeated(rows)
  if repeated:
    raise InputError(
      f'{path}: {plural(len(repeated), "instance")} predicted more than once, '
      f'the first is {repeated[0]!r}. Predict each instance exactly once.'
    )
  rows.sort(key=lambda row: (row.task, row.position))
  write_text(path, ''.join(json_line(row.to_json()) for row in rows))


def read_predictions(path: _Path) -> list[Prediction]:
  """Reads the rows of a predictions.jsonl in file order.

  Raises:
    InputError: If the file cannot be read or a row violates the schema.
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
  kind: str | None = None,
) -> None:
  """Checks that `rows` hold every instance of a split exactly once.

  Args:
    rows: Rows with task and id.
    corpus: Corpus that was predicted.
    split: Split that was predicted.
    source: Name of the rows for error messages, such as the path of their file.
    kind: Kind of the tasks that were predicted; None for both.

  Raises:
    InputError: If ids are duplicate, missing or unknown; gives the count and
      first id of each.
  """
  check_expected(
    rows,
    expected={
      (task.name, instance.id)
      for task, instance in corpus.rows(split)
      if kind in (None, task.kind)
    },
    against=f'split {split!r} of corpus {corpus.directory}',
    source=source,
    advice='Predict the split again, or name the corpus that was predicted.',
  )


def check_expected(
  rows: Sequence[Prediction],
  *,
  expected: Collection[tuple[str | None, str]],
  against: str,
  source: str,
  advice: str,
) -> None:
  """Checks that `rows` hold each of some instances exactly once.

  Args:
    rows: Rows with id, and with task where it is expected.
    expected: Task, None if unknown, and id of each instance.
    against: Name of the expected instances, for error messages.
    source: Name of the rows, for error messages.
    advice: Sentence that ends the message.

  Raises:
    InputError: If ids are duplicate, missing or unknown; gives the count and
      first id of each.
  """
  expected = set(expected)
  predicted = {(row.task, row.id) for row in rows}
  faults = []
  repeated = _repeated(rows)
  if repeated:
    faults.append(f'{len(repeated)} duplicate (first {repeated[0]!r})')
  missing = sorted(
    expected - predicted, key=lambda pair: (pair[0] or '', pair[1])
  )
  if missing:
    faults.append(
      f'{len(missing)} of {len(expected)} missing (first {missing[0][1]!r})'
    )
  unknown = sorted(predicted - expected, key=repr)
  hint = ''
  if unknown:
    task, name = unknown[0]
    of_task = '' if task is None else f' of task {task!r}'
    faults.append(f'{len(unknown)} unknown (first {name!r}{of_task})')
    # Only within the task: comparing thousands of similar ids takes minutes.
    hint = nearest(
      str(name), [known for other, known in expected if other == task]
    )
  if faults:
    raise InputError(
      f'{source}: ids do not match {against}: {"; ".join(faults)}. Each '
      f'instance must occur exactly once. {advice}{hint}'
    )


def check_unique(rows: Sequence[Prediction], *, source: str) -> None:
  """Raises `InputError` if two rows have the same task and id.

  Rows without an id are ignored.
  """
  repeated = _repeated([row for row in rows if row.id is not None])
  if repeated:
    raise InputError(
      f'{source}: {plural(len(repeated), "duplicate id")}, the first is '
      f'{repeated[0]!r}. Remove the repeated lines.'
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


def _is_position(value: object) -> bool:
  return _is_integer(value) and isinstance(value, int) and value >= 0


def _is_scores(value: object) -> bool:
  return isinstance(value, dict) and all(
    isinstance(score, (int, float))
    and not isinstance(score, bool)
    and math.isfinite(score)
    for score in value.values()
  )


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
  return lambda value: value is None or check(value)


_OPTIONAL = ('raw_prediction', 'scores', 'prior_targets', 'id_source')
_ALLOWED: dict[str, tuple[Callable[[object], bool], str]] = {
  'id': (_is_name, 'a non-empty text'),
  'task': (_is_name, 'a non-empty text'),
  'category': (_or_none(_is_text), 'a text, or null'),
  'kind': (
    _or_none(lambda value: value in KINDS),
    f'{" or ".join(map(repr, KINDS))}, or null',
  ),
  'label_space': (_or_none(_is_texts), 'a list of at least one text, or null'),
  'position': (_is_position, 'an integer of at least 0'),
  'split': (_is_name, 'a non-empty text'),
  'inputs': (_is_text, 'a text'),
  'targets': (_is_texts, 'a list of at least one text'),
  'prediction': (_is_text, 'a text'),
  'raw_prediction': (_is_text, 'a text'),
  'scores': (_or_none(_is_scores), 'an object of finite numbers, or null'),
  'train_condition': (_or_none(_is_name), 'the name of a condition, or null'),
  'test_condition': (_or_none(_is_name), 'the name of a condition, or null'),
  'seed': (_or_none(_is_integer), 'an integer, or null'),
  'engine': (_is_name, 'a non-empty text'),
  'prior_targets': (_is_texts, 'a list of at least one text'),
  'id_source': (lambda value: value == POSITION, repr(POSITION)),
}


def _check_fields(fields: Mapping[str, object], where: str) -> None:
  for name in fields:
    if name not in _ALLOWED:
      raise InputError(
        f'{where}: field {name!r} is unknown; expected '
        f'{", ".join(_ALLOWED)}.{nearest(name, _ALLOWED)}'
      )
  missing = [n for n in _ALLOWED if n not in fields and n not in _OPTIONAL]
  if missing:
    raise InputError(
      f'{where}: missing {", ".join(missing)}; a row has {", ".join(_ALLOWED)}'
      f' ({", ".join(_OPTIONAL[:-1])} and {_OPTIONAL[-1]} are optional).'
    )
  for name, value in fields.items():
    check, expected = _ALLOWED[name]
    if not check(value):
      text = repr(value)
      text = text if len(text) <= 60 else text[:57] + '...'
      raise InputError(f'{where}: {name}: expected {expected}, got {text}.')
