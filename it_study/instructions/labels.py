"""The definition level that renames the labels of classification tasks."""

from collections.abc import Mapping
import dataclasses
import functools
import random
import re
import string

from it_study.conditions import Condition
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import Example, Instance, Task
from it_study.seeding import stable_random

# The text added to the definition, and one entry of its list.
WORDING = 'Rename the outputs: {renamings}.'
RENAMING = '{label} becomes {symbol}'


def renamed(*, task: Task, instance: Instance, condition: Condition) -> str:
  """Returns the definition of a task whose labels `rename` has replaced.

  'Say if it is hot. Rename the outputs: yes becomes dopiv, no becomes gazub.'
  """
  del instance, condition
  return task.definition


def rename(
  *, task: Task, instance: Instance, condition: Condition
) -> tuple[Task, Instance]:
  """Gives the labels of a classification task arbitrary names.

  The definition stays and lists the new name of each label; examples,
  references and label space use the new names. A model that follows the
  definition is right as often as before; one that relies on familiar labels is
  not. Names are drawn by (task, label, seed), with the same name for labels
  that exact match does not distinguish. Explanations are removed, as they
  mention the old labels. A generation task stays unchanged.

  Args:
    task: Task whose labels are renamed.
    instance: Instance whose references are renamed.
    condition: Condition that provides the seed.

  Returns:
    The new task and instance.
  """
  if task.label_space is None:
    return task, instance
  names = names_of_labels(task, condition.seed)
  return _renamed_task(task, condition.seed), dataclasses.replace(
    instance,
    outputs=tuple(_rename(output, names) for output in instance.outputs),
  )


@functools.lru_cache(maxsize=4096)
def names_of_labels(task: Task, seed: int) -> Mapping[str, str]:
  """Returns the new name of each label, keyed by the label as normalised.

  Labels are normalised as for exact match. No name is a word of the task's
  definition or of a label.
  """
  labels = task.label_space or ()
  texts = (task.definition, *labels)
  taken = set(re.findall(r'\w+', ' '.join(texts).lower()))
  names: dict[str, str] = {}
  for label in dict.fromkeys(map(normalize_answer, labels)):
    generator = stable_random(seed, task.name, label, 'renamed')
    name = _word(generator)
    while name in taken:
      name = _word(generator)
    taken.add(name)
    names[label] = name
  return names


@functools.lru_cache(maxsize=4096)
def _renamed_task(task: Task, seed: int) -> Task:
  labels = task.label_space or ()
  names = names_of_labels(task, seed)
  renamings = WORDING.format(
    renamings=', '.join(
      RENAMING.format(label=label, symbol=_rename(label, names))
      for label in labels
    )
  )
  definition = task.definition.strip()
  if definition and definition[-1] not in string.punctuation:
    definition += '.'
  return dataclasses.replace(
    task,
    definition=f'{definition} {renamings}' if definition else renamings,
    label_space=tuple(dict.fromkeys(_rename(label, names) for label in labels)),
    positive_examples=_renamed_examples(task.positive_examples, names),
    negative_examples=_renamed_examples(task.negative_examples, names),
  )


def _renamed_examples(
  examples: tuple[Example, ...], names: Mapping[str, str]
) -> tuple[Example, ...]:
  return tuple(
    dataclasses.replace(
      example, output=_rename(example.output, names), explanation=None
    )
    for example in examples
  )


def _rename(output: str, names: Mapping[str, str]) -> str:
  # The output of a negative example may be outside the label space.
  return names.get(normalize_answer(output), output)


def _word(generator: random.Random) -> str:
  """Draws five pronounceable letters without a meaning."""
  return ''.join(
    generator.choice('bdfgkpvz' if index % 2 == 0 else 'aiou')
    for index in range(5)
  )
