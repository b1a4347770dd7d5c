"""Tests of it_study.report.arms."""

import dataclasses

from prompts_fixture import faq_and_form  # noqa: F401  A fixture.
import pytest
from report_fixture import DEFINITIONS, EXAMPLES, make_study

from it_study.report.arms import _place, compare, condition_label, select
from it_study.report.load import read_study
from it_study.report.results import score_study
from it_study.report.scores import CLS, Group


@pytest.fixture(scope='module')
def arms(tmp_path_factory):
  study = make_study(
    tmp_path_factory.mktemp('arms') / 'study',
    accuracies=dict(
      zip((*DEFINITIONS, *EXAMPLES), (1, 1, 0, 1, 0.5, 0), strict=True)
    ),
    seeds=(0, 1),
    num_instances=10,
  )
  return score_study(read_study(study)).arms


def test_seeds_make_one_arm(arms):
  trained = select(arms, split='test', matched=True)
  assert [arm.train_condition for arm in trained] == [*DEFINITIONS, *EXAMPLES]
  assert [len(arm.cells) for arm in trained] == [2] * 6
  half = trained[4]
  values = [c.metrics['classification']['exact_match'] for c in half.cells]
  assert values[0] != values[1]
  assert half.value('exact_match', CLS) == sum(values) / 2


def test_a_study_without_trainings_shows_every_condition(arms):
  untuned = next(arm for arm in arms if arm.is_untuned)
  cell = dataclasses.replace(
    untuned.cells[0],
    test_condition='natinst_def_empty_ex_original2',
    original_instructions=False,
  )
  altered = dataclasses.replace(untuned, cells=(cell,))
  assert select([untuned, altered], split='test', untuned=True) == [
    untuned,
    altered,
  ]
  assert select([*arms, altered], split='test', untuned=True) == [untuned]


def test_conditions_outside_the_grid_follow_its_order_of_levels():
  names = [
    f'natinst_def_{definition}_ex_{examples}_fmtchat'
    for examples in ('original2', 'delusive2', 'empty0')
    for definition in ('original', 'simplified', 'empty', 'shuffled')
  ]
  names.remove('natinst_def_original_ex_empty0_fmtchat')
  # Those that the paper has come first.
  assert sorted(names, key=_place) == names
  assert sorted(reversed(names), key=_place) == names


def test_select_by_role(arms):
  def labels(**kinds):
    return [arm.label for arm in select(arms, split='test', **kinds)]

  assert labels(untuned=True) == ['Untuned, original definition, 2 examples']
  assert labels(baselines=True) == [
    'Random label',
    'Majority label',
    'Copy an example',
  ]
  # Every training, also those whose matched test has the real instructions.
  assert len(labels(original=True)) == 6
  assert labels() == []


def test_each_alteration_is_compared_with_its_original(arms):
  pairs = compare(arms, split='test', metric='exact_match', group=CLS)
  assert [
    (pair.original.train_condition, pair.altered.train_condition)
    for pair in pairs
  ] == [
    (DEFINITIONS[0], DEFINITIONS[1]),
    (DEFINITIONS[0], DEFINITIONS[2]),
    (EXAMPLES[0], EXAMPLES[1]),
    (EXAMPLES[0], EXAMPLES[2]),
  ]
  assert [pair.interval.mean for pair in pairs[:2]] == [0, 100]
  # Of four tasks, all right against none right is 2 * 0.5^4: not shown.
  assert pairs[1].estimate.p_value() == 0.125
  assert not any(pair.helps for pair in pairs)
  assert not any(pair.harms for pair in pairs)
  # 1 - (0.0125 / 2)^(1/4).
  assert pairs[0].largest == pytest.approx(71.88, abs=0.005)
  uncertain = pairs[2]
  assert uncertain.joint.low < uncertain.interval.low
  assert uncertain.joint.level == 1 - 0.05 / 4
  assert uncertain.p_value == pytest.approx(4 * uncertain.estimate.p_value())
  assert uncertain.equivalence.margin == 3.0
  assert not any(pair.is_equivalent for pair in pairs)


def test_a_group_without_values_gives_no_comparison(arms):
  group = Group('category', 'No Such')
  assert compare(arms, split='test', metric='exact_match', group=group) == ()


@pytest.mark.parametrize(
  ('name', 'label'),
  [
    (DEFINITIONS[0], 'Original definition, 2 examples'),
    (DEFINITIONS[2], 'No definition, 2 examples'),
    (EXAMPLES[1], 'Original definition, 1 delusive example'),
    (EXAMPLES[2], 'Original definition, no examples'),
    (
      'natinst_def_simplified_ex_original1_n10_s3',
      'Simplified definition, 1 example, 10 instances a task, sample 3',
    ),
    (
      'natinst_def_original_ex_original2_n10_tgtswapped',
      'Original definition, 2 examples, 10 instances a task, swapped targets',
    ),
    (
      'natinst_def_original_ex_original2_inputempty',
      'Original definition, 2 examples, no input',
    ),
    (
      'natinst_def_original_ex_original2_n1_t1_fmtchat_sep2',
      'Original definition, 2 examples, 1 instance a task, 1 training task, '
      'chat format, surface 2',
    ),
    (
      'faq_def_empty_ex_delusive1_n10',
      'No definition, 1 delusive example, 10 instances a task, faq prompts',
    ),
    ('someone_else', 'someone_else'),
    (None, 'unknown'),
  ],
)
@pytest.mark.usefixtures('faq_and_form')
def test_condition_label(name, label):
  assert condition_label(name) == label
