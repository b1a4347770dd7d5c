"""Whether a task is classification or generation, and its label space."""

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

  At most `max_labels` distinct outputs, with at least 25 instances to judge by,
  make a classification task; positive examples' outputs are added to those of
  the instances.

  >>> judge(instance_outputs=[('b',), ('a',)] * 20, example_outputs=['c'])
  ('classification', ('b', 'a', 'c'))

  Args:
    instance_outputs: the accepted outputs of each instance to judge by.
    example_outputs: outputs of the positive examples.
    override: a kind that wins over the rule.
    max_labels: the rule's threshold.

  Raises:
    InputError: if the override is no kind.
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
      f'task kind {kind!r} is unknown; allowed are {" and ".join(KINDS)}.'
      f'{nearest(kind, KINDS)}'
    )


def load_overrides(lines: Iterable[str] | None = None) -> Mapping[str, str]:
  """Reads the override table: columns task, kind and reason.

  Args:
    lines: of a CSV file; None reads the checked-in table.

  Raises:
    InputError: for a kind that is none, a missing reason or a repeated task.
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
        f'override table, line {number}: a task and a reason are needed.'
      )
    if task in overrides:
      raise InputError(f'override table, line {number}: {task!r} comes twice.')
    overrides[task] = kind
  return overrides
