"""Tests for it_study.conditions."""

import contextlib
import dataclasses

from hypothesis import given, strategies as st
from prompts_fixture import make_instance, make_task
import pytest

from it_study import conditions
from it_study.conditions import (
  DEFINITION_LEVELS,
  EXAMPLE_LEVELS,
  TARGET_LEVELS,
  Condition,
)
from it_study.errors import InputError


@st.composite
def _conditions(draw) -> Condition:
  examples = draw(st.sampled_from(['original', 'delusive', 'empty']))
  tk_truncation = draw(st.booleans())
  counts = st.integers(1, 2**63 - 1)
  return Condition(
    definition=draw(st.sampled_from(DEFINITION_LEVELS.names())),
    examples=examples,
    num_examples=0 if examples == 'empty' else draw(counts),
    num_negative_examples=draw(st.integers(0, 2**63 - 1)),
    explanations=draw(st.booleans()),
    tk_truncation=tk_truncation,
    matched_budget=not tk_truncation and draw(st.booleans()),
    delusive_source=draw(
      st.sampled_from([None, *conditions.DELUSIVE_SOURCES])
      if examples == 'delusive'
      else st.none()
    ),
    instances_per_task=draw(counts),
    num_tasks=draw(st.none() | counts),
    seed=draw(st.integers(0, 2**63 - 1)),
    targets=draw(st.sampled_from(TARGET_LEVELS.names())),
    input_empty=draw(st.booleans()),
    surface=0 if tk_truncation else draw(st.integers(0, 53)),
  )


@given(_conditions())
def test_names_are_parsed_back(condition):
  assert Condition.from_name(condition.name) == condition
  assert '-' not in condition.name


@given(_conditions(), _conditions())
def test_names_distinguish_conditions(one, other):
  assert (one.name == other.name) == (one == other)


@given(st.text() | st.from_regex(r'natinst_def_[a-z]+_ex_[a-z]+\d+\w*'))
def test_other_names_are_bad_input(name):
  with contextlib.suppress(InputError):
    assert Condition.from_name(name).name == name


def test_defaults_are_left_out():
  assert Condition().name == 'natinst_def_original_ex_original2'


