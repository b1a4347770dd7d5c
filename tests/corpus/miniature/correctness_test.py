"""Every task of the miniature is solved anew from its text alone."""

import re

import pytest

from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini, words

_WOMEN, _MEN = set(words.WOMEN), set(words.MEN)
_PAST_OF = {does: did for _, does, did in (*words.ACTIONS, *words.DEEDS)}
_THIRD_OF = {base: does for base, does, _ in (*words.ACTIONS, *words.DEEDS)}
_BASE_OF = {does: base for base, does in _THIRD_OF.items()}
_NOUNS = {
  'an animal': words.ANIMALS,
  'a food': words.FOODS,
  'a piece of clothing': words.CLOTHES,
  'a vehicle': words.VEHICLES,
  'a tool': words.TOOLS,
  'a piece of furniture': words.FURNITURE,
}
_PROPERTIES = {
  'open': ({'open', 'unlocked'}, {'shut', 'closed'}),
  'hot': ({'hot', 'boiling'}, {'cold', 'frozen'}),
  'full': ({'full', 'packed'}, {'empty', 'bare'}),
  'clean': ({'clean', 'spotless'}, {'dirty', 'muddy'}),
  'heavy': ({'heavy', 'massive'}, {'light', 'weightless'}),
  'new': ({'new', 'modern'}, {'old', 'ancient'}),
}
# Endings of the second sentence when the first is the effect.
_EFFECTS = ('wet', 'tired', 'upset', 'train', 'happy')
# Definitions, each with a list of clauses; a clause with a label and a meaning.
_CLAUSES = (
  (r'Answer (.*)\.', r'(?P<label>\w+) for (?P<meaning>.*)'),
  (r'One word stands for each: (.*)\.', r'(?P<meaning>.*) is (?P<label>\w+)'),
  (r'Say (.*)\.', r'(?P<label>\w+) if it is (?P<meaning>.*)'),
  (r'Choose a word: (.*)\.', r'(?P<label>\w+) means (?P<meaning>.*)'),
  (r'Look at the text: (.*)\.', r'for (?P<meaning>.*) write (?P<label>\w+)'),
)


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


def _meanings(definition: str) -> dict[str, str]:
  """Returns meaning to label, as a definition states them."""
  for sentence, clause in _CLAUSES:
    if match := re.fullmatch(sentence, definition):
      clauses = re.split(', | and ', match[1].replace(', write', ' write'))
      found = [re.fullmatch(clause, text) for text in clauses]
      return {one['meaning']: one['label'] for one in found}
  raise AssertionError(definition)


def _kind(text: str) -> str:
  (kind,) = {
    kind
    for kind, nouns in _NOUNS.items()
    if re.search(rf' ({"|".join(nouns)})\b', text)
  }
  return kind


def _first_person(text: str) -> str:
  return 'a woman' if _people(text)[-1] in _WOMEN else 'a man'


def _place(text: str) -> str:
  return 'indoors' if re.search('|'.join(words.INDOORS), text) else 'outdoors'


def _speech_act(text: str) -> str:
  if re.search('(did|will|can) you', text, re.IGNORECASE):
    return 'a question'
  if re.search('please|go and|now', text, re.IGNORECASE):
    return 'a request'
  future = re.search('(I|we) will|tomorrow', text, re.IGNORECASE)
  return 'a promise' if future else 'a report'


def _time(text: str) -> str:
  if ' will ' in text:
    return 'the future'
  present = set(text.split()) & set(_BASE_OF)
  return 'the present' if present else 'the past'


def _entailment(text: str) -> str:
  first, second = text.rstrip('.').split('. ')
  about = second.split(' is ')[1]
  if first.endswith(f' {about}'):
    return 'a fact'
  tells_color = first.split()[-1] in words.COLORS
  refuted = (
    about in words.COLORS if tells_color else len(set(_people(text))) == 1
  )
  return 'a lie' if refuted else 'a guess'


def _answerability(text: str) -> str:
  fact, question = text.split('. ')
  tells_color = fact.split()[-1] in words.COLORS
  answered = tells_color == question.startswith('What color')
  return f'an {"answered" if answered else "open"} question'


