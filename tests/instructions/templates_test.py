"""Tests for it_study.conditions.templates, and prompts that use them."""

import dataclasses

from prompts_fixture import (
  FAQ,
  FORM,
  faq_and_form,  # noqa: F401  A fixture.
  make_instance,
  make_task,
  render_named,
)
import pytest

from it_study.conditions import (
  PROMPT_TEMPLATES,
  Condition,
  PromptTemplate,
  sweep,
)
from it_study.errors import InputError
from it_study.instructions import prompt_spans
from it_study.instructions.prompts import TokenLimit

pytestmark = pytest.mark.usefixtures('faq_and_form')


@pytest.mark.parametrize(
  ('name', 'text'),
  [
    (
      'faq_def_original_ex_original2',
      'Q1: fire\nA: yes\n\nQ2: ice\nA: no\n\nText: tea\n\n'
      'Task: Say if it is hot\nAnswer: ',
    ),
    (
      'faq_def_simplified_ex_original1',
      'Q1: fire\nA: yes\n\nText: tea\n\nTask: Possible outputs: yes, no\n'
      'Answer: ',
    ),
    (
      'faq_def_empty_ex_delusive1_srcswap',
      'Q1: fire\nA: no\n\nText: tea\nAnswer: ',
    ),
    ('faq_def_empty_ex_empty0', 'Text: tea\nAnswer: '),
    (
      'faq_def_empty_ex_original2_neg1_expl',
      'Q1: fire\nA: yes\nWhy: Fire burns\n\nQ2: ice\nA: no\n\n'
      'Q: sun\nNot: no\nWhy: It is.\n\nText: tea\nAnswer: ',
    ),
    (
      'faq_def_flipped_ex_original1',
      'Q1: fire\nA: no\n\nText: tea\n\n'
      'Task: Say if it is hot. Rename the outputs: yes becomes no, no becomes '
      'yes.\nAnswer: ',
    ),
    (
      'form_def_original_ex_original2',
      '{fire.} = yes.\n{ice.} = no.\n[Say if it is hot.]\n<tea.> = ',
    ),
    ('form_def_empty_ex_empty0', '<tea.> = '),
    (
      'faq_def_original_ex_empty0_inputempty',
      'Text: \n\nTask: Say if it is hot\nAnswer: ',
    ),
  ],
)
def test_a_template_gives_exact_prompts(name, text):
  prompt = render_named(name)
  assert prompt.text == text
  assert ''.join(prompt.pieces) == text


def test_braces_in_texts_are_kept():
  prompt = render_named('faq_def_empty_ex_empty0', text='{output} {{x}')
  assert prompt.text == 'Text: {output} {{x}\nAnswer: '


@pytest.mark.parametrize(
  ('name', 'kinds'),
  [
    (
      'faq_def_original_ex_original1_neg1',
      [
        ('example 1', 'Q1: fire\nA: yes\n\n'),
        ('negative example 1', 'Q: sun\nNot: no\n\n'),
        ('cue', 'Text: '),
        ('input', 'tea'),
        ('cue', '\n\n'),
        ('definition', 'Task: Say if it is hot'),
        ('cue', '\nAnswer: '),
      ],
    ),
    (
      'faq_def_empty_ex_empty0',
      [('cue', 'Text: '), ('input', 'tea'), ('cue', '\nAnswer: ')],
    ),
    (
      'form_def_original_ex_original1',
      [
        ('example 1', '{fire.} = yes.\n'),
        ('definition', '[Say if it is hot.]\n'),
        ('cue', '<'),
        ('input', 'tea'),
        ('cue', '.> = '),
      ],
    ),
  ],
)
def test_spans_follow_the_template(name, kinds):
  prompt = render_named(name)
  assert [
    (span.kind, prompt.text[span.start : span.end])
    for span in prompt_spans.spans(prompt, instance=make_instance())
  ] == kinds


def _limit(most: int) -> TokenLimit:
  return TokenLimit(
    encode=lambda text: list(text.encode()),
    decode=lambda ids: bytes(ids).decode(),
    max_tokens=most,
  )