def test_suffixes_come_in_their_order():
  condition = Condition(
    definition='simplified',
    examples='delusive',
    num_examples=3,
    num_negative_examples=1,
    explanations=True,
    matched_budget=True,
    delusive_source='swap',
    instances_per_task=20,
    num_tasks=8,
    seed=5,
  )
  assert condition.name == (
    'natinst_def_simplified_ex_delusive3_neg1_expl_budget_srcswap_n20_t8_s5'
  )
  assert Condition(tk_truncation=True, seed=1).name == (
    'natinst_def_original_ex_original2_trunctk_s1'
  )


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    (
      'natinst_def_orignal_ex_original2',
      "condition 'natinst_def_orignal_ex_original2': definition level "
      "'orignal' is unknown; available: original, simplified, empty, "
      'shuffled, renamed, renamedletters, renameddigits, renamedsymbols, '
      'flipped, nolabels, keep25, keep50, keep75, wordshuffled. Did you mean '
      "'original'?",
    ),
    (
      'natinst_def_empty_ex_delusion1',
      "condition 'natinst_def_empty_ex_delusion1': example level 'delusion' is "
      'unknown; available: original, delusive, empty. Did you mean '
      "'delusive'?",
    ),
    (
      'natinst_def_original_ex_original0',
      "condition 'natinst_def_original_ex_original0': ex_original0 is not "
      'valid: level empty takes 0 examples (ex_empty0), every other level at '
      'least 1.',
    ),
    (
      'natinst_def_original_ex_empty1',
      "condition 'natinst_def_original_ex_empty1': ex_empty1 is not valid: "
      'level empty takes 0 examples (ex_empty0), every other level at least 1.',
    ),
    (
      'natinst_def_original_ex_original2_n100',
      "condition 'natinst_def_original_ex_original2_n100' has a suffix at its "
      'default, which must be left out. Write '
      "'natinst_def_original_ex_original2'.",
    ),
    (
      'natinst_def_original_ex_original2_n0',
      "condition 'natinst_def_original_ex_original2_n0': instances_per_task is "
      '0; expected 1 to 9223372036854775807.',
    ),
    (
      'natinst_def_original_ex_original2_srcswap',
      "condition 'natinst_def_original_ex_original2_srcswap': _srcswap "
      'requires delusive examples, found ex_original2.',
    ),
    (
      'natinst_def_original_ex_delusive2_srcswop',
      "condition 'natinst_def_original_ex_delusive2_srcswop': delusive source "
      "'swop' is unknown; available: negatives, swap, repair. Did you mean "
      "'swap'?",
    ),
    (
      'natinst_def_original_ex_original2_trunctk_budget',
      "condition 'natinst_def_original_ex_original2_trunctk_budget': _trunctk "
      'and _budget cannot be combined: the first truncates the instance, the '
      'second shows the same instance in all conditions.',
    ),
    (
      'natinst_def_original_ex_original2_trunctk_sep3',
      "condition 'natinst_def_original_ex_original2_trunctk_sep3': _trunctk "
      'and _sep3 cannot be combined: the first reproduces the prompts of '
      'Tk-Instruct, the second changes them.',
    ),
    (
      'natinst_def_simplified_ex_orignal2-n10',
      "'natinst_def_simplified_ex_orignal2-n10' is not a condition. A name "
      'reads natinst_def_{LEVEL}_ex_{LEVEL}{COUNT}, followed by suffixes that '
      'are not at their default, in this order: _neg, _expl, _trunctk, '
      '_budget, _src, _n, _t, _s, _fmt, _tgt, '
      '_inputempty, _sep. Did you mean '
      "'natinst_def_simplified_ex_original2_n10'?",
    ),
  ],
)
def test_bad_names_say_what_is_wrong(name, message):
  with pytest.raises(InputError) as error:
    Condition.from_name(name)
  assert str(error.value) == message


@pytest.mark.parametrize(
  'name',
  [
    '',
    'natinst_def_original_ex_original2 ',
    'natinst_def_original_ex_original2\n',
    'natinst_def_original_ex_original02',
    'natinst_def_original_ex_original2_s1_n10',
    'natinst_def_original_ex_original2_n10_n10',
    'natinst_def_original_ex_original2_expl1',
    'natinst_def_original_ex_original2_n' + '1' * 5000,
  ],
)
def test_malformed_names_are_refused(name):
  with pytest.raises(InputError, match='is not a condition'):
    Condition.from_name(name)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('num_examples', 2.0, 'num_examples is 2.0; expected a whole number.'),
    ('seed', None, 'seed is None; expected a whole number.'),
    ('seed', True, 'seed is True; expected a whole number.'),
    ('explanations', 1, 'explanations is 1; expected True or False.'),
    ('surface', 54, 'surface is 54; expected 0 to 53.'),
    ('num_tasks', 0, 'num_tasks is 0; expected 1 to 9223372036854775807.'),
  ],
)
def test_values_that_cannot_be_named_are_refused(field, value, message):
  with pytest.raises(InputError) as error:
    Condition(**{field: value})
  assert str(error.value) == message


def test_a_custom_level_is_used_by_name():
  def shouted(*, task, instance, condition):
    return task.definition.upper()

  name = 'natinst_def_shouted_ex_original2'
  DEFINITION_LEVELS.register('shouted', shouted)
  try:
    # As when a module is reloaded.
    DEFINITION_LEVELS.register('shouted', shouted)
    assert Condition.from_name(name).definition == 'shouted'
    assert DEFINITION_LEVELS.get('shouted').function is shouted
    with pytest.raises(InputError) as error:
      DEFINITION_LEVELS.register('shouted', print)
    assert str(error.value) == (
      "definition level 'shouted' is already registered."
    )
  finally:
    DEFINITION_LEVELS.unregister('shouted')
  with pytest.raises(InputError, match="level 'shouted' is unknown"):
    Condition.from_name(name)


