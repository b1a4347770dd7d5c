"""Builds a task of the miniature from a recipe."""

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
    name: Name of the task.
    category: Category in natural-instructions.
    definition: Definition of the task.
    labels: Labels, in the order of their first appearance in the file.
    draw: Function that returns an input for a label, and the reason why that
      label is right.
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
    name: Name of the task.
    category: Category in natural-instructions.
    definition: Definition of the task.
    draw: Function that returns an input, its right outputs, a wrong one, and
      the reason why the right ones are right.
  """

  name: str
  category: str
  definition: str
  draw: Callable[[random.Random], tuple[str, tuple[str, ...], str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolarityRecipe:
  """Two tasks with the same inputs and labels and opposite definitions.

  The examples, the same in both tasks, are about the last label, which is right
  for both: only the definition shows which task it is.

  Attributes:
    tasks: Names and definitions of a straight and a reversed task.
    labels: Two opposite labels, then the one that is right for both tasks.
    draw: Function that returns an input for a label of the straight task.
    reason: Explanation of the last label.
  """

  tasks: tuple[tuple[str, str], tuple[str, str]]
  labels: tuple[str, str, str]
  draw: Callable[[random.Random, str], str]
  reason: str


Recipe = ClassificationRecipe | GenerationRecipe | PolarityRecipe

# Instances of each label in a group of the positive control: held out, the
# first 100 of training, the rest. Guessing the polarity is right on half of the
# held-out ones. Training is skewed towards one label, so that the definition
# alone is informative about the output: a small model that reads it for that
# soon learns the rest. With balanced labels, training takes more than twice as
# many steps.
_POLARITY_COUNTS = ((5, 5, 0), (66, 30, 4), (26, 12, 2))


def build(recipe: Recipe, *, seed: int) -> dict[str, dict]:
  """Returns the tasks of a recipe, as name to content of the file."""
  if isinstance(recipe, PolarityRecipe):
    return _build_polarity(recipe, seed)
  random_ = stable_random('miniature', seed, recipe.name)
  if isinstance(recipe, ClassificationRecipe):
    return {recipe.name: _build_classification(recipe, seed, random_)}
  return {recipe.name: _build_generation(recipe, seed, random_)}


def balanced(
  labels: Sequence[str], count: int, random_: random.Random
) -> list[str]:
  """Returns `count` labels in random order, as balanced as possible."""
  chosen = [labels[index % len(labels)] for index in range(count)]
  random_.shuffle(chosen)
  return chosen


def _build_classification(
  recipe: ClassificationRecipe, seed: int, random_: random.Random
) -> dict:
  labels = recipe.labels
  seen: set[str] = set()

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
  """Builds both tasks, with the same held-out and the same training inputs.

  Ids are assigned in the order of their stable hash, which determines splits
  and samples.
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
  """Returns the first draw whose text, its first item, is new."""
  for _ in range(_MOST_TRIES):
    drawn = draw()
    if drawn[0] not in seen:
      seen.add(drawn[0])
      return drawn
  raise ValueError(f'{name}: its templates give only {len(seen)} inputs')


def _labels_first(
  rows: Sequence[tuple],
  labels: Sequence[str],
  label_of: Callable[[tuple], str] = lambda row: row[1][0],
) -> list[tuple]:
  """Moves one row of each label to the front, in the order of `labels`.

  This makes the order of the label space, which is the order in the file, the
  same for every task of a group. If the first 100 instances of a file have all
  labels, they remain the same instances.
  """
  front = [
    next(index for index, row in enumerate(rows) if label_of(row) == label)
    for label in labels
  ]
  rest = [index for index in range(len(rows)) if index not in front]
  return [rows[index] for index in front + rest]


def _ids(name: str, count: int, seed: int) -> list[str]:
  """Returns ids of a task number, a hyphen and 32 hexadecimal digits."""
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
