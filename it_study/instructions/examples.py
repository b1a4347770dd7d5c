"""Levels of the example axis."""

import collections
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools

from it_study.conditions import Condition
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import Example, Instance, Task
from it_study.seeding import stable_random


def original(
  *, task: Task, instance: Instance, condition: Condition
) -> list[Example]:
  """Returns the first positive examples, or fewer if the task has fewer."""
  del instance
  return list(task.positive_examples[: condition.num_examples])


def empty(
  *, task: Task, instance: Instance, condition: Condition
) -> list[Example]:
  """Returns no examples."""
  del task, instance, condition
  return []


def delusive(
  *, task: Task, instance: Instance, condition: Condition
) -> list[Example]:
  """Returns valid inputs and valid outputs in wrong pairs.

  By default, a classification task uses its negative examples inside the label
  space, then positive examples with swapped labels; a generation task uses
  negative examples, then positive examples with each other's outputs. Each
  example names its source. None has an explanation, which would reveal that
  the answer is wrong. With `condition.delusive_source`, only that source is
  used, which may give fewer examples: 'swap' has none for a generation task.

  Kung & Peng 2023 use negative examples; study.md explains why those alone are
  not suitable.
  """
  del instance
  examples = _all_delusive(task, condition.delusive_source, condition.seed)
  return list(examples[: condition.num_examples])


# Cached: each instance of a task requests them.
@functools.lru_cache(maxsize=4096)
def _all_delusive(
  task: Task, source: str | None, seed: int
) -> tuple[Example, ...]:
  sources = _BY_RULE[task.kind] if source is None else (source,)
  return tuple(
    example for name in sources for example in _SOURCES[name](task, seed)
  )


def _negatives(task: Task, seed: int) -> Iterator[Example]:
  """Yields negative examples with possible outputs that are not known right.

  For a generation task, an output that exact match normalises to nothing, such
  as the placeholder '-', is not possible.
  """
  del seed
  labels = {normalize_answer(label) for label in task.label_space or ()}
  right = _right_answers(task)
  for example in task.negative_examples:
    answer = normalize_answer(example.output)
    possible = bool(answer) if task.label_space is None else answer in labels
    if possible and answer not in right[example.input.strip()]:
      yield dataclasses.replace(example, explanation=None, source='negatives')


def _swap(task: Task, seed: int) -> Iterator[Example]:
  """Returns positive examples, each with another label of the label space."""
  return _with_wrong_output(task, seed, task.label_space or (), 'swap')


def _repair(task: Task, seed: int) -> Iterator[Example]:
  """Returns positive examples, each with the output of another one."""
  outputs = [example.output for example in task.positive_examples]
  return _with_wrong_output(task, seed, outputs, 'repair')


def _with_wrong_output(
  task: Task, seed: int, outputs: Sequence[str], source: str
) -> Iterator[Example]:
  """Yields positive examples, each with one of `outputs` that is wrong for it.

  The draw depends on the input, not on the task: tasks that share examples must
  not be distinguishable by their delusive ones.
  """
  right = _right_answers(task)
  for example in task.positive_examples:
    wrong = [
      output
      for output in outputs
      if normalize_answer(output) not in right[example.input.strip()]
    ]
    if wrong:
      output = stable_random(seed, example.input, source).choice(wrong)
      yield Example(input=example.input, output=output, source=source)


def _right_answers(task: Task) -> Mapping[str, set[str]]:
  """Returns the normalised outputs of positive examples by their input."""
  right: dict[str, set[str]] = collections.defaultdict(set)
  for example in task.positive_examples:
    right[example.input.strip()].add(normalize_answer(example.output))
  return right


_SOURCES = {'negatives': _negatives, 'swap': _swap, 'repair': _repair}
_BY_RULE = {
  'classification': ('negatives', 'swap'),
  'generation': ('negatives', 'repair'),
}
