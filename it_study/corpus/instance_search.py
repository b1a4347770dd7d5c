"""Finds an instance of a corpus by its id, or the ids most like it."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import difflib
import heapq
import json
import re

from it_study.corpus import natinst
from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.errors import InputError, shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """An instance with its task and the split it is in."""

  split: str
  task: Task
  instance: Instance


def find_instance(
  corpus: Corpus,
  name: str,
  *,
  split: str | None = None,
  on_progress: Callable[[int, int], None] | None = None,
) -> Found:
  """Finds an instance by its id, which is unique in a corpus.

  The task that the id begins with ('task002-3f2...' is of task002_...) is
  looked at first; of the others' files only one that has the id in its text is
  parsed.

  Args:
    corpus: to look through.
    name: the id.
    split: to look in; None takes the one it is in.
    on_progress: called with the number of task files looked at and of all.

  Raises:
    InputError: names the nearest ids if there is no such instance, or tells
      where it is if it is not in the split or in none.
  """
  names = _likely_first(
    name,
    (*corpus.train_tasks, *corpus.test_tasks)
    if split is None
    else corpus.tasks_of(split),
  )
  near = _Nearest(name)
  for number, (task_name, is_likely) in enumerate(names, start=1):
    text = _text(corpus, task_name)
    if _may_hold(text, name):
      found = _in_task(corpus, task_name, name, split)
      if found is not None:
        return found
    near.add(_ids(text), is_likely=is_likely)
    if on_progress is not None:
      on_progress(number, len(names))
  where = 'its splits' if split is None else f'{split}'
  raise InputError(
    f'corpus {corpus.directory}: no instance {shown(name)} in {where}; '
    f'{near.hint()}'
  )


_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*")')
# How many near ids are compared with care, and how many are told.
_CANDIDATES, _TOLD = 200, 3


class _Nearest:
  """The ids most like one that is not there, out of millions."""

  def __init__(self, name: str):
    self.name = name
    self.near: list[tuple[int, str]] = []
    self.has_likely = False

  def add(self, names: Iterator[str], *, is_likely: bool) -> None:
    """Takes a task's ids; once the task is known, those of no other."""
    if self.has_likely and not is_likely:
      return
    self.has_likely = is_likely
    scored = ((self._score(name), name) for name in names)
    self.near = heapq.nlargest(_CANDIDATES, [*self.near, *scored])

  def hint(self) -> str:
    names = dict.fromkeys(name for _, name in self.near)
    close = difflib.get_close_matches(self.name, names, n=_TOLD, cutoff=0)
    return f'the nearest are {", ".join(map(shown, close))}.'

  def _score(self, name: str) -> int:
    def agree(left, right) -> int:
      count = 0
      for a, b in zip(left, right, strict=False):
        if a != b:
          break
        count += 1
      return count

    return agree(name, self.name) + agree(name[::-1], self.name[::-1])


def _likely_first(
  name: str, task_names: Sequence[str]
) -> list[tuple[str, bool]]:
  """Tasks, with whether the id begins as they do; these stand first."""
  prefix = re.match(r'[^\W_]*', name)[0]
  likely = {
    task for task in task_names if prefix and task.split('_')[0] == prefix
  }
  ordered = sorted(task_names, key=lambda task: task not in likely)
  return [(task, task in likely) for task in ordered]


def _text(corpus: Corpus, task_name: str) -> str:
  path = corpus.directory / 'tasks' / f'{task_name}.json'
  try:
    return path.read_text(encoding='utf-8', errors='replace')
  except OSError:
    # Parsing it will say what is wrong.
    corpus.load(task_name)
    raise


def _may_hold(text: str, name: str) -> bool:
  return any(
    json.dumps(name, ensure_ascii=is_ascii) in text
    for is_ascii in (True, False)
  )


def _ids(text: str) -> Iterator[str]:
  for match in _ID.finditer(text):
    try:
      yield json.loads(match[1])
    except ValueError:
      continue


def _in_task(
  corpus: Corpus, task_name: str, name: str, split: str | None
) -> Found | None:
  file = corpus.load(task_name)
  if name in corpus.exclusions.instances_of(task_name):
    raise InputError(
      f'instance {shown(name)} of {task_name} is left out by '
      f'{corpus.exclusions.path}. Name another, or leave --exclude out.'
    )
  if all(instance.id != name for instance in file.instances):
    return None
  splits = [s for s in natinst.SPLITS if task_name in corpus.tasks_of(s)]
  for candidate in splits:
    for instance in corpus.instances(task_name, candidate):
      if instance.id == name:
        if split not in (None, candidate):
          raise InputError(
            f'instance {shown(name)} of {task_name} is in {candidate}, not in '
            f'{split}. Leave --split out, or give {candidate}.'
          )
        return Found(split=candidate, task=file.task, instance=instance)
  raise InputError(
    f'instance {shown(name)} of {task_name} is in no split: test takes the '
    f'first {natinst.TEST_INSTANCES} instances of a task. Name another.'
  )
