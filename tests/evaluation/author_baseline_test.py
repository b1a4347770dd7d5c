"""Tests for it_study.evaluation.author_baseline."""

import json

import pytest

from it_study.corpus import natinst
from it_study.errors import InputError
from it_study.evaluation import author_baseline

_FORM = (
  'Expected {"TASK.json": {"DefHasLabel": "ExactMentioned", "LabelSpace": '
  '["yes", "no"]}, ...}, as in task_metadata.json of PlusLabNLP/Active-IT'
)


@pytest.fixture(name='corpus')
def _corpus(write_corpus, raw_task):
  """Tasks of 2 and 3 labels that definitions name, and one they do not."""

  def task(definition, outputs, **fields):
    instances = [
      {'id': f'{definition}-{i}', 'input': f'text {i}', 'output': [output]}
      for i, output in enumerate(outputs)
    ]
    return raw_task(
      Definition=definition, Positive_Examples=[], Instances=instances, **fields
    )

  return natinst.open_corpus(
    write_corpus(
      train={'task9_train': task('', ['a'] * 3)},
      test={
        # 60 of 100 are the majority; those after the first 100 do not count.
        'task1_two': task(
          'Answer Yes or No.', ['Yes'] * 60 + ['No'] * 40 + ['Maybe'] * 9
        ),
        'task2_three': task('One of: A, B, C.', ['A', 'B'] * 33 + ['C'] * 34),
        'task3_unnamed': task('Choose.', ['left', 'right'] * 50),
        'task4_control': task(
          'Yes or no?', ['yes', 'no'] * 50, Categories=['Negative Control']
        ),
      },
    )
  )


_ENTRY = {'DefHasLabel': 'ExactMentioned', 'LabelSpace': ['Yes', 'No']}


@pytest.fixture(name='metadata')
def _metadata(tmp_path):
  """Writes a file of label spaces; keyword arguments replace its entries."""

  def write(**changes):
    entries = {
      'task1_two': {**_ENTRY, 'InstanceNum': 109},
      # The author's label space has two labels more than the data, so a guess
      # is right 20 times.
      'task2_three': {**_ENTRY, 'LabelSpace': ['A', 'B', 'C', 'D', 'E']},
      'task3_unnamed': {'DefHasLabel': 'NoMentioned', 'LabelSpace': []},
      'task9_train': {},
      **changes,
    }
    path = tmp_path / 'task_metadata.json'
    path.write_text(json.dumps({f'{k}.json': v for k, v in entries.items()}))
    return path

  return write


def test_counts_from_the_author_s_file(corpus, metadata):
  path = metadata()
  counts = author_baseline.author_baseline(corpus, label_spaces=path)
  assert counts.to_json() == {
    'approximation': False,
    'label_spaces': str(path),
    'num_tasks': 2,
    'num_instances': 200,
    'random': 50 + 20,
    'majority': 60 + 34,
    'notes': [],
  }
  assert (
    counts.sentence('random') == 'random: 70 of 200 right (35.00%) on 2 tasks'
  )
  assert counts.origin() == f'Label spaces: {path}.'


def test_without_the_file_it_is_an_approximation(corpus):
  counts = author_baseline.author_baseline(corpus)
  assert counts.to_json() == {
    'approximation': True,
    'label_spaces': None,
    'num_tasks': 2,
    'num_instances': 200,
    'random': 50 + 33,
    'majority': 60 + 34,
    'notes': [],
  }
  assert counts.origin().startswith('An approximation: a label space is the ')


def test_what_the_notebook_ignores_is_said(write_corpus, raw_task, metadata):
  instances = [
    {'id': str(i), 'input': f'{i}', 'output': [['Yes', 'yes', 'No'][i % 3]]}
    for i in range(30)
  ]
  task = raw_task(Instances=instances)
  corpus = natinst.open_corpus(
    write_corpus(train={'task9_train': task}, test={'task1_two': task})
  )
  counts = author_baseline.author_baseline(corpus, label_spaces=metadata())
  # As in the notebook, texts are compared as they are, and 100 are counted.
  assert (counts.num_instances, counts.random, counts.majority) == (100, 50, 10)
  assert counts.notes == (
    '1 task with fewer than 100 test instances; 100 are counted for each, as '
    'the notebook does.',
    "10 references not in the label space of the file, the first in 'task1_two'"
    '; the majority label does not count them.',
  )


def test_no_task_names_its_labels(write_corpus, raw_task):
  corpus = natinst.open_corpus(
    write_corpus(train={'task9_train': raw_task()}, test={'t': raw_task()})
  )
  counts = author_baseline.author_baseline(corpus)
  assert (counts.num_tasks, counts.num_instances, counts.random) == (0, 0, 0)
  assert counts.sentence('random') == (
    'random: no task whose definition mentions every label'
  )


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'task2_three': ['Yes']},
      f"task2_three.json: no field 'DefHasLabel'. {_FORM}.",
    ),
    (
      {'task2_three': {'DefHasLabel': 'ExactMentioned'}},
      f"task2_three.json: no field 'LabelSpace'. {_FORM}.",
    ),
    (
      {'task2_three': {**_ENTRY, 'LabelSpace': 'Yes'}},
      f"task2_three.json: LabelSpace: got 'Yes'. {_FORM}.",
    ),
    (
      {'task2_three': {**_ENTRY, 'LabelSpace': []}},
      'task2_three.json: LabelSpace: expected at least one text, got [].',
    ),
    (
      {'task2_three': {**_ENTRY, 'LabelSpace': ['A', 2]}},
      "task2_three.json: LabelSpace: expected at least one text, got ['A', 2].",
    ),
  ],
)
def test_a_wrong_entry_is_named(corpus, metadata, changes, message):
  path = metadata(**changes)
  with pytest.raises(InputError) as error:
    author_baseline.author_baseline(corpus, label_spaces=path)
  assert str(error.value) == f'{path}: {message}'


def test_a_file_without_the_test_tasks_is_refused(corpus, tmp_path):
  path = tmp_path / 'spaces.json'
  path.write_text(json.dumps({'task1_too.json': {}, 'task2_three.json': {}}))
  with pytest.raises(InputError) as error:
    author_baseline.author_baseline(corpus, label_spaces=path)
  assert str(error.value) == (
    f'{path}: no entry for 2 of 3 test tasks, the first being '
    f"'task1_two.json'. {_FORM}. Did you mean 'task1_too'?"
  )


def test_a_file_that_marks_no_task_is_refused(corpus, metadata):
  other = {'DefHasLabel': 'exactMentioned'}
  path = metadata(task1_two=other, task2_three=other)
  with pytest.raises(InputError) as error:
    author_baseline.author_baseline(corpus, label_spaces=path)
  assert str(error.value) == (
    f"{path}: no test task has DefHasLabel 'ExactMentioned'; found "
    "'NoMentioned', 'exactMentioned'. Did you mean 'exactMentioned'?"
  )


def test_a_file_that_is_no_object_is_refused(corpus, tmp_path):
  path = tmp_path / 'spaces.json'
  path.write_text('[]')
  with pytest.raises(InputError) as error:
    author_baseline.author_baseline(corpus, label_spaces=path)
  assert str(error.value) == (
    f'{path}: expected one JSON object, got list. {_FORM}.'
  )


def test_real_files(natinst_dir):
  counts = author_baseline.author_baseline(natinst.open_corpus(natinst_dir))
  assert (counts.num_tasks, counts.random, counts.majority) == (21, 947, 955)
