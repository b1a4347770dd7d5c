"""Every task of the miniature is solved anew from its text alone."""

import re

import pytest

from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini, words

_WOMEN, _MEN = set(words.WOMEN), set(words.MEN)
_OUTPUT_OF_COLOR = {
  'red': 'circle',
  'blue': 'star',
  'green': 'square',
  'yellow': 'circle',
  'black': 'star',
  'white': 'square',
  'brown': 'circle',
  'grey': 'star',
}
_TRUE_OF = {
  'open': ({'open', 'unlocked'}, {'shut', 'closed'}),
  'hot': ({'hot', 'boiling'}, {'cold', 'frozen'}),
  'happy': ({'happy', 'cheerful'}, {'sad', 'gloomy'}),
  'full': ({'full', 'packed'}, {'empty', 'bare'}),
  'clean': ({'clean', 'spotless'}, {'dirty', 'muddy'}),
  'heavy': ({'heavy', 'massive'}, {'light', 'weightless'}),
}
_LABELS_OF = {
  'open': ('yes', 'no'),
  'hot': ('true', 'false'),
  'happy': ('yes', 'no'),
  'full': ('true', 'false'),
  'clean': ('yes', 'no'),
  'heavy': ('true', 'false'),
}
_CAUSE_FIRST = {
  ('fell in the lake', 'was wet'),
  ('worked all day', 'was tired'),
  ('ate too much cake', 'was ill'),
  ('lost the key', 'was upset'),
  ('left too late', 'missed the train'),
  ('forgot the coat', 'was cold'),
  ('found the lost dog', 'was happy'),
  ('washed the floor', 'had a clean room'),
}
_PAST_OF = {does: did for _, does, did in (*words.ACTIONS, *words.DEEDS)}
_THIRD_OF = {base: does for base, does, _ in (*words.ACTIONS, *words.DEEDS)}
_BASE_OF = {does: base for base, does in _THIRD_OF.items()}
_USE_OF = {
  **dict.fromkeys(words.FOODS, 'eat'),
  **dict.fromkeys(words.ANIMALS, 'feed'),
  **dict.fromkeys(words.CLOTHES, 'wear'),
  **dict.fromkeys(words.VEHICLES, 'ride'),
}


