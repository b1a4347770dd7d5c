"""What users declare of their SeqIO tasks beyond what SeqIO knows."""

from collections.abc import Sequence
import dataclasses

from it_study.corpus.task_kinds import CLASSIFICATION, GENERATION, check_kind
from it_study.errors import InputError, shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
  """What a user declares of a SeqIO task; None where it is left to defaults.

  Attributes:
    kind: 'classification' or 'generation'.
    label_space: Labels of every example, or the name of the feature that holds
      an example's labels.
    references: Name of the feature that holds an example's accepted answers.
    category: Category to report the task under.
    name: Name of the task in predictions.
  """

  kind: str | None = None
  label_space: tuple[str, ...] | str | None = None
  references: str | None = None
  category: str | None = None
  name: str | None = None


_declared: dict[str, Declaration] = {}


def declare(
  task: str,
  *,
  kind: str | None = None,
  label_space: Sequence[str] | str | None = None,
  references: str | None = None,
  category: str | None = None,
  name: str | None = None,
) -> Declaration:
  """Keeps a declaration; see `seqio_lib.declare`."""
  if kind is not None:
    check_kind(kind)
  if label_space is not None:
    if kind == GENERATION:
      raise InputError(
        f'task {task!r} is declared as generation with a label space; leave '
        f'out label_space, or declare it as {CLASSIFICATION}.'
      )
    if not isinstance(label_space, str):
      label_space = _checked_labels(task, label_space)
  for field, value in (
    ('label_space', label_space if isinstance(label_space, str) else None),
    ('references', references),
    ('category', category),
    ('name', name),
  ):
    if value is not None and (not isinstance(value, str) or not value):
      raise InputError(
        f'task {task!r}: {field} is {shown(value)}; give a text that is not '
        'empty.'
      )
  _declared[task] = Declaration(
    kind=kind,
    label_space=label_space,
    references=references,
    category=category,
    name=name,
  )
  return _declared[task]


def declaration_of(task: str) -> Declaration:
  """Returns what was declared of a task, all None if nothing was."""
  return _declared.get(task, Declaration())


def _checked_labels(task: str, labels: Sequence[str]) -> tuple[str, ...]:
  """Returns labels; raises `InputError` unless they are distinct texts."""
  if (
    not isinstance(labels, list | tuple)
    or not labels
    or not all(isinstance(label, str) and label for label in labels)
  ):
    raise InputError(
      f'task {task!r}: label_space is {shown(labels)}; give a list of texts, '
      'or the name of the feature that holds them.'
    )
  repeated = [label for label in labels if list(labels).count(label) > 1]
  if repeated:
    raise InputError(f'task {task!r}: label_space names {repeated[0]!r} twice.')
  return tuple(labels)
