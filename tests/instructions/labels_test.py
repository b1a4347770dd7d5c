"""Tests for labels: renaming is consistent and says so."""

import dataclasses
import re

from prompts_fixture import make_instance, make_task, render_named
import pytest

from it_study import instructions
from it_study.conditions import Condition
from it_study.corpus.normalization import normalize_answer
from it_study.instructions import labels

_CONDITION = Condition(definition='renamed')
_NAME = 'natinst_def_renamed_ex_original2_neg1_expl'


def _rename(task, outputs=('yes',), seed=0):
  return instructions.rewrite(
    task=task,
    instance=make_instance(outputs=outputs),
    condition=dataclasses.replace(_CONDITION, seed=seed),
  )


def test_everything_a_model_sees_has_the_new_names():
  yes, no = 'vokaf', 'bofuf'
  prompt = render_named(_NAME)
  assert prompt.text == (
    'Definition: Say if it is hot. Rename the outputs: yes becomes '
    f'{yes}, no becomes {no}.\n\n'
    f' Positive Example 1 -\nInput: fire.\n Output: {yes}.\n\n'
    f' Positive Example 2 -\nInput: ice.\n Output: {no}.\n\n'
    f' Negative Example 1 -\nInput: sun.\n Output: {no}.\n\n'
    'Now complete the following example -\nInput: tea.\nOutput: '
  )
  task, instance = _rename(make_task(), outputs=('yes', 'no'))
  assert task.label_space == instance.outputs == (yes, no)


def test_labels_that_exact_match_does_not_distinguish_share_a_name():
  task, instance = _rename(
    make_task(label_space=('Yes', 'no', 'yes.')), outputs=('yes', 'Yes!')
  )
  assert len(task.label_space) == 2
  assert instance.outputs == (task.label_space[0],) * 2


def test_other_outputs_are_not_renamed():
  task, _ = _rename(make_task(negative=(('sun', 'perhaps', None),)))
  assert task.negative_examples[0].output == 'perhaps'


def test_a_generation_task_is_not_changed():
  task, instance = make_task(label_space=None), make_instance()
  assert instructions.rewrite(
    task=task, instance=instance, condition=_CONDITION
  ) == (task, instance)


@pytest.mark.parametrize('definition', ['original', 'simplified', 'shuffled'])
def test_no_other_level_rewrites(definition):
  task, instance = make_task(), make_instance()
  seen = instructions.rewrite(
    task=task, instance=instance, condition=Condition(definition=definition)
  )
  assert seen == (task, instance)


def test_names_depend_on_task_label_and_seed():
  task = make_task()
  first = labels.names_of_labels(task, 0)
  swapped = dataclasses.replace(task, label_space=('no', 'yes'))
  assert labels.names_of_labels(swapped, 0) == first
  assert labels.names_of_labels(task, 1) != first
  other = dataclasses.replace(task, name='task2_b')
  assert labels.names_of_labels(other, 0) != first


def test_a_name_is_not_a_word_of_the_task():
  task = make_task()
  name = labels.names_of_labels(task, 0)['yes']
  taken = dataclasses.replace(task, definition=f'Say {name.upper()}.')
  names = labels.names_of_labels(taken, 0)
  assert name not in names.values()
  assert len(set(names.values())) == 2


def _names(level, seed=0, **fields):
  task = make_task(**fields)
  seen, _ = instructions.rewrite(
    task=task,
    instance=make_instance(),
    condition=Condition(definition=level, seed=seed),
  )
  return seen


@pytest.mark.parametrize(
  ('level', 'pattern'),
  [
    ('renamedletters', '[A-Z]'),
    ('renameddigits', '[0-9]'),
    ('renamedsymbols', '[¢£¥§©®°±¶×÷€•]'),
  ],
)
def test_short_names_are_distinct_characters(level, pattern):
  labels = ('A', 'b', '3', '§', 'no')
  for seed in range(30):
    definition = 'Say A, b, 3, § or no to 1 or 2'
    names = _names(
      level, seed, label_space=labels, definition=definition
    ).label_space
    assert len(set(map(normalize_answer, names))) == 5
    assert all(re.fullmatch(pattern, name) for name in names)
    assert not set(names) & set(re.findall(r'\w+|§', definition))


def test_more_labels_than_characters_get_two():
  names = _names(
    'renameddigits', label_space=tuple(f'label {"x" * n}' for n in range(12))
  ).label_space
  assert len(set(names)) == 12
  assert sorted(map(len, names)) == [1] * 10 + [2] * 2


def test_flipped_labels_exchange_their_names():
  prompt = render_named('natinst_def_flipped_ex_original1')
  assert prompt.text.startswith(
    'Definition: Say if it is hot. Rename the outputs: yes becomes no, no '
    'becomes yes.\n\n'
    ' Positive Example 1 -\nInput: fire.\n Output: no.\n\n'
  )
  circles = {
    _names('flipped', seed, label_space=('a', 'b', 'c', 'A')).label_space
    for seed in range(20)
  }
  # No label keeps its name, and labels that count as one stay together.
  assert circles == {('b', 'c', 'a'), ('c', 'a', 'b')}


def test_a_single_label_cannot_be_flipped():
  task = make_task(label_space=('yes', 'Yes'))
  assert _names('flipped', label_space=('yes', 'Yes')) == task


@pytest.mark.parametrize('level', ['renamed', 'renameddigits', 'flipped'])
def test_prior_references_are_those_without_the_renaming(level):
  task, condition = make_task(), Condition(definition=level)
  _, seen = instructions.rewrite(
    task=task, instance=make_instance(outputs=('no',)), condition=condition
  )
  assert seen.outputs != ('no',)

  def prior(condition):
    return labels.prior_references(
      task=task, references=seen.outputs, condition=condition
    )

  assert prior(condition) == ('no',)
  assert prior(Condition()) is None
