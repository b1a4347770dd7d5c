"""Recipes of the miniature's positive and negative controls."""

import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.recipes import (
  ClassificationRecipe,
  PolarityRecipe,
)

# For each group: the property in question, words for it, for its opposite and
# for neither, and nouns to describe.
_GROUPS = (
  (
    'open',
    ('open', 'unlocked'),
    ('shut', 'closed'),
    ('wooden', 'narrow'),
    ('door', 'gate', 'window', 'shop'),
  ),
  (
    'hot',
    ('hot', 'boiling'),
    ('cold', 'frozen'),
    ('tasty', 'cheap'),
    ('tea', 'milk', 'meal', 'sauce'),
  ),
  (
    'happy',
    ('happy', 'cheerful'),
    ('sad', 'gloomy'),
    ('tall', 'famous'),
    ('baker', 'farmer', 'teacher', 'doctor'),
  ),
  (
    'full',
    ('full', 'packed'),
    ('empty', 'bare'),
    ('round', 'striped'),
    ('box', 'bag', 'barrel', 'jar'),
  ),
  (
    'clean',
    ('clean', 'spotless'),
    ('dirty', 'muddy'),
    ('large', 'quiet'),
    ('room', 'stable', 'hall', 'floor'),
  ),
  (
    'heavy',
    ('heavy', 'massive'),
    ('light', 'weightless'),
    ('smooth', 'pretty'),
    ('stone', 'parcel', 'ladder', 'statue'),
  ),
)
# A straight and a reversed wording, then their labels. Groups alternate between
# them.
_WORDINGS = (
  ('Tell the truth.', 'Tell a lie.', ('yes', 'no', 'unclear')),
  ('Answer what is so.', 'Answer the opposite.', ('true', 'false', 'unclear')),
)


def positive_controls() -> list[PolarityRecipe]:
  """Returns pairs of tasks: one asks for the truth, one for the opposite."""
  return [_polarity(number, *group) for number, group in enumerate(_GROUPS)]


def negative_controls() -> list[ClassificationRecipe]:
  """Returns tasks whose definition only states their label space."""
  return [
    ClassificationRecipe(
      name='task9021_mini_north_south',
      category='Negative Control',
      definition='The output is north or south.',
      labels=('north', 'south'),
      draw=_north_south,
    ),
    ClassificationRecipe(
      name='task9022_mini_circle_square',
      category='Negative Control',
      definition='The output is circle, star or square.',
      labels=('circle', 'star', 'square'),
      draw=_circle_square,
    ),
    ClassificationRecipe(
      name='task9023_mini_left_right',
      category='Negative Control',
      definition='The output is left or right.',
      labels=('left', 'right'),
      draw=_left_right,
    ),
    ClassificationRecipe(
      name='task9024_mini_up_down',
      category='Negative Control',
      definition='The output is up or down.',
      labels=('up', 'down'),
      draw=_up_down,
    ),
    ClassificationRecipe(
      name='task9025_mini_gold_silver',
      category='Negative Control',
      definition='The output is gold or silver.',
      labels=('gold', 'silver'),
      draw=_gold_silver,
    ),
    ClassificationRecipe(
      name='task9026_mini_day_night',
      category='Negative Control',
      definition='The output is day or night.',
      labels=('day', 'night'),
      draw=_day_night,
    ),
  ]


def _polarity(
  number: int,
  asked: str,
  so: tuple[str, ...],
  opposite: tuple[str, ...],
  neither: tuple[str, ...],
  nouns: tuple[str, ...],
) -> PolarityRecipe:
  straight, reversed_, labels = _WORDINGS[number % len(_WORDINGS)]
  first, second, third = labels
  question = (
    f'Is it {asked}? Say {first} or {second}, or {third} if it is not told.'
  )
  said = dict(zip(labels, (so, opposite, neither), strict=True))

  def draw(random_: random.Random, label: str) -> str:
    noun, person = random_.choice(nouns), random_.choice(words.PEOPLE)
    return f'The {noun} of {person} is {random_.choice(said[label])}.'

  return PolarityRecipe(
    tasks=(
      (
        f'task{9001 + 2 * number}_mini_{asked}_straight',
        f'{straight} {question}',
      ),
      (
        f'task{9002 + 2 * number}_mini_{asked}_reversed',
        f'{reversed_} {question}',
      ),
    ),
    labels=labels,
    draw=draw,
    reason='The sentence does not tell.',
  )


def _north_south(random_: random.Random, label: str) -> tuple[str, str]:
  animals = words.ANIMALS[:6] if label == 'north' else words.ANIMALS[6:]
  animal = random_.choice(animals)
  color, number = random_.choice(words.COLORS), random_.choice(_NUMBERS)
  text = f'The {color} {animal} has the number {number}.'
  return text, f'The {animal} is {label}.'


def _circle_square(random_: random.Random, label: str) -> tuple[str, str]:
  index = ('circle', 'star', 'square').index(label)
  color = random_.choice(words.COLORS[index::3])
  thing, noun = random_.choice(words.THINGS), random_.choice(words.PLACES)
  text = f'There is a {color} {thing} {words.place(noun)}.'
  return text, f'What is {color} is a {label}.'


def _left_right(random_: random.Random, label: str) -> tuple[str, str]:
  index = ('left', 'right').index(label)
  food = random_.choice(words.FOODS[index::2])
  person, number = random_.choice(words.PEOPLE), random_.choice(_NUMBERS)
  text = f'Table {number}: {food} for {person}.'
  return text, f'The {food} is {label}.'


def _up_down(random_: random.Random, label: str) -> tuple[str, str]:
  index = ('up', 'down').index(label)
  vehicle = random_.choice(words.VEHICLES[index::2])
  color, noun = random_.choice(words.COLORS), random_.choice(words.PLACES)
  text = f'A {color} {vehicle} waits {words.place(noun)}.'
  return text, f'The {vehicle} is {label}.'


def _gold_silver(random_: random.Random, label: str) -> tuple[str, str]:
  things = words.THINGS[:6] if label == 'gold' else words.THINGS[6:]
  thing = random_.choice(things)
  person, number = random_.choice(words.PEOPLE), random_.choice(_NUMBERS)
  text = f'In box {number} of {person} is a {thing}.'
  return text, f'The {thing} is {label}.'


def _day_night(random_: random.Random, label: str) -> tuple[str, str]:
  index = ('day', 'night').index(label)
  piece = random_.choice(words.CLOTHES[index::2])
  person, color = random_.choice(words.PEOPLE), random_.choice(words.COLORS)
  text = f'{person} bought a {color} {piece}.'
  return text, f'The {piece} is {label}.'


_NUMBERS = ('two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
