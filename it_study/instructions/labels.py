"""A definition level that renames the labels of classification tasks."""

from collections.abc import Mapping
import dataclasses
import functools
import re
import string

from it_study.conditions import Condition
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import Example, Instance, Task
from it_study.seeding import stable_random

# What follows the definition, and one entry of its list.
WORDING = 'Rename the outputs: {renamings}.'
RENAMING = '{label} becomes {symbol}'


def renamed(*, task: Task, instance: Instance, condition: Condition) -> str:
  """The definition of a task whose labels `rename` has replaced.

  'Say if it is hot. Rename the outputs: yes becomes dopiv, no becomes gazub.'
  """
  del instance, condition
  return task.definition


def rename(
  *, task: Task, instance: Instance, condition: Condition
) -> tuple[Task, Instance]:
  """Gives the labels of a classification task arbitrary names.

  The definition stays and says what each label is called now; examples,
  references and label space carry the new names. Whoever follows the definition
  is right as often as before; whoever goes by the look of familiar labels is
  not. Names are drawn by (task, label, seed), the same for labels that exact
  match cannot tell apart. Explanations, which speak of the old labels, are left
  out. A generation task stays as it is.

  Args:
    task: to rename the labels of.
    instance: its references are renamed too.
    condition: gives the seed.

  Returns:
    The task and the instance that take the place of the real ones.
  """
  if task.label_space is None:
    return task, instance
  symbols = names_of_labels(task, condition.seed)
  return _renamed_task(task, condition.seed), dataclasses.replace(
    instance,
    outputs=tuple(_rename(output, symbols) for output in instance.outputs),
  )


@functools.lru_cache(maxsize=4096)
def names_of_labels(task: Task, seed: int) -> Mapping[str, str]:
  """The new name of each label, keyed by the label under exact match's rules.

  No name is a word of the task's definition or of a label.
  """
  texts = (task.definition, *task.label_space)
  taken = set(re.findall(r'\w+', ' '.join(texts).lower()))
  names: dict[str, str] = {}
  for label in dict.fromkeys(map(normalize_answer, task.label_space)):
    random = stable_random(seed, task.name, label, 'renamed')
    name = _word(random)
    while name in taken:
      name = _word(random)
    taken.add(name)
    names[label] = name
  return names


@functools.lru_cache(maxsize=4096)
def _renamed_task(task: Task, seed: int) -> Task:
  symbols = names_of_labels(task, seed)
  renamings = WORDING.format(
    renamings=', '.join(
      RENAMING.format(label=label, symbol=_rename(label, symbols))
      for label in task.label_space
    )
  )
  definition = task.definition.strip()
  if definition and definition[-1] not in string.punctuation:
    definition += '.'
  return dataclasses.replace(
    task,
    definition=f'{definition} {renamings}' if definition else renamings,
    label_space=tuple(
      dict.fromkeys(_rename(label, symbols) for label in task.label_space)
    ),
    positive_examples=_renamed_examples(task.positive_examples, symbols),
    negative_examples=_renamed_examples(task.negative_examples, symbols),
  )


def _renamed_examples(
  examples: tuple[Example, ...], symbols: Mapping[str, str]
) -> tuple[Example, ...]:
  return tuple(
    dataclasses.replace(
      example, output=_rename(example.output, symbols), explanation=None
    )
    for example in examples
  )


def _rename(output: str, symbols: Mapping[str, str]) -> str:
  # A negative example may be outside the label space, and stays there.
  return symbols.get(normalize_answer(output), output)


def _word(random) -> str:
  """Five letters that can be spoken and mean nothing."""
  return ''.join(
    random.choice('bdfgkpvz' if index % 2 == 0 else 'aiou')
    for index in range(5)
  )
