"""Definition levels that rename the labels of classification tasks."""

from collections.abc import Iterator, Mapping
import dataclasses
import functools
import itertools
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

# Characters of new names. Signs are not ASCII, whose punctuation exact match
# removes, and no normalisation changes them.
ALPHABETS = {
  'letters': string.ascii_uppercase,
  'digits': string.digits,
  'symbols': '¢£¥§©®°±¶×÷€•',
}
# The scheme of each level.
SCHEMES = {
  'renamed': 'words',
  'renamedletters': 'letters',
  'renameddigits': 'digits',
  'renamedsymbols': 'symbols',
  'flipped': 'flipped',
}


@dataclasses.dataclass(frozen=True)
class Renaming:
  """A rewrite that gives labels names of a scheme, as `rename` does.

  Attributes:
    scheme: 'words' of five letters, a key of `ALPHABETS` for names as short as
      possible, or 'flipped', where the labels exchange their names.
  """

  scheme: str

  def __call__(
    self, *, task: Task, instance: Instance, condition: Condition
  ) -> tuple[Task, Instance]:
    names = names_of_labels(task, condition.seed, self.scheme)
    if not names:
      return task, instance
    return (
      _renamed_task(task, condition.seed, self.scheme),
      dataclasses.replace(
        instance,
        outputs=tuple(_rename(output, names) for output in instance.outputs),
      ),
    )


renamed_letters = Renaming('letters')
renamed_digits = Renaming('digits')
renamed_symbols = Renaming('symbols')
flipped = Renaming('flipped')


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
  return Renaming('words')(task=task, instance=instance, condition=condition)


def prior_references(
  *, task: Task, references: tuple[str, ...], condition: Condition
) -> tuple[str, ...] | None:
  """Returns what references under a renaming would be without it.

  They are the answers of a model that ignores the renaming: it knows the task,
  or guesses, by the familiar labels.

  Args:
    task: Task as in its file.
    references: References as `instructions.rewrite` returns them.
    condition: Condition whose definition level renames labels.

  Returns:
    One label for each reference; None if the condition renames none.
  """
  scheme = SCHEMES.get(condition.definition)
  names = names_of_labels(task, condition.seed, scheme) if scheme else {}
  labels = {
    names[normalize_answer(label)]: label
    for label in reversed(task.label_space or ())
    if names
  }
  if not labels:
    return None
  return tuple(labels.get(reference, reference) for reference in references)


@functools.lru_cache(maxsize=4096)
def names_of_labels(
  task: Task, seed: int, scheme: str = 'words'
) -> Mapping[str, str]:
  """Returns the new name of each label, keyed by the label as normalised.

  Labels are normalised as for exact match. No name is a word of the task's
  definition or of a label, except under 'flipped', where the labels stand in a
  random circle and each gets the name of the next. There are no names if there
  is nothing to rename: for a generation task, and for a single label that would
  keep its own.
  """
  labels = task.label_space or ()
  normalized = tuple(dict.fromkeys(map(normalize_answer, labels)))
  if scheme == 'flipped':
    return _flipped(task, seed, normalized)
  texts = (task.definition, *labels)
  taken = set(re.findall(r'\w+', ' '.join(texts).lower()))
  taken.update(
    character for character in ''.join(texts) if not character.isalnum()
  )
  short = None
  if scheme in ALPHABETS:
    generator = stable_random(seed, task.name, scheme)
    short = _short_names(generator, ALPHABETS[scheme])
  names: dict[str, str] = {}
  for label in normalized:
    candidates = short or _words(
      stable_random(seed, task.name, label, 'renamed')
    )
    names[label] = next(n for n in candidates if n.lower() not in taken)
    taken.add(names[label].lower())
  return names


def _flipped(
  task: Task, seed: int, normalized: tuple[str, ...]
) -> Mapping[str, str]:
  if len(normalized) < 2:
    return {}
  shown: dict[str, str] = {}
  for label in task.label_space or ():
    shown.setdefault(normalize_answer(label), label)
  circle = list(normalized)
  stable_random(seed, task.name, 'flipped').shuffle(circle)
  following = dict(zip(circle, [*circle[1:], circle[0]], strict=True))
  return {label: shown[following[label]] for label in normalized}


def _words(generator: random.Random) -> Iterator[str]:
  while True:
    yield _word(generator)


def _short_names(generator: random.Random, alphabet: str) -> Iterator[str]:
  """Yields every text of one character in random order, then of two, …"""
  for length in itertools.count(1):
    names = [
      ''.join(characters)
      for characters in itertools.product(alphabet, repeat=length)
    ]
    generator.shuffle(names)
    yield from names


@functools.lru_cache(maxsize=4096)
def _renamed_task(task: Task, seed: int, scheme: str) -> Task:
  labels = task.label_space or ()
  names = names_of_labels(task, seed, scheme)
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
