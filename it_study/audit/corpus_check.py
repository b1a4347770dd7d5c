"""Checks a corpus for unusable, suspicious and noteworthy content."""

import array
import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses
import functools
import itertools
import pathlib
import re

from it_study.audit import leaks
from it_study.corpus import files, natinst, task_kinds, worker_pool
from it_study.corpus.exclusions import Exclusions
from it_study.corpus.files import UnreadableError
from it_study.corpus.findings import (
  ERROR,
  NOTE,
  WARNING,
  CorpusFinding,
  merge,
  plural,
)
from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.parsing import TaskFileError
from it_study.corpus.schema import TEST_INSTANCES
from it_study.evaluation import label_rules
from it_study.instructions.definitions import OutputSpace
from it_study.seeding import stable_hash

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


def check(
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  exclusions: str | pathlib.Path | Exclusions | None = None,
  num_workers: int | None = None,
  on_task: Callable[[int, int], None] | None = None,
) -> tuple[Corpus, list[CorpusFinding]]:
  """Checks every task of a corpus, including those that cannot be used.

  Args:
    directory: Folder of the corpus.
    track: Name of the folder in `splits`.
    exclusions: Tasks and instances to leave out, or the path of a file that
      lists them.
    num_workers: Number of worker processes, as for `worker_pool.map_tasks`.
    on_task: Called after each task with the numbers of finished and of all
      tasks.

  Returns:
    The corpus of the tasks that have a file, and the findings.

  Raises:
    InputError: If there is no corpus, or the exclusions cannot be read.
  """
  corpus, findings = natinst.survey_corpus(
    directory, track=track, exclusions=exclusions
  )
  names = (*corpus.train_tasks, *corpus.test_tasks)
  ids: dict[str, array.array] = {}
  results: Iterator[tuple[str, _FileResult]] = worker_pool.map_tasks(
    # Passed because workers do not know the levels that a user has registered.
    functools.partial(_check_file, levels=leaks.output_space_levels()),
    corpus=corpus,
    names=names,
    num_workers=num_workers,
  )
  for name, (file_findings, hashes) in results:
    findings += file_findings
    ids[name] = hashes
    if on_task is not None:
      on_task(len(ids), len(names))
  findings += _shared_ids(corpus, ids)
  return corpus, findings


def check_task(
  *,
  task: Task,
  instances: Iterable[Instance],
  is_test: bool,
  levels: Mapping[str, OutputSpace] | None = None,
) -> list[CorpusFinding]:
  """Checks one parsed task, and lints its output-space definitions.

  Args:
    task: Task to check.
    instances: All instances of the file.
    is_test: Whether it is a test task; only the first 100 instances are then
      checked.
    levels: Output-space levels by name, as for `leaks.lint`.
  """
  instances = list(instances)
  counted = [i for i in instances if not is_test or i.position < TEST_INSTANCES]
  return [
    *_check_size(task, counted, is_test),
    *_check_examples(task, counted),
    *_check_labels(task, counted, is_test),
    *merge(_check_texts(task, counted)),
    *leaks.lint(task=task, instances=counted, levels=levels),
  ]


# Findings of a file, and the stable hashes of its instances' ids.
_FileResult = tuple[list[CorpusFinding], array.array]


def _check_file(
  corpus: Corpus, name: str, *, levels: Mapping[str, OutputSpace]
) -> _FileResult:
  try:
    file, faults = corpus.load_broken(name)
  except (TaskFileError, UnreadableError) as error:
    return [_fault(corpus, name, error)], array.array('Q')
  is_test = name in corpus.test_tasks
  findings = [
    *merge(_fault(corpus, name, fault) for fault in faults),
    *merge(file.warnings),
    *check_task(
      task=file.task,
      instances=file.instances,
      is_test=is_test,
      levels=levels,
    ),
  ]
  return findings, array.array('Q', (stable_hash(i.id) for i in file.instances))


def _fault(
  corpus: Corpus, task: str, error: TaskFileError | UnreadableError
) -> CorpusFinding:
  path = str(files.task_path(corpus.directory, task))
  instance = getattr(error, 'instance', None)
  return CorpusFinding(
    severity=ERROR,
    code=getattr(error, 'code', 'unreadable-file'),
    task=task,
    where=path,
    message=str(error).removeprefix(f'{path}: '),
    instances=() if instance is None else (instance,),
  )


def _shared_ids(
  corpus: Corpus, ids: dict[str, array.array]
) -> Iterator[CorpusFinding]:
  """Yields an error for each pair of tasks that share instance ids."""
  keys = sorted(key for hashes in ids.values() for key in hashes)
  repeated = {a for a, b in itertools.pairwise(keys) if a == b}
  if not repeated:
    return
  owners: dict[str, str] = {}
  pairs: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
  for name, hashes in ids.items():
    if repeated.isdisjoint(hashes):
      continue
    for instance in corpus.load_broken(name)[0].instances:
      if stable_hash(instance.id) in repeated:
        owner = owners.setdefault(instance.id, name)
        if owner != name:
          pairs[owner, name].append(instance.id)
  for (owner, name), shared in pairs.items():
    rest = f' and {plural(len(shared) - 1, "other")}' if shared[1:] else ''
    # Names the training task: excluding its instances keeps the published test
    # set intact.
    yield CorpusFinding(
      severity=ERROR,
      code='duplicate-id-across-tasks',
      task=owner if owner in corpus.train_tasks else name,
      where='Instances',
      message=f'instance id {shared[0]!r}{rest}: in both {owner} and {name}; '
      'ids must be unique in a corpus',
      instances=tuple(shared),
      count=len(shared),
    )


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
