"""Decides whether a task is classification or generation."""

from collections.abc import Iterable, Mapping, Sequence
import csv
import importlib.resources

from it_study.errors import InputError, nearest

CLASSIFICATION = 'classification'
GENERATION = 'generation'
KINDS = (CLASSIFICATION, GENERATION)
MAX_LABELS = 12
MIN_INSTANCES = 25


def judge(
  *,
  instance_outputs: Sequence[Sequence[str]],
  example_outputs: Iterable[str] = (),
  override: str | None = None,
  max_labels: int = MAX_LABELS,
) -> tuple[str, tuple[str, ...] | None]:
  """Returns a task's kind, and its label space if it is classification.

  A task is classification if it has at least 25 instances and at most
  `max_labels` distinct outputs, including those of the positive examples.

  >>> judge(instance_outputs=[('b',), ('a',)] * 20, example_outputs=['c'])
  ('classification', ('b', 'a', 'c'))

  Args:
    instance_outputs: Accepted outputs of each instance.
    example_outputs: Outputs of the positive examples.
    override: Kind to use instead of the rule; None to apply the rule.
    max_labels: Maximum number of labels of a classification task.

  Raises:
    InputError: If the override is not a kind.
  """
  if override is not None:
    check_kind(override)
  labels = dict.fromkeys(
    output for outputs in instance_outputs for output in outputs
  )
  labels.update(dict.fromkeys(example_outputs))
  kind = override or (
    CLASSIFICATION
    if len(labels) <= max_labels and len(instance_outputs) >= MIN_INSTANCES
    else GENERATION
  )
  return kind, tuple(labels) if kind == CLASSIFICATION else None


def check_kind(kind: str) -> None:
  """Raises `InputError` unless `kind` is one of `KINDS`."""
  if kind not in KINDS:
    raise InputError(
      f'task kind {kind!r} is unknown; expected {" or ".join(KINDS)}.'
      f'{nearest(kind, KINDS)}'
    )


def load_overrides(lines: Iterable[str] | None = None) -> Mapping[str, str]:
  """Reads the override table with columns task, kind and reason.

  Args:
    lines: Lines of a CSV file; None for the checked-in table.

  Raises:
    InputError: If a kind is unknown, a reason missing or a task repeated.
  """
  if lines is None:
    table = importlib.resources.files('it_study.corpus') / 'task_kinds.csv'
    lines = table.read_text(encoding='utf-8').splitlines()
  overrides: dict[str, str] = {}
  for number, row in enumerate(csv.DictReader(lines), start=2):
    task, kind = row.get('task') or '', row.get('kind') or ''
    try:
      check_kind(kind)
    except InputError as error:
      raise InputError(f'override table, line {number}: {error}') from None
    if not task or not (row.get('reason') or '').strip():
      raise InputError(
        f'override table, line {number}: a task and a reason are required.'
      )
    if task in overrides:
      raise InputError(f'override table, line {number}: {task!r} is repeated.')
    overrides[task] = kind
  return overrides
