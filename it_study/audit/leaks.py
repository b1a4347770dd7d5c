"""Lints definitions that should give only the output space."""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
import itertools
import re

from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.corpus.findings import ERROR, NOTE, WARNING, CorpusFinding
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import Instance, Task
from it_study.instructions.definitions import OutputSpace

# A label with more words is more than a name.
MAX_LABEL_WORDS = 8
# A run of this many words of a definition reveals part of the instruction.
_REVEALING_WORDS = 4


def output_space_levels() -> dict[str, OutputSpace]:
  """Returns the registered levels that should give only the output space.

  These are the levels whose function is an `OutputSpace`, custom ones included.
  """
  functions = {
    name: DEFINITION_LEVELS.get(name).function
    for name in DEFINITION_LEVELS.names()
  }
  return {
    name: function
    for name, function in functions.items()
    if isinstance(function, OutputSpace)
  }


def lint(
  *,
  task: Task,
  instances: Sequence[Instance],
  levels: Mapping[str, OutputSpace] | None = None,
) -> list[CorpusFinding]:
  """Lints every output-space level of one task, and its label space.

  Args:
    task: Task of either kind.
    instances: Instances whose references must be in the label space: the first
      100 of a test task, all of a training task. Nothing is linted without any.
    levels: Output-space levels by name; None for `output_space_levels`.

  Returns:
    Errors if a definition gives more or less than the label space; warnings and
    notes about the label space itself.
  """
  if levels is None:
    levels = output_space_levels()
  findings: list[CorpusFinding] = []
  if not instances:
    return findings
  for name, level in levels.items():
    text = level(task=task, instance=instances[0], condition=Condition())
    findings += lint_text(text=text, task=task, level=name, function=level)
  if task.label_space is not None:
    findings += _lint_references(task, task.label_space, instances)
    findings += _lint_labels(task, task.label_space, levels)
  return findings


def lint_text(
  *, text: str | None, task: Task, level: str, function: OutputSpace
) -> list[CorpusFinding]:
  """Lints one output-space definition as a prompt shows it.

  Each occurrence of a word must belong to the fixed wording or to a label, and
  each label must occur verbatim. A generation task must have no definition.

  Args:
    text: Text of the definition; None without one.
    task: Task of the definition.
    level: Name of the level, for messages.
    function: Level with the fixed wording.
  """

  def error(code: str, message: str) -> CorpusFinding:
    return CorpusFinding(
      severity=ERROR,
      code=code,
      task=task.name,
      where=f'def_{level}',
      message=message,
    )

  if task.label_space is None:
    if text is None:
      return []
    return [
      error('definition-of-generation', 'must be empty for a generation task')
    ]
  if text is None:
    return [error('label-not-listed', 'is empty; it must list the labels')]
  findings = []
  allowed = _words(function.template.replace('{labels}', ' '))
  for label in task.label_space:
    allowed += _words(label)
  for _ in task.label_space[1:]:
    allowed += _words(function.separator)
  foreign = _words(text) - allowed
  if foreign:
    findings.append(
      error(
        'foreign-word',
        f'{_listed(foreign)}: neither in a label nor in the fixed wording',
      )
    )
  unlisted = [label for label in task.label_space if label not in text]
  if unlisted:
    findings.append(
      error('label-not-listed', f'does not list {_listed(unlisted)}')
    )
  return findings


def _lint_references(
  task: Task, label_space: Sequence[str], instances: Iterable[Instance]
) -> Iterator[CorpusFinding]:
  labels = {normalize_answer(label): label for label in label_space}
  seen: set[str] = set()
  outside: dict[str, list[str]] = {}
  for instance in instances:
    for output in instance.outputs:
      seen.add(normalize_answer(output))
      if normalize_answer(output) not in labels:
        outside.setdefault(output, []).append(instance.id)
  if outside:
    ids = dict.fromkeys(itertools.chain.from_iterable(outside.values()))
    yield CorpusFinding(
      severity=ERROR,
      code='reference-outside-label-space',
      task=task.name,
      where='label space',
      message=f'lacks {_listed(outside)}, which occurs as a reference',
      instances=tuple(ids),
      count=len(ids),
    )
  unused = [label for key, label in labels.items() if key not in seen]
  if unused:
    yield CorpusFinding(
      severity=WARNING,
      code='label-without-reference',
      task=task.name,
      where='label space',
      message=f'{_listed(unused)}: only in the positive examples, never a '
      'reference; this lowers the score of guessing',
    )


def _lint_labels(
  task: Task, label_space: Sequence[str], levels: Mapping[str, OutputSpace]
) -> Iterator[CorpusFinding]:
  def note(
    code: str, labels: list[str], message: str
  ) -> Iterator[CorpusFinding]:
    if labels:
      yield CorpusFinding(
        severity=NOTE,
        code=code,
        task=task.name,
        where='label space',
        message=f'{_listed(labels)}: {message}',
      )

  definition = ' '.join(_word_list(task.definition))
  yield from note(
    'telling-label',
    [label for label in label_space if _is_revealing(label, definition)],
    'a sentence, or consecutive words of the definition; listing it reveals '
    'part of the instruction',
  )
  for name, level in levels.items():
    separator = level.separator.strip()
    if not separator or len(label_space) < 2:
      continue
    pattern = re.escape(separator)
    if re.search(r'\w', separator):
      # Only as a whole word.
      pattern = rf'(?<!\w){pattern}(?!\w)'
    yield from note(
      'ambiguous-label',
      [label for label in label_space if re.search(pattern, label)],
      f'contains {separator!r}, which separates the labels of def_{name}',
    )


def _is_revealing(label: str, definition: str) -> bool:
  words = _word_list(label)
  if len(words) > MAX_LABEL_WORDS:
    return True
  if len(words) < _REVEALING_WORDS:
    return False
  ends = re.search(r'[.!?](\s|$)', label.strip())
  return bool(ends) or f' {" ".join(words)} ' in f' {definition} '


def _words(text: str) -> collections.Counter:
  return collections.Counter(_word_list(text))


def _word_list(text: str) -> list[str]:
  return re.findall(r'\w+', text.lower())


def _listed(items: Iterable[str]) -> str:
  """Quotes the first items and counts the rest.

  >>> _listed('abcde')
  "'a', 'b', 'c' and 2 more"
  """
  items = list(items)
  shown = ', '.join(_short(item) for item in items[:3])
  return shown + (f' and {len(items) - 3} more' if len(items) > 3 else '')


def _short(text: str) -> str:
  return repr(text if len(text) <= 60 else f'{text[:57]}...')
