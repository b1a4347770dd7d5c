"""Instruction alterations: pure functions of a row and a condition."""

import dataclasses

from it_study.conditions import DEFINITION_LEVELS, EXAMPLE_LEVELS, Condition
from it_study.corpus.schema import Instance, Task


def rewrite(
  *, task: Task, instance: Instance, condition: Condition
) -> tuple[Task, Instance]:
  """Returns the task and instance as a condition rewrites them.

  They are unchanged unless a level of the condition rewrites outputs, as
  `def_renamed` does, or the condition shows no input. Predictions made under
  the condition must be scored against the references and label space returned
  here.
  """
  for registry, name in (
    (DEFINITION_LEVELS, condition.definition),
    (EXAMPLE_LEVELS, condition.examples),
  ):
    level = registry.get(name)
    if level.rewrite is not None:
      task, instance = level.rewritten(
        task=task, instance=instance, condition=condition
      )
  if condition.input_empty:
    instance = dataclasses.replace(instance, input='')
  return task, instance
