"""Tests of reading promptsource's templates."""

import promptsource_fixture
import pytest

from it_study.data.p3 import templates
from it_study.data.p3.templates import Template
from it_study.errors import InputError

JINJA = '{{premise}}\nTrue? ||| {{answer_choices[label]}}'


def test_templates_are_read_in_order(tmp_path):
  promptsource_fixture.write_templates(
    tmp_path,
    'super_glue/cb',
    {
      'second': {'jinja': JINJA, 'answer_choices': 'Yes ||| No'},
      'first': {'jinja': 'a ||| b', 'original_task': None},
    },
  )
  assert templates.read_templates(tmp_path, 'super_glue/cb') == [
    Template(
      data_set='super_glue/cb',
      name='second',
      jinja=JINJA,
      answer_choices='Yes ||| No',
      original_task=True,
    ),
    Template(
      data_set='super_glue/cb',
      name='first',
      jinja='a ||| b',
      answer_choices=None,
      original_task=False,
    ),
  ]


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('a: [', ': while parsing a flow node expected the node content, but'),
    ('a: !!python/name:os.system x', ': could not determine a constructor for'),
    ('- 1', ": it has no mapping 'templates'."),
    ('templates: {x: 1}', ': 1 is not a template.'),
    (
      'templates: {x: {name: a, jinja: 1}}',
      ": template 'a': jinja is 1; expected a text.",
    ),
    (
      'templates: {x: {name: a, jinja: b}, y: {name: a, jinja: c}}',
      ": two templates are named 'a'.",
    ),
  ],
)
def test_a_file_that_is_not_one_of_templates(tmp_path, content, message):
  path = promptsource_fixture.write_templates(tmp_path, 'anli', {})
  path.write_text(content)
  with pytest.raises(InputError) as raised:
    templates.read_templates(tmp_path, 'anli')
  assert str(raised.value).startswith(f'{path}{message}')
  assert '\n' not in str(raised.value)


def test_a_folder_or_data_set_that_is_not_there(tmp_path):
  folder = tmp_path / 'promptsource/templates'
  with pytest.raises(InputError) as raised:
    templates.read_templates(tmp_path, 'anli')
  assert str(raised.value) == (
    f'{folder} is not a folder; name the root of a checkout of '
    'bigscience-workshop/promptsource.'
  )
  promptsource_fixture.write_templates(tmp_path, 'super_glue/cb', {})
  with pytest.raises(InputError) as raised:
    templates.read_templates(tmp_path, 'super_glue/cn')
  assert str(raised.value) == (
    f'{folder}/super_glue/cn/templates.yaml: no such file. '
    "Did you mean 'super_glue/cb'?"
  )
