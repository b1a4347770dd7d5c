"""Checks one task: its size, examples, labels and texts."""

import collections
from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import re

from it_study.audit import leaks, spelling_check
from it_study.corpus import natinst, task_kinds
from it_study.corpus.findings import NOTE, WARNING, CorpusFinding, merge, plural
from it_study.corpus.natinst import Instance, Task
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import TEST_INSTANCES
from it_study.evaluation import label_rules
from it_study.instructions.definitions import OutputSpace

# The study's prompts show two examples.
FEWEST_EXAMPLES = 2
# In characters: about 2,500 tokens of English; no recipe reads more than 1,024.
LONGEST_INPUT = 10_000
# Excess of a label's share over an even share that is worth a note.
IMBALANCE = 0.2
_CONTROL = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')
# Byte order mark, and the replacement of undecodable bytes.
_MARK = '\ufeff'
_REPLACEMENT = '\ufffd'
# UTF-8 quotation marks and dashes decoded as Windows-1252.
_MOJIBAKE = 'â€'


def check_task(
  *,
  task: Task,
  instances: Iterable[Instance],
  is_test: bool,
  levels: Mapping[str, OutputSpace] | None = None,
  with_vocabulary: bool = False,
) -> list[CorpusFinding]:
  """Checks one parsed task, and lints its output-space definitions.

  Args:
    task: Task to check.
    instances: All instances of the file.
    is_test: Whether it is a test task; only the first 100 instances are then
      checked.
    levels: Output-space levels by name, as for `leaks.lint`.
    with_vocabulary: Whether to check what the current vocabulary can spell.
  """
  instances = list(instances)
  counted = [i for i in instances if not is_test or i.position < TEST_INSTANCES]
  return [
    *_check_size(task, counted, is_test),
    *_check_examples(task, counted),
    *_check_labels(task, counted, is_test),
    *merge(_check_repeated_inputs(task, counted)),
    *merge(_check_texts(task, counted)),
    *leaks.lint(task=task, instances=counted, levels=levels),
    *(spelling_check.check_task(task, counted) if with_vocabulary else ()),
  ]


@dataclasses.dataclass(frozen=True)
class _Finder:
  """Makes findings about one task."""

  task: str

  def __call__(
    self,
    severity: str,
    code: str,
    where: str,
    message: str,
    instance: Instance | None = None,
  ) -> CorpusFinding:
    return CorpusFinding(
      severity=severity,
      code=code,
      task=self.task,
      where=where,
      message=message,
      instances=() if instance is None else (instance.id,),
    )


def _check_size(
  task: Task, counted: list[Instance], is_test: bool
) -> Iterator[CorpusFinding]:
  finding = _Finder(task.name)
  if is_test and len(counted) < TEST_INSTANCES:
    yield finding(
      WARNING,
      'few-test-instances',
      'Instances',
      f'only {len(counted)} in the first {TEST_INSTANCES} positions; the task '
      'has less weight than others in means over instances',
    )
  if not is_test and len(counted) <= natinst.VALIDATION_INSTANCES:
    yield finding(
      WARNING,
      'nothing-to-train-on',
      'Instances',
      f'all {len(counted)} are held out for validation; none is left to train '
      'on',
    )
  outputs = {output for i in counted for output in i.outputs}
  outputs.update(example.output for example in task.positive_examples)
  if (
    task.kind == task_kinds.GENERATION
    and len(counted) < task_kinds.MIN_INSTANCES
    and 2 * len(outputs) <= len(counted)
  ):
    yield finding(
      WARNING,
      'too-few-to-judge',
      'Instances',
      f'{len(counted)} with {len(outputs)} distinct outputs: assumed to be '
      f'generation, since the rule needs {task_kinds.MIN_INSTANCES} instances; '
      'set an override if it is classification',
    )


def _check_examples(
  task: Task, instances: list[Instance]
) -> Iterator[CorpusFinding]:
  finding = _Finder(task.name)
  positive = task.positive_examples
  if 0 < len(positive) < FEWEST_EXAMPLES:
    yield finding(
      WARNING,
      'few-positive-examples',
      'Positive Examples',
      f'only {len(positive)}; prompts of the study show {FEWEST_EXAMPLES}',
    )
  if not task.negative_examples:
    yield finding(
      NOTE,
      'no-negative-examples',
      'Negative Examples',
      'none; all delusive examples will be swapped or re-paired positive ones',
    )
  shown = {
    normalize_answer(example.input): index
    for index, example in enumerate(positive)
    if normalize_answer(example.input)
  }
  same = [i for i in instances if normalize_answer(i.input) in shown]
  if same:
    index = shown[normalize_answer(same[0].input)]
    yield CorpusFinding(
      severity=WARNING,
      code='example-is-instance',
      task=task.name,
      where=f'Positive Examples[{index}].input',
      message=f'is also the input of Instances[{same[0].position}]: the prompt '
      'shows the model its query',
      instances=tuple(i.id for i in same),
      count=len(same),
    )


