"""Alterations: pure functions of one row and a condition."""

from it_study.conditions import DEFINITION_LEVELS, EXAMPLE_LEVELS, Condition
from it_study.corpus.schema import Instance, Task


def rewrite(
  *, task: Task, instance: Instance, condition: Condition
) -> tuple[Task, Instance]:
  """The task and instance that a condition puts in the place of the real ones.

  They are the real ones unless a level of the condition rewrites outputs, as
  `def_renamed` does. Whatever scores a prediction made under the condition has
  to take the references and the label space from here.
  """
  for registry, name in (
    (DEFINITION_LEVELS, condition.definition),
    (EXAMPLE_LEVELS, condition.examples),
  ):
    level = registry.get(name)
    if level.rewrite is not None:
      task, instance = level.rewrite(
        task=task, instance=instance, condition=condition
      )
  return task, instance