@pytest.mark.parametrize(
  ('most', 'text', 'kept', 'definition'),
  [
    # Both examples fit, then one, then none.
    (75, 'Q1: fire\nA: yes\n\nQ2: ice\nA: no\n\nText: tea\n\n'
     'Task: Say if it is hot\nAnswer: ', 1, 16),
    (74, 'Q1: fire\nA: yes\n\nText: tea\n\n'
     'Task: Say if it is hot\nAnswer: ', 1, 16),
    (43, 'Text: tea\n\nTask: Say if it is hot\nAnswer: ', 1, 16),
    # The middle of the input is cut, then the end of the definition.
    (42, 'Text: t\n\nTask: Say if it is hot\nAnswer: ', 1 / 3, 16),
    (36, 'Text: \n\nTask: Say if it is\nAnswer: ', 0, 12),
  ],
)  # fmt: skip
def test_a_limit_cuts_by_the_same_rule(most, text, kept, definition):
  name = 'faq_def_original_ex_original2'
  prompt = render_named(name, limit=_limit(most))
  assert prompt.text == text
  assert len(text.encode()) + 1 <= most
  assert prompt.num_dropped_examples == 2 - text.count('A: ')
  found = prompt_spans.kept_input(prompt, instance=make_instance())
  assert found.share == pytest.approx(kept)
  whole = render_named(name)
  assert prompt_spans.kept_definition(prompt, whole=whole) == (definition, 16)


def test_names_have_the_prefix_and_are_parsed_back():
  condition = Condition(
    prefix='faq', definition='shuffled', examples='delusive', seed=3
  )
  assert condition.name == 'faq_def_shuffled_ex_delusive2_s3'
  assert Condition.from_name(condition.name) == condition
  assert condition.with_original_instructions().prefix == 'faq'
  names = [c.name for c in sweep(prefix='form', experiments=('original',))]
  assert names == ['form_def_original_ex_original2']


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    (
      'fag_def_original_ex_original2',
      "condition 'fag_def_original_ex_original2': prompt prefix 'fag' is "
      "unknown; available: natinst, faq, form. Did you mean 'faq'?",
    ),
    (
      'mine_def_original_ex_original2',
      "condition 'mine_def_original_ex_original2': prompt prefix 'mine' is "
      'unknown; available: natinst, faq, form. Name the module that registers '
      'it: --module or MIXTURE_OR_TASK_MODULE.',
    ),
    (
      'faq_def_original_ex_orignal',
      "'faq_def_original_ex_orignal' is not a condition. A name reads "
      'faq_def_{LEVEL}_ex_{LEVEL}{COUNT}, followed by suffixes that are not at '
      'their default, in this order: _neg, _expl, _trunctk, _budget, _src, _n, '
      '_t, _s, _fmt, _tgt, _inputempty, _sep. Did you mean '
      "'faq_def_original_ex_original2'?",
    ),
    (
      'faq_def_orignal_ex_original2',
      "condition 'faq_def_orignal_ex_original2': definition level 'orignal' is "
      'unknown; available: original, simplified, empty, shuffled, renamed, '
      'renamedletters, renameddigits, renamedsymbols, flipped, nolabels, '
      "keep25, keep50, keep75, wordshuffled. Did you mean 'original'?",
    ),
    (
      'form_def_original_ex_original2_neg1',
      "condition 'form_def_original_ex_original2_neg1': _neg1: the template of "
      "'form' has no negative_example.",
    ),
    (
      'form_def_original_ex_original2_expl',
      "condition 'form_def_original_ex_original2_expl': _expl: the template of "
      "'form' has no explanation.",
    ),
    (
      'faq_def_original_ex_original2_sep3',
      "condition 'faq_def_original_ex_original2_sep3': _sep3 is for the "
      "template of Tk-Instruct; the template of 'faq' is another.",
    ),
    (
      'faq_def_original_ex_original2_trunctk',
      "condition 'faq_def_original_ex_original2_trunctk': _trunctk is for the "
      "template of Tk-Instruct; the template of 'faq' is another.",
    ),
  ],
)
def test_bad_names_are_explained(name, message):
  with pytest.raises(InputError) as error:
    Condition.from_name(name)
  assert str(error.value) == message


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      {'example': '{input} {outptu}'},
      'prompt template: example reads {outptu}; it has {input} and {output} '
      "and {number}. Did you mean 'output'?",
    ),
    (
      {'example': '{input}'},
      "prompt template: example is '{input}'; it must hold {output} once.",
    ),
    (
      {'input': '{input} {input}'},
      "prompt template: input is '{input} {input}'; it must hold {input} once.",
    ),
    (
      {'cue': 'Answer {number}: '},
      'prompt template: cue reads {number}; it has no name in braces.',
    ),
    (
      {'definition': 'Do {definition'},
      "prompt template: definition is 'Do {definition': expected '}' before "
      'end of string. Write {{ for a brace.',
    ),
    (
      {'definition': '{definition.__class__}'},
      'prompt template: definition reads {definition.__class__}; it has '
      "{definition}. Did you mean 'definition'?",
    ),
    (
      {'definition': '{definition!r}'},
      "prompt template: definition is '{definition!r}': only names may be in "
      'braces. Write {{ for a brace.',
    ),
    ({'cue': None}, 'prompt template: cue is None; expected a text.'),
    (
      {'order': ('input', 'definition')},
      "prompt template: order is ('input', 'definition'); expected one of "
      "('definition', 'examples', 'input'), ('examples', 'definition', "
      "'input'), ('examples', 'input', 'definition').",
    ),
    (
      {'separator': ' '},
      "prompt template: separator is ' '; it must end in a line break.",
    ),
  ],
)
def test_a_bad_template_is_refused(change, message):
  with pytest.raises(InputError) as error:
    dataclasses.replace(FAQ, **change)
  assert str(error.value) == message


