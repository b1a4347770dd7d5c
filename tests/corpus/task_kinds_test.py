"""Tests for it_study.corpus.task_kinds."""

import pytest

from it_study.corpus import task_kinds
from it_study.errors import InputError


def _judge(outputs, **fields):
  return task_kinds.judge(
    instance_outputs=[(output,) for output in outputs], **fields
  )


def test_labels_come_in_first_seen_order():
  assert _judge(['b', 'a', 'b', 'c'] * 10) == (
    'classification',
    ('b', 'a', 'c'),
  )


def test_every_reference_is_a_label():
  assert task_kinds.judge(instance_outputs=[('x', 'y'), ('z',)] * 20) == (
    'classification',
    ('x', 'y', 'z'),
  )


def test_outputs_of_positive_examples_are_added_last():
  assert _judge(['b'] * 25, example_outputs=['a', 'b', 'c']) == (
    'classification',
    ('b', 'a', 'c'),
  )


def test_labels_are_distinguished_by_their_exact_text():
  assert _judge(['He', 'he'] * 20)[1] == ('He', 'he')


@pytest.mark.parametrize(
  ('num_instances', 'kind'), [(24, 'generation'), (25, 'classification')]
)
def test_fewer_than_25_instances_are_too_few_to_judge(num_instances, kind):
  assert _judge(['yes'] * num_instances)[0] == kind


@pytest.mark.parametrize(
  ('num_labels', 'kind'), [(12, 'classification'), (13, 'generation')]
)
def test_more_than_12_labels_are_generation(num_labels, kind):
  outputs = [f'label {i % num_labels}' for i in range(100)]
  assert _judge(outputs)[0] == kind
  # The thirteenth may come from a positive example.
  assert _judge(outputs, example_outputs=['more'])[0] == 'generation'


def test_generation_has_no_label_space():
  assert _judge(map(str, range(100))) == ('generation', None)


def test_override_applies_both_ways():
  assert _judge(['a'] * 3, override='classification') == (
    'classification',
    ('a',),
  )
  assert _judge(['a', 'b'] * 50, override='generation') == ('generation', None)


def test_unknown_override_is_refused():
  with pytest.raises(InputError) as error:
    _judge(['a'], override='classificaton')
  assert str(error.value) == (
    "task kind 'classificaton' is unknown; expected classification or "
    "generation. Did you mean 'classification'?"
  )


def test_threshold_can_be_changed():
  assert _judge('abc' * 20, max_labels=2)[0] == 'generation'


def test_shipped_overrides_can_be_read():
  assert set(task_kinds.load_overrides().values()) <= set(task_kinds.KINDS)


def test_overrides_are_read_by_task():
  lines = ['task,kind,reason', 'task9_x,generation,"free, in truth"']
  assert task_kinds.load_overrides(lines) == {'task9_x': 'generation'}


@pytest.mark.parametrize(
  ('lines', 'message'),
  [
    (
      ['task9,cls,short'],
      "override table, line 2: task kind 'cls' is unknown; expected "
      'classification or generation.',
    ),
    (
      ['task9,generation, '],
      'override table, line 2: a task and a reason are required.',
    ),
    (
      [',generation,because'],
      'override table, line 2: a task and a reason are required.',
    ),
    (
      ['task9,generation,a', 'task9,classification,b'],
      "override table, line 3: 'task9' is repeated.",
    ),
  ],
)
def test_bad_override_tables_are_refused(lines, message):
  with pytest.raises(InputError) as error:
    task_kinds.load_overrides(['task,kind,reason', *lines])
  assert str(error.value) == message
