"""The miniature's positive and negative controls."""

from collections.abc import Sequence
import dataclasses
import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.labels import LabelDealer
from it_study.corpus.miniature.recipes import PairRecipe, Recipe, Text
from it_study.seeding import stable_random

# Property in question: words for it, and for its opposite.
_PROPERTIES = {
  'open': (('open', 'unlocked'), ('shut', 'closed')),
  'hot': (('hot', 'boiling'), ('cold', 'frozen')),
  'full': (('full', 'packed'), ('empty', 'bare')),
  'clean': (('clean', 'spotless'), ('dirty', 'muddy')),
  'heavy': (('heavy', 'massive'), ('light', 'weightless')),
  'new': (('new', 'modern'), ('old', 'ancient')),
}
# A straight and a reversed wording, then their labels. Pairs alternate between
# them.
_WORDINGS = (
  ('Tell the truth.', 'Tell a lie.', ('yes', 'no', 'unclear')),
  ('Answer what is so.', 'Answer the opposite.', ('true', 'false', 'unclear')),
)
_NUMBERS = ('two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
# Words of which a task of the negative control gives half to either label.
_NOUNS = (
  words.ANIMALS,
  words.FOODS,
  words.THINGS,
  words.CLOTHES,
  words.VEHICLES,
  words.COLORS,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlSize:
  """Numbers of control tasks.

  Attributes:
    training_pairs: Pairs of training tasks of the positive control.
    unseen_pairs: Pairs of its test tasks.
    training_negative: Training tasks of the negative control.
    unseen_negative: Its test tasks.
  """

  training_pairs: int = 24
  unseen_pairs: int = 6
  training_negative: int = 12
  unseen_negative: int = 6


def training_controls(
  size: ControlSize, *, seed: int, dealer: LabelDealer
) -> list[Recipe | PairRecipe]:
  """Returns recipes of training tasks."""
  subjects = _subjects(seed)[: size.training_pairs]
  return [
    *_positive(subjects, 9001),
    *_negative(size.training_negative, 9061, seed=seed, dealer=dealer),
  ]


def unseen_controls(
  size: ControlSize, *, seed: int, dealer: LabelDealer
) -> list[Recipe | PairRecipe]:
  """Returns recipes of test tasks.

  Those of the positive control ask about things and properties that training
  tasks ask about, in new combinations.
  """
  subjects = _subjects(seed)[-size.unseen_pairs :]
  return [
    *_positive(subjects, 9101),
    *_negative(size.unseen_negative, 9161, seed=seed, dealer=dealer),
  ]


def _subjects(seed: int) -> list[tuple[str, str]]:
  """Returns all pairs of a property and a thing, in random order.

  Any six in a row are about all properties.
  """
  random_ = stable_random('miniature', seed, 'subjects')
  properties = random_.sample(sorted(_PROPERTIES), len(_PROPERTIES))
  things = random_.sample(words.THINGS, len(words.THINGS))
  return [
    (asked, things[(2 * number + shift) % len(things)])
    for shift in range(len(things))
    for number, asked in enumerate(properties)
  ]


def _positive(
  subjects: Sequence[tuple[str, str]], first_number: int
) -> list[PairRecipe]:
  return [
    _pair(asked, thing, first_number + 2 * index, index)
    for index, (asked, thing) in enumerate(subjects)
  ]


def _pair(asked: str, thing: str, number: int, index: int) -> PairRecipe:
  straight, reversed_, labels = _WORDINGS[index % len(_WORDINGS)]
  first, second, third = labels
  question = (
    f'Is the {thing} {asked}? Say {first} or {second}, or {third} if it is '
    'not told.'
  )
  so, opposite = _PROPERTIES[asked]
  said = dict(zip(labels, (so, opposite, words.COLORS), strict=True))

  def draw(random_: random.Random, label: str) -> str:
    person = random_.choice(words.PEOPLE)
    where = words.place(random_.choice(words.PLACES))
    word = random_.choice(said[label])
    return f'The {thing} of {person} {where} is {word}.'

  return PairRecipe(
    category='Positive Control',
    names=(
      f'task{number}_mini_{asked}_{thing}_straight',
      f'task{number + 1}_mini_{asked}_{thing}_reversed',
    ),
    definitions=(f'{straight} {question}', f'{reversed_} {question}'),
    labels=labels,
    draw=draw,
    reason='The sentence does not tell.',
  )


def _negative(
  count: int, first_number: int, *, seed: int, dealer: LabelDealer
) -> list[Recipe]:
  random_ = stable_random('miniature', seed, 'negative', first_number)
  return [
    _label_only(
      f'task{first_number + index}_mini_label_only',
      dealer.deal(2),
      _shuffled(_NOUNS[index % len(_NOUNS)], random_),
    )
    for index in range(count)
  ]


def _shuffled(nouns: Sequence[str], random_: random.Random) -> list[str]:
  return random_.sample(nouns, len(nouns))


def _label_only(
  name: str, labels: tuple[str, ...], nouns: Sequence[str]
) -> Recipe:
  """Returns a task whose definition only lists the labels.

  Half of the nouns have the first label, for no reason that it states.
  """
  half = len(nouns) // 2
  nouns_of = dict(zip(labels, (nouns[:half], nouns[half:]), strict=True))

  def draw(random_: random.Random, label: str) -> Text:
    noun = random_.choice(nouns_of[label])
    person, number = random_.choice(words.PEOPLE), random_.choice(_NUMBERS)
    where = words.place(random_.choice(words.PLACES))
    (wrong,) = (other for other in labels if other != label)
    return Text(
      f'Word {number} of {person} {where} is {noun}.',
      (label,),
      wrong,
      f'The word {noun} is {label}.',
    )

  return Recipe(
    name=name,
    category='Negative Control',
    definition=f'The output is {labels[0]} or {labels[1]}.',
    labels=labels,
    draw=draw,
  )
