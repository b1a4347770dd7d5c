"""Tests for it_study.corpus.adapter."""

import dataclasses
import json

import numpy as np
import pytest

from it_study.corpus import PromptFields, natinst, write_corpus
from it_study.errors import InputError

FIELDS = PromptFields(
  task='name',
  definition='instruction',
  input='text',
  output='answer',
  examples='demos',
  label_space='choices',
  category='about',
  id='key',
)


def _row(number, **changes):
  return {
    'name': 'wet',
    'instruction': 'Is it wet?',
    'text': f'rain {number}',
    'answer': ['no', 'yes'][number % 2],
    'demos': [{'input': 'sea', 'output': 'yes', 'explanation': None}],
    'choices': ['yes', 'no', 'perhaps'],
    'about': 'Weather',
    'key': number,
    **changes,
  }


def _write(path, train=(), test=None, fields=FIELDS):
  test = [_row(n) for n in range(3)] if test is None else test
  return write_corpus(path, train=train, test=test, fields=fields)


def test_rows_become_tasks(tmp_path):
  train = [
    _row(10 + n, name='dry', instruction='Is it dry?') for n in range(12)
  ]
  corpus = _write(tmp_path / 'corpus', train=train)
  assert (corpus.train_tasks, corpus.test_tasks) == (('dry',), ('wet',))
  file = corpus.load('wet')
  assert file.task == natinst.Task(
    name='wet',
    definition='Is it wet?',
    categories=('Weather',),
    kind='classification',
    # In its own order, with a label that no output has.
    label_space=('yes', 'no', 'perhaps'),
    positive_examples=(natinst.Example(input='sea', output='yes'),),
    negative_examples=(),
  )
  assert [(i.id, i.input, i.outputs) for i in file.instances] == [
    ('0', 'rain 0', ('no',)),
    ('1', 'rain 1', ('yes',)),
    ('2', 'rain 2', ('no',)),
  ]
  assert len(corpus.instances('dry', 'train')) == 2
  raw = json.loads((tmp_path / 'corpus/tasks/wet.json').read_text())
  assert raw['Label Space'] == ['yes', 'no', 'perhaps']
  assert 'explanation' not in raw['Positive Examples'][0]


def test_parts_may_be_left_out(tmp_path):
  fields = PromptFields(
    task='name', definition='instruction', input='text', output='answer'
  )
  corpus = _write(tmp_path, test=[_row(0, answer=['no', 'No'])], fields=fields)
  file = corpus.load('wet')
  assert (file.task.kind, file.task.label_space) == ('generation', None)
  assert file.task.category == 'Uncategorized'
  (instance,) = file.instances
  assert (instance.id, instance.outputs) == ('wet-0', ('no', 'No'))


def test_rows_may_hold_bytes_and_arrays_as_those_of_tfds(tmp_path):
  row = _row(
    7,
    name=b'wet',
    text='é'.encode(),
    answer=b'no',
    key=np.int64(7),
    choices=np.array([b'yes', b'no'], object),
  )
  file = _write(tmp_path, test=[row]).load('wet')
  assert file.task.label_space == ('yes', 'no')
  assert [(i.id, i.input) for i in file.instances] == [('7', 'é')]


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      {'test': []},
      'corpus {}: test has no rows; give at least one row to test.',
    ),
    (
      {'train': [_row(5)]},
      "corpus {}: task 'wet' has rows in train and in test. A corpus tests "
      'tasks that it does not train on: give the rows of test another name of '
      'the task.',
    ),
    (
      {'fields': dataclasses.replace(FIELDS, definition='instruktion')},
      "test, row 0: no field 'instruktion', only name, instruction, text, "
      "answer, demos, choices, about, key. Did you mean 'instruction'?",
    ),
    (
      {'test': [_row(0), _row(1, text=None)]},
      'test, row 1: text is None; expected a text.',
    ),
    (
      {'test': [_row(0, answer=[])]},
      'test, row 0: answer is []; expected a text or a list of texts.',
    ),
    (
      {'test': [_row(0), _row(1, instruction='Is it dry?')]},
      "test, row 1: task 'wet' has another Definition than in row 0, ['Is it "
      "dry?'] for ['Is it wet?']. Give the rows another name of the task.",
    ),
    (
      {'test': [_row(0), _row(0)]},
      "test, row 1: id '0' is also that of test, row 0. Give every row its "
      'own, or leave the field out of PromptFields.',
    ),
    (
      {'test': [_row(0, demos=['sea'])]},
      "test, row 0: demos is ['sea']; expected a list of mappings of 'input' "
      "and 'output'.",
    ),
    (
      {'test': [_row(0, demos=[{'input': 'sea'}])]},
      "test, row 0, demos: no field 'output', only input.",
    ),
    (
      {'test': ['rain']},
      "test, row 0 is 'rain'; expected a mapping from fields to values.",
    ),
    (
      {'test': [_row(0, name='a/b')]},
      "test, row 0: expected the name of a task, got the path 'a/b'. Name a "
      "file of the corpus's tasks folder, without folder and .json.",
    ),
    (
      {'test': [_row(0, answer='maybe')]},
      "{}/tasks/wet.json: instance '0' has the output 'maybe', which is not in "
      "Label Space, ['yes', 'no', 'perhaps']. Add it, or correct the output.",
    ),
    (
      {'test': [_row(0, choices=['no', 'No'])]},
      '{}/tasks/wet.json: a positive example has the output '
      "'yes', which is not in Label Space, ['no', 'No']. Add it, or correct "
      'the output.',
    ),
    (
      {'test': [_row(0, choices=['no', 'yes', 'no'])]},
      "{}/tasks/wet.json: Label Space: expected distinct labels, got ['no', "
      "'yes', 'no'].",
    ),
  ],
)
def test_bad_rows_are_one_clear_line(tmp_path, change, message):
  with pytest.raises(InputError) as error:
    _write(tmp_path, **change)
  assert str(error.value) == message.format(tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_kept(tmp_path):
  (tmp_path / 'notes.txt').write_text('mine')
  with pytest.raises(InputError) as error:
    _write(tmp_path)
  assert str(error.value) == (
    f'{tmp_path} is in use. Name a new or empty directory.'
  )
  assert [path.name for path in tmp_path.iterdir()] == ['notes.txt']
