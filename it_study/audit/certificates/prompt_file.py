"""Certifies prompts that were written to a file, against the corpus."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import json
import os
import pathlib

from it_study.audit.certificates import definitions, originals, subject
from it_study.audit.certificates.certificate import Certificate, Seen, Tally
from it_study.audit.certificates.certify import (
  OnFailure,
  OnProgress,
  read_original,
  token_limits,
)
from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.judge import TaskJudge
from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.errors import InputError, nearest_path, shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptRow:
  """A line of the file.

  Attributes:
    id: of the instance.
    task: name.
    inputs: the prompt.
    targets: the references.
    split: None where the line does not tell, as in what `it-study prompt`
      writes.
    position: likewise.
    label_space: likewise.
    condition: likewise.
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
  """Reads what `it-study prompt --out` writes, or predictions.jsonl.

  Raises:
    InputError: if the file cannot be read, or a line is not such a row.
  """
  path = pathlib.Path(path)
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
    raise InputError(f'{path}: no prompt in it.')
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

  Every task and instance of a split that occurs has to be there once; of a
  training split, from which a condition takes a part, only not twice, unless no
  row names its split.

  Args:
    corpus: whose files are the truth.
    rows: as `read_prompts` has them.
    condition: that they claim to be rendered under.
    max_tokens: the limit they were rendered with, under the current vocabulary.
    partial: whether a part of a split is enough; the certificate then says how
      much of it there was.
    on_failure: called with every failure.
    on_progress: called with the number of tasks done and of all.

  Raises:
    InputError: if a task file cannot be used.
  """
  tally = Tally()

  def fail(failures: Sequence[Failure]) -> None:
    tally.fail(failures)
    for failure in failures if on_failure else ():
      on_failure(failure)

  names = sorted((*corpus.train_tasks, *corpus.test_tasks))
  outlines, sizes = [], {split: {} for split in natinst.SPLITS}
  for name in names:
    task = read_original(corpus, name)
    outlines.append(originals.outline(task))
    for split in natinst.SPLITS:
      sizes[split][name] = len(task.rows(split))
  all_definitions = definitions.Definitions(outlines)
  # Split to task to how many of its instances have a row.
  seen: dict[str, dict[str, int]] = {split: {} for split in natinst.SPLITS}
  by_task: dict[str, list[PromptRow]] = {}
  for row in rows:
    by_task.setdefault(row.task, []).append(row)
  _, tokens = token_limits(max_tokens)
  for done, (name, its_rows) in enumerate(by_task.items(), start=1):
    if name not in names:
      fail(
        [
          _failure(row, condition, 'row-unknown', 'a task of the corpus', name)
          for row in its_rows
        ]
      )
      continue
    task = read_original(corpus, name)
    judge = TaskJudge(task, all_definitions, tokens=tokens)
    failures = list(_judge_task(its_rows, task, judge, condition, tally))
    fail([f for f in failures if not partial or f.code != 'row-missing'])
    ids = {row.id for row in its_rows}
    for split in natinst.SPLITS:
      number = sum(instance.id in ids for instance in task.rows(split))
      if number:
        seen[split][name] = number
    if on_progress is not None:
      on_progress(done, len(by_task))
  if not partial:
    has_part = any(row.split is not None for row in rows)
    whole = [s for s in natinst.SPLITS if seen[s] and (s, has_part) != _PART]
    fail(list(_missing_tasks(whole, sizes, seen, condition)))
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


# Of the training split a condition takes a part, which a row with a split may
# be of.
_PART = ('train', True)


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
        condition, where[row.id], row.inputs, task.instances[row.id]
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
    for code, expected, found in (
      ('row-split', split, row.split),
      ('row-position', instance.position, row.position),
      ('condition-name', condition.name, row.condition),
    ):
      if found is not None and found != expected:
        yield _failure(row, condition, code, str(expected), str(found))
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
        code='row-missing',
        expected=f'one row in {split}',
        found='none',
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
  """Of a split that occurs, every task that has instances in it has to."""
  for split in splits:
    for name, size in sizes[split].items():
      if size and name not in seen[split]:
        yield Failure(
          code='task-missing',
          expected=f'rows of every task in {split}',
          found='none',
          condition=condition.name,
          split=split,
          task=name,
        )


def _failure(
  row: PromptRow, condition: Condition, code: str, expected: str, found: str
) -> Failure:
  return Failure(
    code=code,
    expected=expected,
    found=found[:80],
    condition=condition.name,
    split=row.split,
    task=row.task,
    instance=row.id,
  )


def _row(line: str, where: str) -> PromptRow:
  try:
    raw = json.loads(line)
  except ValueError as error:
    raise InputError(f'{where}: not JSON: {error}.') from None
  if not isinstance(raw, dict):
    raise InputError(f'{where}: found {shown(raw)}, allowed is one object.')
  for key, kind in (
    ('id', str),
    ('task', str),
    ('inputs', str),
    ('targets', list),
  ):
    if not isinstance(raw.get(key), kind):
      raise InputError(
        f'{where}: {key} is {shown(raw.get(key))}; a row has id, task and '
        "inputs, each a text, and targets, a list of texts. 'it-study prompt "
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
