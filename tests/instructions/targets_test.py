"""Tests for it_study.instructions.targets."""

import collections
import dataclasses

from prompts_fixture import make_task
import pytest

from it_study.conditions import TARGET_LEVELS, Condition
from it_study.corpus.natinst import Instance
from it_study.corpus.schema import LazyInstances
from it_study.errors import InputError
from it_study.instructions.prompts import choose_target
from it_study.instructions.targets import training_target

TASK = make_task()


def rows_of(*outputs):
  return tuple(
    Instance(id=f'task1-{n}', input=f'{n}', outputs=(o,), position=n)
    if isinstance(o, str)
    else Instance(id=f'task1-{n}', input=f'{n}', outputs=o, position=n)
    for n, o in enumerate(outputs)
  )


def targets_of(rows, level, *, task=TASK, **fields):
  instances = LazyInstances([task.name], lambda _: rows)
  return [
    training_target(
      task=task,
      instance=row,
      condition=Condition(targets=level, **fields),
      instances=instances,
    )
    for row in rows
  ]


def test_swapped_targets_are_those_of_other_instances():
  labels = ('a', 'b', 'c', 'd')
  rows = rows_of(*labels * 25)
  swapped = targets_of(rows, 'swapped')
  assert collections.Counter(swapped) == dict.fromkeys(labels, 25)
  pairs = [(t, *row.outputs) for t, row in zip(swapped, rows, strict=True)]
  assert not [pair for pair in pairs if pair[0] == pair[1]]
  # No label stands for another one throughout.
  assert len(set(pairs)) == 12
  assert swapped != targets_of(rows, 'swapped', seed=1)


def test_the_order_of_the_rows_and_their_number_do_not_matter():
  rows = rows_of(*'abc' * 10)
  before = dict(zip(rows, targets_of(rows, 'swapped'), strict=True))
  again = dict(zip(rows[::-1], targets_of(rows[::-1], 'swapped'), strict=True))
  assert before == again
  few = targets_of(rows, 'swapped', instances_per_task=3)
  assert few == list(before.values())


@pytest.mark.parametrize(
  ('outputs', 'right'),
  [
    (('yes',) * 7 + ('no',) * 3, 4),
    (('yes',) * 5 + ('no',) * 5, 0),
    # Exact match does not distinguish the two.
    (('yes', 'Yes.', 'no'), 1),
    (('yes',), 1),
    ((('a', 'b'), ('a', 'b'), ('c', 'a')), 2),
  ],
)
def test_as_few_targets_as_possible_stay_right(outputs, right):
  rows = rows_of(*outputs)
  condition = Condition()
  swapped = targets_of(rows, 'swapped')
  assert sorted(swapped) == sorted(
    choose_target(instance=row, condition=condition) for row in rows
  )
  known = [{o.lower().strip('.') for o in row.outputs} for row in rows]
  found = sum(
    t.lower().strip('.') in k for t, k in zip(swapped, known, strict=True)
  )
  assert found == right


def test_random_targets_are_uniform_over_the_label_space():
  rows = rows_of(*('yes',) * 400)
  counts = collections.Counter(targets_of(rows, 'random'))
  assert counts == {'yes': 198, 'no': 202}


def test_random_targets_of_generation_come_from_other_instances():
  task = dataclasses.replace(TASK, kind='generation', label_space=None)
  rows = rows_of('one', 'two', 'three')
  drawn = targets_of(rows * 1, 'random', task=task)
  assert set(drawn) <= {'one', 'two', 'three'}
  everything = {
    target
    for seed in range(20)
    for target in targets_of(rows, 'random', task=task, seed=seed)
  }
  assert everything == {'one', 'two', 'three'}


def test_altered_targets_get_the_names_of_the_definition():
  rows = rows_of(*('yes', 'no') * 3)
  fields = {'definition': 'renamed'}
  names = targets_of(rows, 'original', **fields)[:2]
  assert targets_of(rows, 'swapped', **fields) == names[::-1] * 3
  assert set(targets_of(rows, 'random', **fields)) <= set(names)


def test_the_task_s_instances_are_needed():
  with pytest.raises(InputError) as error:
    training_target(
      task=TASK,
      instance=rows_of('yes')[0],
      condition=Condition(targets='swapped'),
    )
  assert str(error.value) == (
    "target level 'swapped' needs the instances of the task."
  )


def test_a_level_of_a_user_returns_text():
  TARGET_LEVELS.register('same', lambda *, task, instance, condition: 3)
  try:
    with pytest.raises(InputError, match='returned 3; expected text'):
      targets_of(rows_of('yes'), 'same')
  finally:
    TARGET_LEVELS.unregister('same')
