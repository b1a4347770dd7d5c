"""Recipes of the miniature's test tasks with free outputs."""

import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.recipes import GenerationRecipe

_Drawn = tuple[str, tuple[str, ...], str, str]


def unseen_generation() -> list[GenerationRecipe]:
  """Returns the recipes."""
  return [
    GenerationRecipe(
      name='task9401_mini_pronoun',
      category='Coreference Resolution',
      definition='Write the name of the person that he or she stands for.',
      draw=_pronoun,
    ),
    GenerationRecipe(
      name='task9402_mini_shared_noun',
      category='Overlap Extraction',
      definition='Write the thing that both sentences are about.',
      draw=_shared_noun,
    ),
    GenerationRecipe(
      name='task9403_mini_keywords',
      category='Keyword Tagging',
      definition='Write the thing, then the place of the sentence.',
      draw=_keywords,
    ),
    GenerationRecipe(
      name='task9404_mini_rewrite_question',
      category='Question Rewriting',
      definition='Write the question again with the thing in place of it.',
      draw=_rewrite_question,
    ),
    GenerationRecipe(
      name='task9405_mini_title',
      category='Title Generation',
      definition='Write a title: the person, the word and, the thing.',
      draw=_title,
    ),
    GenerationRecipe(
      name='task9406_mini_data_to_text',
      category='Data to Text',
      definition='Write the data as one sentence.',
      draw=_data_to_text,
    ),
    GenerationRecipe(
      name='task9407_mini_correct_verb',
      category='Grammar Error Correction',
      definition='Write the sentence again with the right form of the verb.',
      draw=_correct_verb,
    ),
  ]


def _pronoun(random_: random.Random) -> _Drawn:
  woman, man = random_.choice(words.WOMEN), random_.choice(words.MEN)
  _, _, did = random_.choice(words.ACTIONS)
  pronoun = random_.choice(('she', 'he'))
  meant, other = (woman, man) if pronoun == 'she' else (man, woman)
  pair = [woman, man]
  random_.shuffle(pair)
  text = f'{pair[0]} saw {pair[1]} when {pronoun} {did}.'
  return text, (meant,), other, f'The word {pronoun} stands for {meant}.'


def _shared_noun(random_: random.Random) -> _Drawn:
  person, other = random_.sample(words.PEOPLE, 2)
  thing = random_.choice(words.THINGS + words.CLOTHES)
  _, does, _ = random_.choice(words.DEEDS)
  color = random_.choice(words.COLORS)
  first = f'{person} {does} the {thing}.'
  second = f'The {thing} of {other} is {color}.'
  return f'{first} {second}', (thing,), person, f'Both tell of the {thing}.'


def _keywords(random_: random.Random) -> _Drawn:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  _, does, _ = random_.choice(words.DEEDS)
  return (
    f'{person} {does} the {thing} {words.place(noun)}.',
    (f'{thing}, {noun}',),
    f'{noun}, {person}',
    f'The thing is the {thing}, the place is the {noun}.',
  )


def _rewrite_question(random_: random.Random) -> _Drawn:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  _, does, _ = random_.choice(words.DEEDS)
  before, after = random_.choice(
    (('Where is', ''), ('What color is', ''), ('Who has', ''), ('Is', ' red'))
  )
  return (
    f'{person} {does} the {thing}. {before} it{after}?',
    (f'{before} the {thing}{after}?',),
    f'{before} {person}{after}?',
    f'The word it stands for the {thing}.',
  )


def _title(random_: random.Random) -> _Drawn:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  _, does, _ = random_.choice(words.DEEDS)
  return (
    f'{person} {does} the {thing} {words.place(noun)}.',
    (f'{person} and the {thing}',),
    f'{person} and the {noun}',
    f'The person is {person}, the thing is the {thing}.',
  )


def _data_to_text(random_: random.Random) -> _Drawn:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  _, does, _ = random_.choice(words.DEEDS)
  where = words.place(noun)
  return (
    f'Who: {person}. What: {does} the {thing}. Where: {where}.',
    (
      f'{person} {does} the {thing} {where}.',
      f'{where.capitalize()}, {person} {does} the {thing}.',
    ),
    f'The {thing} {does} {person}.',
    'The sentence has all three pieces.',
  )


def _correct_verb(random_: random.Random) -> _Drawn:
  person, other = random_.sample(words.PEOPLE, 2)
  base, does, _ = random_.choice(words.DEEDS)
  thing = random_.choice(words.THINGS)
  one = random_.random() < 0.5
  who = person if one else f'{person} and {other}'
  right, wrong = (does, base) if one else (base, does)
  text = f'{who} {wrong} the {thing}.'
  reason = f'{who}: {"one person" if one else "two persons"}.'
  return text, (f'{who} {right} the {thing}.',), text, reason
