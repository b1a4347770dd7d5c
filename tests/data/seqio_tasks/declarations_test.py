"""Tests of it_study.data.seqio_tasks.declarations."""

import pytest
import seqio
import seqio_tasks_fixture as fixture

from it_study import seqio_lib
from it_study.errors import InputError
import tasks  # noqa: F401  Registers the conditions.


@pytest.mark.parametrize(
  ('declared', 'message'),
  [
    (
      {'kind': 'clasification'},
      "task kind 'clasification' is unknown; expected classification or "
      "generation. Did you mean 'classification'?",
    ),
    (
      {'kind': 'generation', 'label_space': ['a', 'b']},
      "task 'plain' is declared as generation with a label space; leave out "
      'label_space, or declare it as classification.',
    ),
    (
      {'label_space': ['a', 'b', 'a']},
      "task 'plain': label_space names 'a' twice.",
    ),
    (
      {'label_space': [1, 2]},
      "task 'plain': label_space is [1, 2]; give a list of texts, or the name "
      'of the feature that holds them.',
    ),
    (
      {'label_space': ''},
      "task 'plain': label_space is ''; give a text that is not empty.",
    ),
    (
      {'references': ['a']},
      "task 'plain': references is ['a']; give a text that is not empty.",
    ),
    (
      {'category': 3},
      "task 'plain': category is 3; give a text that is not empty.",
    ),
    (
      {'name': ''},
      "task 'plain': name is ''; give a text that is not empty.",
    ),
  ],
)
def test_a_declaration_that_is_not_valid(declared, message):
  fixture.add_task('plain', {'test': fixture.questions(1)})
  with pytest.raises(InputError) as raised:
    seqio_lib.declare('plain', **declared)
  assert str(raised.value) == message


def test_only_a_task_of_the_user_s_own_is_declared():
  fixture.add_task('plain', {'test': fixture.questions(1)})
  seqio.MixtureRegistry.remove('mixed')
  seqio.MixtureRegistry.add('mixed', [('plain', 1)])
  with pytest.raises(InputError) as raised:
    seqio_lib.declare('mixed', category='A')
  assert str(raised.value) == (
    "'mixed' is a mixture; declare its tasks one by one: plain."
  )
  name = 'natinst_def_original_ex_original2'
  with pytest.raises(InputError) as raised:
    seqio_lib.declare(name, category='A')
  assert str(raised.value) == (
    f'{name!r} reads a corpus, whose task files hold kind, label space, '
    'references and category; there is nothing to declare.'
  )
  with pytest.raises(InputError, match=r"'plian' is registered\. Did you mean"):
    seqio_lib.declare('plian', category='A')
