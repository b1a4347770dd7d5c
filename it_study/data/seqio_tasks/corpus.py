"""SeqIO tasks of the user's own as a corpus, to score and guess against."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import hashlib
import pathlib

import seqio

from it_study.corpus.natinst import Corpus, Instance, Task, TaskFile
from it_study.data import row_source
from it_study.data.seqio_tasks import instances
from it_study.data.seqio_tasks.declarations import (
  Declaration,
  declaration_of,
)
from it_study.errors import InputError, nearest

_Rows = tuple[tuple[Task, Instance], ...]


@dataclasses.dataclass(frozen=True)
class SeqioCorpus(Corpus):
  """The tasks of a SeqIO task or mixture; made by `make`.

  A task has the name that predictions have, which may be a declared one. Every
  task has its own splits, whose instances all count. Label spaces may
  differ between the instances of a task, so they come with each row.

  Attributes:
    tasks: SeqIO tasks.
    max_instances: Number of instances of each task's split, the first; None for
      all.
  """

  tasks: tuple[seqio.Task, ...] = ()
  max_instances: int | None = None

  def tasks_of(self, split: str) -> tuple[str, ...]:
    """Returns the names of the tasks that have a split."""
    return tuple(_name(task) for task in self.tasks if split in task.splits)

  def check_has(self, split: str) -> None:
    """Raises `InputError` if no task has a split."""
    if not self.tasks_of(split):
      splits = dict.fromkeys(s for task in self.tasks for s in task.splits)
      raise InputError(
        f'{self.directory} has no split {split!r}; there are '
        f'{", ".join(splits)}.{nearest(split, splits)}'
      )

  def load(self, name: str) -> TaskFile:
    """Returns a task with its training instances, none without the split."""
    task = self._task(name)
    rows = _read(task, 'train', declaration_of(task.name))
    if rows:
      return TaskFile(
        task=rows[0][0],
        instances=tuple(instance for _, instance in rows),
        warnings=(),
      )
    return TaskFile(
      task=_facts(name, None, None, ()), instances=(), warnings=()
    )

  def instances(self, name: str, split: str) -> tuple[Instance, ...]:
    """Returns a task's instances of a split, in their order."""
    rows = self._rows_of(self._task(name), split)
    return tuple(instance for _, instance in rows)

  def rows(self, split: str) -> Iterator[tuple[Task, Instance]]:
    """Yields every instance of a split with its task, sorted by task.

    Raises:
      InputError: If there is none.
    """
    self.check_has(split)
    is_empty = True
    for name in sorted(self.tasks_of(split)):
      rows = self._rows_of(self._task(name), split)
      is_empty = is_empty and not rows
      yield from rows
    if is_empty:
      raise InputError(
        f'{self.directory} has no instance in {split}: there is nothing to '
        'predict or to score.'
      )

  def fingerprint(self, splits: Sequence[str] | None = None) -> str:
    """Returns a hash of all instances of some splits; None for all splits."""
    digest = hashlib.sha256()
    for task in sorted(self.tasks, key=lambda task: task.name):
      for split in task.splits if splits is None else splits:
        for facts, instance in self._rows_of(task, split):
          row = (split, facts.name, facts.label_space, instance)
          digest.update(repr(row).encode())
    return digest.hexdigest()

  def _rows_of(self, task: seqio.Task, split: str) -> _Rows:
    rows = _read(task, split, declaration_of(task.name))
    return rows[: self.max_instances]

  def _task(self, name: str) -> seqio.Task:
    return next(task for task in self.tasks if _name(task) == name)


def make(
  task: seqio.Task | seqio.Mixture, *, max_instances: int | None = None
) -> SeqioCorpus:
  """Returns a SeqIO task, or the tasks of a mixture, as a corpus.

  Args:
    task: Task or mixture.
    max_instances: Number of instances of each task's split; None for all.

  Raises:
    InputError: If one of them reads a corpus of task files, or two have the
      same name in predictions.
  """
  tasks = tuple(task.tasks) if isinstance(task, seqio.Mixture) else (task,)
  for part in tasks:
    if row_source.source_of(part) is not None:
      raise InputError(
        f'{part.name} reads a corpus of task files. Name that corpus instead: '
        '--corpus=DIR.'
      )
  by_name: dict[str, str] = {}
  for part in tasks:
    other = by_name.setdefault(_name(part), part.name)
    if other != part.name:
      raise InputError(
        f'{task.name}: its tasks {other} and {part.name} are both declared as '
        f'{_name(part)!r}, so predictions could not be told apart. Name its '
        'tasks one by one.'
      )
  return SeqioCorpus(
    directory=pathlib.Path(task.name),
    train_tasks=tuple(_name(t) for t in tasks if 'train' in t.splits),
    test_tasks=tuple(_name(t) for t in tasks if 'test' in t.splits),
    overrides={},
    tasks=tasks,
    max_instances=max_instances,
  )


def _name(task: seqio.Task) -> str:
  return declaration_of(task.name).name or task.name


# Baselines ask for the same few splits again and again.
@functools.lru_cache(maxsize=16)
def _read(task: seqio.Task, split: str, declared: Declaration) -> _Rows:
  """Returns the instances of a split; the declaration only keys the cache."""
  del declared
  if split not in task.splits:
    return ()
  return tuple(
    (
      _facts(
        row['task'].decode(),
        row['category'],
        row['kind'],
        tuple(label.decode() for label in row['label_space']),
      ),
      Instance(
        id=row['id'].decode(),
        input=row['inputs_pretokenized'].decode(),
        outputs=tuple(text.decode() for text in row['references']),
        position=row['position'],
        has_own_id=row['has_own_id'],
      ),
    )
    for row in instances.load(task, lengths={}, split=split)
  )


@functools.lru_cache(maxsize=4096)
def _facts(
  name: str,
  category: str | None,
  kind: str | None,
  label_space: tuple[str, ...],
) -> Task:
  return Task(
    name=name,
    definition='',
    # Null in predictions if they are not declared.
    categories=(category,),  # type: ignore[arg-type]
    kind=kind,  # type: ignore[arg-type]
    label_space=label_space or None,
    positive_examples=(),
    negative_examples=(),
  )