def test_a_level_needs_a_name_of_letters():
  with pytest.raises(InputError) as error:
    EXAMPLE_LEVELS.register('two_fold', print)
  assert str(error.value) == (
    "example level 'two_fold': use letters a to z only."
  )
  with pytest.raises(InputError) as error:
    EXAMPLE_LEVELS.register('last2', print)
  assert str(error.value) == "example level 'last2': use letters a to z only."
  with pytest.raises(InputError) as error:
    DEFINITION_LEVELS.register('2fold', print)
  assert str(error.value) == (
    "definition level '2fold': use letters a to z and digits, a letter first."
  )


def test_an_unknown_level_cannot_be_removed():
  with pytest.raises(InputError, match="example level 'none' is unknown"):
    EXAMPLE_LEVELS.unregister('none')


def test_levels_are_imported_when_first_used():
  registry = conditions.LevelRegistry('colour')
  registry.register('red', 'colorsys:rgb_to_hls')
  assert registry.names() == ('red',)
  assert registry.get('red').function.__name__ == 'rgb_to_hls'


def test_a_level_that_needs_tasks_says_so():
  seen = {'task': None, 'instance': None, 'condition': None}
  registry = conditions.LevelRegistry('colour')
  registry.register('mixed', lambda **given: given, needs_tasks=True)
  assert registry.get('mixed')(**seen, tasks={}) == {**seen, 'tasks': {}}
  with pytest.raises(InputError) as error:
    registry.get('mixed')(**seen)
  assert str(error.value) == (
    "colour level 'mixed' needs tasks=corpus.lazy_tasks(split)."
  )


def test_original_instructions_keep_the_rest():
  condition = Condition(
    definition='empty',
    examples='delusive',
    num_examples=1,
    delusive_source='swap',
    matched_budget=True,
    seed=3,
  )
  assert condition.with_original_instructions().name == (
    'natinst_def_original_ex_original1_budget_s3'
  )
  exclude = Condition(examples='empty', num_examples=0)
  assert exclude.with_original_instructions().num_examples == 1


def test_test_split_ignores_n_t_s_and_targets():
  condition = Condition(
    explanations=True,
    instances_per_task=5,
    num_tasks=4,
    seed=3,
    targets='swapped',
  )
  assert condition.for_test() == Condition(explanations=True)


def test_altered_targets_cannot_be_tested():
  condition = Condition(targets='random', seed=2)
  assert condition.name == 'natinst_def_original_ex_original2_s2_tgtrandom'
  assert condition.with_original_instructions() == condition
  with pytest.raises(InputError) as error:
    condition.check_test()
  assert str(error.value) == (
    "condition 'natinst_def_original_ex_original2_s2_tgtrandom' cannot be "
    'tested: _tgtrandom alters training targets, and test references stay '
    "original. Write 'natinst_def_original_ex_original2_s2'."
  )
  condition.with_original_data().check_test()


def test_standard_grid():
  assert [c.name for c in conditions.standard_grid(seed=1)] == [
    'natinst_def_original_ex_original2_s1',
    'natinst_def_simplified_ex_original2_s1',
    'natinst_def_empty_ex_original2_s1',
    'natinst_def_original_ex_original1_s1',
    'natinst_def_original_ex_delusive1_s1',
    'natinst_def_original_ex_empty0_s1',
  ]


def test_common_grid_holds_the_standard_conditions_once():
  names = [condition.name for condition in conditions.common_grid()]
  assert len(names) == len(set(names)) == 135
  assert {c.name for c in conditions.standard_grid()} <= set(names)


def test_conditions_cannot_be_changed():
  with pytest.raises(dataclasses.FrozenInstanceError):
    Condition().seed = 1


