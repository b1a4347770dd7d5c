"""The levels of the example axis."""

from collections.abc import Iterator
import dataclasses

from it_study.conditions import Condition
from it_study.normalization import normalize_answer
from it_study.seeding import stable_random
from it_study.task_files import Example, Instance, Task


def original(
  *, task: Task, instance: Instance, condition: Condition
) -> list[Example]:
  """The first positive examples; fewer where a task has fewer."""
  del instance
  return list(task.positive_examples[: condition.num_examples])


def empty(
  *, task: Task, instance: Instance, condition: Condition
) -> list[Example]:
  """No examples."""
  del task, instance, condition
  return []


def delusive(
  *, task: Task, instance: Instance, condition: Condition
) -> list[Example]:
  """Valid inputs with valid outputs, wrongly paired.

  By rule a classification task takes its negative examples inside the label
  space, then label swaps of its positive examples; a generation task takes
  negative examples, then re-pairs outputs of positive examples. Each example
  names its source. `condition.delusive_source` allows one source alone, and
  fewer examples are returned where it does not have enough: 'swap' has none
  for a generation task.

  Kung & Peng 2023 take negative examples; study.md tells why these do not do.
  """
  del instance
  source = condition.delusive_source
  if source is None:
    sources = _BY_RULE[task.kind]
  else:
    sources = (source,)
  found: list[Example] = []
  for name in sources:
    found.extend(_SOURCES[name](task, condition.seed))
  return found[: condition.num_examples]


def _negatives(task: Task, seed: int) -> Iterator[Example]:
  """Negative examples that are in the label space and not known to be right."""
  del seed
  labels = {normalize_answer(label) for label in task.label_space or ()}
  right = {
    (example.input.strip(), normalize_answer(example.output))
    for example in task.positive_examples
  }
  for example in task.negative_examples:
    answer = normalize_answer(example.output)
    if task.label_space is not None and answer not in labels:
      continue
    if (example.input.strip(), answer) not in right:
      yield dataclasses.replace(example, source='negatives')


def _swap(task: Task, seed: int) -> Iterator[Example]:
  """Positive examples, each with another label of the label space.

  The explanation goes: it would tell the right label.
  """
  for index, example in enumerate(task.positive_examples):
    others = [
      label
      for label in task.label_space or ()
      if normalize_answer(label) != normalize_answer(example.output)
    ]
    if others:
      label = stable_random(seed, task.name, index, 'swap').choice(others)
      yield Example(input=example.input, output=label, source='swap')


def _repair(task: Task, seed: int) -> Iterator[Example]:
  """Positive examples, each with the output of another one."""
  outputs = [example.output for example in task.positive_examples]
  for index, example in enumerate(task.positive_examples):
    others = [
      output
      for output in outputs
      if normalize_answer(output) != normalize_answer(example.output)
    ]
    if others:
      output = stable_random(seed, task.name, index, 'repair').choice(others)
      yield Example(input=example.input, output=output, source='repair')


_SOURCES = {'negatives': _negatives, 'swap': _swap, 'repair': _repair}
_BY_RULE = {
  'classification': ('negatives', 'swap'),
  'generation': ('negatives', 'repair'),
}
