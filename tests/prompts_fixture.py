"""A task to render, and what its prompts are made of."""

from collections.abc import Iterator

from hypothesis import strategies as st
import pytest

from it_study.conditions import PROMPT_TEMPLATES, Condition, PromptTemplate
from it_study.corpus.natinst import Example, Instance, Task
from it_study.instructions.prompts import Prompt, render

DEFINITION = 'Definition: Say if it is hot.\n\n'
FIRST = ' Positive Example 1 -\nInput: fire.\n Output: yes.\n\n'
SECOND = ' Positive Example 2 -\nInput: ice.\n Output: no.\n\n'
NEGATIVE = ' Negative Example 1 -\nInput: sun.\n Output: no.\n\n'
QUERY = 'Now complete the following example -\nInput: tea.\nOutput: '

TEXTS = st.text(max_size=6) | st.text(' \n\t.!aé\u2028\u3000', max_size=6)
TRIPLES = st.lists(st.tuples(TEXTS, TEXTS, st.none() | TEXTS), max_size=3)


def make_task(
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


def make_instance(text='tea', outputs=('yes',)) -> Instance:
  return Instance(id='task1-0', input=text, outputs=outputs, position=0)


def render_named(
  name='natinst_def_original_ex_original2', *, task=None, text='tea', limit=None
) -> Prompt:
  return render(
    task=task or make_task(),
    instance=make_instance(text),
    condition=Condition.from_name(name),
    limit=limit,
  )


# Ends of texts are as they are, and the definition comes last.
FAQ = PromptTemplate(
  definition='Task: {definition}',
  example='Q{number}: {input}\nA: {output}',
  negative_example='Q: {input}\nNot: {output}',
  explanation='\nWhy: {explanation}',
  input='Text: {input}',
  cue='\nAnswer: ',
  order=('examples', 'input', 'definition'),
)
# A full stop after each text, as in Tk-Instruct, and another separator.
FORM = PromptTemplate(
  definition='[{definition}]',
  example='{{{input}}} = {output}',
  input='<{input}>',
  cue=' = ',
  separator='\n',
  order=('examples', 'definition', 'input'),
  full_stops=True,
)


@pytest.fixture(scope='module')
def faq_and_form() -> Iterator[None]:
  """Registers both templates under the prefixes 'faq' and 'form'."""
  PROMPT_TEMPLATES.register('faq', FAQ)
  PROMPT_TEMPLATES.register('form', FORM)
  yield
  PROMPT_TEMPLATES.unregister('faq')
  PROMPT_TEMPLATES.unregister('form')