def _check_repeated_inputs(
  task: Task, counted: list[Instance]
) -> Iterator[CorpusFinding]:
  """Yields a finding for each input that occurs again.

  Prompts strip inputs, so they are compared stripped. A second output
  contradicts the first if the task is classification; in generation it may be
  another good answer.
  """
  instances = [
    _Occurrence(f'Instances[{i.position}]', i.input.strip(), i.outputs, i.id)
    for i in counted
  ]
  examples = [
    _Occurrence(f'Positive Examples[{k}]', e.input.strip(), (e.output,))
    for k, e in enumerate(task.positive_examples)
  ]
  for occurrences in (instances, examples):
    by_input = collections.defaultdict(list)
    for occurrence in occurrences:
      # The parser reports empty inputs.
      if occurrence.text:
        by_input[occurrence.text].append(occurrence)
    for same in by_input.values():
      if len(same) > 1:
        yield _repeated_input(task, same)


@dataclasses.dataclass(frozen=True)
class _Occurrence:
  """An input with its outputs: an instance, which has an id, or an example."""

  where: str
  text: str
  outputs: tuple[str, ...]
  id: str | None = None

  def answers(self) -> set[str]:
    """The outputs as exact match compares them."""
    return {normalize_answer(output) for output in self.outputs}


def _repeated_input(task: Task, same: list[_Occurrence]) -> CorpusFinding:
  severity, code, effect = NOTE, 'repeated-input', 'a common output'
  if not set.intersection(*(one.answers() for one in same)):
    code, effect = 'other-output-for-input', 'no common output'
    if task.kind == task_kinds.CLASSIFICATION:
      severity, code = WARNING, 'contradicting-outputs'
      effect += ': no answer is always right'
  rest = f' and {plural(len(same) - 2, "other")}' if same[2:] else ''
  return CorpusFinding(
    severity=severity,
    code=code,
    task=task.name,
    where=f'{same[0].where}.input',
    message=f'is repeated in {same[1].where}{rest}, with {effect}',
    instances=tuple(one.id for one in same if one.id is not None),
  )


def _check_labels(
  task: Task, counted: list[Instance], is_test: bool
) -> Iterator[CorpusFinding]:
  if task.label_space is None:
    return
  finding = _Finder(task.name)
  unseen = label_rules.labels_missing_from_data(task)
  if unseen:
    yield finding(
      WARNING,
      'label-not-in-data',
      'Definition',
      f'names {", ".join(map(repr, unseen))}, which never occurs as an output',
    )
  same: dict[str, list[str]] = {}
  for label in task.label_space:
    same.setdefault(normalize_answer(label), []).append(label)
  for labels in same.values():
    if len(labels) > 1:
      yield finding(
        NOTE,
        'labels-alike',
        'label space',
        f'{", ".join(map(repr, labels))}: the same label to exact match, but '
        f'listed {len(labels)} times in the prompt',
      )
  if len(same) == 1:
    yield finding(
      WARNING,
      'one-label',
      'label space',
      f'only {task.label_space[0]!r}: any baseline is right',
    )
  elif is_test:
    yield from _check_balance(finding, same, counted)


def _check_balance(
  finding: _Finder, same: dict[str, list[str]], counted: list[Instance]
) -> Iterator[CorpusFinding]:
  counts = collections.Counter(
    label
    for instance in counted
    for label in {normalize_answer(output) for output in instance.outputs}
  )
  if not counts:
    return
  label, number = counts.most_common(1)[0]
  share = number / len(counted)
  if share > 1 / len(same) + IMBALANCE:
    yield finding(
      NOTE,
      'class-imbalance',
      'Instances',
      f'{same.get(label, [label])[0]!r} is right for {share:.0%} of them; an '
      f'even share would be {1 / len(same):.0%}. Compare exact match with the '
      'majority baseline',
    )


def _check_texts(
  task: Task, instances: list[Instance]
) -> Iterator[CorpusFinding]:
  finding = _Finder(task.name)
  yield from _check_text(finding, 'Definition', task.definition)
  for field, examples in (
    ('Positive Examples', task.positive_examples),
    ('Negative Examples', task.negative_examples),
  ):
    for index, example in enumerate(examples):
      for key in ('input', 'output', 'explanation'):
        text = getattr(example, key) or ''
        yield from _check_text(finding, f'{field}[{index}].{key}', text)
  for instance in instances:
    where = f'Instances[{instance.position}]'
    for key, texts in (
      ('input', (instance.input,)),
      ('output', instance.outputs),
    ):
      for text in texts:
        yield from _check_text(finding, f'{where}.{key}', text, instance)
    if len(instance.input) > LONGEST_INPUT:
      yield finding(
        NOTE,
        'long-input',
        f'{where}.input',
        f'{len(instance.input):,} characters: most of it does not fit a prompt '
        'of 1,024 tokens',
        instance,
      )
    # The parser reports empty references.
    if any(o.strip() and not normalize_answer(o) for o in instance.outputs):
      yield finding(
        WARNING,
        'reference-normalized-away',
        f'{where}.output',
        'has a reference that exact match normalises to nothing; an empty '
        'prediction, or any punctuation, is right',
        instance,
      )


def _check_text(
  finding: _Finder, where: str, text: str, instance: Instance | None = None
) -> Iterator[CorpusFinding]:
  # A fast path: there are millions of texts, nearly all plain.
  if text.isascii() and text.isprintable():
    return
  for code, occurs, what in (
    ('control-character', _CONTROL.search(text), 'a control character'),
    ('byte-order-mark', _MARK in text, 'a byte order mark'),
    ('replacement-character', _REPLACEMENT in text, 'U+FFFD: text was lost'),
    ('mojibake', _MOJIBAKE in text, "'â€': UTF-8 decoded as Windows-1252"),
  ):
    if occurs:
      yield finding(WARNING, code, where, f'has {what}', instance)
