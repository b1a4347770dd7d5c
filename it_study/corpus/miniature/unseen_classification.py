"""Recipes of the miniature's test tasks with a small label space."""

import random

from it_study.corpus.miniature import words
from it_study.corpus.miniature.recipes import ClassificationRecipe

# Cause and effect; {} is a person.
_CAUSES = (
  ('{} fell in the lake.', '{} was wet.'),
  ('{} worked all day.', '{} was tired.'),
  ('{} ate too much cake.', '{} was ill.'),
  ('{} lost the key.', '{} was upset.'),
  ('{} left too late.', '{} missed the train.'),
  ('{} forgot the coat.', '{} was cold.'),
  ('{} found the lost dog.', '{} was happy.'),
  ('{} washed the floor.', '{} had a clean room.'),
)
_USES = {
  'eat': words.FOODS,
  'feed': words.ANIMALS,
  'wear': words.CLOTHES,
  'ride': words.VEHICLES,
}
_STORIES = {
  'Food': ('cooks the {}', 'eats the {}', 'tastes the {}'),
  'Farm': ('feeds the {}', 'calls the {}', 'leads the {}'),
  'Travel': ('rides the {}', 'boards the {}', 'leaves the {}'),
}
_STORY_NOUNS = {
  'Food': words.FOODS,
  'Farm': words.ANIMALS,
  'Travel': words.VEHICLES,
}


def unseen_classification() -> list[ClassificationRecipe]:
  """Returns the recipes."""
  return [*_inference_recipes(), *_dialogue_recipes(), *_word_recipes()]


def _inference_recipes() -> list[ClassificationRecipe]:
  return [
    ClassificationRecipe(
      name='task9301_mini_follows',
      category='Textual Entailment',
      definition=(
        'Is the second sentence true if the first is? Answer with yes or no.'
      ),
      labels=('yes', 'no'),
      draw=_follows,
    ),
    ClassificationRecipe(
      name='task9302_mini_entailment',
      category='Textual Entailment',
      definition=(
        'Is the second sentence true, false or maybe true if the first is true?'
      ),
      labels=('true', 'false', 'maybe'),
      draw=_entailment,
    ),
    ClassificationRecipe(
      name='task9303_mini_cause_or_effect',
      category='Cause Effect Classification',
      definition=(
        'Say cause if the second sentence is the cause of the first, else '
        'effect.'
      ),
      labels=('cause', 'effect'),
      draw=_cause_or_effect,
    ),
    ClassificationRecipe(
      name='task9304_mini_pronoun_check',
      category='Coreference Resolution',
      definition=(
        'Is the answer to the question about the word right? Answer with yes '
        'or no.'
      ),
      labels=('yes', 'no'),
      draw=_pronoun_check,
    ),
  ]


def _dialogue_recipes() -> list[ClassificationRecipe]:
  return [
    ClassificationRecipe(
      name='task9305_mini_speech_act',
      category='Dialogue Act Recognition',
      definition=(
        'What does the speaker do? Say question, order, greeting or thanks.'
      ),
      labels=('question', 'order', 'greeting', 'thanks'),
      draw=_speech_act,
    ),
    ClassificationRecipe(
      name='task9306_mini_agrees',
      category='Dialogue Act Recognition',
      definition='Does the second speaker agree? Answer with yes or no.',
      labels=('yes', 'no'),
      draw=_agrees,
    ),
    ClassificationRecipe(
      name='task9307_mini_answerable',
      category='Answerability Classification',
      definition=(
        'Does the sentence tell the answer to the question? Answer with yes '
        'or no.'
      ),
      labels=('yes', 'no'),
      draw=_answerable,
    ),
  ]


def _word_recipes() -> list[ClassificationRecipe]:
  return [
    ClassificationRecipe(
      name='task9308_mini_use_analogy',
      category='Word Analogy',
      definition=(
        'Write the last word so that both pairs are alike: eat, feed, wear or '
        'ride.'
      ),
      labels=tuple(_USES),
      draw=_use_analogy,
    ),
    ClassificationRecipe(
      name='task9309_mini_choose_title',
      category='Title Generation',
      definition='Choose the title of the story: Food, Farm or Travel.',
      labels=tuple(_STORIES),
      draw=_choose_title,
    ),
  ]


