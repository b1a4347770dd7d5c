"""Tests of it_study.study.grid: what is trained and what it is tested on."""

import pytest

from it_study import conditions
from it_study.conditions import Condition
from it_study.errors import InputError
from it_study.study import grid
from it_study.study.subjects import OwnTask


def test_the_standard_grid():
  trainings, cells = grid.plan(
    conditions=conditions.standard_grid(),
    seeds=(0, 1),
    splits=('test', 'validation'),
  )
  assert [training.name for training in trainings][:6] == [
    'natinst_def_original_ex_original2_seed0',
    'natinst_def_simplified_ex_original2_seed0',
    'natinst_def_empty_ex_original2_seed0',
    'natinst_def_original_ex_original1_seed0',
    'natinst_def_original_ex_delusive1_seed0',
    'natinst_def_original_ex_empty0_seed0',
  ]
  assert len(trainings) == 12
  # For each seed and split: 5 baselines; the untuned model under two originals;
  # two trainings on originals, tested once; four others, tested twice.
  assert len(cells) == 2 * 2 * (5 + 2 + 2 + 4 * 2)
  assert len({cell.name for cell in cells}) == len(cells)


def test_a_cell_has_the_seed_of_its_training():
  _, cells = grid.plan(
    conditions=(Condition(), Condition(definition='empty')),
    seeds=(3, 5),
    splits=('test', 'validation'),
    test_conditions=(Condition(definition='simplified'),),
  )
  trained = [cell for cell in cells if cell.training is not None]
  assert {cell.seed for cell in trained} == {3, 5}
  for cell in trained:
    assert cell.seed == cell.training.seed, cell.name
  # Baselines draw from the same seeds.
  assert {cell.seed for cell in cells if cell.training is None} == {3, 5}


def test_matched_and_original_tests():
  _, cells = grid.plan(
    conditions=(
      Condition(instances_per_task=5),
      Condition(definition='empty', examples='empty', num_examples=0, seed=3),
    ),
    seeds=(7,),
    splits=('test',),
  )
  flags = [
    (cell.name, cell.matched, cell.original_instructions)
    for cell in cells
    if cell.baseline is None
  ]
  two, one, none = (
    'natinst_def_original_ex_original2',
    'natinst_def_original_ex_original1',
    'natinst_def_empty_ex_empty0',
  )
  assert flags == [
    (f'untuned_seed7__{two}__test', False, True),
    (f'untuned_seed7__{one}__test', False, True),
    (f'{two}_n5_seed7__{two}__test', True, True),
    (f'{none}_s3_seed7__{none}__test', True, False),
    (f'{none}_s3_seed7__{one}__test', False, True),
  ]


def test_every_model_is_tested_under_the_test_conditions():
  conditions = (Condition(), Condition(definition='empty'))
  further = (Condition(definition='empty'), Condition(definition='simplified'))
  trainings, cells = grid.plan(
    conditions=conditions,
    seeds=(0,),
    splits=('test',),
    test_conditions=further,
  )
  assert len(trainings) == 2
  tests = {}
  for cell in cells:
    if cell.training is not None:
      tests.setdefault(cell.training.name, []).append(
        (cell.tested.definition, cell.matched)
      )
  assert tests == {
    'untuned_seed0': [
      ('original', False),
      ('empty', False),
      ('simplified', False),
    ],
    'natinst_def_original_ex_original2_seed0': [
      ('original', True),
      ('empty', False),
      ('simplified', False),
    ],
    'natinst_def_empty_ex_original2_seed0': [
      ('empty', True),
      ('original', False),
      ('simplified', False),
    ],
  }


def test_altered_targets_are_trained_on_only():
  condition = Condition(targets='swapped')
  trainings, cells = grid.plan(
    conditions=(condition,), seeds=(0,), splits=('test',)
  )
  assert [t.subject for t in trainings] == [condition]
  (cell,) = [cell for cell in cells if cell.training in trainings]
  assert (cell.tested, cell.matched) == (Condition(), True)


def test_own_tasks_have_names_of_their_own_in_the_grid():
  trainings, cells = grid.plan(
    conditions=(OwnTask('mix'), OwnTask('qa')),
    seeds=(0,),
    splits=('dev',),
    test_conditions=(OwnTask('qa'), OwnTask('rte')),
    baselines=lambda tested, split: ('random',)[: tested == OwnTask('rte')],
  )
  assert [training.folder for training in trainings] == [
    'trainings/mix_seed0',
    'trainings/qa_seed0',
  ]
  assert [(cell.name, cell.matched) for cell in cells] == [
    ('baseline_random_seed0__rte__dev', False),
    ('untuned_seed0__qa__dev', False),
    ('untuned_seed0__rte__dev', False),
    ('mix_seed0__qa__dev', False),
    ('mix_seed0__rte__dev', False),
    ('qa_seed0__qa__dev', True),
    ('qa_seed0__rte__dev', False),
  ]
  assert not any(cell.original_instructions for cell in cells)


def test_without_other_tests_an_own_task_is_tested_itself():
  _, cells = grid.plan(
    conditions=(OwnTask('qa'),), seeds=(0,), splits=('test',)
  )
  names = [cell.name for cell in cells if cell.baseline in (None, 'prior')]
  assert names == [
    'baseline_prior_seed0__qa__test',
    'untuned_seed0__qa__test',
    'qa_seed0__qa__test',
  ]


def test_conditions_and_own_tasks_share_a_grid():
  _, cells = grid.plan(
    conditions=(Condition(definition='empty'), OwnTask('qa')),
    seeds=(0,),
    splits=('test',),
    test_conditions=(OwnTask('rte'),),
  )
  empty, original = (
    f'natinst_def_{level}_ex_original2' for level in ('empty', 'original')
  )
  assert [
    (cell.name, cell.matched, cell.original_instructions)
    for cell in cells
    if cell.baseline in (None, 'majority')
  ] == [
    ('baseline_majority_seed0__none__test', False, False),
    ('baseline_majority_seed0__rte__test', False, False),
    (f'untuned_seed0__{original}__test', False, True),
    ('untuned_seed0__rte__test', False, False),
    (f'{empty}_seed0__{empty}__test', True, False),
    (f'{empty}_seed0__{original}__test', False, True),
    (f'{empty}_seed0__rte__test', False, False),
    ('qa_seed0__rte__test', False, False),
  ]


def test_each_test_is_asked_once_for_its_baselines():
  asked = []

  def baselines(tested, split):
    asked.append((tested.name, split))
    return ('prior',)

  grid.plan(
    conditions=(OwnTask('qa'), OwnTask('rte')),
    seeds=(0, 1),
    splits=('test', 'dev'),
    baselines=baselines,
  )
  assert asked == [
    (name, split) for name in ('qa', 'rte') for split in ('test', 'dev')
  ]


def test_two_cells_never_share_a_folder():
  with pytest.raises(InputError) as raised:
    grid.plan(
      conditions=(OwnTask('a'), OwnTask('a_seed0__b')),
      seeds=(0,),
      splits=('test',),
      test_conditions=(OwnTask('b_seed0__c'), OwnTask('c')),
    )
  assert str(raised.value) == (
    'two cells of this study would be named a_seed0__b_seed0__c__test. Rename '
    'one of its tasks.'
  )