def test_a_prefix_has_one_template():
  PROMPT_TEMPLATES.register('faq', dataclasses.replace(FAQ))
  with pytest.raises(InputError) as error:
    PROMPT_TEMPLATES.register('faq', FORM)
  assert str(error.value) == (
    "prompt prefix 'faq' is already registered with another template."
  )
  with pytest.raises(InputError) as error:
    PROMPT_TEMPLATES.register('my_task', FORM)
  assert str(error.value) == (
    "prompt prefix 'my_task': use letters a to z and digits, a letter first."
  )
  with pytest.raises(InputError) as error:
    PROMPT_TEMPLATES.register('text', 'Do {definition}')
  assert str(error.value) == (
    "prompt prefix 'text' is 'Do {definition}'; expected a PromptTemplate."
  )


def test_a_template_may_be_that_of_tk_instruct():
  PROMPT_TEMPLATES.register('plain')
  try:
    for suffix in ('def_original_ex_original2', 'def_empty_ex_empty0_sep3'):
      assert (
        render_named(f'plain_{suffix}').text
        == render_named(f'natinst_{suffix}').text
      )
  finally:
    PROMPT_TEMPLATES.unregister('plain')


def test_a_shuffled_definition_is_that_of_another_task():
  from it_study.instructions import prompts

  task = make_task()
  other = dataclasses.replace(
    task, name='task2_b', definition='Say if it is old', categories=('Age',)
  )
  prompt = prompts.render(
    task=task,
    instance=make_instance(),
    condition=Condition.from_name('faq_def_shuffled_ex_empty0'),
    tasks={'task1_a': task, 'task2_b': other},
  )
  assert prompt.text == 'Text: tea\n\nTask: Say if it is old\nAnswer: '


def test_a_list_may_give_the_order():
  template = PromptTemplate(
    definition='{definition}',
    example='{input}{output}',
    input='{input}',
    cue='',
    order=['definition', 'examples', 'input'],
  )
  assert hash(template) == hash(dataclasses.replace(template))
