"""Tests for it_study.prompts."""

import string

from hypothesis import given
from hypothesis import strategies as st
import pytest

from it_study import natinst
from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.errors import InputError
from it_study.natinst import Example, Instance, Task
from it_study.prompts import Prompt, TokenLimit, choose_target, render


def _task(
  definition='Say if it is hot',
  *,
  positive=(('fire', 'yes', 'Fire burns'), ('ice', 'no', None)),
  negative=(('sun', 'no', 'It is.'), ('snow', 'yes', '')),
  label_space=('yes', 'no'),
) -> Task:
  return Task(
    name='task1_a',
    definition=definition,
    categories=('Dialogue',),
    kind='generation' if label_space is None else 'classification',
    label_space=label_space,
    positive_examples=tuple(
      Example(input=text, output=output, explanation=explanation)
      for text, output, explanation in positive
    ),
    negative_examples=tuple(
      Example(input=text, output=output, explanation=explanation)
      for text, output, explanation in negative
    ),
  )


def _instance(text='tea', outputs=('yes',)) -> Instance:
  return Instance(id='task1-0', input=text, outputs=outputs, position=0)


def _render(
  name='natinst_def_original_ex_original2', *, task=None, text='tea', limit=None
) -> Prompt:
  return render(
    task=task or _task(),
    instance=_instance(text),
    condition=Condition.from_name(name),
    limit=limit,
  )


def _words(max_tokens: int) -> TokenLimit:
  """A token a word."""
  known: list[str] = []

  def encode(text: str) -> list[int]:
    words = text.split()
    known.extend(words)
    return [known.index(word) for word in words]

  return TokenLimit(
    encode=encode,
    decode=lambda ids: ' '.join(known[i] for i in ids),
    max_tokens=max_tokens,
  )


def _characters(max_tokens: int) -> TokenLimit:
  """A token a character."""
  return TokenLimit(
    encode=lambda text: [ord(character) for character in text],
    decode=lambda ids: ''.join(map(chr, ids)),
    max_tokens=max_tokens,
  )


_DEFINITION = 'Definition: Say if it is hot.\n\n'
_FIRST = ' Positive Example 1 -\nInput: fire.\n Output: yes.\n\n'
_SECOND = ' Positive Example 2 -\nInput: ice.\n Output: no.\n\n'
_NEGATIVE = ' Negative Example 1 -\nInput: sun.\n Output: no.\n\n'
_QUERY = 'Now complete the following example -\nInput: tea.\nOutput: '


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    (
      'natinst_def_original_ex_original2',
      _DEFINITION + _FIRST + _SECOND + _QUERY,
    ),
    ('natinst_def_original_ex_original1', _DEFINITION + _FIRST + _QUERY),
    ('natinst_def_original_ex_empty0', _DEFINITION + _QUERY),
    ('natinst_def_empty_ex_original2', _FIRST + _SECOND + _QUERY),
    ('natinst_def_empty_ex_empty0', _QUERY),
    (
      'natinst_def_simplified_ex_original1',
      'Definition: Possible outputs: yes, no.\n\n' + _FIRST + _QUERY,
    ),
    (
      'natinst_def_original_ex_delusive1_srcswap',
      _DEFINITION
      + ' Positive Example 1 -\nInput: fire.\n Output: no.\n\n'
      + _QUERY,
    ),
    (
      'natinst_def_original_ex_original2_neg1',
      _DEFINITION + _FIRST + _SECOND + _NEGATIVE + _QUERY,
    ),
    ('natinst_def_original_ex_empty0_neg1', _DEFINITION + _NEGATIVE + _QUERY),
    (
      'natinst_def_original_ex_original2_neg2_expl',
      'Definition: Say if it is hot.\n'
      '\n'
      ' Positive Example 1 -\n'
      'Input: fire.\n'
      ' Output: yes.\n'
      ' Explanation: Fire burns.\n'
      '\n'
      ' Positive Example 2 -\n'
      'Input: ice.\n'
      ' Output: no.\n'
      '\n'
      ' Negative Example 1 -\n'
      'Input: sun.\n'
      ' Output: no.\n'
      ' Explanation: It is.\n'
      '\n'
      ' Negative Example 2 -\n'
      'Input: snow.\n'
      ' Output: yes.\n'
      ' Explanation: .\n'
      '\n'
      'Now complete the following example -\n'
      'Input: tea.\n'
      'Output: ',
    ),
  ],
)
def test_prompts_read_as_they_should(name, text):
  prompt = _render(name)
  assert prompt.text == text
  assert (prompt.num_dropped_examples, prompt.shortened) == (0, False)