@pytest.fixture(name='corpus', scope='module', params=[0, 3])
def _corpus(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp('corpus')
  return natinst.open_corpus(
    mini.write_miniature(directory, seed=request.param)
  )


def _person(text: str) -> str:
  (person,) = _people(text)
  return person


def _people(text: str) -> list[str]:
  return [w for w in re.findall(r'\w+', text) if w in _WOMEN | _MEN]


def _noun(text: str, allowed) -> str:
  (noun,) = {w for w in re.findall(r'\w+', text) if w in allowed}
  return noun


def _yes(holds: bool) -> str:
  return 'yes' if holds else 'no'


def _polarity(asked: str, straight: bool, labels: tuple[str, str]):
  def solve(text: str) -> str:
    said = re.search(r'is (\w+)\.$', text)[1]
    so, opposite = _TRUE_OF[asked]
    if said not in so | opposite:
      return 'unclear'
    return labels[0] if (said in so) == straight else labels[1]

  return solve


def _same_meaning(text: str) -> str:
  first = re.fullmatch(r'(\w+) (\w+) the (\w+)\. (.*)', text)
  second = re.fullmatch(r'The (\w+) was (\w+) by (\w+)\.', first[4])
  return _yes(first.group(3, 2, 1) == second.group(1, 2, 3))


def _answer_check(text: str) -> str:
  has, answer = re.search(r'has a (\w+) .*Answer: (\w+)\.', text).groups()
  return _yes(has == answer)


def _pronoun(text: str) -> str:
  wanted = _WOMEN if ' she ' in text else _MEN
  (person,) = set(_people(text.split(' when ')[0])) & wanted
  return person


def _entailment(text: str) -> str:
  color, second = re.search(r'a (\w+) one\. (.*)', text).groups()
  stated = set(re.findall(r'\w+', second)) & set(words.COLORS)
  if not stated:
    return 'maybe'
  return 'true' if stated == {color} else 'false'


def _cause_or_effect(text: str) -> str:
  first, second = (
    sentence.split(' ', 1)[1] for sentence in text.rstrip('.').split('. ')
  )
  if (second, first) in _CAUSE_FIRST:
    return 'cause'
  assert (first, second) in _CAUSE_FIRST
  return 'effect'


def _speech_act(text: str) -> str:
  if text.endswith('?'):
    return 'question'
  opening = text.split()[0]
  return {'Please': 'order', 'Good': 'greeting', 'Thank': 'thanks'}[opening]


def _answerable(text: str) -> str:
  fact, question = text.split(' Question: ')
  tells = 'color' if set(fact[:-1].split()) & set(words.COLORS) else 'place'
  return _yes(tells == ('color' if 'What color' in question else 'place'))


def _follows(text: str) -> str:
  first, second = text.rstrip('.').split('. ')
  where = second.split(' is ')[1]
  return _yes(first.endswith(' ' + where))


def _topic_of(animals: str, food: str, vehicles: str):
  topics = {
    **dict.fromkeys(words.ANIMALS, animals),
    **dict.fromkeys(words.FOODS, food),
    **dict.fromkeys(words.VEHICLES, vehicles),
  }
  return lambda text: topics[_noun(text, topics)]


def _answer_question(text: str) -> str:
  person, noun = re.match(r'(\w+) left .* the (\w+)\. ', text).groups()
  return person if 'Who' in text else noun


def _join(text: str) -> tuple[str, ...]:
  first, second = text.rstrip('.').split('. ')
  one, does, rest = first.split(' ', 2)
  other = second.split(' ', 1)[0]
  assert second == f'{other} {does} {rest}'
  end = f'{_BASE_OF[does]} {rest}.'
  return f'{one} and {other} {end}', f'{other} and {one} {end}'


def _to_active(text: str) -> str:
  match = re.fullmatch(r'The (\w+) was (\w+) by (\w+)\.', text)
  return f'{match[3]} {match[2]} the {match[1]}.'


def _past(text: str) -> str:
  person, does, rest = text.split(' ', 2)
  return f'{person} {_PAST_OF[does]} {rest}'


def _shared_noun(text: str) -> str:
  first, second = (set(re.findall(r'\w+', part)) for part in text.split('. '))
  (shared,) = (first & second) - {'the', 'The', 'is', 'of'}
  return shared


def _rewrite(text: str) -> str:
  thing, question = re.fullmatch(r'.* the (\w+)\. (.*\?)', text).groups()
  return re.sub(r'\bit\b', f'the {thing}', question)


def _data_to_text(text: str) -> tuple[str, ...]:
  who, what, where = re.fullmatch(
    r'Who: (.*)\. What: (.*)\. Where: (.*)\.', text
  ).groups()
  return (
    f'{who} {what} {where}.',
    f'{where[0].upper()}{where[1:]}, {who} {what}.',
  )


def _correct_verb(text: str) -> str:
  who, verb, rest = re.fullmatch(
    r'(\w+ and \w+|\w+) (\w+) (the .*)', text
  ).groups()
  right = _BASE_OF[verb] if ' and ' in who else _THIRD_OF[verb]
  return f'{who} {right} {rest}'


_SOLVERS = {
  'north_south': lambda text: (
    'north'
    if _noun(text, words.ANIMALS)
    in {'dog', 'cat', 'horse', 'cow', 'sheep', 'goat'}
    else 'south'
  ),
  'circle_square': lambda text: _OUTPUT_OF_COLOR[_noun(text, words.COLORS)],
  'left_right': lambda text: (
    'left'
    if _noun(text, words.FOODS)
    in {'soup', 'cheese', 'pear', 'rice', 'egg', 'butter'}
    else 'right'
  ),
  'up_down': lambda text: (
    'up' if _noun(text, words.VEHICLES) in {'car', 'train', 'bike'} else 'down'
  ),
  'gold_silver': lambda text: (
    'gold'
    if _noun(text, words.THINGS)
    in {'book', 'lamp', 'chair', 'cup', 'plate', 'knife'}
    else 'silver'
  ),
  'day_night': lambda text: (
    'day'
    if _noun(text, words.CLOTHES) in {'coat', 'shirt', 'glove'}
    else 'night'
  ),
  'meal_sentiment': lambda text: (
    'positive'
    if re.search('delicious|wonderful|excellent|lovely|perfect', text)
    else 'negative'
  ),
  'topic': _topic_of('animals', 'food', 'travel'),
  'same_meaning': _same_meaning,
  'answer_check': _answer_check,
  'she_or_he': lambda text: 'she' if _person(text) in _WOMEN else 'he',
  'question_or_statement': lambda text: (
    'question' if text.endswith('?') else 'statement'
  ),
  'can_be_eaten': lambda text: _yes(
    _noun(text, words.FOODS + words.THINGS) in words.FOODS
  ),
  'reverse_words': lambda text: ' '.join(text.split()[::-1]),
  'last_word': lambda text: text.split()[-1],
  'find_person': _person,
  'answer_question': _answer_question,
  'join_sentences': _join,
  'passive_to_active': _to_active,
  'past_tense': _past,
  'follows': _follows,
  'entailment': _entailment,
  'cause_or_effect': _cause_or_effect,
  'pronoun_check': lambda text: _yes(
    _pronoun(text) == re.search(r'Answer: (\w+)', text)[1]
  ),
  'speech_act': _speech_act,
  'agrees': lambda text: _yes(
    bool(re.search('course|pleasure|glad', text.split('? ')[1]))
  ),
  'answerable': _answerable,
  'use_analogy': lambda text: _USE_OF[text.split()[-3]],
  'choose_title': _topic_of('Farm', 'Food', 'Travel'),
  'pronoun': _pronoun,
  'shared_noun': _shared_noun,
  'keywords': lambda text: (
    f'{_noun(text, words.THINGS)}, {_noun(text, words.PLACES)}'
  ),
  'rewrite_question': _rewrite,
  'title': lambda text: f'{_person(text)} and the {_noun(text, words.THINGS)}',
  'data_to_text': _data_to_text,
  'correct_verb': _correct_verb,
  **{
    f'{asked}_{word}': _polarity(asked, word == 'straight', labels)
    for asked, labels in _LABELS_OF.items()
    for word in ('straight', 'reversed')
  },
}


def _solve(name: str, text: str) -> tuple[str, ...]:
  outputs = _SOLVERS[name.split('_mini_')[1]](text)
  return (outputs,) if isinstance(outputs, str) else outputs


def test_every_task_has_a_solver(corpus):
  names = (*corpus.train_tasks, *corpus.test_tasks)
  assert {name.split('_mini_')[1] for name in names} == set(_SOLVERS)


def test_every_output_follows_the_definition(corpus):
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    for instance in corpus.load(name).instances:
      assert instance.outputs == _solve(name, instance.input), name


def test_every_positive_example_is_right_and_every_negative_one_wrong(corpus):
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    task = corpus.load(name).task
    for example in task.positive_examples:
      assert example.output in _solve(name, example.input), name
    for example in task.negative_examples:
      assert example.output not in _solve(name, example.input), name
