"""Recipes of the miniature's training tasks with free outputs."""

import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.recipes import GenerationRecipe

_Drawn = tuple[str, tuple[str, ...], str, str]


def training_generation() -> list[GenerationRecipe]:
  """Returns the recipes."""
  return [
    GenerationRecipe(
      name='task9201_mini_reverse_words',
      category='Program Execution',
      definition='Write the three words in reverse order.',
      draw=_reverse_words,
    ),
    GenerationRecipe(
      name='task9202_mini_last_word',
      category='Program Execution',
      definition='Write only the last word of the list.',
      draw=_last_word,
    ),
    GenerationRecipe(
      name='task9203_mini_find_person',
      category='Information Extraction',
      definition='Write the name of the person of the sentence.',
      draw=_find_person,
    ),
    GenerationRecipe(
      name='task9204_mini_answer_question',
      category='Question Answering',
      definition=(
        'Answer the question with the person or the place it asks for.'
      ),
      draw=_answer_question,
    ),
    GenerationRecipe(
      name='task9205_mini_join_sentences',
      category='Sentence Composition',
      definition='Write both sentences as one: join the persons by and.',
      draw=_join_sentences,
    ),
    GenerationRecipe(
      name='task9206_mini_passive_to_active',
      category='Paraphrasing',
      definition='Write the sentence again so that it starts with the person.',
      draw=_passive_to_active,
    ),
    GenerationRecipe(
      name='task9207_mini_past_tense',
      category='Sentence Perturbation',
      definition='Write the sentence again as if it had been yesterday.',
      draw=_past_tense,
    ),
  ]


def _reverse_words(random_: random.Random) -> _Drawn:
  chosen = random_.sample(words.THINGS + words.ANIMALS, 3)
  reverse = ' '.join(reversed(chosen))
  return (
    ' '.join(chosen),
    (reverse,),
    ' '.join(chosen),
    f'The last word is {chosen[-1]}, so it comes first.',
  )


def _last_word(random_: random.Random) -> _Drawn:
  chosen = random_.sample(words.FOODS + words.THINGS, 4)
  return (
    f'List: {", ".join(chosen)}',
    (chosen[-1],),
    chosen[0],
    f'The list ends in {chosen[-1]}.',
  )


def _find_person(random_: random.Random) -> _Drawn:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  text = random_.choice(
    (
      f'The {thing} {words.place(noun)} is for {person}.',
      f'The {thing} of {person} is {words.place(noun)}.',
    )
  )
  return text, (person,), thing, f'{person} is the only person.'


def _answer_question(random_: random.Random) -> _Drawn:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  fact = f'{person} left the {thing} {words.place(noun)}.'
  if random_.random() < 0.5:
    asked, answer, wrong = f'Who left the {thing}?', person, noun
  else:
    asked, answer, wrong = f'Where is the {thing}?', noun, person
  return f'{fact} {asked}', (answer,), wrong, f'The question is: {asked}'


def _join_sentences(random_: random.Random) -> _Drawn:
  first, second = random_.sample(words.PEOPLE, 2)
  base, does, _ = random_.choice(words.ACTIONS)
  where = words.place(random_.choice(words.PLACES))
  return (
    f'{first} {does} {where}. {second} {does} {where}.',
    (
      f'{first} and {second} {base} {where}.',
      f'{second} and {first} {base} {where}.',
    ),
    f'{first} {does} {where}.',
    f'{first} and {second} do the same.',
  )


def _passive_to_active(random_: random.Random) -> _Drawn:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  verb = random_.choice(('found', 'washed', 'sold', 'bought', 'painted'))
  return (
    f'The {thing} was {verb} by {person}.',
    (f'{person} {verb} the {thing}.',),
    f'The {thing} {verb} {person}.',
    f'{person} is the one who {verb} it.',
  )


def _past_tense(random_: random.Random) -> _Drawn:
  person = random_.choice(words.PEOPLE)
  if random_.random() < 0.5:
    verb, rest = random_.choice(words.DEEDS), random_.choice(words.THINGS)
    rest = f'the {rest}'
  else:
    verb, rest = random_.choice(words.ACTIONS), random_.choice(words.PLACES)
    rest = words.place(rest)
  base, does, did = verb
  return (
    f'{person} {does} {rest}.',
    (f'{person} {did} {rest}.',),
    f'{person} will {base} {rest}.',
    f'The past of {does} is {did}.',
  )
