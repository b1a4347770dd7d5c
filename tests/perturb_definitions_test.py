"""Tests for it_study.perturb.definitions."""

import pytest

from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.natinst import Instance, Task

_INSTANCE = Instance(id='a', input='b', outputs=('c',), position=0)


def _task(label_space) -> Task:
  return Task(
    name='task1_a',
    definition=' Say yes or no. ',
    categories=('Dialogue',),
    kind='generation' if label_space is None else 'classification',
    label_space=label_space,
    positive_examples=(),
    negative_examples=(),
  )


@pytest.mark.parametrize(
  ('level', 'label_space', 'text'),
  [
    ('original', ('yes', 'no'), ' Say yes or no. '),
    ('original', None, ' Say yes or no. '),
    ('simplified', ('yes', 'no'), 'Possible outputs: yes, no'),
    ('simplified', ('No.',), 'Possible outputs: No.'),
    ('simplified', None, None),
    ('empty', ('yes', 'no'), None),
    ('empty', None, None),
  ],
)
def test_levels(level, label_space, text):
  found = DEFINITION_LEVELS.get(level)(
    task=_task(label_space),
    instance=_INSTANCE,
    condition=Condition(definition=level),
  )
  assert found == text
