"""Tests for it_study.corpus.miniature.controls: what the controls promise."""

import collections

import pytest

from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini
from it_study.corpus.miniature.controls import positive_controls
from it_study.instructions import prompts


@pytest.fixture(name='corpus', scope='module', params=[0, 7])
def _corpus(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp('corpus')
  return natinst.open_corpus(
    mini.write_miniature(directory, seed=request.param)
  )


def _groups() -> list[tuple[str, str]]:
  return [
    tuple(name for name, _ in recipe.tasks) for recipe in positive_controls()
  ]


def _rows(corpus, name, split):
  return [(i.input, i.outputs[0]) for i in corpus.instances(name, split)]


def _prompts(corpus, name, condition):
  """Prompts of a task's rows in the order of the splits."""
  task = corpus.load(name).task
  return [
    prompts.render(task=task, instance=instance, condition=condition).text
    for split in ('validation', 'train')
    for instance in corpus.instances(name, split)
  ]


def test_controls_are_training_tasks_of_their_categories(corpus):
  by_category = collections.Counter(
    corpus.load(name).task.category for name in corpus.train_tasks
  )
  assert by_category['Positive Control'] == 12
  assert by_category['Negative Control'] == 6
  categories = {corpus.load(name).task.category for name in corpus.test_tasks}
  assert not categories & set(natinst.CONTROL_CATEGORIES)
  assert len(_groups()) == 6


def test_a_group_shares_inputs_split_by_split_in_the_same_order(corpus):
  for first, second in _groups():
    for split in ('validation', 'train'):
      mine = [text for text, _ in _rows(corpus, first, split)]
      theirs = [text for text, _ in _rows(corpus, second, split)]
      assert mine == theirs


def test_no_input_of_a_group_is_both_held_out_and_trained_on(corpus):
  for group in _groups():
    held_out, trained = (
      {text for name in group for text, _ in _rows(corpus, name, split)}
      for split in ('validation', 'train')
    )
    assert len(held_out) == 10
    assert len(trained) == 140
    assert not held_out & trained


def _flip(labels):
  first, second, third = labels
  return {first: second, second: first, third: third}


def test_one_task_asks_for_the_opposite_of_the_other(corpus):
  for recipe, (first, second) in zip(
    positive_controls(), _groups(), strict=True
  ):
    flip = _flip(recipe.labels)
    for split in ('validation', 'train'):
      mine, theirs = (_rows(corpus, n, split) for n in (first, second))
      assert [flip[output] for _, output in mine] == [o for _, o in theirs]


def test_guessing_the_polarity_is_right_half_of_the_time(corpus):
  for recipe in positive_controls():
    first, second, _ = recipe.labels
    for name, _ in recipe.tasks:
      labels = [output for _, output in _rows(corpus, name, 'validation')]
      assert collections.Counter(labels) == {first: 5, second: 5}


def test_the_third_label_is_rare_and_one_side_more_frequent(corpus):
  for recipe in positive_controls():
    flip = _flip(recipe.labels)
    for reversed_, (name, _) in enumerate(recipe.tasks):
      more, less, third = recipe.labels
      if reversed_:
        more, less = flip[more], flip[less]
      first_hundred = [o for _, o in _rows(corpus, name, 'train')[:100]]
      assert collections.Counter(first_hundred) == {
        more: 66,
        less: 30,
        third: 4,
      }


def test_examples_are_the_same_in_a_group_and_show_the_third_label(corpus):
  for recipe, (first, second) in zip(
    positive_controls(), _groups(), strict=True
  ):
    mine, theirs = (corpus.load(name).task for name in (first, second))
    assert mine.positive_examples == theirs.positive_examples
    assert mine.negative_examples == theirs.negative_examples
    yes, no, unclear = recipe.labels
    assert {e.output for e in mine.positive_examples} == {unclear}
    assert collections.Counter(e.output for e in mine.negative_examples) == {
      yes: 2,
      no: 2,
    }


def test_label_spaces_come_in_the_same_order(corpus):
  assert {recipe.labels for recipe in positive_controls()} == {
    ('yes', 'no', 'unclear'),
    ('true', 'false', 'unclear'),
  }
  for recipe in positive_controls():
    for name, _ in recipe.tasks:
      assert corpus.load(name).task.label_space == recipe.labels


@pytest.mark.parametrize(
  'condition',
  [
    'natinst_def_simplified_ex_original2',
    'natinst_def_empty_ex_original2',
    'natinst_def_empty_ex_original4_expl',
    'natinst_def_empty_ex_original2_neg2_expl',
    'natinst_def_simplified_ex_delusive1',
    'natinst_def_simplified_ex_delusive4',
    'natinst_def_simplified_ex_empty0',
  ],
)
def test_without_definitions_the_tasks_of_a_group_look_the_same(
  corpus, condition
):
  condition = Condition.from_name(condition)
  for first, second in _groups():
    mine = _prompts(corpus, first, condition)
    assert mine == _prompts(corpus, second, condition)


@pytest.mark.parametrize(
  'condition',
  [
    'natinst_def_original_ex_original2',
    'natinst_def_original_ex_delusive1',
    'natinst_def_original_ex_empty0',
  ],
)
def test_only_the_definition_distinguishes_the_tasks_of_a_group(
  corpus, condition
):
  condition = Condition.from_name(condition)
  for first, second in _groups():
    definitions = [corpus.load(n).task.definition for n in (first, second)]
    assert definitions[0] != definitions[1]
    mine = _prompts(corpus, first, condition)
    theirs = _prompts(corpus, second, condition)
    assert mine != theirs
    assert [text.replace(*definitions) for text in mine] == theirs


def test_a_negative_control_only_lists_its_labels(corpus):
  names = [
    name
    for name in corpus.train_tasks
    if corpus.load(name).task.category == 'Negative Control'
  ]
  definitions = {corpus.load(name).task.definition for name in names}
  assert definitions == {
    'The output is north or south.',
    'The output is circle, star or square.',
    'The output is left or right.',
    'The output is up or down.',
    'The output is gold or silver.',
    'The output is day or night.',
  }
