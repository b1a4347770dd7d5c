"""Tests for it_study.instructions.examples."""

import dataclasses

from hypothesis import given, strategies as st
import pytest

from it_study.conditions import EXAMPLE_LEVELS, Condition
from it_study.corpus.natinst import Example, Instance, Task
from it_study.corpus.normalization import normalize_answer

_INSTANCE = Instance(id='a', input='b', outputs=('c',), position=0)
_LABELS = ('yes', 'no', 'maybe')


def _examples(*pairs, source='positive') -> tuple[Example, ...]:
  return tuple(
    Example(input=text, output=output, explanation='Because.', source=source)
    for text, output in pairs
  )


def _task(positive=(), negative=(), label_space=_LABELS) -> Task:
  return Task(
    name='task1_a',
    definition='Answer.',
    categories=('Dialogue',),
    kind='generation' if label_space is None else 'classification',
    label_space=label_space,
    positive_examples=_examples(*positive),
    negative_examples=_examples(*negative, source='negatives'),
  )


def _get(task, level='delusive', count=2, **fields) -> list[Example]:
  condition = Condition(examples=level, num_examples=count, **fields)
  return EXAMPLE_LEVELS.get(level)(
    task=task, instance=_INSTANCE, condition=condition
  )


def _pairs(examples) -> list[tuple[str, str, str]]:
  return [(e.source, e.input, e.output) for e in examples]


_POSITIVE = (('sun', 'yes'), ('moon', 'no'), ('star', 'yes'))


def test_original_examples_are_the_first_ones():
  task = _task(_POSITIVE)
  assert _get(task, 'original') == list(task.positive_examples[:2])
  assert _get(task, 'original', 9) == list(task.positive_examples)


def test_empty_has_none():
  assert _get(_task(_POSITIVE), 'empty', 0) == []


def test_classification_takes_negatives_of_the_label_space_then_swaps():
  task = _task(
    _POSITIVE,
    (
      ('rain', 'perhaps'),  # No label.
      ('snow', 'No.'),
      ('sun', ' YES'),  # Known to be right.
      ('sun', 'no'),
    ),
  )
  found = _get(task, count=9)
  assert _pairs(found)[:2] == [
    ('negatives', 'snow', 'No.'),
    ('negatives', 'sun', 'no'),
  ]
  assert [(e.source, e.input) for e in found[2:]] == [
    ('swap', 'sun'),
    ('swap', 'moon'),
    ('swap', 'star'),
  ]
  assert _get(task) == found[:2]


def test_generation_takes_negatives_then_other_outputs():
  task = _task(
    (('a', 'one'), ('b', 'two')),
    (('c', 'three'), ('d', '-'), ('e', ' '), ('a', 'One!')),
    label_space=None,
  )
  assert _pairs(_get(task, count=9)) == [
    ('negatives', 'c', 'three'),
    ('repair', 'a', 'two'),
    ('repair', 'b', 'one'),
  ]


def test_no_explanation_gives_an_answer_away():
  task = _task(_POSITIVE, (('snow', 'no'),))
  for source in ('negatives', 'swap', 'repair'):
    found = _get(task, delusive_source=source)
    assert found
    assert all(example.explanation is None for example in found)


@pytest.mark.parametrize(
  ('source', 'pairs'),
  [
    ('negatives', [('negatives', 'snow', 'maybe')]),
    ('swap', [('swap', 'sun', 'no'), ('swap', 'moon', 'yes')]),
    ('repair', [('repair', 'sun', 'no'), ('repair', 'moon', 'yes')]),
  ],
)
def test_one_source_alone(source, pairs):
  task = _task(
    (('sun', 'yes'), ('moon', 'no')),
    (('snow', 'maybe'),),
    label_space=('yes', 'no', 'maybe')
    if source == 'negatives'
    else ('yes', 'no'),
  )
  assert _pairs(_get(task, delusive_source=source)) == pairs


def test_impossible_examples_are_left_out():
  one_label = _task((('a', 'yes'), ('b', 'Yes.')), label_space=('yes', 'Yes.'))
  assert _get(one_label) == []
  assert _get(_task()) == []
  generation = _task((('a', 'one'), ('b', 'One')), label_space=None)
  assert _get(generation) == []
  assert _get(generation, delusive_source='swap') == []


def test_an_input_with_two_right_answers_gets_neither():
  task = _task((('sun', 'yes'), (' sun', 'no')))
  assert _pairs(_get(task)) == [
    ('swap', 'sun', 'maybe'),
    ('swap', ' sun', 'maybe'),
  ]
  assert _get(task, delusive_source='repair') == []


def _drawn(seed: int, name: str = 'task1') -> list[str]:
  labels = tuple(f'label {i}' for i in range(12))
  pairs = [(f'text {i}', labels[0]) for i in range(5)]
  task = dataclasses.replace(_task(pairs, label_space=labels), name=name)
  return [example.output for example in _get(task, count=5, seed=seed)]


def test_draws_depend_on_seed_and_input_only():
  assert _drawn(0) == ['label 11', 'label 10', 'label 8', 'label 2', 'label 7']
  assert _drawn(1) == ['label 3', 'label 9', 'label 4', 'label 4', 'label 6']
  # Control tasks share examples, which must not distinguish them.
  assert _drawn(0, name='task2') == _drawn(0, name='task1')


_TEXTS = st.text('abAB .-', max_size=3)
_PAIRS = st.lists(st.tuples(_TEXTS, _TEXTS), max_size=4)


@given(
  _PAIRS,
  _PAIRS,
  st.none() | st.lists(_TEXTS, max_size=4, unique=True).map(tuple),
  st.sampled_from([None, 'negatives', 'swap', 'repair']),
  st.integers(0, 5),
)
def test_delusive_examples_are_valid_and_wrong(
  positive, negative, label_space, source, seed
):
  if label_space is not None:
    # By the rule for label spaces.
    label_space = tuple(
      dict.fromkeys([*label_space, *(output for _, output in positive)])
    )
  task = _task(positive, negative, label_space)
  found = _get(task, count=9, delusive_source=source, seed=seed)
  golds: dict[str, list[str]] = {}
  for text, output in positive:
    golds.setdefault(text.strip(), []).append(normalize_answer(output))
  labels = {normalize_answer(label) for label in label_space or ()}
  for example in found:
    answer = normalize_answer(example.output)
    if label_space is not None:
      assert answer in labels
    assert answer not in golds.get(example.input.strip(), [])
    assert source in (None, example.source)
  assert found == _get(task, count=9, delusive_source=source, seed=seed)
