"""Tests of it_study.study.subjects: names of conditions and of own tasks."""

import pytest
import seqio
import seqio_tasks_fixture as fixture

from it_study import seqio_lib
from it_study.conditions import PROMPT_TEMPLATES, Condition, PromptTemplate
from it_study.errors import InputError
from it_study.study import config_text, subjects
from it_study.study.subjects import OwnTask

FORUM = 'forum_def_original_ex_original2'


@pytest.fixture(autouse=True)
def _template():
  PROMPT_TEMPLATES.register(
    'forum',
    PromptTemplate(
      definition='{definition}',
      example='{input}: {output}',
      input='{input}',
      cue=': ',
    ),
  )
  yield
  PROMPT_TEMPLATES.unregister('forum')


def test_names_are_of_conditions_or_own_tasks():
  fixture.add_mixture()
  # As `seqio_lib.add_natinst_tasks` names its mixture.
  dotted = f'{Condition(instances_per_task=10).name}.all_tasks'
  seqio.MixtureRegistry.remove(dotted)
  seqio_lib.add_mixture(dotted, {'even': 1})
  empty = Condition(definition='empty')
  found = subjects.find([FORUM, 'both', empty, dotted], setting='S')
  assert found == [
    Condition(prefix='forum'),
    OwnTask('both'),
    empty,
    OwnTask(dotted),
  ]


@pytest.mark.parametrize(
  ('names', 'message'),
  [
    (['forum_def_original'], "'forum_def_original' is not a condition. A name"),
    (['natinst_def_empy'], "'natinst_def_empy' is not a condition. A name"),
    ([3], 'S: 3 is not a name.'),
    (['bth'], "no SeqIO task or mixture 'bth' is registered."),
  ],
)
def test_names_of_nothing(names, message):
  with pytest.raises(InputError) as raised:
    subjects.find(names, setting='S')
  assert str(raised.value).startswith(message)


def test_conditions_of_any_prefix_stay_conditions_in_study_gin():
  config = 'run_study.conditions = @standard_grid()\n'
  assert '@named_conditions()' in config_text.with_conditions(config, [FORUM])
  assert '@named' not in config_text.with_conditions(config, [FORUM, 'both'])
