"""Tests of it_study.study.grid: what is trained and what it is tested on."""

from it_study import conditions
from it_study.conditions import Condition
from it_study.study import grid


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
        (cell.test_condition.definition, cell.matched)
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
  assert [t.condition for t in trainings] == [condition]
  (cell,) = [cell for cell in cells if cell.training in trainings]
  assert (cell.test_condition, cell.matched) == (Condition(), True)
