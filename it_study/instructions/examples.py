"""The levels of the example axis."""

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
  names its source, and none has an explanation: it would tell that the answer
  is wrong. `condition.delusive_source` allows one source alone, and fewer
  examples are returned where it does not have enough: 'swap' has none for a
  generation task.

  Kung & Peng 2023 take negative examples; study.md tells why these do not do.
  """
  del instance
  found = _all_delusive(task, condition.delusive_source, condition.seed)
  return list(found[: condition.num_examples])


# Asked for by every instance of a task.
@functools.lru_cache(maxsize=4096)
def _all_delusive(
  task: Task, source: str | None, seed: int
) -> tuple[Example, ...]:
  sources = _BY_RULE[task.kind] if source is None else (source,)
  return tuple(
    example for name in sources for example in _SOURCES[name](task, seed)
  )


def _negatives(task: Task, seed: int) -> Iterator[Example]:
  """Negative examples that could be right by their form, but are not known to.

  An output that is empty under exact match's normalisation, such as the '-' of
  a placeholder, is none that a generation task could have.
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
  """Positive examples, each with another label of the label space."""
  return _give_others(task, seed, task.label_space or (), 'swap')


def _repair(task: Task, seed: int) -> Iterator[Example]:
  """Positive examples, each with the output of another one."""
  outputs = [example.output for example in task.positive_examples]
  return _give_others(task, seed, outputs, 'repair')


def _give_others(
  task: Task, seed: int, outputs: Sequence[str], source: str
) -> Iterator[Example]:
  """Positive examples, each with one of `outputs` that is wrong for it.

  The draw hangs on the input, not on the task: tasks that share their examples
  must not be told apart by their delusive ones.
  """
  right = _right_answers(task)
  for example in task.positive_examples:
    others = [
      output
      for output in outputs
      if normalize_answer(output) not in right[example.input.strip()]
    ]
    if others:
      output = stable_random(seed, example.input, source).choice(others)
      yield Example(input=example.input, output=output, source=source)


def _right_answers(task: Task) -> Mapping[str, set[str]]:
  """The outputs, normalised, that positive examples show for an input."""
  right: dict[str, set[str]] = collections.defaultdict(set)
  for example in task.positive_examples:
    right[example.input.strip()].add(normalize_answer(example.output))
  return right


_SOURCES = {'negatives': _negatives, 'swap': _swap, 'repair': _repair}
_BY_RULE = {
  'classification': ('negatives', 'swap'),
  'generation': ('negatives', 'repair'),
}