def _agreement(text: str) -> str:
  agrees = re.search(r'course|pleasure|will\.', text)
  return 'an agreement' if agrees else 'a refusal'


def _number(text: str) -> str:
  count = len(_people(text))
  return ('nobody', 'one person', 'two persons')[count]


def _pronoun(text: str) -> str:
  wanted = _WOMEN if ' she ' in text else _MEN
  (person,) = set(_people(text.split(' when ')[0])) & wanted
  return person


def _pronoun_check(text: str) -> str:
  is_right = _people(text)[-1] == _pronoun(text)
  return f'a {"right" if is_right else "wrong"} answer'


def _sameness(text: str) -> str:
  first, second = _people(text)
  return 'a match' if first == second else 'a change'


def _cause(text: str) -> str:
  effect_last = text.rstrip('.').endswith(_EFFECTS)
  return f'{"a cause" if effect_last else "an effect"} first'


def _order(text: str) -> str:
  return f'a {"woman" if _people(text)[0] in _WOMEN else "man"} first'


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


_MEANING_OF = {
  'kind': _kind,
  'color': lambda text: _noun(text, words.COLORS),
  'person': _first_person,
  'place': _place,
  'speech act': _speech_act,
  'time': _time,
  'entailment': _entailment,
  'answerability': _answerability,
  'agreement': _agreement,
  'number': _number,
  'pronoun': _pronoun_check,
  'sameness': _sameness,
  'cause': _cause,
  'order': _order,
}
_SOLVERS = {
  'reverse_words': lambda text: ' '.join(text.split()[::-1]),
  'last_word': lambda text: text.split()[-1],
  'find_person': _person,
  'answer_question': _answer_question,
  'join_sentences': _join,
  'passive_to_active': _to_active,
  'past_tense': _past,
  'pronoun': _pronoun,
  'shared_noun': _shared_noun,
  'keywords': lambda text: (
    f'{_noun(text, words.THINGS)}, {_noun(text, words.PLACES)}'
  ),
  'rewrite_question': _rewrite,
  'title': lambda text: f'{_person(text)} and the {_noun(text, words.THINGS)}',
  'data_to_text': _data_to_text,
  'correct_verb': _correct_verb,
}


def _answer_control(definition: str, text: str) -> str:
  order, thing, asked, yes, no, unclear = re.fullmatch(
    r'(.*)\. Is the (\w+) (\w+)\? Say (\w+) or (\w+), or (\w+) if .*',
    definition,
  ).groups()
  assert f'The {thing} of ' in text
  said = re.search(r'is (\w+)\.$', text)[1]
  so, opposite = _PROPERTIES[asked]
  if said not in so | opposite:
    return unclear
  is_straight = order in ('Tell the truth', 'Answer what is so')
  return yes if (said in so) == is_straight else no


def _solve(task, text: str) -> tuple[str, ...]:
  """Returns the right outputs of a task for an input."""
  if task.category == 'Positive Control':
    return (_answer_control(task.definition, text),)
  family = task.category.partition(': ')[2]
  if family:
    return (_meanings(task.definition)[_MEANING_OF[family](text)],)
  outputs = _SOLVERS[task.name.split('_mini_')[1]](text)
  return (outputs,) if isinstance(outputs, str) else outputs


def _files(corpus):
  """All files but those of the negative control, which nothing can solve."""
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    file = corpus.load(name)
    if file.task.category != 'Negative Control':
      yield file


def test_all_families_and_tasks_occur(corpus):
  seen = {
    file.task.category.partition(': ')[2] or file.task.name.split('_mini_')[1]
    for file in _files(corpus)
    if file.task.category != 'Positive Control'
  }
  assert seen == _MEANING_OF.keys() | _SOLVERS.keys()


def test_every_output_follows_the_definition(corpus):
  for file in _files(corpus):
    for instance in file.instances:
      assert instance.outputs == _solve(file.task, instance.input), instance


def test_every_positive_example_is_right_and_every_negative_one_wrong(corpus):
  for file in _files(corpus):
    for example in file.task.positive_examples:
      assert example.output in _solve(file.task, example.input), example
    for example in file.task.negative_examples:
      assert example.output not in _solve(file.task, example.input), example
