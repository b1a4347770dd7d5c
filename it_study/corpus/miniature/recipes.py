"""Builds the miniature's task files from recipes."""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import hashlib
import random

from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import TEST_INSTANCES
from it_study.seeding import stable_order, stable_random

# Instances of a training task; 10 of them are held out for validation.
NUM_TRAINING = 30
NUM_POSITIVE = 4
NUM_NEGATIVE = 4
_MOST_TRIES = 2000


@dataclasses.dataclass(frozen=True)
class Text:
  """An input with its outputs.

  Attributes:
    input: Text of the input.
    outputs: Right outputs.
    wrong: A wrong output.
    reason: Reason why the outputs are right.
  """

  input: str
  outputs: tuple[str, ...]
  wrong: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """A task to build.

  Attributes:
    name: Name of the task.
    category: Category in natural-instructions.
    definition: Definition of the task.
    labels: Labels, in the order of their first appearance in the file; None
      for a generation task.
    draw: Function that returns an input for a label; the label is '' for a
      generation task.
  """

  name: str
  category: str
  definition: str
  labels: tuple[str, ...] | None
  draw: Callable[[random.Random, str], Text]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairRecipe:
  """Two tasks with the same inputs and labels and opposite definitions.

  The examples, the same in both tasks, are about the last label, which is right
  for both: only the definition shows which task it is.

  Attributes:
    category: Category of both tasks.
    names: Names of a straight and a reversed task.
    definitions: Their definitions.
    labels: Two opposite labels, then the one that is right for both tasks.
    draw: Function that returns an input for a label of the straight task.
    reason: Explanation of the last label.
  """

  category: str
  names: tuple[str, str]
  definitions: tuple[str, str]
  labels: tuple[str, str, str]
  draw: Callable[[random.Random, str], str]
  reason: str


# Instances of each label in a pair: held out, then training. Guessing the
# polarity is right on half of the held-out ones. Training is skewed towards one
# label, so that the definition alone is informative about the output: a small
# model that reads it for that soon learns the rest.
_TRAINING_PAIR = ((5, 5, 0), (26, 12, 2))
_TEST_PAIR = ((49, 49, 2),)


class TaskBuilder:
  """Builds task files whose inputs are all different.

  Attributes:
    seed: Seed for all random choices.
  """

  def __init__(self, seed: int) -> None:
    self.seed = seed
    self._inputs: set[str] = set()

  def build(
    self, recipe: Recipe | PairRecipe, *, is_test: bool
  ) -> dict[str, dict]:
    """Returns the tasks of a recipe, as name to content of the file."""
    if isinstance(recipe, PairRecipe):
      return self._build_pair(recipe, _TEST_PAIR if is_test else _TRAINING_PAIR)
    count = TEST_INSTANCES if is_test else NUM_TRAINING
    random_ = stable_random('miniature', self.seed, recipe.name)

    def draw(label: str) -> Text:
      return self._fresh(lambda: recipe.draw(random_, label), recipe.name)

    positive, negative, instances = (
      [draw(label) for label in _balanced(recipe.labels, number, random_)]
      for number in (NUM_POSITIVE, NUM_NEGATIVE, count)
    )
    ids = _ids(recipe.name, count, self.seed)
    rows = [
      (id_, text.input, text.outputs)
      for id_, text in zip(ids, instances, strict=True)
    ]
    if recipe.labels is not None:
      rows = _labels_first(rows, recipe.labels)
    return {
      recipe.name: _file(
        recipe.category, recipe.definition, positive, negative, rows
      )
    }

  def _build_pair(
    self, recipe: PairRecipe, counts: Sequence[Sequence[int]]
  ) -> dict[str, dict]:
    """Builds both tasks, with the same held-out and the same training inputs.

    Ids are assigned in the order of their stable hash, which determines splits
    and samples.
    """
    first, second, shared = recipe.labels
    random_ = stable_random('miniature', self.seed, *recipe.names)

    def draw(label: str, wrong: str) -> Text:
      return self._fresh(
        lambda: Text(
          recipe.draw(random_, label), (label,), wrong, recipe.reason
        ),
        recipe.names[0],
      )

    positive, negative = (
      [draw(shared, wrong) for wrong in (first, second) * (number // 2)]
      for number in (NUM_POSITIVE, NUM_NEGATIVE)
    )
    drawn = []
    for group in counts:
      labels = [
        label
        for label, count in zip(recipe.labels, group, strict=True)
        for _ in range(count)
      ]
      random_.shuffle(labels)
      drawn += [draw(label, shared) for label in labels]
    reverse = {first: second, second: first, shared: shared}
    files = {}
    for index, name in enumerate(recipe.names):
      ids = stable_order(_ids(name, len(drawn), self.seed))
      rows = [
        (id_, text.input, (reverse[label] if index else label,))
        for id_, text in zip(ids, drawn, strict=True)
        for label in text.outputs
      ]
      stable_random('miniature', self.seed, name, 'order').shuffle(rows)
      files[name] = _file(
        recipe.category, recipe.definitions[index], positive, negative,
        _labels_first(rows, recipe.labels),
      )  # fmt: skip
    return files

  def _fresh(self, draw: Callable[[], Text], name: str) -> Text:
    """Returns the first draw whose input is new in the corpus."""
    for _ in range(_MOST_TRIES):
      text = draw()
      key = normalize_answer(text.input)
      if key not in self._inputs:
        self._inputs.add(key)
        return text
    raise ValueError(f'{name}: its templates give too few new inputs')


def _balanced(
  labels: Sequence[str] | None, count: int, random_: random.Random
) -> list[str]:
  """Returns `count` labels in random order, as balanced as possible.

  The first labels are all different: two examples show two labels.
  """
  if labels is None:
    return [''] * count
  chosen: list[str] = []
  while len(chosen) < count:
    chosen += random_.sample(labels, len(labels))
  return chosen[:count]


def _labels_first(
  rows: Sequence[tuple[str, str, tuple[str, ...]]], labels: Sequence[str]
) -> list[tuple[str, str, tuple[str, ...]]]:
  """Moves one row of each label to the front, in the order of `labels`.

  The order in the file is the order of the label space.
  """
  front = [
    next(i for i, (*_, outputs) in enumerate(rows) if outputs[0] == label)
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


def _file(
  category: str,
  definition: str,
  positive: Iterable[Text],
  negative: Iterable[Text],
  rows: Iterable[tuple[str, str, tuple[str, ...]]],
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
    'Positive Examples': [
      {'input': text.input, 'output': text.outputs[0],
       'explanation': text.reason}
      for text in positive
    ],
    'Negative Examples': [
      {'input': text.input, 'output': text.wrong,
       'explanation': f'{text.reason} It is not: {text.wrong}'}
      for text in negative
    ],
    'Instances': [
      {'id': id_, 'input': text, 'output': list(outputs)}
      for id_, text, outputs in rows
    ],
    'Instance License': ['Apache 2.0'],
  }  # fmt: skip
