"""Recipes of the miniature's training tasks with a small label space."""

import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.recipes import ClassificationRecipe

_PRAISE = ('delicious', 'wonderful', 'excellent', 'lovely', 'perfect')
_BLAME = ('awful', 'terrible', 'horrible', 'rotten', 'disgusting')
_TOPICS = {
  'food': words.FOODS,
  'animals': words.ANIMALS,
  'travel': words.VEHICLES,
}
_STATES = ('ill', 'ready', 'hungry', 'late', 'tired', 'wet')


def training_classification() -> list[ClassificationRecipe]:
  """Returns the recipes, without controls."""
  return [
    ClassificationRecipe(
      name='task9101_mini_meal_sentiment',
      category='Sentiment Analysis',
      definition=(
        'Does the speaker like the food? Answer with positive or negative.'
      ),
      labels=('positive', 'negative'),
      draw=_sentiment,
    ),
    ClassificationRecipe(
      name='task9102_mini_topic',
      category='Text Categorization',
      definition='What is the sentence about? Say food, animals or travel.',
      labels=('food', 'animals', 'travel'),
      draw=_topic,
    ),
    ClassificationRecipe(
      name='task9103_mini_same_meaning',
      category='Text Matching',
      definition=(
        'Do both sentences say the same? Answer with yes if they do, else no.'
      ),
      labels=('yes', 'no'),
      draw=_same_meaning,
    ),
    ClassificationRecipe(
      name='task9104_mini_answer_check',
      category='Answer Verification',
      definition=(
        'Is the answer to the question right? Answer with yes if it is, '
        'else no.'
      ),
      labels=('yes', 'no'),
      draw=_answer_check,
    ),
    ClassificationRecipe(
      name='task9105_mini_she_or_he',
      category='Fill in The Blank',
      definition='Which word fills the blank? Say she or he.',
      labels=('she', 'he'),
      draw=_she_or_he,
    ),
    ClassificationRecipe(
      name='task9106_mini_question_or_statement',
      category='Intent Identification',
      definition='Say question if the speaker asks something, else statement.',
      labels=('question', 'statement'),
      draw=_question_or_statement,
    ),
    ClassificationRecipe(
      name='task9107_mini_can_be_eaten',
      category='Commonsense Classification',
      definition=(
        'Can people eat what the sentence says? Answer with yes or no.'
      ),
      labels=('yes', 'no'),
      draw=_can_be_eaten,
    ),
  ]


def _sentiment(random_: random.Random, label: str) -> tuple[str, str]:
  food, person = random_.choice(words.FOODS), random_.choice(words.PEOPLE)
  word = random_.choice(_PRAISE if label == 'positive' else _BLAME)
  return f'The {food} of {person} was {word}.', f'The food was {word}.'


def _topic(random_: random.Random, label: str) -> tuple[str, str]:
  noun, person = random_.choice(_TOPICS[label]), random_.choice(words.PEOPLE)
  _, does, _ = random_.choice(words.DEEDS)
  where = words.place(random_.choice(words.PLACES))
  text = f'{person} {does} the {noun} {where}.'
  return text, f'The sentence is about the {noun}: {label}.'


def _same_meaning(random_: random.Random, label: str) -> tuple[str, str]:
  person, other = random_.sample(words.PEOPLE, 2)
  thing = random_.choice(words.THINGS)
  verb = random_.choice(('found', 'washed', 'sold', 'bought'))
  by = person if label == 'yes' else other
  text = f'{person} {verb} the {thing}. The {thing} was {verb} by {by}.'
  return text, f'The second sentence says that {by} {verb} it.'


def _answer_check(random_: random.Random, label: str) -> tuple[str, str]:
  person = random_.choice(words.PEOPLE)
  thing = random_.choice(words.THINGS)
  color, other = random_.sample(words.COLORS, 2)
  answer = color if label == 'yes' else other
  text = (
    f'{person} has a {color} {thing}. Question: What color is the {thing}? '
    f'Answer: {answer}.'
  )
  return text, f'The {thing} is {color}.'


def _she_or_he(random_: random.Random, label: str) -> tuple[str, str]:
  person = random_.choice(words.WOMEN if label == 'she' else words.MEN)
  kind = 'woman' if label == 'she' else 'man'
  _, _, did = random_.choice(words.ACTIONS)
  state = random_.choice(_STATES)
  text = f'{person} {did} when _ was {state}.'
  return text, f'{person} is the name of a {kind}.'


def _question_or_statement(
  random_: random.Random, label: str
) -> tuple[str, str]:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  base, _, did = random_.choice(words.DEEDS)
  if label == 'question':
    text = f'{person}, did you {base} the {thing}?'
    return text, 'The speaker asks something.'
  return f'{person}, you {did} the {thing}.', 'The speaker asks nothing.'


def _can_be_eaten(random_: random.Random, label: str) -> tuple[str, str]:
  noun = random_.choice(words.FOODS if label == 'yes' else words.THINGS)
  person = random_.choice(words.PEOPLE)
  can = 'can' if label == 'yes' else 'cannot'
  return f'{person} eats the {noun}.', f'People {can} eat the {noun}.'
