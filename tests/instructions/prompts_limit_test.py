"""Tests for it_study.instructions.prompts: what goes when tokens run out."""

import dataclasses

from hypothesis import given, strategies as st
from prompts_fixture import (
  DEFINITION,
  FIRST,
  NEGATIVE,
  QUERY,
  SECOND,
  TRIPLES,
  make_instance,
  make_task,
  render_named,
)
import pytest

from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.corpus import natinst
from it_study.errors import InputError
from it_study.instructions.prompts import Prompt, TokenLimit, render


def _words(max_tokens: int) -> TokenLimit:
  """Returns a limit with one token per word."""
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
  """Returns a limit with one token per character."""
  return TokenLimit(
    encode=lambda text: [ord(character) for character in text],
    decode=lambda ids: ''.join(map(chr, ids)),
    max_tokens=max_tokens,
  )


# In words: definition 6, an example 8, query 9, end-of-sequence 1.
@pytest.mark.parametrize(
  ('max_tokens', 'num_examples'),
  [(16, 0), (23, 0), (24, 1), (31, 1), (32, 2), (100, 2)],
)
def test_examples_are_added_while_they_fit(max_tokens, num_examples):
  prompt = render_named(limit=_words(max_tokens))
  assert prompt.text == (
    DEFINITION + ''.join([FIRST, SECOND][:num_examples]) + QUERY
  )
  assert len(prompt.examples) == num_examples
  assert prompt.num_dropped_examples == 2 - num_examples
  assert not prompt.shortened


def test_adding_stops_at_the_first_that_does_not_fit():
  task = make_task(positive=(('a long fire', 'yes', None), ('ice', 'no', None)))
  prompt = render_named(task=task, limit=_words(24))
  assert prompt.text == DEFINITION + QUERY
  assert prompt.num_dropped_examples == 2


def test_negative_examples_are_tried_after_a_positive_one_did_not_fit():
  task = make_task(positive=(('a long fire', 'yes', None),))
  prompt = render_named(
    'natinst_def_original_ex_original1_neg1', task=task, limit=_words(24)
  )
  assert prompt.text == DEFINITION + NEGATIVE + QUERY
  assert prompt.num_dropped_examples == 1
  assert [example.input for example in prompt.examples] == ['sun']


# The pieces have 9 tokens in total; the text has 4.
@pytest.mark.parametrize(
  ('max_tokens', 'margin', 'fits', 'encoded'),
  [
    (10, 0, True, 0),
    (9, 0, False, 0),
    (12, 2, True, 0),
    (11, 2, True, 1),
    (10, 2, True, 1),
    (9, 2, True, 1),
    (8, 2, True, 1),
    (7, 2, False, 0),
    (4, 7, False, 1),
  ],
)
def test_pieces_are_counted_and_the_text_only_where_it_is_close(
  max_tokens, margin, fits, encoded
):
  texts = []

  def encode(text: str) -> list[int]:
    texts.append(text)
    return [0] * 4

  limit = TokenLimit(
    encode=encode,
    decode=str,
    max_tokens=max_tokens,
    count=lambda piece: 3 * len(piece),
    margin=margin,
  )
  assert limit.fits('a', '', 'bc') == fits
  assert texts == ['abc'] * encoded


@pytest.mark.parametrize(('spare', 'num_examples'), [(0, 2), (1, 3)])
def test_kept_examples_are_joined_by_a_space_for_the_count(spare, num_examples):
  task = make_task(positive=[('fire', 'yes', None)] * 3)
  name = 'natinst_def_original_ex_original3'
  whole = len(render_named(name, task=task).text) + 1
  limit = _characters(whole + spare)
  counted = dataclasses.replace(limit, count=len)
  for each in (limit, counted):
    prompt = render_named(name, task=task, limit=each)
    assert len(prompt.examples) == num_examples


def test_an_example_that_fits_only_with_spaces_is_dropped():
  def encode(text: str) -> list[int]:
    return [0] * (len(text) + 40 * text.count('\n\n Positive Example 2'))

  task = make_task(positive=[('fire', 'yes', None)] * 3)
  name = 'natinst_def_original_ex_original3'
  whole = len(render_named(name, task=task).text) + 1
  limit = TokenLimit(encode=encode, decode=str, max_tokens=whole + 1)
  prompt = render_named(name, task=task, limit=limit)
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
  prompt = render_named(text='one two three', limit=_characters(max_tokens))
  assert prompt.text == (
    f'Definition: {definition}.\n\n'
    f'Now complete the following example -\nInput: {shown}.\nOutput: '
  )
  assert prompt.shortened == (max_tokens < 99)
  assert prompt.num_dropped_examples == 2


