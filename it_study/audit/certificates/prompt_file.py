"""Certifies the prompts of a file against the corpus."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import os
import pathlib

from it_study.audit.certificates import originals, subject
from it_study.audit.certificates.certificate import Certificate, Seen, Tally
from it_study.audit.certificates.certify import (
  OnFailure,
  OnProgress,
  read_original,
  token_limits,
)
from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.judge import TaskJudge
from it_study.audit.certificates.levels import definitions
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.errors import InputError, nearest_path, shown
from it_study.storage import text_files
from it_study.storage.storage_path import expanded


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptRow:
  """A line of the file.

  The fields with a default are None in files of `it-study prompt`.

  Attributes:
    id: Instance id.
    task: Task name.
    inputs: Prompt.
    targets: Accepted references.
    split: Split of the instance; None if unknown.
    position: Index of the instance in the task file; None if unknown.
    label_space: Labels of the task; None if unknown or generation.
    condition: Name of the condition; None if unknown.
  """

  id: str
  task: str
  inputs: str
  targets: tuple[str, ...]
  split: str | None = None
  position: int | None = None
  label_space: tuple[str, ...] | None = None
  condition: str | None = None


def read_prompts(path: str | os.PathLike) -> list[PromptRow]:
  """Reads a file of `it-study prompt --out`, or predictions.jsonl.

  Raises:
    InputError: If the file cannot be read or a line is invalid.
  """
  path = pathlib.Path(expanded(path))
  try:
    lines = path.read_bytes().decode().split('\n')
  except OSError as error:
    raise InputError(
      f'{path}: cannot be read: {error.strerror or error}.{nearest_path(path)}'
    ) from None
  except UnicodeDecodeError as error:
    raise InputError(f'{path}: not UTF-8 at byte {error.start}.') from None
  rows = [
    _row(line, f'{path}, line {number}')
    for number, line in enumerate(lines, start=1)
    if line.strip()
  ]
  if not rows:
    raise InputError(f'{path}: no prompts found.')
  return rows


def certify_prompts(
  *,
  corpus: natinst.Corpus,
  rows: Sequence[PromptRow],
  condition: Condition,
  max_tokens: int | None = None,
  partial: bool = False,
  on_failure: OnFailure | None = None,
  on_progress: OnProgress | None = None,
) -> Certificate:
  """Judges prompts by their text alone.

  Every task and instance of each split in the file must occur exactly once. A
  condition uses part of the training split: if the rows name their split,
  training instances may be missing but not repeated.

  Args:
    corpus: Corpus whose files are the ground truth.
    rows: Rows of `read_prompts`.
    condition: Condition that the prompts claim.
    max_tokens: Maximum prompt length in tokens of the current vocabulary that
      the prompts were rendered with; None for no limit.
    partial: Whether to accept part of a split; the certificate then states how
      much of it there was.
    on_failure: Called with every failure.
    on_progress: Called with the numbers of finished and of all tasks.

  Raises:
    InputError: If a task file cannot be read.
  """
  tally = Tally()
  sizes, all_definitions = _survey(corpus)
  # Number of instances with a row, by split and task.
  seen: _Sizes = {split: {} for split in natinst.SPLITS}
  by_task: dict[str, list[PromptRow]] = {}
  for row in rows:
    by_task.setdefault(row.task, []).append(row)
  _, tokens = token_limits(max_tokens)
  for done, (name, task_rows) in enumerate(by_task.items(), start=1):
    if name not in sizes['test']:
      unknown = ('row-unknown', 'a task of the corpus', name)
      tally.fail(
        (_failure(row, condition, *unknown) for row in task_rows), on_failure
      )
      continue
    task = read_original(corpus, name)
    judge = TaskJudge(task, all_definitions, tokens=tokens)
    failures = _judge_task(task_rows, task, judge, condition, tally)
    if partial:
      failures = (f for f in failures if f.code != 'row-missing')
    tally.fail(failures, on_failure)
    ids = {row.id for row in task_rows}
    for split in natinst.SPLITS:
      number = sum(instance.id in ids for instance in task.rows(split))
      if number:
        seen[split][name] = number
    if on_progress is not None:
      on_progress(done, len(by_task))
  if not partial:
    has_part = any(row.split is not None for row in rows)
    whole = [s for s in natinst.SPLITS if seen[s] and (s, has_part) != _PART]
    tally.fail(_missing_tasks(whole, sizes, seen, condition), on_failure)
  return Certificate(
    fingerprint=corpus.fingerprint(),
    conditions=(condition.name,),
    max_tokens=max_tokens,
    tally=tally,
    partial=partial,
    seen={
      split: Seen(
        tasks=len(counts),
        all_tasks=sum(map(bool, sizes[split].values())),
        instances=sum(counts.values()),
        all_instances=sum(sizes[split].values()),
      )
      for split, counts in seen.items()
      if counts
    },
  )


# Split, and whether rows name it: a condition may then use part of the split.
_PART = ('train', True)
# Number of instances by split and task.
_Sizes = dict[str, dict[str, int]]


def _survey(corpus: natinst.Corpus) -> tuple[_Sizes, definitions.Definitions]:
  """Returns the sizes of all tasks of a corpus, and their definitions."""
  sizes: _Sizes = {split: {} for split in natinst.SPLITS}
  outlines = []
  for name in sorted((*corpus.train_tasks, *corpus.test_tasks)):
    task = read_original(corpus, name)
    outlines.append(originals.outline(task))
    for split in natinst.SPLITS:
      sizes[split][name] = len(task.rows(split))
  return sizes, definitions.Definitions(outlines)


def _judge_task(
  rows: Sequence[PromptRow],
  task: originals.RawTask,
  judge: TaskJudge,
  condition: Condition,
  tally: Tally,
) -> Iterator[Failure]:
  where = {
    instance.id: split
    for split in natinst.SPLITS
    for instance in task.rows(split)
  }
  for row in rows:
    if row.id in where:
      judge.learn_names(
        subject.Subject(
          condition=condition,
          split=where[row.id],
          instance=task.instances[row.id],
          text=row.inputs,
          references=row.targets,
        )
      )
  seen: set[str] = set()
  for row in rows:
    split = where.get(row.id)
    tally.rows[split or 'none'] += 1
    if split is None:
      expected = f'an instance of {task.name} in a split'
      yield _failure(row, condition, 'row-unknown', expected, row.id)
      continue
    if row.id in seen:
      yield _failure(row, condition, 'row-twice', 'one row', 'another')
    seen.add(row.id)
    instance = task.instances[row.id]
    claims: tuple[tuple[str, str | int, object], ...] = (
      ('row-split', split, row.split),
      ('row-position', instance.position, row.position),
      ('condition-name', condition.name, row.condition),
    )
    for code, value, claim in claims:
      if claim is not None and claim != value:
        yield _failure(row, condition, code, str(value), str(claim))
    verdict = judge.judge(
      subject.Subject(
        condition=condition,
        split=split,
        instance=instance,
        text=row.inputs,
        references=row.targets,
        label_space=row.label_space,
      )
    )
    tally.add_verdict(
      verdict, condition=condition.name, split=split, kind=task.kind
    )
    yield from verdict.failures
  whole = {where[id_] for id_ in seen}
  if any(row.split is not None for row in rows):
    whole -= {'train'}
  for id_, split in where.items():
    if split in whole and id_ not in seen:
      yield Failure(
        'row-missing',
        f'one row in {split}',
        'none',
        condition=condition.name,
        split=split,
        task=task.name,
        instance=id_,
      )


def _missing_tasks(
  splits: Sequence[str],
  sizes: Mapping[str, Mapping[str, int]],
  seen: Mapping[str, Mapping[str, int]],
  condition: Condition,
) -> Iterator[Failure]:
  """Yields a failure for each task of the splits without a row."""
  for split in splits:
    for name, size in sizes[split].items():
      if size and name not in seen[split]:
        yield Failure(
          'task-missing',
          f'rows of every task in {split}',
          'none',
          condition=condition.name,
          split=split,
          task=name,
        )


def _failure(
  row: PromptRow, condition: Condition, code: str, expected: str, found: str
) -> Failure:
  return Failure(
    code,
    expected,
    found[:80],
    condition=condition.name,
    split=row.split,
    task=row.task,
    instance=row.id,
  )


def _row(line: str, where: str) -> PromptRow:
  raw = text_files.parse_object(line, where=where)
  for key, kind in (
    ('id', str),
    ('task', str),
    ('inputs', str),
    ('targets', list),
  ):
    if not isinstance(raw.get(key), kind):
      raise InputError(
        f'{where}: {key} is {shown(raw.get(key))}; a row has the texts id, '
        "task and inputs, and a list of texts targets. 'it-study prompt "
        "--out F.jsonl' writes such rows."
      )
  has_labels = isinstance(raw.get('label_space'), list)
  return PromptRow(
    id=raw['id'],
    task=raw['task'],
    inputs=raw['inputs'],
    targets=tuple(map(str, raw['targets'])),
    split=raw.get('split'),
    position=raw.get('position'),
    label_space=tuple(map(str, raw['label_space'])) if has_labels else None,
    condition=raw.get('test_condition'),
  )