def test_simplified_generation_has_no_definition():
  task = _task(label_space=None)
  prompt = _render('natinst_def_simplified_ex_original1', task=task)
  assert prompt.text == _FIRST + _QUERY


@pytest.mark.parametrize(
  ('text', 'shown'),
  [
    ('tea', 'Input: tea.'),
    ('  tea \n', 'Input: tea.'),
    ('tea?', 'Input: tea?'),
    ('tea-', 'Input: tea-'),
    ('tea…', 'Input: tea….'),
    ('茶。', 'Input: 茶。.'),
    ('', 'Input: .'),
    (' \n\t', 'Input: .'),
    ('a\n\nb', 'Input: a\n\nb.'),
  ],
)
def test_a_stop_follows_what_does_not_end_in_ascii_punctuation(text, shown):
  prompt = _render('natinst_def_empty_ex_empty0', text=text)
  assert prompt.text == (
    f'Now complete the following example -\n{shown}\nOutput: '
  )


def test_empty_pieces_keep_their_place():
  task = _task(' ', positive=(('', ' ', ' '),))
  prompt = _render('natinst_def_original_ex_original2_expl', task=task)
  assert prompt.text == (
    'Definition: .\n\n'
    ' Positive Example 1 -\nInput: .\n Output: .\n Explanation: .\n\n' + _QUERY
  )
  assert prompt.examples == task.positive_examples


_TEXTS = st.text(max_size=6) | st.text(' \n\t.!aé\u2028\u3000', max_size=6)
_TRIPLES = st.lists(st.tuples(_TEXTS, _TEXTS, st.none() | _TEXTS), max_size=3)


def _stop(text: str) -> str:
  return text + '.' * (text[-1] not in string.punctuation)


@given(_TEXTS, _TRIPLES, _TRIPLES, _TEXTS, st.booleans())
def test_any_text_is_set_in_the_same_frame(
  definition, positive, negative, text, explanations
):
  prompt = render(
    task=_task(definition, positive=positive, negative=negative),
    instance=_instance(text),
    condition=Condition(num_negative_examples=1, explanations=explanations),
  )
  lines = [_stop('Definition: ' + definition.strip()), '\n\n']
  for kind, examples in (
    ('Positive', positive[:2]),
    ('Negative', negative[:1]),
  ):
    for number, (given_, output, explanation) in enumerate(examples, 1):
      lines += [f' {kind} Example {number} -\n']
      lines += [_stop('Input: ' + given_.strip()), '\n']
      lines += [_stop(' Output: ' + output.strip()), '\n']
      if explanations and explanation is not None:
        lines += [_stop(' Explanation: ' + explanation.strip()), '\n']
      lines += ['\n']
  lines += ['Now complete the following example -\n']
  lines += [_stop('Input: ' + text.strip()), '\nOutput: ']
  assert prompt.text == ''.join(lines)


# In words: definition 6, an example 8, query 9, end-of-sequence 1.
@pytest.mark.parametrize(
  ('max_tokens', 'num_examples'),
  [(16, 0), (23, 0), (24, 1), (31, 1), (32, 2), (100, 2)],
)
def test_examples_are_added_while_they_fit(max_tokens, num_examples):
  prompt = _render(limit=_words(max_tokens))
  assert prompt.text == (
    _DEFINITION + ''.join([_FIRST, _SECOND][:num_examples]) + _QUERY
  )
  assert len(prompt.examples) == num_examples
  assert prompt.num_dropped_examples == 2 - num_examples
  assert not prompt.shortened


def test_adding_stops_at_the_first_that_does_not_fit():
  task = _task(positive=(('a long fire', 'yes', None), ('ice', 'no', None)))
  prompt = _render(task=task, limit=_words(24))
  assert prompt.text == _DEFINITION + _QUERY
  assert prompt.num_dropped_examples == 2


