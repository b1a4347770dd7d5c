"""Tests of rendering promptsource's templates."""

import pytest

from it_study.data.p3.rendering import Prompt, Renderer
from it_study.data.p3.templates import Template
from it_study.errors import InputError

ROW = {
  'premise': 'It rained.',
  'question': 'cause',
  'endings': ['We got wet.', 'We slept.'],
  'label': 1,
}


def render(jinja, choices=None, *, row=ROW, id='r', **settings):
  template = Template(
    data_set='d',
    name='t',
    jinja=jinja,
    answer_choices=choices,
    original_task=True,
  )
  return Renderer(template, fields=tuple(ROW), **settings).render(row, id=id)


def refused(*args, **settings):
  with pytest.raises(InputError) as raised:
    render(*args, **settings)
  return str(raised.value)


def test_a_template_is_split_into_prompt_and_target():
  assert render(
    '{{premise}}\n\nNext: {{answer_choices | join(" or ")}}? ||| \n'
    '{% if label != -1 %} {{answer_choices[label]}} {% endif %}',
    '{{endings | join("|||")}}',
  ) == Prompt(
    inputs='It rained.\n\nNext: We got wet. or We slept.?',
    targets='We slept.',
    answer_choices=('We got wet.', 'We slept.'),
  )
  assert render('{{premise}} ||| x').answer_choices == ()


def test_a_separator_in_the_data_does_not_split():
  row = {**ROW, 'premise': 'a ||| b', 'endings': ['c|||d', 'e']}
  assert render(
    '{{premise}} ||| {{answer_choices[0]}}',
    '{{endings[0]}} ||| {{endings[1]}}',
    row=row,
  ) == Prompt('a ||| b', 'c|||d', ('c|||d', 'e'))


@pytest.mark.parametrize(
  'jinja',
  [
    '{% if question == "effect" %} {{premise}} ||| x {% endif %}',
    '{{premise}} ||| {% if label != 1 %} x {% endif %}',
  ],
)
def test_a_template_leaves_rows_out(jinja):
  assert render(jinja) is None


def test_what_a_template_draws_depends_on_the_row_alone():
  jinja = '{{ range(1000) | list | choice }} {{ premise }} ||| x'
  drawn = [render(jinja, id=str(n)).inputs for n in range(4)]
  assert drawn == [render(jinja, id=str(n)).inputs for n in range(4)]
  assert len(set(drawn)) == 4
  assert drawn[0] == '444 It rained.'


@pytest.mark.parametrize(
  ('jinja', 'inputs'),
  [
    (
      'Say {{"yes"}} or no: {{premise}} {% if question == "cause" %} Why '
      '{% endif %} {{answer_choices | join(", ")}} ||| {{answer_choices[1]}}',
      'It rained.\nWe got wet.\nWe slept.',
    ),
    # In the order of the template, once, choices last.
    (
      '{{question}}{{label}} {{endings[0]}} {{premise.upper()}} '
      '{{premise.upper()}} ||| {{endings[1]}}',
      'cause1\nIT RAINED.\nWe got wet.\nWe slept.',
    ),
    # Variables count as what they hold.
    (
      '{% set asks = ["Why?"] %}{{asks | choice}} {% set text = premise %}'
      '{{text}} {% for e in endings %}- {{e}}: {{loop.index}} {% endfor %} ||| '
      '{{endings[1]}}',
      'It rained.\nWe got wet.\nWe slept.',
    ),
  ],
)
def test_a_simplified_prompt_has_no_literal_text(jinja, inputs):
  choices = '{{endings | join("|||")}}'
  prompt = render(jinja, choices, is_simplified=True)
  assert prompt == Prompt(inputs, 'We slept.', ('We got wet.', 'We slept.'))


def test_a_simplified_prompt_draws_what_the_original_draws():
  jinja = (
    '{{ [1, 2, 3, 4] | choice }} '
    '{% set place = range(1000) | choice %}{{ [premise, place] }} ||| x'
  )
  original = render(jinja).inputs
  assert original[2:] == render(jinja, is_simplified=True).inputs


def test_an_endless_loop_is_stopped():
  message = "template 't' of d, row r: its loops visit more than 10000 items."
  nested = '{% for n in range(99999) %}'
  assert refused(nested * 4 + '{% endfor %}' * 4 + '||| x') == message
  assert message == refused(
    '{% set l = [1] %}{% for n in l %}{% set _ = l.append(n) %}{% endfor %} |||'
  )
  loop = '{{% for n in range({}) %}}{{% endfor %}} {{{{premise}}}} ||| x'
  assert refused(loop.format(10_001)) == message
  assert render(loop.format(10_000)) == Prompt('It rained.', 'x', ())


@pytest.mark.parametrize(
  ('jinja', 'operator'),
  [
    ('{{ 9 ** (9 ** 9) }} ||| x', '**'),
    ('{{ premise * 99999999999 }} ||| x', '*'),
    ('{{ "%99999999999d" % 3 }} ||| x', '%'),
  ],
)
def test_an_operator_without_a_bound_is_refused(jinja, operator):
  assert refused(jinja) == (
    f"template 't' of d, row r: {operator!r} is refused, as its result may be "
    "too large; a template may use '*' and '%' between numbers."
  )
  assert render('{{ 2 * 3 % 4 }} ||| x') == Prompt('2', 'x', ())


@pytest.mark.parametrize(
  ('jinja', 'message'),
  [
    (
      '{{lipsum(n=999999999)}} ||| x',
      " reads 'lipsum'; its rows have premise, question, endings, label.",
    ),
    (
      '{{premise.__class__}} ||| x',
      ", row r: access to attribute '__class__' of 'str' object is unsafe.",
    ),
    (
      '{{"{0.__class__}".format(premise)}} ||| x',
      ", row r: access to attribute '__class__' of 'str' object is unsafe.",
    ),
    (
      '{{premis}} ||| x',
      " reads 'premis'; its rows have premise, question, endings, label."
      " Did you mean 'premise'?",
    ),
    (
      '{{endings[2]}} ||| x',
      ', row r: list object has no element 2',
    ),
    ('{{premise ||| x', ": line 1: expected token 'name', got '|'"),
    (
      '{{premise | shout}} ||| x',
      ": line 1: No filter named 'shout'.",
    ),
    (
      '{% macro f() %}{{f()}}{% endmacro %} ||| x',
      ': line 1: a template must not define macros, loop recursively or '
      'include files.',
    ),
    (
      '\n{% for e in endings recursive %}{{loop(endings)}}{% endfor %}',
      ': line 2: a template must not define macros, loop recursively or '
      'include files.',
    ),
    (
      'a',
      ", row r: 0 separators '|||'; expected one, between prompt and target.",
    ),
    (
      'a ||| b ||| c',
      ", row r: 2 separators '|||'; expected one, between prompt and target.",
    ),
  ],
)
def test_a_bad_template_is_refused_in_a_line(jinja, message):
  assert refused(jinja) == f"template 't' of d{message}"


def test_a_target_that_is_no_choice_is_refused():
  assert refused('{{premise}} ||| maybe', 'yes ||| no') == (
    "template 't' of d, row r: the target is 'maybe', which is none of the "
    "answer choices ['yes', 'no']."
  )
