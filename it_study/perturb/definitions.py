"""The levels of the definition axis."""

from it_study.conditions import Condition
from it_study.task_files import Instance, Task


def original(*, task: Task, instance: Instance, condition: Condition) -> str:
  """The human-written definition; the first where a file has several."""
  del instance, condition
  return task.definition


def simplified(
  *, task: Task, instance: Instance, condition: Condition
) -> str | None:
  """Only the output space of a classification task; nothing for generation.

  Kung & Peng 2023, section 3. The wording is ours and fixed.

  'Possible outputs: yes, no'
  """
  del instance, condition
  if task.label_space is None:
    return None
  return f'Possible outputs: {", ".join(task.label_space)}'


def empty(*, task: Task, instance: Instance, condition: Condition) -> None:
  """No definition."""
  del task, instance, condition
