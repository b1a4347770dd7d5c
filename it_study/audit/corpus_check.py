"""Checks a corpus: what cannot be used, what is odd, what to look at."""

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

# Prompts of the study show two.
FEWEST_EXAMPLES = 2
# English of about 2,500 tokens, where the longest recipe reads 1,024.
LONGEST_INPUT = 10_000
# A label's share above an even one's, from which on it is worth a note.
IMBALANCE = 0.2
_CONTROL = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')
# A byte order mark, or what stands for bytes that were not understood.
_MARK = '\ufeff'
_REPLACEMENT = '\ufffd'
# UTF-8 quotation marks and dashes, read as Windows-1252.
_MOJIBAKE = 'â€'


def check(
  directory: str | pathlib.Path,
  *,
  track: str = 'default',
  exclusions: str | pathlib.Path | Exclusions | None = None,
  num_workers: int | None = None,
  on_task: Callable[[int, int], None] | None = None,
) -> tuple[Corpus, list[CorpusFinding]]:
  """Looks at every task of a corpus, whatever is wrong with some.

  Args:
    directory: of the corpus.
    track: folder below `splits`.
    exclusions: what is left out.
    num_workers: as `worker_pool.map_tasks` has it.
    on_task: called with the number of tasks done and of all.

  Returns:
    The corpus, of tasks that have a file, and what was found.

  Raises:
    InputError: if there is no corpus, or the exclusions cannot be used.
  """
  corpus, findings = natinst.survey_corpus(
    directory, track=track, exclusions=exclusions
  )
  names = (*corpus.train_tasks, *corpus.test_tasks)
  ids: dict[str, array.array] = {}
  for name, (found, hashes) in worker_pool.map_tasks(
    # Workers know of no level that a user has registered.
    functools.partial(_check_file, levels=leaks.output_space_levels()),
    corpus=corpus,
    names=names,
    num_workers=num_workers,
  ):
    findings += found
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
  """Checks one task that was parsed, and lints its output-space definitions.

  Args:
    task: to check.
    instances: all of the file.
    is_test: whether it is a test task, of which the first 100 alone are looked
      at.
    levels: as `leaks.lint` takes them.
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


def _check_file(
  corpus: Corpus, name: str, *, levels: Mapping[str, OutputSpace]
) -> tuple[list[CorpusFinding], array.array]:
  """Findings of a file, and the stable hashes of its instances' ids."""
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
  """Errors for ids that several tasks have, one for each pair of tasks."""
  every = sorted(key for hashes in ids.values() for key in hashes)
  twice = {a for a, b in itertools.pairwise(every) if a == b}
  if not twice:
    return
  owners: dict[str, str] = {}
  pairs: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
  for name, hashes in ids.items():
    if twice.isdisjoint(hashes):
      continue
    for instance in corpus.load_broken(name)[0].instances:
      if stable_hash(instance.id) in twice:
        owner = owners.setdefault(instance.id, name)
        if owner != name:
          pairs[owner, name].append(instance.id)
  for (owner, name), shared in pairs.items():
    more = f' and {plural(len(shared) - 1, "other")}' if shared[1:] else ''
    # What is taken out of training leaves the test set as it was published.
    yield CorpusFinding(
      severity=ERROR,
      code='duplicate-id-across-tasks',
      task=owner if owner in corpus.train_tasks else name,
      where='Instances',
      message=f'instance id {shared[0]!r}{more}: in {owner} and in {name}; ids '
      'must tell instances of a corpus apart',
      instances=tuple(shared),
      count=len(shared),
    )