def _follows(random_: random.Random, label: str) -> tuple[str, str]:
  person = random_.choice(words.PEOPLE)
  _, does, _ = random_.choice(words.ACTIONS)
  there, elsewhere = random_.sample(words.PLACES, 2)
  where = there if label == 'yes' else elsewhere
  text = f'{person} {does} {words.place(there)}. {person} is '
  return (
    f'{text}{words.place(where)}.',
    f'{person} is {words.place(there)}.',
  )


def _entailment(random_: random.Random, label: str) -> tuple[str, str]:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun = random_.choice(words.PLACES)
  color, other = random_.sample(words.COLORS, 2)
  second = {
    'true': f'The {thing} is {color}.',
    'false': f'The {thing} is {other}.',
    'maybe': f'The {thing} is {words.place(noun)}.',
  }[label]
  reason = {
    'true': f'It is {color}.',
    'false': f'It is {color}, not {other}.',
    'maybe': 'Where it is, we do not know.',
  }[label]
  return f'{person} has one {thing}, a {color} one. {second}', reason


def _cause_or_effect(random_: random.Random, label: str) -> tuple[str, str]:
  person = random_.choice(words.PEOPLE)
  cause, effect = (
    sentence.format(person) for sentence in random_.choice(_CAUSES)
  )
  pair = (effect, cause) if label == 'cause' else (cause, effect)
  return ' '.join(pair), f'The cause is: {cause}'


def _pronoun_check(random_: random.Random, label: str) -> tuple[str, str]:
  woman, man = random_.choice(words.WOMEN), random_.choice(words.MEN)
  _, _, did = random_.choice(words.ACTIONS)
  pronoun = random_.choice(('she', 'he'))
  meant, other = (woman, man) if pronoun == 'she' else (man, woman)
  pair = [woman, man]
  random_.shuffle(pair)
  answer = meant if label == 'yes' else other
  text = (
    f'{pair[0]} saw {pair[1]} when {pronoun} {did}. Question: Who {did}? '
    f'Answer: {answer}.'
  )
  return text, f'The word {pronoun} stands for {meant}.'


def _speech_act(random_: random.Random, label: str) -> tuple[str, str]:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  base, _, _ = random_.choice(words.DEEDS)
  when = random_.choice(('morning', 'evening', 'day', 'night'))
  text = {
    'question': f'Did you {base} the {thing}, {person}?',
    'order': f'Please {base} the {thing}, {person}.',
    'greeting': f'Good {when}, {person}.',
    'thanks': f'Thank you for the {thing}, {person}.',
  }[label]
  return text, f'The sentence is a {label}.'


def _agrees(random_: random.Random, label: str) -> tuple[str, str]:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  base, _, _ = random_.choice(words.DEEDS)
  reply = random_.choice(
    ('Of course I will.', 'With pleasure.', 'I will be glad to.')
    if label == 'yes'
    else ('I will not.', 'I have no time.', 'I am too tired.')
  )
  text = f'{person}, will you {base} the {thing}? {reply}'
  return text, f'The answer was: {reply}'


def _answerable(random_: random.Random, label: str) -> tuple[str, str]:
  person, thing = random_.choice(words.PEOPLE), random_.choice(words.THINGS)
  noun, color = random_.choice(words.PLACES), random_.choice(words.COLORS)
  told = random_.choice(('color', 'place'))
  fact = color if told == 'color' else words.place(noun)
  asked = told if label == 'yes' else {'color': 'place', 'place': 'color'}[told]
  question = (
    f'What color is the {thing}?'
    if asked == 'color'
    else f'Where is the {thing}?'
  )
  text = f'The {thing} of {person} is {fact}. Question: {question}'
  return text, f'The sentence tells the {told}.'


def _use_analogy(random_: random.Random, label: str) -> tuple[str, str]:
  other = random_.choice([use for use in _USES if use != label])
  first, second = random_.choice(_USES[other]), random_.choice(_USES[label])
  text = f'{first} is to {other} as {second} is to'
  return text, f'What one does with it is to {label} it.'


def _choose_title(random_: random.Random, label: str) -> tuple[str, str]:
  person, noun = (
    random_.choice(words.PEOPLE),
    random_.choice(_STORY_NOUNS[label]),
  )
  does = random_.choice(_STORIES[label]).format(noun)
  where = words.place(random_.choice(words.PLACES))
  return f'{person} {does} {where}.', f'The story is about the {noun}.'
