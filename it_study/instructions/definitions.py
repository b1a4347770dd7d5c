"""Levels of the definition axis."""

from collections.abc import Mapping
import dataclasses
import functools

from it_study.conditions import Condition
from it_study.corpus.schema import Instance, LazyTasks, Task
from it_study.errors import InputError
from it_study.seeding import stable_hash


@dataclasses.dataclass(frozen=True)
class OutputSpace:
  """A level that shows only the output space, in a fixed wording.

  Kung & Peng 2023, section 3: a classification task keeps the list of its
  possible outputs, a generation task keeps nothing. Another wording is another
  level:

      DEFINITION_LEVELS.register('answerwith', OutputSpace('One of: {labels}'))

  Attributes:
    template: Wording with the placeholder '{labels}'.
    separator: Text between two labels.
  """

  template: str
  separator: str = ', '

  def __post_init__(self) -> None:
    if self.template.count('{labels}') != 1:
      raise InputError(
        f'output space template {self.template!r} must contain {{labels}} '
        'exactly once.'
      )

  def __call__(
    self, *, task: Task, instance: Instance, condition: Condition
  ) -> str | None:
    del instance, condition
    if task.label_space is None:
      return None
    # Not `format`: the wording may contain other braces.
    labels = self.separator.join(task.label_space)
    return self.template.replace('{labels}', labels)


def original(*, task: Task, instance: Instance, condition: Condition) -> str:
  """Returns the human-written definition, the first of several."""
  del instance, condition
  return task.definition


# 'Possible outputs: yes, no'. The wording is ours, not the paper's.
simplified = OutputSpace('Possible outputs: {labels}')


def empty(*, task: Task, instance: Instance, condition: Condition) -> None:
  """Returns None: no definition."""
  del task, instance, condition


def shuffled(
  *,
  task: Task,
  instance: Instance,
  condition: Condition,
  tasks: Mapping[str, Task],
) -> str:
  """Returns the definition of another task of the same kind.

  The other task is on the same side of the split, so that no test definition
  is trained on. It has another category if possible: tasks of one category are
  often variants of each other, whose definitions would be nearly right. It is
  drawn by a stable hash of both names and the seed, so that adding a task to
  the corpus changes few draws.

  Args:
    task: Task whose definition is replaced.
    instance: Unused.
    condition: Condition that provides the seed.
    tasks: All tasks on the same side of the split, by name.

  Raises:
    InputError: If no other task of the kind has a different definition.
  """
  del instance
  if not isinstance(tasks, LazyTasks):
    # `_donor` caches by the mapping, which must be hashable.
    tasks = LazyTasks(tuple(tasks), tasks.__getitem__)
  return tasks[_donor(tasks, task.name, condition.seed)].definition


@functools.lru_cache(maxsize=8192)
def _donor(tasks: Mapping[str, Task], name: str, seed: int) -> str:
  task = tasks[name]
  text = _plain(task.definition)
  donors = [
    other
    for other in _of_kind(tasks, task.kind)
    if _plain(tasks[other].definition) not in ('', text)
  ]
  if not donors:
    raise InputError(
      f'{name}: no other {task.kind} task on its side of the split has a '
      'different definition for def_shuffled. Use another level or a corpus '
      'with more tasks.'
    )
  elsewhere = [d for d in donors if tasks[d].category != task.category]
  return min(
    elsewhere or donors,
    key=lambda other: (stable_hash(seed, name, other, 'shuffled'), other),
  )


@functools.lru_cache(maxsize=32)
def _of_kind(tasks: Mapping[str, Task], kind: str) -> tuple[str, ...]:
  return tuple(name for name in tasks if tasks[name].kind == kind)


def _plain(text: str) -> str:
  return ' '.join(text.lower().split())