def test_a_sweep_takes_every_amount():
  grid = conditions.sweep(
    experiments=('original', 'examples'),
    instances_per_task=(1, 5),
    num_tasks=(4, None),
  )
  assert [c.name for c in grid[:4]] == [
    'natinst_def_original_ex_original2_n1_t4',
    'natinst_def_original_ex_original1_n1_t4',
    'natinst_def_original_ex_delusive1_n1_t4',
    'natinst_def_original_ex_empty0_n1_t4',
  ]
  assert len(grid) == len(set(grid)) == 16


def test_a_sweep_over_nothing_is_refused():
  with pytest.raises(
    InputError, match=r'^sweep: each setting needs at least one value'
  ):
    conditions.sweep(instances_per_task=())
  with pytest.raises(
    InputError, match=r"^sweep\.experiments is 'original'; give values"
  ):
    conditions.sweep(experiments='original')
  with pytest.raises(InputError, match='is 10; give values in brackets'):
    conditions.sweep(instances_per_task=10)
  with pytest.raises(InputError, match=r"'example' is unknown.*'examples'"):
    conditions.sweep(experiments=('example',))


def test_a_single_name_is_refused():
  with pytest.raises(InputError) as raised:
    conditions.named_conditions(names='natinst_def_empty_ex_empty0')
  assert str(raised.value) == (
    "named_conditions.names is 'natinst_def_empty_ex_empty0'; give values in "
    "brackets, such as ('A', 'B'), or ('A',) for one."
  )


@pytest.mark.parametrize('grid', ['standard_grid', 'sweep'])
@pytest.mark.parametrize(
  ('field', 'hint'),
  [
    ('definitions', ''),
    ('definition', ''),
    ('explanation', " Did you mean 'explanations'?"),
  ],
)
def test_an_unknown_field_of_a_grid_is_refused(grid, field, hint):
  with pytest.raises(InputError) as raised:
    getattr(conditions, grid)(**{field: 'empty'})
  assert str(raised.value).startswith(
    f'{grid} has no parameter {field!r}.{hint} Besides its own it takes '
    'num_negative_examples, explanations, '
  )


def _fails(*, task, instance, condition):
  return {}['a']


def _returns(value):
  def level(*, task, instance, condition):
    return value

  return level


@pytest.mark.parametrize(
  ('axis', 'function', 'message'),
  [
    ('definition', _returns(3), 'returned 3; expected text or None.'),
    ('example', _returns(None), 'returned None; expected a list of examples.'),
    ('example', _returns('ab'), "returned 'ab'; expected a list of examples."),
    ('example', _returns([3]), 'returned [3]; expected a list of examples.'),
    ('definition', _fails, "raised KeyError: 'a'. Add --debug to see where."),
  ],
)
def test_a_level_of_a_user_that_fails_is_named(axis, function, message):
  registry = conditions.LevelRegistry(axis)
  registry.register('mine', function)
  with pytest.raises(InputError) as raised:
    registry.get('mine')(
      task=make_task(), instance=make_instance(), condition=Condition()
    )
  where = ''
  if 'raised' in message:
    where = f', instance {make_instance().id!r} of task {make_task().name!r}'
  assert str(raised.value) == (
    f"{axis} level 'mine'{where}: {__name__}.{function.__qualname__} {message}"
  )


def test_a_rewrite_of_a_user_returns_a_task_and_an_instance():
  registry = conditions.LevelRegistry('definition')
  registry.register('mine', _returns(None), rewrite=_returns(3))
  with pytest.raises(InputError) as raised:
    registry.get('mine').rewritten(
      task=make_task(), instance=make_instance(), condition=Condition()
    )
  assert str(raised.value) == (
    f"definition level 'mine': {__name__}._returns.<locals>.level returned 3; "
    'expected a task and an instance.'
  )


def test_a_level_that_is_no_function_is_refused():
  with pytest.raises(InputError) as raised:
    conditions.LevelRegistry('example').register('mine', 3)
  assert str(raised.value) == (
    "example level 'mine' is 3; expected a function."
  )