def test_negative_examples_are_tried_though_a_positive_one_did_not_fit():
  task = _task(positive=(('a long fire', 'yes', None),))
  prompt = _render(
    'natinst_def_original_ex_original1_neg1', task=task, limit=_words(24)
  )
  assert prompt.text == _DEFINITION + _NEGATIVE + _QUERY
  assert prompt.num_dropped_examples == 1
  assert [example.input for example in prompt.examples] == ['sun']


@pytest.mark.parametrize(('spare', 'num_examples'), [(0, 2), (1, 3)])
def test_kept_examples_are_joined_by_a_space_for_the_count(spare, num_examples):
  task = _task(positive=[('fire', 'yes', None)] * 3)
  name = 'natinst_def_original_ex_original3'
  whole = len(_render(name, task=task).text) + 1
  prompt = _render(name, task=task, limit=_characters(whole + spare))
  assert len(prompt.examples) == num_examples


def test_an_example_goes_if_the_space_was_what_made_it_fit():
  def encode(text: str) -> list[int]:
    return [0] * (len(text) + 40 * text.count('\n\n Positive Example 2'))

  task = _task(positive=[('fire', 'yes', None)] * 3)
  name = 'natinst_def_original_ex_original3'
  whole = len(_render(name, task=task).text) + 1
  limit = TokenLimit(encode=encode, decode=str, max_tokens=whole + 1)
  prompt = _render(name, task=task, limit=limit)
  assert limit.fits(prompt.text)
  assert len(prompt.examples) == 2
  assert prompt.num_dropped_examples == 1


# In characters: definition 31, query 54 and its input, end-of-sequence 1.
@pytest.mark.parametrize(
  ('max_tokens', 'definition', 'shown'),
  [
    (99, 'Say if it is hot', 'one two three'),
    (98, 'Say if it is hot', 'one tw three'),
    (96, 'Say if it is hot', 'one t hree'),
    (95, 'Say if it is hot', 'one hree'),
    (88, 'Say if it is hot', 'o'),
    (86, 'Say if it is hot', ''),
    (85, 'Say if it is ho', ''),
    (71, 'S', ''),
  ],
)
def test_the_middle_of_the_input_is_cut_then_the_end_of_the_definition(
  max_tokens, definition, shown
):
  prompt = _render(text='one two three', limit=_characters(max_tokens))
  assert prompt.text == (
    f'Definition: {definition}.\n\n'
    f'Now complete the following example -\nInput: {shown}.\nOutput: '
  )
  assert prompt.shortened == (max_tokens < 99)
  assert prompt.num_dropped_examples == 2


def test_the_cue_is_kept_to_the_last():
  cue = 'Now complete the following example -\nInput: .\nOutput: '
  for max_tokens in (55, 70):
    prompt = _render(text='one', limit=_characters(max_tokens))
    assert (prompt.text, prompt.shortened) == (cue, True)
  with pytest.raises(InputError) as error:
    _render(text='one', limit=_characters(54))
  assert str(error.value) == (
    'the limit of 54 input tokens has no room for the cue of a prompt '
    "(instance 'task1-0'); raise TASK_FEATURE_LENGTHS['inputs']."
  )


_LIMITS = {
  'characters': lambda text: len(text),
  'words': lambda text: len(text.split()),
  # Two tokens for a space before a letter that is rare: not monotone.
  'uneven': lambda text: (
    len(text) + 3 * text.count(' a') + 5 * text.count('aa')
  ),
}


@given(
  st.sampled_from(sorted(_LIMITS)),
  st.text('aab .\n', max_size=30),
  st.text('aab .\n', max_size=30),
  _TRIPLES,
  st.sampled_from(['original', 'simplified', 'empty']),
  st.booleans(),
  st.integers(85, 160),
)
def test_a_prompt_is_within_its_limit(
  tokenizer, definition, text, positive, level, matched_budget, max_tokens
):
  task = _task(definition, positive=positive)
  condition = Condition(definition=level, matched_budget=matched_budget)
  limit = TokenLimit(
    encode=lambda text: [0] * _LIMITS[tokenizer](text),
    decode=str,
    max_tokens=max_tokens,
  )
  fields = {'task': task, 'instance': _instance(text), 'condition': condition}
  prompt = render(**fields, limit=limit)
  bare = Condition(
    definition=level,
    examples='empty',
    num_examples=0,
    matched_budget=matched_budget,
  )
  frame = render(**(fields | {'condition': bare}))
  assert limit.fits(prompt.text)
  assert prompt.text.endswith('\nOutput: ')
  assert 'Now complete the following example -\nInput: ' in prompt.text
  if limit.fits(frame.text) and not matched_budget:
    assert not prompt.shortened
  if not limit.fits(frame.text):
    assert prompt.shortened
  whole = render(**fields)
  assert (prompt.text == whole.text) == (
    not prompt.shortened and prompt.num_dropped_examples == 0
  )


