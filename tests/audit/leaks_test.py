"""Tests of the output-space lint."""

import dataclasses

import pytest

from it_study.audit import leaks
from it_study.conditions import DEFINITION_LEVELS
from it_study.corpus import natinst
from it_study.corpus.schema import Example, Instance, Task
from it_study.instructions.definitions import OutputSpace

_TASK = Task(
  name='task1_a',
  definition='Say if the first sentence follows from the second one.',
  categories=('Textual Entailment',),
  kind='classification',
  label_space=('yes', 'no'),
  positive_examples=(Example(input='a', output='yes'),),
  negative_examples=(),
)
_INSTANCES = [
  Instance(id=f't-{i}', input='x', outputs=(output,), position=i)
  for i, output in enumerate(['yes', 'no', 'No.'])
]
_SPACE = OutputSpace('Possible outputs: {labels}')


@dataclasses.dataclass(frozen=True)
class _Altered(OutputSpace):
  """A level whose text differs from its wording."""

  text: str | None = None

  def __call__(self, *, task, instance, condition):
    return self.text


def _lint(text, task=_TASK):
  level = _Altered('Possible outputs: {labels}', text=text)
  found = leaks.lint(
    task=task, instances=_INSTANCES, levels={'simplified': level}
  )
  return [(f.severity, f.code, f.where, f.message) for f in found]


def _of_labels(labels, **fields):
  task = dataclasses.replace(_TASK, label_space=labels, **fields)
  instances = [
    Instance(id=f't-{i}', input='x', outputs=(label,), position=i)
    for i, label in enumerate(labels)
  ]
  found = leaks.lint(
    task=task, instances=instances, levels={'simplified': _SPACE}
  )
  return [(f.severity, f.code, f.message) for f in found]


def test_the_fixed_wording_and_the_labels_are_no_leak():
  for level in (
    _SPACE,
    OutputSpace('One of {labels}; {} 1.', separator=' | '),
    OutputSpace('Say {labels}.', separator=' or '),
  ):
    assert not leaks.lint(
      task=_TASK, instances=_INSTANCES, levels={'simplified': level}
    )
  assert _lint('Possible outputs: yes, no') == []


@pytest.mark.parametrize(
  ('text', 'code', 'message'),
  [
    (
      'Possible outputs: yes, no if it follows',
      'foreign-word',
      "'if', 'it', 'follows': neither in a label nor in the fixed wording",
    ),
    # A label that is said twice tells which one to take.
    (
      'Possible outputs: yes, no, yes',
      'foreign-word',
      "'yes': neither in a label nor in the fixed wording",
    ),
    ('Possible outputs: no', 'label-not-listed', "does not list 'yes'"),
    (None, 'label-not-listed', 'is empty; it must list the labels'),
  ],
)
def test_a_text_that_says_more_or_less_is_an_error(text, code, message):
  assert _lint(text) == [('error', code, 'def_simplified', message)]


def test_a_generation_task_has_no_output_space():
  task = dataclasses.replace(_TASK, kind='generation', label_space=None)
  assert _lint(None, task) == []
  assert _lint('Possible outputs: ', task) == [
    (
      'error',
      'definition-of-generation',
      'def_simplified',
      'must be empty for a generation task',
    )
  ]


def test_a_reference_outside_the_label_space_is_an_error():
  task = dataclasses.replace(_TASK, label_space=('yes',))
  (found,) = leaks.lint(
    task=task, instances=_INSTANCES, levels={'simplified': _SPACE}
  )
  assert (found.severity, found.code) == (
    'error',
    'reference-outside-label-space',
  )
  assert found.message == "lacks 'no', 'No.', which occurs as a reference"
  assert found.instances == ('t-1', 't-2')


def test_a_label_without_a_reference_is_a_warning():
  task = dataclasses.replace(_TASK, label_space=('yes', 'maybe', 'no'))
  (found,) = leaks.lint(
    task=task, instances=_INSTANCES, levels={'simplified': _SPACE}
  )
  assert (found.severity, found.code) == ('warning', 'label-without-reference')
  assert found.message.startswith("'maybe': only in the positive examples")


@pytest.mark.parametrize(
  ('labels', 'code'),
  [
    (('no', 'one two three four five six seven eight nine'), 'telling-label'),
    (('no', 'It is so. It follows'), 'telling-label'),
    (('no', 'follows from the second'), 'telling-label'),
    (('no', 'yes, it does'), 'ambiguous-label'),
  ],
)
def test_labels_that_say_more_than_a_name_are_noted(labels, code):
  ((severity, found, message),) = _of_labels(labels)
  assert (severity, found) == ('note', code)
  assert message.startswith(repr(labels[1]))


def test_a_separator_that_is_a_word():
  task = dataclasses.replace(_TASK, label_space=('north', 'this or that'))
  (found, *more) = leaks.lint(
    task=task,
    instances=[dataclasses.replace(_INSTANCES[0], outputs=task.label_space)],
    levels={'say': OutputSpace('Say {labels}.', separator=' or ')},
  )
  assert more == []
  assert found.code == 'ambiguous-label'
  assert found.message == (
    "'this or that': contains 'or', which separates the labels of def_say"
  )


def test_labels_that_are_names_are_not_noted():
  assert _of_labels(('not from the second', 'from the second', 'U.S.')) == []


def test_a_registered_wording_is_linted_too():
  assert list(leaks.output_space_levels()) == ['simplified']
  DEFINITION_LEVELS.register('answerwith', OutputSpace('One of: {labels}'))
  try:
    assert list(leaks.output_space_levels()) == ['simplified', 'answerwith']
  finally:
    DEFINITION_LEVELS.unregister('answerwith')


def test_real_label_spaces_do_not_leak(natinst_dir):
  corpus = natinst.open_corpus(natinst_dir)
  for split in ('train', 'test'):
    for name in corpus.tasks_of(split):
      found = leaks.lint(
        task=corpus.load(name).task, instances=corpus.instances(name, split)
      )
      assert [f for f in found if f.severity == 'error'] == []
