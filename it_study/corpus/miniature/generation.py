"""The miniature's generation tasks."""

from collections.abc import Callable
import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.recipes import Recipe, Text


def training_generation() -> list[Recipe]:
  """Returns the recipes of the training tasks."""
  return _recipes(
    (
      'task9201_mini_reverse_words',
      'Program Execution',
      'Write the three words in reverse order.',
      _reverse_words,
    ),
    (
      'task9202_mini_last_word',
      'Program Execution',
      'Write only the last word of the list.',
      _last_word,
    ),
    (
      'task9203_mini_find_person',
      'Information Extraction',
      'Write the name of the person of the sentence.',
      _find_person,
    ),
    (
      'task9204_mini_answer_question',
      'Question Answering',
      'Answer the question with the person or the place it asks for.',
      _answer_question,
    ),
    (
      'task9205_mini_join_sentences',
      'Sentence Composition',
      'Write both sentences as one: join the persons by and.',
      _join_sentences,
    ),
    (
      'task9206_mini_passive_to_active',
      'Paraphrasing',
      'Write the sentence again so that it starts with the person.',
      _passive_to_active,
    ),
    (
      'task9207_mini_past_tense',
      'Sentence Perturbation',
      'Write the sentence again as if it had been yesterday.',
      _past_tense,
    ),
  )


def unseen_generation() -> list[Recipe]:
  """Returns the recipes of the test tasks."""
  return _recipes(
    (
      'task9401_mini_pronoun',
      'Coreference Resolution',
      'Write the name of the person that he or she stands for.',
      _pronoun,
    ),
    (
      'task9402_mini_shared_noun',
      'Overlap Extraction',
      'Write the thing that both sentences are about.',
      _shared_noun,
    ),
    (
      'task9403_mini_keywords',
      'Keyword Tagging',
      'Write the thing, then the place of the sentence.',
      _keywords,
    ),
    (
      'task9404_mini_rewrite_question',
      'Question Rewriting',
      'Write the question again with the thing in place of it.',
      _rewrite_question,
    ),
    (
      'task9405_mini_title',
      'Title Generation',
      'Write a title: the person, the word and, the thing.',
      _title,
    ),
    (
      'task9406_mini_data_to_text',
      'Data to Text',
      'Write the data as one sentence.',
      _data_to_text,
    ),
    (
      'task9407_mini_correct_verb',
      'Grammar Error Correction',
      'Write the sentence again with the right form of the verb.',
      _correct_verb,
    ),
  )


def _recipes(
  *rows: tuple[str, str, str, Callable[[random.Random], Text]],
) -> list[Recipe]:
  return [_recipe(*row) for row in rows]


def _recipe(
  name: str,
  category: str,
  definition: str,
  draw: Callable[[random.Random], Text],
) -> Recipe:
  return Recipe(
    name=name,
    category=category,
    definition=definition,
    labels=None,
    draw=lambda random_, label: draw(random_),
  )


def _reverse_words(random_: random.Random) -> Text:
  chosen = random_.sample(words.THINGS + words.ANIMALS, 3)
  reverse = ' '.join(reversed(chosen))
  return Text(
    ' '.join(chosen),
    (reverse,),
    ' '.join(chosen),
    f'The last word is {chosen[-1]}, so it comes first.',
  )


def _last_word(random_: random.Random) -> Text:
  chosen = random_.sample(words.FOODS + words.THINGS, 4)
  return Text(
    f'List: {", ".join(chosen)}',
    (chosen[-1],),
    chosen[0],
    f'The list ends in {chosen[-1]}.',
  )


def _find_person(random_: random.Random) -> Text:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  text = random_.choice(
    (
      f'The {thing} {words.place(noun)} is for {person}.',
      f'The {thing} of {person} is {words.place(noun)}.',
    )
  )
  return Text(text, (person,), thing, f'{person} is the only person.')


def _answer_question(random_: random.Random) -> Text:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  fact = f'{person} left the {thing} {words.place(noun)}.'
  if random_.random() < 0.5:
    asked, answer, wrong = f'Who left the {thing}?', person, noun
  else:
    asked, answer, wrong = f'Where is the {thing}?', noun, person
  return Text(f'{fact} {asked}', (answer,), wrong, f'The question is: {asked}')