def _shown_input(prompt: Prompt) -> str:
  return prompt.text.rpartition('\nInput: ')[2].removesuffix('\nOutput: ')


def test_a_matched_budget_shows_the_same_instance_everywhere():
  text = 'one two three four five'
  levels = ('original', 'simplified', 'empty')
  shown = {}
  for suffix in ('', '_budget'):
    shown[suffix] = [
      _shown_input(
        _render(
          f'natinst_def_{level}_ex_empty0{suffix}',
          text=text,
          limit=_characters(100),
        )
      )
      for level in levels
    ]
  # 'Possible outputs: yes, no' is longer than this definition.
  assert shown[''] == ['one two r five.', 'on ve.', f'{text}.']
  assert shown['_budget'] == ['on ve.'] * 3


def test_a_matched_budget_counts_levels_of_the_users_own():
  name = 'natinst_def_empty_ex_empty0_budget'
  DEFINITION_LEVELS.register('long', lambda **_: 'word ' * 6)
  try:
    prompt = _render(name, text='one two three', limit=_characters(100))
  finally:
    DEFINITION_LEVELS.unregister('long')
  assert _shown_input(prompt) == 'o.'
  assert prompt.shortened


def test_a_matched_budget_shortens_nothing_that_is_empty():
  prompt = _render(
    'natinst_def_empty_ex_empty0_budget', text=' ', limit=_characters(60)
  )
  assert prompt.text == (
    'Now complete the following example -\nInput: .\nOutput: '
  )
  assert not prompt.shortened


def test_tk_truncation_cuts_the_end():
  name = 'natinst_def_original_ex_empty0_trunctk'
  prompt = _render(name, text='one two three', limit=_characters(80))
  assert prompt.text == (
    _DEFINITION + 'Now complete the following example -\nInput: one t'
  )
  assert prompt.shortened
  prompt = _render(name, text='one two three', limit=_characters(99))
  assert prompt.text == _DEFINITION + _QUERY.replace('tea', 'one two three')
  assert not prompt.shortened


def test_tk_truncation_tidies_what_it_decodes():
  name = 'natinst_def_empty_ex_empty0_trunctk'
  text = "it 's , they 've ' so ' ! I 'm n't you 're ? end ."
  prompt = _render(name, text=text + ' more' * 9, limit=_characters(94))
  assert prompt.text == (
    'Now complete the following example -\n'
    "Input: it's, they've'so '! I'mn't you're? end."
  )


def test_tk_truncation_drops_examples_first():
  prompt = _render(
    'natinst_def_original_ex_original2_trunctk', limit=_words(24)
  )
  assert prompt.text == _DEFINITION + _FIRST + _QUERY
  assert not prompt.shortened


def test_targets_are_drawn_by_seed_and_id():
  instance = _instance(outputs=('a', 'b', 'c'))
  drawn = [
    choose_target(instance=instance, condition=Condition(seed=seed))
    for seed in range(8)
  ]
  assert drawn == ['c', 'a', 'a', 'c', 'c', 'c', 'a', 'c']
  assert choose_target(instance=_instance(), condition=Condition()) == 'yes'


def test_real_prompts_end_in_the_cue(natinst_dir):
  corpus = natinst.open_corpus(natinst_dir)
  name = corpus.test_tasks[0]
  for instance in corpus.instances(name, 'test'):
    prompt = render(
      task=corpus.load(name).task,
      instance=instance,
      condition=Condition(),
      limit=_words(60),
    )
    assert prompt.text.startswith('Definition: ')
    assert prompt.text.endswith('\nOutput: ')
    assert len(prompt.text.split()) < 60
