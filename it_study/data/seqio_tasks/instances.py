"""Examples of SeqIO tasks of the user's own as instances to predict."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Iterator, Mapping, Sequence
import math
from typing import Any

import numpy as np
import seqio

from it_study.corpus.normalization import normalize_answer
from it_study.corpus.task_kinds import CLASSIFICATION, GENERATION
from it_study.data.seqio_tasks import examples
from it_study.data.seqio_tasks.declarations import (
  Declaration,
  declaration_of,
)
from it_study.errors import InputError, nearest, shown
from it_study.seeding import stable_hash

# Features that hold the labels of an example if no other is declared: T0's
# name, and ours.
_LABEL_FEATURES = ('answer_choices', 'label_space')
_DECLARE = 'it_study.seqio_lib.declare'


def load(
  task: seqio.Task, *, lengths: Mapping[str, int], split: str
) -> Iterator[dict[str, Any]]:
  """Yields the rows of a split, with the features of a condition's rows.

  They are those of `preprocessors.render_rows`, and:
    kind, category: str or None, as declared.
    has_own_id: bool, whether the example has an id; if not, `id` is a hash of
      task, split and position.
    example: the features of the task.

  A prompt longer than its limit keeps its first tokens: `shortened` is then
  true, and `input_kept` the share of its tokens that is left.

  Raises:
    InputError: If the task cannot be read, an example lacks what is declared,
      two have the same id, or its labels do not contain its reference.
  """
  declared = declaration_of(task.name)
  name = declared.name or task.name
  ids: dict[bytes, int] = {}
  for position, example in enumerate(
    examples.read(task, lengths=lengths, split=split)
  ):
    where = f'{task.name}, example {position} of {split}'
    try:
      row = _row(example, task, declared, lengths, where)
    except UnicodeDecodeError as error:
      raise InputError(f'{where}: a text is not UTF-8: {error}.') from None
    if not row['has_own_id']:
      row['id'] = f'{stable_hash(name, split, position):016x}'.encode()
    other = ids.setdefault(row['id'], position)
    if other != position:
      raise InputError(
        f'{where}: id {row["id"].decode()!r} is also that of example {other}. '
        "Give every example its own 'id', or leave the feature out: ids are "
        'then made from the positions.'
      )
    yield {**row, 'position': position}


def kept_share(
  example: Mapping[str, Any],
  task: seqio.Task,
  name: str,
  lengths: Mapping[str, int],
) -> float | None:
  """Returns the share of a feature's tokens that its maximum length left.

  The end of sequence does not count. None if the example does not hold the text
  that was tokenised.

  Args:
    example: Features of an example.
    task: Task of the example.
    name: Name of the feature.
    lengths: Maximum lengths of features in tokens.
  """
  text = _whole_text(example, name)
  if text is None:
    return None
  tokens = example[name]
  vocabulary = task.output_features[name].vocabulary
  if not len(tokens) or len(tokens) < lengths.get(name, math.inf):
    return 1.0
  num_kept = len(tokens) - (tokens[-1] == vocabulary.eos_id)
  return float(min(1.0, num_kept / len(vocabulary.encode(text))))


def _row(
  example: Mapping[str, Any],
  task: seqio.Task,
  declared: Declaration,
  lengths: Mapping[str, int],
  where: str,
) -> dict[str, Any]:
  """Returns the row of an example, but for its position and an id of ours."""
  own_id = _own_id(example, where)
  references = _references(example, task, declared, where)
  labels = _labels(example, declared, where)
  _check_labels(references, labels, where)
  kind = declared.kind or (CLASSIFICATION if labels else None)
  if kind == CLASSIFICATION and not labels:
    raise InputError(
      f'{where}: no labels, but the task is declared as classification. Add '
      f"them: {_DECLARE}({task.name!r}, label_space=['yes', 'no'])."
    )
  return {
    'id': (own_id or '').encode(),
    'task': (declared.name or task.name).encode(),
    'references': [text.encode() for text in references],
    'label_space': [label.encode() for label in labels],
    'num_dropped_examples': 0,
    'kind': kind,
    'category': declared.category,
    'has_own_id': own_id is not None,
    'example': example,
    **_prompt(example, task, lengths, where),
  }


def _own_id(example: Mapping[str, Any], where: str) -> str | None:
  """Returns an example's id as text; None if it has none."""
  if 'id' not in example:
    return None
  value = np.asarray(example['id'])
  text = _text(value[()])
  if value.ndim or text == '' or value.dtype.kind not in 'OSUiu':
    raise InputError(
      f'{where}: id is {shown(text)}; expected a text or a whole number.'
    )
  return text


