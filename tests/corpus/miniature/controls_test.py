"""Tests for it_study.corpus.miniature.controls: what the controls promise."""

import collections

import pytest

from it_study.conditions import Condition
from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini
from it_study.instructions import prompts

SPLITS = ('validation', 'train', 'test')


@pytest.fixture(name='corpus', scope='module', params=[0, 7])
def _corpus(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp('corpus')
  return natinst.open_corpus(
    mini.write_miniature(directory, seed=request.param)
  )


def _pairs(corpus, split=None):
  """Names of the tasks of each pair: straight, then reversed."""
  names = (
    corpus.tasks_of(split)
    if split
    else (*corpus.train_tasks, *corpus.test_tasks)
  )
  pairs = collections.defaultdict(list)
  for name in names:
    if corpus.load(name).task.category == 'Positive Control':
      pairs[name.split('_mini_')[1].rpartition('_')[0]].append(name)
  assert {len(pair) for pair in pairs.values()} == {2}
  assert all(first.endswith('straight') for first, _ in pairs.values())
  return list(pairs.values())


def _rows(corpus, name, split):
  """Inputs and outputs; in the test split, whose order differs, sorted."""
  if name not in corpus.tasks_of(split):
    return []
  rows = [(i.input, i.outputs[0]) for i in corpus.instances(name, split)]
  return sorted(rows) if split == 'test' else rows


def _prompts(corpus, name, condition):
  """Prompts of a task's rows, in the same order for both tasks of a pair."""
  task = corpus.load(name).task
  return sorted(
    prompts.render(task=task, instance=instance, condition=condition).text
    for instance in corpus.load(name).instances
  )


def _flip(labels):
  first, second, third = labels
  return {first: second, second: first, third: third}


def test_controls_have_categories_of_their_own_in_both_splits(corpus):
  def counts(split):
    categories = (corpus.load(n).task.category for n in corpus.tasks_of(split))
    found = collections.Counter(categories)
    return [found[category] for category in natinst.CONTROL_CATEGORIES]

  assert counts('train') == [48, 12]
  assert counts('test') == [12, 6]


def test_unseen_pairs_combine_what_training_asks_about_anew(corpus):
  def subjects(split):
    return {
      tuple(first.split('_mini_')[1].split('_')[:2])
      for first, _ in _pairs(corpus, split)
    }

  trained, unseen = subjects('train'), subjects('test')
  assert not trained & unseen
  for part in (0, 1):
    assert {s[part] for s in unseen} <= {s[part] for s in trained}
  assert {s[0] for s in unseen} == {s[0] for s in trained}


def test_a_pair_shares_inputs_split_by_split_in_the_same_order(corpus):
  for first, second in _pairs(corpus):
    for split in SPLITS:
      mine = [text for text, _ in _rows(corpus, first, split)]
      assert mine == [text for text, _ in _rows(corpus, second, split)]


def test_one_task_asks_for_the_opposite_of_the_other(corpus):
  for first, second in _pairs(corpus):
    flip = _flip(corpus.load(first).task.label_space)
    for split in SPLITS:
      mine, theirs = (_rows(corpus, n, split) for n in (first, second))
      assert [flip[output] for _, output in mine] == [o for _, o in theirs]


def test_guessing_the_polarity_is_right_half_of_the_time(corpus):
  for split, half, rest in (('validation', 5, 0), ('test', 49, 2)):
    for pair in _pairs(corpus, split):
      for name in pair:
        first, second, third = corpus.load(name).task.label_space
        found = collections.Counter(o for _, o in _rows(corpus, name, split))
        assert found == collections.Counter(
          {first: half, second: half, third: rest}
        )


def test_in_training_the_third_label_is_rare_and_one_side_more_frequent(corpus):
  for pair in _pairs(corpus, 'train'):
    for is_reversed, name in enumerate(pair):
      more, less, third = corpus.load(name).task.label_space
      if is_reversed:
        more, less = less, more
      outputs = [output for _, output in _rows(corpus, name, 'train')]
      assert collections.Counter(outputs) == {more: 26, less: 12, third: 2}


def test_examples_are_the_same_in_a_pair_and_show_the_third_label(corpus):
  for first, second in _pairs(corpus):
    mine, theirs = (corpus.load(name).task for name in (first, second))
    assert mine.positive_examples == theirs.positive_examples
    assert mine.negative_examples == theirs.negative_examples
    assert mine.label_space == theirs.label_space
    yes, no, unclear = mine.label_space
    assert {e.output for e in mine.positive_examples} == {unclear}
    assert [e.output for e in mine.negative_examples] == [yes, no, yes, no]


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
def test_without_definitions_the_tasks_of_a_pair_look_the_same(
  corpus, condition
):
  condition = Condition.from_name(condition)
  for first, second in _pairs(corpus):
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
def test_only_the_definition_distinguishes_the_tasks_of_a_pair(
  corpus, condition
):
  condition = Condition.from_name(condition)
  for first, second in _pairs(corpus):
    definitions = [corpus.load(n).task.definition for n in (first, second)]
    assert definitions[0] != definitions[1]
    mine = _prompts(corpus, first, condition)
    theirs = _prompts(corpus, second, condition)
    assert mine != theirs
    assert sorted(text.replace(*definitions) for text in mine) == theirs


def test_a_negative_control_only_lists_labels_that_its_examples_show(corpus):
  for name in (*corpus.train_tasks, *corpus.test_tasks):
    task = corpus.load(name).task
    if task.category == 'Negative Control':
      first, second = task.label_space
      assert task.definition == f'The output is {first} or {second}.'
      shown = {example.output for example in task.positive_examples[:2]}
      assert shown == {first, second}
