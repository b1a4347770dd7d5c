"""How a task of the miniature is made from a recipe: examples, instances."""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import hashlib
import random

from it_study.corpus.schema import TEST_INSTANCES
from it_study.seeding import stable_hash, stable_random

NUM_INSTANCES = 150
NUM_POSITIVE = 4
NUM_NEGATIVE = 4
_MOST_TRIES = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationRecipe:
  """A task whose output is one of its labels.

  Attributes:
    name: of the task.
    category: as natural-instructions names it.
    definition: what is asked.
    labels: in the order in which the file shows them first.
    draw: makes an input for a label, and says why that label is right.
  """

  name: str
  category: str
  definition: str
  labels: tuple[str, ...]
  draw: Callable[[random.Random, str], tuple[str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationRecipe:
  """A task whose output is made from its input.

  Attributes:
    name: of the task.
    category: as natural-instructions names it.
    definition: what is asked.
    draw: makes an input, its right outputs, a wrong one, and says why the
      right ones are right.
  """

  name: str
  category: str
  definition: str
  draw: Callable[[random.Random], tuple[str, tuple[str, ...], str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolarityRecipe:
  """Tasks that share inputs and labels, and differ in their definition.

  The examples are about the last label, which is right for every task of the
  group, and they are the same in every task: only the definition tells which
  task it is.

  Attributes:
    tasks: names and definitions of a straight and a reversed task.
    labels: two opposite labels, then the one that is right for both tasks.
    draw: makes an input for a label that is right in the straight task.
    reason: why the last label is right where it is.
  """

  tasks: tuple[tuple[str, str], tuple[str, str]]
  labels: tuple[str, str, str]
  draw: Callable[[random.Random, str], str]
  reason: str


Recipe = ClassificationRecipe | GenerationRecipe | PolarityRecipe

# Instances of each label in a group of the positive control: among those that
# are held out, the 100 that training takes first, the rest. Whoever guesses the
# polarity is right on half of the held-out ones. Training is skewed to one
# side, so that the definition alone says something about the output: a small
# model that reads it for that soon learns the rest. With even sides it takes
# more than twice the steps.
_POLARITY_COUNTS = ((5, 5, 0), (66, 30, 4), (26, 12, 2))


def build(recipe: Recipe, *, seed: int) -> dict[str, dict]:
  """Returns the tasks of a recipe: name to the content of its file."""
  if isinstance(recipe, PolarityRecipe):
    return _build_polarity(recipe, seed)
  random_ = stable_random('miniature', seed, recipe.name)
  if isinstance(recipe, ClassificationRecipe):
    return {recipe.name: _build_classification(recipe, seed, random_)}
  return {recipe.name: _build_generation(recipe, seed, random_)}


def balanced(
  labels: Sequence[str], count: int, random_: random.Random
) -> list[str]:
  """Returns `count` labels in random order, as many of each as can be."""
  chosen = [labels[index % len(labels)] for index in range(count)]
  random_.shuffle(chosen)
  return chosen


def _build_classification(
  recipe: ClassificationRecipe, seed: int, random_: random.Random
) -> dict:
  labels, seen = recipe.labels, set()

  def draw(label: str) -> tuple[str, str]:
    return _fresh(lambda: recipe.draw(random_, label), seen, recipe.name)

  positive = []
  for label in balanced(labels, NUM_POSITIVE, random_):
    text, reason = draw(label)
    positive.append(_example(text, label, reason))
  negative = []
  for label in balanced(labels, NUM_NEGATIVE, random_):
    text, reason = draw(label)
    wrong = random_.choice([other for other in labels if other != label])
    negative.append(_example(text, wrong, f'{reason} It is not {wrong}.'))
  pairs = []
  for count in (TEST_INSTANCES, NUM_INSTANCES - TEST_INSTANCES):
    for label in balanced(labels, count, random_):
      pairs.append((draw(label)[0], (label,)))
  pairs = _labels_first(pairs, labels)
  ids = _ids(recipe.name, len(pairs), seed)
  return _file(
    recipe.name, recipe.category, recipe.definition,
    positive, negative, zip(ids, pairs, strict=True),
  )  # fmt: skip


def _build_generation(
  recipe: GenerationRecipe, seed: int, random_: random.Random
) -> dict:
  seen: set[str] = set()

  def draw() -> tuple[str, tuple[str, ...], str, str]:
    return _fresh(lambda: recipe.draw(random_), seen, recipe.name)

  positive, negative = [], []
  for _ in range(NUM_POSITIVE):
    text, outputs, _, reason = draw()
    positive.append(_example(text, outputs[0], reason))
  for _ in range(NUM_NEGATIVE):
    text, outputs, wrong, reason = draw()
    negative.append(
      _example(text, wrong, f'{reason} A right output is: {outputs[0]}')
    )
  pairs = [draw()[:2] for _ in range(NUM_INSTANCES)]
  ids = _ids(recipe.name, len(pairs), seed)
  return _file(
    recipe.name, recipe.category, recipe.definition,
    positive, negative, zip(ids, pairs, strict=True),
  )  # fmt: skip


def _build_polarity(recipe: PolarityRecipe, seed: int) -> dict[str, dict]:
  """Both tasks hold out the same inputs and train on the same inputs.

  Ids are dealt in the order of their stable hash, the order that splits and
  samples go by.
  """
  first, second, shared = recipe.labels
  names = [name for name, _ in recipe.tasks]
  random_ = stable_random('miniature', seed, *names)
  seen: set[str] = set()

  def draw(label: str) -> str:
    text = _fresh(lambda: (recipe.draw(random_, label),), seen, names[0])
    return text[0]

  positive = [
    _example(draw(shared), shared, recipe.reason) for _ in range(NUM_POSITIVE)
  ]
  negative = [
    _example(draw(shared), wrong, f'{recipe.reason} It is not {wrong}.')
    for wrong in balanced((first, second), NUM_NEGATIVE, random_)
  ]
  ranked: list[tuple[str, str]] = []
  for counts in _POLARITY_COUNTS:
    sides = [
      label
      for label, count in zip(recipe.labels, counts, strict=True)
      for _ in range(count)
    ]
    random_.shuffle(sides)
    ranked += [(draw(side), side) for side in sides]

  reverse = {first: second, second: first, shared: shared}
  files = {}
  for index, (name, definition) in enumerate(recipe.tasks):
    ids = _ids(name, len(ranked), seed)
    ids.sort(key=lambda id_: (stable_hash(id_), id_))
    rows = [
      (id_, (text, (reverse[side] if index else side,)))
      for id_, (text, side) in zip(ids, ranked, strict=True)
    ]
    stable_random('miniature', seed, name, 'order').shuffle(rows)
    rows = _labels_first(rows, recipe.labels, label_of=lambda row: row[1][1][0])
    files[name] = _file(
      name, 'Positive Control', definition, positive, negative, rows
    )
  return files


def _fresh(draw: Callable[[], tuple], seen: set[str], name: str) -> tuple:
  """The first draw whose text, its first item, was not seen before."""
  for _ in range(_MOST_TRIES):
    drawn = draw()
    if drawn[0] not in seen:
      seen.add(drawn[0])
      return drawn
  raise ValueError(f'{name}: its templates make only {len(seen)} inputs')


def _labels_first(
  rows: Sequence[tuple],
  labels: Sequence[str],
  label_of: Callable[[tuple], str] = lambda row: row[1][0],
) -> list[tuple]:
  """Moves one row of each label to the front, in the order of `labels`.

  The order of a label space is the order in a file: this fixes it, the same
  for every task of a group. Nothing leaves the first 100 instances of a file
  that holds every label there.
  """
  front = [
    next(index for index, row in enumerate(rows) if label_of(row) == label)
    for label in labels
  ]
  behind = [index for index in range(len(rows)) if index not in front]
  return [rows[index] for index in front + behind]


def _ids(name: str, count: int, seed: int) -> list[str]:
  """Natural-instructions' form: task number, hyphen, 32 hexadecimal digits."""
  number = name.split('_')[0]
  return [
    f'{number}-'
    + hashlib.blake2b(
      f'miniature {seed} {name} {index}'.encode(), digest_size=16
    ).hexdigest()
    for index in range(count)
  ]


def _example(text: str, output: str, explanation: str) -> dict[str, str]:
  return {'input': text, 'output': output, 'explanation': explanation}


def _file(
  name: str,
  category: str,
  definition: str,
  positive: list[dict],
  negative: list[dict],
  rows: Iterable[tuple[str, tuple[str, tuple[str, ...]]]],
) -> dict:
  return {
    'Contributors': ['it_study'],
    'Source': ['it_study_miniature'],
    'URL': [],
    'Categories': [category],
    'Reasoning': [],
    'Definition': [definition],
    'Input_language': ['English'],
    'Output_language': ['English'],
    'Instruction_language': ['English'],
    'Domains': [],
    'Positive Examples': positive,
    'Negative Examples': negative,
    'Instances': [
      {'id': id_, 'input': text, 'output': list(outputs)}
      for id_, (text, outputs) in rows
    ],
    'Instance License': ['Apache 2.0'],
  }
