"""Finds an instance of a corpus by its id, or the most similar ids."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import difflib
import heapq
import json
import re

from it_study.corpus import natinst
from it_study.corpus.natinst import Corpus, Instance, Task
from it_study.corpus.schema import TEST_INSTANCES
from it_study.errors import InputError, shown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
  """An instance, its task and its split."""

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

  Tasks that match the start of the id ('task002-3f2...' and task002_...) are
  searched first. A file is parsed only if its text contains the id.

  Args:
    corpus: Corpus to search.
    name: Id of the instance.
    split: Split to search; None for all.
    on_progress: Called with the number of searched task files and of all.

  Raises:
    InputError: If there is no such instance, with the nearest ids, or if it is
      in another split or in none.
  """
  names = _likely_first(
    name,
    (*corpus.train_tasks, *corpus.test_tasks)
    if split is None
    else corpus.tasks_of(split),
  )
  nearest_ids = _NearestIds(name)
  for number, (task_name, is_likely) in enumerate(names, start=1):
    text = _text(corpus, task_name)
    if _may_hold(text, name):
      found = _in_task(corpus, task_name, name, split)
      if found is not None:
        return found
    nearest_ids.add(_ids(text), is_likely=is_likely)
    if on_progress is not None:
      on_progress(number, len(names))
  where = 'its splits' if split is None else f'{split}'
  raise InputError(
    f'corpus {corpus.directory}: no instance {shown(name)} in {where}; '
    f'{nearest_ids.hint()}'
  )


_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*")')
# How many similar ids are compared by edit distance, and how many are shown.
_CANDIDATES, _SHOWN = 200, 3


class _NearestIds:
  """The ids most similar to a missing one, out of millions."""

  def __init__(self, name: str) -> None:
    self._name = name
    self._candidates: list[tuple[int, str]] = []
    self._has_likely = False

  def add(self, names: Iterator[str], *, is_likely: bool) -> None:
    """Adds a task's ids; ignores those of unlikely tasks after likely ones."""
    if self._has_likely and not is_likely:
      return
    self._has_likely = is_likely
    scored = ((self._score(name), name) for name in names)
    self._candidates = heapq.nlargest(_CANDIDATES, [*self._candidates, *scored])

  def hint(self) -> str:
    names = list(dict.fromkeys(name for _, name in self._candidates))
    close = difflib.get_close_matches(self._name, names, n=_SHOWN, cutoff=0)
    return f'the nearest are {", ".join(map(shown, close))}.'

  def _score(self, name: str) -> int:
    """Returns the length of the common prefix plus that of the suffix."""
    return _common_length(name, self._name) + _common_length(
      name[::-1], self._name[::-1]
    )


def _common_length(left: str, right: str) -> int:
  """Returns the length of the longest common prefix."""
  pairs = zip(left, right, strict=False)
  differences = (index for index, (a, b) in enumerate(pairs) if a != b)
  return next(differences, min(len(left), len(right)))


def _likely_first(
  name: str, task_names: Sequence[str]
) -> list[tuple[str, bool]]:
  """Returns tasks and whether they match the start of the id, these first."""
  prefix = re.split(r'[\W_]', name, maxsplit=1)[0]
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
    # Loading it raises the proper error.
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
      f'{corpus.exclusions.path}. Name another, or drop --exclude.'
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
            f'{split}. Drop --split, or give {candidate}.'
          )
        return Found(split=candidate, task=file.task, instance=instance)
  raise InputError(
    f'instance {shown(name)} of {task_name} is in no split: test has only the '
    f'first {TEST_INSTANCES} instances of a task. Name another.'
  )