@dataclasses.dataclass(frozen=True)
class _Says:
  """Makes findings about one task."""

  task: str

  def __call__(
    self, severity: str, code: str, where: str, message: str, instance=None
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
  says = _Says(task.name)
  if is_test and len(counted) < TEST_INSTANCES:
    yield says(
      WARNING,
      'few-test-instances',
      'Instances',
      f'{len(counted)} in the first {TEST_INSTANCES} positions; the task '
      'weighs less than others in means over instances',
    )
  if not is_test and len(counted) <= natinst.VALIDATION_INSTANCES:
    yield says(
      WARNING,
      'nothing-to-train-on',
      'Instances',
      f'all {len(counted)} are held out for validation, none is trained on',
    )
  outputs = {output for i in counted for output in i.outputs}
  outputs.update(example.output for example in task.positive_examples)
  if (
    task.kind == task_kinds.GENERATION
    and len(counted) < task_kinds.MIN_INSTANCES
    and 2 * len(outputs) <= len(counted)
  ):
    yield says(
      WARNING,
      'too-few-to-judge',
      'Instances',
      f'{len(counted)} with {len(outputs)} distinct outputs: taken for '
      f'generation, as a kind is judged by {task_kinds.MIN_INSTANCES} or more; '
      'an override says what it is',
    )


def _check_examples(
  task: Task, instances: list[Instance]
) -> Iterator[CorpusFinding]:
  says = _Says(task.name)
  positive = task.positive_examples
  if 0 < len(positive) < FEWEST_EXAMPLES:
    yield says(
      WARNING,
      'few-positive-examples',
      'Positive Examples',
      f'{len(positive)}, where prompts of the study show {FEWEST_EXAMPLES}',
    )
  if not task.negative_examples:
    yield says(
      NOTE,
      'no-negative-examples',
      'Negative Examples',
      'none: delusive examples are all swapped or re-paired positive ones',
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
      message=f'is also that of Instances[{same[0].position}]: a prompt shows '
      'the model what it is asked',
      instances=tuple(i.id for i in same),
      count=len(same),
    )


def _check_labels(
  task: Task, counted: list[Instance], is_test: bool
) -> Iterator[CorpusFinding]:
  if task.label_space is None:
    return
  says = _Says(task.name)
  unseen = label_rules.labels_missing_from_data(task)
  if unseen:
    yield says(
      WARNING,
      'label-not-in-data',
      'Definition',
      f'names {", ".join(map(repr, unseen))}, which no output is',
    )
  same: dict[str, list[str]] = {}
  for label in task.label_space:
    same.setdefault(normalize_answer(label), []).append(label)
  for labels in same.values():
    if len(labels) > 1:
      yield says(
        NOTE,
        'labels-alike',
        'label space',
        f'{", ".join(map(repr, labels))}: one label to exact match, and listed '
        f'{len(labels)} times to the model',
      )
  if len(same) == 1:
    yield says(
      WARNING,
      'one-label',
      'label space',
      f'{task.label_space[0]!r} alone: any baseline is right',
    )
  elif is_test:
    yield from _check_balance(says, same, counted)


def _check_balance(
  says: _Says, same: dict[str, list[str]], counted: list[Instance]
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
    yield says(
      NOTE,
      'class-imbalance',
      'Instances',
      f'{same.get(label, [label])[0]!r} is right for {share:.0%} of them, '
      f'{1 / len(same):.0%} were even: read exact match beside the majority '
      'baseline',
    )


def _check_texts(
  task: Task, instances: list[Instance]
) -> Iterator[CorpusFinding]:
  says = _Says(task.name)
  yield from _check_text(says, 'Definition', task.definition)
  for field, examples in (
    ('Positive Examples', task.positive_examples),
    ('Negative Examples', task.negative_examples),
  ):
    for index, example in enumerate(examples):
      for key in ('input', 'output', 'explanation'):
        text = getattr(example, key) or ''
        yield from _check_text(says, f'{field}[{index}].{key}', text)
  for instance in instances:
    where = f'Instances[{instance.position}]'
    for key, texts in (
      ('input', (instance.input,)),
      ('output', instance.outputs),
    ):
      for text in texts:
        yield from _check_text(says, f'{where}.{key}', text, instance)
    if len(instance.input) > LONGEST_INPUT:
      yield says(
        NOTE,
        'long-input',
        f'{where}.input',
        f'{len(instance.input):,} characters: most of it is cut from a prompt '
        'of 1,024 tokens',
        instance,
      )
    # An empty one is told by the parser.
    if any(o.strip() and not normalize_answer(o) for o in instance.outputs):
      yield says(
        WARNING,
        'reference-normalized-away',
        f'{where}.output',
        "has a reference of which exact match's normalisation leaves nothing; "
        'any prediction of punctuation, or of nothing, is right',
        instance,
      )


def _check_text(
  says: _Says, where: str, text: str, instance: Instance | None = None
) -> Iterator[CorpusFinding]:
  # Nearly every text is plain, and there are millions.
  if text.isascii() and text.isprintable():
    return
  for code, found, what in (
    ('control-character', _CONTROL.search(text), 'a control character'),
    ('byte-order-mark', _MARK in text, 'a byte order mark'),
    ('replacement-character', _REPLACEMENT in text, 'U+FFFD: text was lost'),
    ('mojibake', _MOJIBAKE in text, "'â€': UTF-8 read as Windows-1252"),
  ):
    if found:
      yield says(WARNING, code, where, f'has {what}', instance)
