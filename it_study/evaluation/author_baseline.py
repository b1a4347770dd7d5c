"""Guessing and the majority label as the first author's notebook counts them.

Kung and Peng's 42.6 is 2,431 / 5,700 in `ActiveIT/get_results.ipynb` of
PlusLabNLP/Active-IT: over the test tasks whose definition mentions every label,
100 // labels answers of 100 are right. The label spaces are in that
repository's task_metadata.json.
"""

import collections
from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import os
from typing import Any

from it_study.corpus.findings import plural
from it_study.corpus.natinst import CONTROL_CATEGORIES, Corpus, Instance, Task
from it_study.corpus.schema import TEST_INSTANCES
from it_study.errors import InputError, nearest, shown
from it_study.evaluation.label_rules import names_every_label
from it_study.storage import text_files

COUNTED = ('random', 'majority')
_MENTIONED = 'ExactMentioned'
_FORM = (
  '{"TASK.json": {"DefHasLabel": "ExactMentioned", "LabelSpace": ["yes", '
  '"no"]}, ...}, as in task_metadata.json of PlusLabNLP/Active-IT'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuthorBaseline:
  """Right answers of two baselines, counted as the author's notebook does.

  Attributes:
    label_spaces: Path of the file that lists label spaces; None if they were
      taken from the corpus, which approximates the notebook.
    num_tasks: Number of tasks whose definition mentions every label.
    num_instances: Number of instances, 100 for each task.
    random: Number of right answers of guessing, 100 // labels for each task.
    majority: Number of right answers of each task's most frequent label, among
      the first references of its test instances.
    notes: Irregularities, one sentence each.
  """

  label_spaces: str | None
  num_tasks: int
  num_instances: int
  random: int
  majority: int
  notes: tuple[str, ...] = ()

  def to_json(self) -> dict[str, object]:
    """Returns all fields, and whether the counts are an approximation."""
    return {
      'approximation': self.label_spaces is None,
      **dataclasses.asdict(self),
      'notes': list(self.notes),
    }

  def sentence(self, name: str) -> str:
    """Returns the count of a baseline in words.

    'random: 2,431 of 5,700 right (42.65%) on 57 tasks'
    """
    if not self.num_tasks:
      return f'{name}: no task whose definition mentions every label'
    right: int = getattr(self, name)
    share = 100 * right / self.num_instances
    return (
      f'{name}: {right:,} of {self.num_instances:,} right ({share:.2f}%) on '
      f'{plural(self.num_tasks, "task")}'
    )

  def origin(self) -> str:
    """Returns a sentence about where the label spaces are from."""
    if self.label_spaces is not None:
      return f'Label spaces: {self.label_spaces}.'
    return (
      'An approximation: a label space is the references of the first 100 '
      "instances. For the author's own, pass the task_metadata.json of "
      'PlusLabNLP/Active-IT with --label_spaces.'
    )


def author_baseline(
  corpus: Corpus, *, label_spaces: str | os.PathLike[str] | None = None
) -> AuthorBaseline:
  """Counts right answers on a corpus's test tasks, control tasks left out.

  Args:
    corpus: Corpus to count on.
    label_spaces: Path of Active-IT's task_metadata.json, or a file of that
      form; None to take label spaces from the corpus and to look for them in
      the definitions.

  Raises:
    InputError: If the file is not of that form, lacks a test task, or marks
      none as mentioning every label.
  """
  tasks = {
    task: corpus.instances(task.name, 'test')
    for task in (corpus.load(name).task for name in corpus.test_tasks)
    if task.category not in CONTROL_CATEGORIES
  }
  spaces = (
    _from_corpus(tasks)
    if label_spaces is None
    else _from_file(label_spaces, [task.name for task in tasks])
  )
  random = majority = num_tasks = num_short = 0
  outside: list[str] = []
  for task, instances in tasks.items():
    space = spaces.get(task.name)
    if space is None:
      continue
    counts = collections.Counter(i.outputs[0] for i in instances)
    outside += [task.name for label in counts.elements() if label not in space]
    num_tasks += 1
    num_short += len(instances) < TEST_INSTANCES
    random += TEST_INSTANCES // len(space)
    majority += max(counts[label] for label in space)
  return AuthorBaseline(
    label_spaces=None if label_spaces is None else os.fspath(label_spaces),
    num_tasks=num_tasks,
    num_instances=TEST_INSTANCES * num_tasks,
    random=random,
    majority=majority,
    notes=tuple(_notes(num_short, outside)),
  )


def _notes(num_short: int, outside: list[str]) -> Iterator[str]:
  if num_short:
    yield (
      f'{plural(num_short, "task")} with fewer than {TEST_INSTANCES} test '
      f'instances; {TEST_INSTANCES} are counted for each, as the notebook does.'
    )
  if outside:
    yield (
      f'{plural(len(outside), "reference")} not in the label space of the '
      f'file, the first in {outside[0]!r}; the majority label does not count '
      'them.'
    )


def _from_corpus(
  tasks: Mapping[Task, Iterable[Instance]],
) -> dict[str, tuple[str, ...]]:
  """Returns the references of each task whose definition names all of them."""
  spaces = {
    task: tuple(dict.fromkeys(o for i in instances for o in i.outputs))
    for task, instances in tasks.items()
  }
  return {
    task.name: labels
    for task, labels in spaces.items()
    if labels and names_every_label(task.definition, labels)
  }


def _from_file(
  path: str | os.PathLike[str], names: list[str]
) -> dict[str, tuple[str, ...]]:
  """Returns the label spaces of tasks that the file marks as mentioning all."""
  metadata = text_files.read_json(path, advice=f'Expected {_FORM}.')
  missing = [name for name in names if f'{name}.json' not in metadata]
  if missing:
    keys = [key.removesuffix('.json') for key in metadata]
    raise InputError(
      f'{path}: no entry for {len(missing)} of {len(names)} test tasks, the '
      f'first being {f"{missing[0]}.json"!r}. Expected {_FORM}.'
      f'{nearest(missing[0], keys)}'
    )
  entries = {name: metadata[f'{name}.json'] for name in names}
  spaces, marks = {}, set()
  for name, entry in entries.items():
    mark = _field(entry, 'DefHasLabel', str, where=f'{path}: {name}.json')
    marks.add(mark)
    if mark == _MENTIONED:
      spaces[name] = _labels(entry, where=f'{path}: {name}.json')
  if not spaces:
    raise InputError(
      f'{path}: no test task has DefHasLabel {_MENTIONED!r}; found '
      f'{", ".join(map(repr, sorted(marks)))}.{nearest(_MENTIONED, marks)}'
    )
  return spaces


def _labels(entry: Mapping[str, Any], *, where: str) -> tuple[str, ...]:
  # The notebook uses only what a list and an object's keys share.
  labels = tuple(_field(entry, 'LabelSpace', (list, dict), where=where))
  if not labels or not all(isinstance(label, str) for label in labels):
    raise InputError(
      f'{where}: LabelSpace: expected at least one text, got '
      f'{shown(list(labels))}.'
    )
  return labels


def _field(entry: Any, name: str, kind: Any, *, where: str) -> Any:
  if not isinstance(entry, dict) or name not in entry:
    raise InputError(f'{where}: no field {name!r}. Expected {_FORM}.')
  if not isinstance(entry[name], kind):
    raise InputError(
      f'{where}: {name}: got {shown(entry[name])}. Expected {_FORM}.'
    )
  return entry[name]