def _join_sentences(random_: random.Random) -> Text:
  first, second = random_.sample(words.PEOPLE, 2)
  base, does, _ = random_.choice(words.ACTIONS)
  where = words.place(random_.choice(words.PLACES))
  return Text(
    f'{first} {does} {where}. {second} {does} {where}.',
    (
      f'{first} and {second} {base} {where}.',
      f'{second} and {first} {base} {where}.',
    ),
    f'{first} {does} {where}.',
    f'{first} and {second} do the same.',
  )


def _passive_to_active(random_: random.Random) -> Text:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  verb = random_.choice(words.PARTICIPLES)
  return Text(
    f'The {thing} was {verb} by {person}.',
    (f'{person} {verb} the {thing}.',),
    f'The {thing} {verb} {person}.',
    f'{person} is the one who {verb} it.',
  )


def _past_tense(random_: random.Random) -> Text:
  person = random_.choice(words.PEOPLE)
  if random_.random() < 0.5:
    verb, rest = random_.choice(words.DEEDS), random_.choice(words.THINGS)
    rest = f'the {rest}'
  else:
    verb, rest = random_.choice(words.ACTIONS), random_.choice(words.PLACES)
    rest = words.place(rest)
  base, does, did = verb
  return Text(
    f'{person} {does} {rest}.',
    (f'{person} {did} {rest}.',),
    f'{person} will {base} {rest}.',
    f'The past of {does} is {did}.',
  )


def _pronoun(random_: random.Random) -> Text:
  woman, man = random_.choice(words.WOMEN), random_.choice(words.MEN)
  _, _, did = random_.choice(words.ACTIONS)
  pronoun = random_.choice(('she', 'he'))
  meant, other = (woman, man) if pronoun == 'she' else (man, woman)
  pair = [woman, man]
  random_.shuffle(pair)
  text = f'{pair[0]} saw {pair[1]} when {pronoun} {did}.'
  return Text(text, (meant,), other, f'The word {pronoun} stands for {meant}.')


def _shared_noun(random_: random.Random) -> Text:
  person, other = random_.sample(words.PEOPLE, 2)
  thing = random_.choice(words.THINGS + words.CLOTHES)
  _, does, _ = random_.choice(words.DEEDS)
  color = random_.choice(words.COLORS)
  first = f'{person} {does} the {thing}.'
  second = f'The {thing} of {other} is {color}.'
  return Text(
    f'{first} {second}', (thing,), person, f'Both tell of the {thing}.'
  )


def _keywords(random_: random.Random) -> Text:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  _, does, _ = random_.choice(words.DEEDS)
  return Text(
    f'{person} {does} the {thing} {words.place(noun)}.',
    (f'{thing}, {noun}',),
    f'{noun}, {person}',
    f'The thing is the {thing}, the place is the {noun}.',
  )


def _rewrite_question(random_: random.Random) -> Text:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  _, does, _ = random_.choice(words.DEEDS)
  before, after = random_.choice(
    (('Where is', ''), ('What color is', ''), ('Who has', ''), ('Is', ' red'))
  )
  return Text(
    f'{person} {does} the {thing}. {before} it{after}?',
    (f'{before} the {thing}{after}?',),
    f'{before} {person}{after}?',
    f'The word it stands for the {thing}.',
  )


def _title(random_: random.Random) -> Text:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  _, does, _ = random_.choice(words.DEEDS)
  return Text(
    f'{person} {does} the {thing} {words.place(noun)}.',
    (f'{person} and the {thing}',),
    f'{person} and the {noun}',
    f'The person is {person}, the thing is the {thing}.',
  )


def _data_to_text(random_: random.Random) -> Text:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  _, does, _ = random_.choice(words.DEEDS)
  where = words.place(noun)
  return Text(
    f'Who: {person}. What: {does} the {thing}. Where: {where}.',
    (
      f'{person} {does} the {thing} {where}.',
      f'{where.capitalize()}, {person} {does} the {thing}.',
    ),
    f'The {thing} {does} {person}.',
    'The sentence has all three pieces.',
  )


def _correct_verb(random_: random.Random) -> Text:
  person, other = random_.sample(words.PEOPLE, 2)
  base, does, _ = random_.choice(words.DEEDS)
  thing = random_.choice(words.THINGS)
  one = random_.random() < 0.5
  who = person if one else f'{person} and {other}'
  right, wrong = (does, base) if one else (base, does)
  text = f'{who} {wrong} the {thing}.'
  reason = f'{who}: {"one person" if one else "two persons"}.'
  return Text(text, (f'{who} {right} the {thing}.',), text, reason)
