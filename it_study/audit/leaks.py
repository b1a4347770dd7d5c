"""Lints definitions that should tell the output space and nothing more."""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
import re

from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.corpus.findings import ERROR, NOTE, WARNING, CorpusFinding
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import Instance, Task
from it_study.instructions.definitions import OutputSpace

# A label of more words than these says more than a name would.
MAX_LABEL_WORDS = 8
# As many words of a definition in a row tell some of what it asks.
_TELLING_WORDS = 4


def output_space_levels() -> dict[str, OutputSpace]:
  """The registered definition levels that should show the output space alone.

  Those whose function is an `OutputSpace`, a user's included.
  """
  levels = {
    name: DEFINITION_LEVELS.get(name).function
    for name in DEFINITION_LEVELS.names()
  }
  return {
    name: level
    for name, level in levels.items()
    if isinstance(level, OutputSpace)
  }


def lint(
  *,
  task: Task,
  instances: Sequence[Instance],
  levels: Mapping[str, OutputSpace] | None = None,
) -> list[CorpusFinding]:
  """Lints every output-space level of one task, and its label space.

  Args:
    task: of either kind.
    instances: whose references the label space has to hold: of a test task the
      first 100, of a training task all; nothing is linted without any.
    levels: by name; None takes `output_space_levels`.

  Returns:
    Errors where a definition says something else than the label space, or less;
    warnings and notes where the label space itself does.
  """
  if levels is None:
    levels = output_space_levels()
  findings = []
  if not instances:
    return findings
  for name, level in levels.items():
    text = level(task=task, instance=instances[0], condition=Condition())
    findings += lint_text(text=text, task=task, level=name, function=level)
  if task.label_space is not None:
    findings += _lint_references(task, instances)
    findings += _lint_labels(task, levels)
  return findings


def lint_text(
  *, text: str | None, task: Task, level: str, function: OutputSpace
) -> list[CorpusFinding]:
  """Lints one output-space definition, as it stands in a prompt.

  Every word of it belongs to the fixed wording or to one label, as often as it
  is there, and every label is there as it is. A generation task has none.

  Args:
    text: of the definition; None where there is none.
    task: whose definition it is.
    level: its name, for messages.
    function: has the wording.
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
      error('definition-of-generation', 'a generation task should have none')
    ]
  if text is None:
    return [error('label-not-listed', 'no text, where the labels should be')]
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
        f'{_listed(foreign)}: neither a label nor the wording',
      )
    )
  unlisted = [label for label in task.label_space if label not in text]
  if unlisted:
    findings.append(
      error('label-not-listed', f'{_listed(unlisted)}: not in the text')
    )
  return findings


def _lint_references(
  task: Task, instances: Iterable[Instance]
) -> Iterator[CorpusFinding]:
  labels = {normalize_answer(label): label for label in task.label_space}
  seen: set[str] = set()
  outside: dict[str, list[str]] = {}
  for instance in instances:
    for output in instance.outputs:
      seen.add(normalize_answer(output))
      if normalize_answer(output) not in labels:
        outside.setdefault(output, []).append(instance.id)
  if outside:
    ids = dict.fromkeys(id_ for found in outside.values() for id_ in found)
    yield CorpusFinding(
      severity=ERROR,
      code='reference-outside-label-space',
      task=task.name,
      where='label space',
      message=f'misses {_listed(outside)}, which a reference is',
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
      message=f'{_listed(unused)}: from the positive examples, no reference is '
      'that; guessing goes wrong more often for it',
    )


def _lint_labels(
  task: Task, levels: Mapping[str, OutputSpace]
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
    [label for label in task.label_space if _tells(label, definition)],
    'a sentence, or words of the definition in a row; an output space with it '
    'tells more than the name of an answer',
  )
  for name, level in levels.items():
    separator = level.separator.strip()
    if not separator or len(task.label_space) < 2:
      continue
    # A word is none within another word.
    found = re.compile(rf'(?<!\w){re.escape(separator)}(?!\w)').search
    if not re.search(r'\w', separator):
      found = re.compile(re.escape(separator)).search
    yield from note(
      'ambiguous-label',
      [label for label in task.label_space if found(label)],
      f'has the {separator!r} that parts the labels of def_{name}',
    )


def _tells(label: str, definition: str) -> bool:
  words = _word_list(label)
  if len(words) > MAX_LABEL_WORDS:
    return True
  if len(words) < _TELLING_WORDS:
    return False
  ends = re.search(r'[.!?](\s|$)', label.strip())
  return bool(ends) or f' {" ".join(words)} ' in f' {definition} '


def _words(text: str) -> collections.Counter:
  return collections.Counter(_word_list(text))


def _word_list(text: str) -> list[str]:
  return re.findall(r'\w+', text.lower())


def _listed(items: Iterable[str]) -> str:
  """Some of the items, quoted.

  >>> _listed('abcde')
  "'a', 'b', 'c' and 2 more"
  """
  items = list(items)
  shown = ', '.join(_short(item) for item in items[:3])
  return shown + (f' and {len(items) - 3} more' if len(items) > 3 else '')


def _short(text: str) -> str:
  return repr(text if len(text) <= 60 else f'{text[:57]}...')
