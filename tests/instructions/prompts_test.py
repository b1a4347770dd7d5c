"""Tests for it_study.instructions.prompts: the format."""

import string

from hypothesis import given, strategies as st
from prompts_fixture import (
  DEFINITION,
  FIRST,
  NEGATIVE,
  QUERY,
  SECOND,
  TEXTS,
  TRIPLES,
  make_instance,
  make_task,
  render_named,
)
import pytest

from it_study.conditions import Condition
from it_study.instructions.prompts import choose_target, render


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    (
      'natinst_def_original_ex_original2',
      DEFINITION + FIRST + SECOND + QUERY,
    ),
    ('natinst_def_original_ex_original1', DEFINITION + FIRST + QUERY),
    ('natinst_def_original_ex_empty0', DEFINITION + QUERY),
    ('natinst_def_empty_ex_original2', FIRST + SECOND + QUERY),
    ('natinst_def_empty_ex_empty0', QUERY),
    (
      'natinst_def_simplified_ex_original1',
      'Definition: Possible outputs: yes, no.\n\n' + FIRST + QUERY,
    ),
    (
      'natinst_def_original_ex_delusive1_srcswap',
      DEFINITION
      + ' Positive Example 1 -\nInput: fire.\n Output: no.\n\n'
      + QUERY,
    ),
    (
      'natinst_def_original_ex_original2_neg1',
      DEFINITION + FIRST + SECOND + NEGATIVE + QUERY,
    ),
    ('natinst_def_original_ex_empty0_neg1', DEFINITION + NEGATIVE + QUERY),
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
def test_prompts_are_rendered_exactly(name, text):
  prompt = render_named(name)
  assert prompt.text == text
  assert (prompt.num_dropped_examples, prompt.shortened) == (0, False)


def test_simplified_generation_has_no_definition():
  task = make_task(label_space=None)
  prompt = render_named('natinst_def_simplified_ex_original1', task=task)
  assert prompt.text == FIRST + QUERY


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
def test_a_full_stop_follows_text_without_final_ascii_punctuation(text, shown):
  prompt = render_named('natinst_def_empty_ex_empty0', text=text)
  assert prompt.text == (
    f'Now complete the following example -\n{shown}\nOutput: '
  )


def test_empty_pieces_keep_their_place():
  task = make_task(' ', positive=(('', ' ', ' '),))
  prompt = render_named('natinst_def_original_ex_original2_expl', task=task)
  assert prompt.text == (
    'Definition: .\n\n'
    ' Positive Example 1 -\nInput: .\n Output: .\n Explanation: .\n\n' + QUERY
  )
  assert prompt.examples == task.positive_examples


def _stop(text: str) -> str:
  return text + '.' * (text[-1] not in string.punctuation)


@given(TEXTS, TRIPLES, TRIPLES, TEXTS, st.booleans())
def test_any_text_is_rendered_in_the_same_format(
  definition, positive, negative, text, explanations
):
  prompt = render(
    task=make_task(definition, positive=positive, negative=negative),
    instance=make_instance(text),
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


def test_targets_are_drawn_by_seed_and_id():
  instance = make_instance(outputs=('a', 'b', 'c'))
  drawn = [
    choose_target(instance=instance, condition=Condition(seed=seed))
    for seed in range(8)
  ]
  assert drawn == ['c', 'a', 'a', 'c', 'c', 'c', 'a', 'c']
  assert choose_target(instance=make_instance(), condition=Condition()) == 'yes'


def test_a_prompt_without_input_keeps_its_examples():
  name = 'natinst_def_original_ex_original1_inputempty'
  assert render_named(name).text == (
    f'{DEFINITION}{FIRST}'
    'Now complete the following example -\nInput: .\nOutput: '
  )