def _references(
  example: Mapping[str, Any],
  task: seqio.Task,
  declared: Declaration,
  where: str,
) -> tuple[str, ...]:
  """Returns the accepted answers of an example, at least one."""
  name = declared.references
  if name is None and 'references' in example:
    name = 'references'
  if name is not None:
    references = _texts(example, name, where)
    if not references:
      raise InputError(f'{where}: {name} is empty; expected at least one text.')
    return tuple(dict.fromkeys(references))
  text = _whole_text(example, 'targets')
  return (text or _decoded(task, 'targets', example['targets']),)


def _labels(
  example: Mapping[str, Any], declared: Declaration, where: str
) -> tuple[str, ...]:
  """Returns the labels of an example, none for generation."""
  if declared.kind == GENERATION:
    return ()
  if isinstance(declared.label_space, tuple):
    return declared.label_space
  name = declared.label_space
  if name is None:
    name = next((n for n in _LABEL_FEATURES if n in example), None)
  return (
    () if name is None else tuple(dict.fromkeys(_texts(example, name, where)))
  )


def _check_labels(
  references: Sequence[str], labels: Sequence[str], where: str
) -> None:
  """Raises `InputError` if an answer within the labels cannot be right."""
  allowed = set(map(normalize_answer, labels))
  if labels and allowed.isdisjoint(map(normalize_answer, references)):
    raise InputError(
      f'{where}: reference {shown(references[0])} is not in its label space, '
      f'{shown(list(labels))}. Add it to the label space, or correct the '
      f'targets.{nearest(references[0], labels)}'
    )


def _prompt(
  example: Mapping[str, Any],
  task: seqio.Task,
  lengths: Mapping[str, int],
  where: str,
) -> dict[str, Any]:
  """Returns the prompt's tokens and text, and what was cut from it."""
  tokens = example['inputs']
  if not len(tokens):
    raise InputError(f'{where}: inputs is empty; a model needs a prompt.')
  text = _whole_text(example, 'inputs')
  share = kept_share(example, task, 'inputs', lengths)
  kept = 1.0 if share is None else share
  if text is None or kept < 1:
    text = _decoded(task, 'inputs', tokens)
  return {
    'inputs': tokens,
    'inputs_pretokenized': text.encode(),
    'shortened': kept < 1,
    'input_kept': kept,
  }


def _whole_text(example: Mapping[str, Any], name: str) -> str | None:
  """Returns the text that a feature was tokenised from, if it is there."""
  text = example.get(f'{name}_pretokenized')
  return None if text is None or np.ndim(text) else _text(text)


def _decoded(task: seqio.Task, name: str, tokens: Sequence[int]) -> str:
  vocabulary = task.output_features[name].vocabulary
  ends = (vocabulary.eos_id, vocabulary.pad_id)
  return vocabulary.decode([int(t) for t in tokens if t not in ends])


def _texts(example: Mapping[str, Any], name: str, where: str) -> list[str]:
  """Returns the texts of a feature that holds one or several."""
  if name not in example:
    raise InputError(
      f'{where}: no feature {name!r}, only {", ".join(sorted(example))}.'
      f'{nearest(name, example)}'
    )
  value = np.asarray(example[name])
  if value.ndim > 1 or value.dtype.kind not in 'OSU':
    raise InputError(
      f'{where}: {name} is {shown(value.tolist())}; expected a text or a list '
      'of texts.'
    )
  return [_text(item) for item in np.atleast_1d(value)]


def _text(value: object) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)