def test_the_cue_is_kept_longest():
  cue = 'Now complete the following example -\nInput: .\nOutput: '
  for max_tokens in (55, 70):
    prompt = render_named(text='one', limit=_characters(max_tokens))
    assert (prompt.text, prompt.shortened) == (cue, True)
  with pytest.raises(InputError) as error:
    render_named(text='one', limit=_characters(54))
  assert str(error.value) == (
    'the limit of 54 input tokens has no room for the cue of a prompt '
    "(instance 'task1-0'); raise TASK_FEATURE_LENGTHS['inputs'] or "
    '--max_input_length.'
  )


_LIMITS = {
  'characters': lambda text: len(text),
  'words': lambda text: len(text.split()),
  # A text may need fewer tokens than its own beginning and end.
  'uneven': lambda text: (
    len(text) + 3 * text.count(' a') + 5 * text.count('aa')
  ),
}


@given(
  st.sampled_from(sorted(_LIMITS)),
  st.text('aab .\n', max_size=30),
  st.text('aab .\n', max_size=30),
  TRIPLES,
  st.sampled_from(['original', 'simplified', 'empty']),
  st.booleans(),
  st.integers(85, 160),
)
def test_a_prompt_is_within_its_limit(
  tokenizer, definition, text, positive, level, matched_budget, max_tokens
):
  task = make_task(definition, positive=positive)
  condition = Condition(definition=level, matched_budget=matched_budget)
  limit = TokenLimit(
    encode=lambda text: [0] * _LIMITS[tokenizer](text),
    decode=str,
    max_tokens=max_tokens,
  )
  fields = {
    'task': task,
    'instance': make_instance(text),
    'condition': condition,
  }
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
  levels = ('original', 'simplified', 'empty', 'renamed')
  shown = {}
  for suffix in ('', '_budget'):
    shown[suffix] = [
      _shown_input(
        render_named(
          f'natinst_def_{level}_ex_empty0{suffix}',
          text=text,
          limit=_characters(160),
        )
      )
      for level in levels
    ]
  # Only the list of new names is too long.
  assert shown[''] == [f'{text}.'] * 3 + ['one two our five.']
  assert shown['_budget'] == ['one two our five.'] * 4


def test_a_matched_budget_includes_custom_levels():
  name = 'natinst_def_empty_ex_empty0_budget'
  DEFINITION_LEVELS.register('long', lambda **_: 'word ' * 18)
  try:
    prompt = render_named(name, text='one two three', limit=_characters(160))
  finally:
    DEFINITION_LEVELS.unregister('long')
  assert _shown_input(prompt) == 'o.'
  assert prompt.shortened


def test_a_matched_budget_ignores_levels_without_a_definition():
  # The only task of its kind has no other definition.
  task = make_task()
  prompt = render(
    task=task,
    instance=make_instance(),
    condition=Condition.from_name('natinst_def_empty_ex_empty0_budget'),
    limit=_characters(200),
    tasks={task.name: task},
  )
  assert _shown_input(prompt) == 'tea.'


def test_a_matched_budget_shortens_nothing_that_is_empty():
  prompt = render_named(
    'natinst_def_empty_ex_empty0_budget', text=' ', limit=_characters(60)
  )
  assert prompt.text == (
    'Now complete the following example -\nInput: .\nOutput: '
  )
  assert not prompt.shortened


def test_a_matched_budget_cuts_no_definition_that_fits():
  prompt = render_named(
    'natinst_def_original_ex_empty0_budget',
    task=make_task(''),
    limit=_characters(75),
  )
  # 'Possible outputs: yes, no' leaves no room for the instance.
  assert prompt.text == 'Definition: .\n\n' + QUERY.replace('tea', '')
  assert prompt.shortened


def test_tk_truncation_cuts_the_end():
  name = 'natinst_def_original_ex_empty0_trunctk'
  prompt = render_named(name, text='one two three', limit=_characters(80))
  assert prompt.text == (
    DEFINITION + 'Now complete the following example -\nInput: one t'
  )
  assert prompt.shortened
  prompt = render_named(name, text='one two three', limit=_characters(99))
  assert prompt.text == DEFINITION + QUERY.replace('tea', 'one two three')
  assert not prompt.shortened


def test_tk_truncation_cleans_up_decoded_text():
  name = 'natinst_def_empty_ex_empty0_trunctk'
  text = "it 's , they 've ' so ' ! I 'm n't you 're ? end ."
  prompt = render_named(name, text=text + ' more' * 9, limit=_characters(94))
  assert prompt.text == (
    'Now complete the following example -\n'
    "Input: it's, they've'so '! I'mn't you're? end."
  )


def test_tk_truncation_drops_examples_first():
  prompt = render_named(
    'natinst_def_original_ex_original2_trunctk', limit=_words(24)
  )
  assert prompt.text == DEFINITION + FIRST + QUERY
  assert not prompt.shortened


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
