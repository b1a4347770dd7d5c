"""Tests for it_study.instructions.definitions."""

import dataclasses

import pytest

from it_study.conditions import DEFINITION_LEVELS, Condition
from it_study.corpus.natinst import Instance, Task
from it_study.corpus.schema import LazyTasks
from it_study.errors import InputError
from it_study.instructions.definitions import OutputSpace

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


def test_another_wording_is_another_level():
  level = OutputSpace('Answer with {labels}. {Nothing} else!', separator=' or ')
  assert level(
    task=_task(('yes', 'no')), instance=_INSTANCE, condition=Condition()
  ) == ('Answer with yes or no. {Nothing} else!')
  assert (
    level(task=_task(None), instance=_INSTANCE, condition=Condition()) is None
  )
  with pytest.raises(InputError, match=r'must contain \{labels\} exactly once'):
    OutputSpace('Answer!')


def _table(*rows) -> LazyTasks:
  tasks = {
    name: dataclasses.replace(
      _task(('yes', 'no') if kind == 'c' else None),
      name=name,
      categories=(category,),
      definition=definition,
    )
    for name, kind, category, definition in rows
  }
  return LazyTasks(list(tasks), tasks.__getitem__)


def _shuffled(table, seed=0) -> dict[str, str]:
  level = DEFINITION_LEVELS.get('shuffled')
  return {
    name: level(
      task=task,
      instance=_INSTANCE,
      condition=Condition(definition='shuffled', seed=seed),
      tasks=table,
    )
    for name, task in table.items()
  }


def test_a_shuffled_definition_is_another_task_s_of_the_kind():
  table = _table(
    ('task1', 'c', 'A', 'One.'),
    ('task2', 'c', 'A', 'Two.'),
    ('task3', 'c', 'B', 'Three.'),
    ('task4', 'g', 'B', 'Four.'),
    ('task5', 'g', 'B', 'four. '),
    ('task6', 'g', 'B', 'Six.'),
    ('task7', 'g', 'B', ' '),
  )
  found = _shuffled(table)
  # Another category if there is one, never the same text, never an empty one.
  assert found['task1'] == found['task2'] == 'Three.'
  assert found['task3'] in ('One.', 'Two.')
  assert found['task4'] == found['task5'] == 'Six.'
  assert found['task6'] in ('Four.', 'four. ')
  assert found['task7'] in ('Four.', 'four. ', 'Six.')


def test_a_shuffled_definition_depends_on_names_and_seed():
  rows = [(f'task{n}', 'c', str(n), f'{n}.') for n in range(20)]
  found = _shuffled(_table(*rows))
  assert found == _shuffled(_table(*reversed(rows)))
  others = _shuffled(_table(*rows), seed=1)
  assert sum(found[name] != others[name] for name in found) > 10
  more = _shuffled(_table(*rows, ('task20', 'c', '20', '20.')))
  changed = [name for name in found if found[name] != more[name]]
  assert all(more[name] == '20.' for name in changed)


def test_the_only_task_of_a_kind_has_no_other_definition():
  with pytest.raises(InputError, match='task1: no other classification'):
    _shuffled(_table(('task1', 'c', 'A', 'One.'), ('task2', 'g', 'A', 'Two.')))
