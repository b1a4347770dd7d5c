"""Tests of it_study.data.seqio_tasks.instances."""

import numpy as np
import pytest
import seqio
import seqio_tasks_fixture as fixture

from it_study import seqio_lib
from it_study.data.seqio_tasks import instances
from it_study.errors import InputError

LENGTHS = {'inputs': 32, 'targets': 8}


def load(name='plain', split='test', lengths=None):
  task = seqio_lib.find_task(name)
  return list(instances.load(task, lengths=lengths or LENGTHS, split=split))


def refusal(name='plain'):
  with pytest.raises(InputError) as raised:
    load(name)
  return str(raised.value)


def add(examples, **fields):
  return fixture.add_task('plain', {'test': examples}, **fields)


def test_an_example_needs_inputs_and_targets_only():
  add(fixture.questions(3))
  rows = load()
  assert [row['position'] for row in rows] == [0, 1, 2]
  row = rows[1]
  assert row['inputs'].tolist() == [b + 3 for b in b'Is 1 even?'] + [1]
  assert row['inputs_pretokenized'] == b'Is 1 even?'
  assert (row['references'], row['label_space']) == ([b'no'], [])
  assert (row['kind'], row['category']) == (None, None)
  assert not row['shortened']
  assert row['input_kept'] == 1


def test_ids_without_one_are_a_hash_of_task_split_and_position():
  fixture.add_task(
    'plain', {'test': fixture.questions(2), 'dev': fixture.questions(2)}
  )
  ids = [row['id'] for row in load()]
  # The same in every process and version.
  assert ids == [b'8e4ea2f3ff8cfe20', b'efce53745a6335ab']
  assert not set(ids) & {row['id'] for row in load(split='dev')}
  assert not any(row['has_own_id'] for row in load())


@pytest.mark.parametrize(
  ('values', 'expected'), [(['a', 'b'], [b'a', b'b']), ([7, 0], [b'7', b'0'])]
)
def test_an_example_s_own_id_is_kept(values, expected):
  add(
    [
      {**example, 'id': value}
      for example, value in zip(fixture.questions(2), values, strict=True)
    ]
  )
  rows = load()
  assert [row['id'] for row in rows] == expected
  assert all(row['has_own_id'] for row in rows)


def test_references_and_labels_of_examples():
  add(
    fixture.questions(
      2, references=['yes', 'no', 'no'], answer_choices=['yes', 'no']
    )
  )
  row = load()[0]
  assert row['references'] == [b'yes', b'no']
  assert row['label_space'] == [b'yes', b'no']
  assert row['kind'] == 'classification'


def test_a_declaration_names_features_and_values():
  add(fixture.questions(2, answers=['Yes', 'no'], options=['YES', 'No']))
  seqio_lib.declare(
    'plain', label_space='options', references='answers', category='Numbers'
  )
  row = load()[0]
  assert row['references'] == [b'Yes', b'no']
  assert row['label_space'] == [b'YES', b'No']
  assert (row['kind'], row['category']) == ('classification', 'Numbers')
  seqio_lib.declare('plain', label_space=['yes', 'no', 'maybe'])
  assert load()[0]['label_space'] == [b'yes', b'no', b'maybe']
  ids = [row['id'] for row in load()]
  seqio_lib.declare('plain', name='parity')
  rows = load()
  assert {row['task'] for row in rows} == {b'parity'}
  # Examples without ids are told by the name in predictions.
  assert {row['id'] for row in rows}.isdisjoint(ids)
  add(fixture.questions(2, answer_choices=['yes', 'no']))
  seqio_lib.declare('plain', kind='generation')
  assert (load()[0]['kind'], load()[0]['label_space']) == ('generation', [])


def test_a_task_without_texts_is_decoded():
  add(
    fixture.questions(1),
    preprocessors=[
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos,
      lambda dataset: dataset.map(
        lambda row: {name: row[name] for name in ('inputs', 'targets')}
      ),
    ],
  )
  (row,) = load()
  assert row['inputs_pretokenized'] == b'Is 0 even?'
  assert row['references'] == [b'yes']


def test_a_prompt_that_is_cut_is_shown_as_the_model_sees_it():
  add(fixture.questions(1))
  (row,) = load(lengths={'inputs': 6, 'targets': 8})
  assert row['inputs_pretokenized'] == b'Is 0 '
  assert row['shortened']
  assert row['input_kept'] == 0.5
  # The whole prompt and the end of sequence.
  (row,) = load(lengths={'inputs': 11, 'targets': 8})
  assert not row['shortened']


@pytest.mark.parametrize(
  ('more', 'declared', 'message'),
  [
    (
      {'id': 'a'},
      {},
      "plain, example 1 of test: id 'a' is also that of example 0. Give every "
      "example its own 'id', or leave the feature out: ids are then made from "
      'the positions.',
    ),
    (
      {'id': ''},
      {},
      "plain, example 0 of test: id is ''; expected a text or a whole number.",
    ),
    (
      {'id': 1.5},
      {},
      "plain, example 0 of test: id is '1.5'; expected a text or a whole "
      'number.',
    ),
    (
      {'answer_choices': ['yes', 'maybe']},
      {},
      "plain, example 1 of test: reference 'no' is not in its label space, "
      "['yes', 'maybe']. Add it to the label space, or correct the targets.",
    ),
    (
      {},
      {'kind': 'classification'},
      'plain, example 0 of test: no labels, but the task is declared as '
      "classification. Add them: it_study.seqio_lib.declare('plain', "
      "label_space=['yes', 'no']).",
    ),
    (
      {'answers': 'yes'},
      {'references': 'anwsers'},
      "plain, example 0 of test: no feature 'anwsers', only answers, inputs, "
      'inputs_pretokenized, targets, targets_pretokenized. Did you mean '
      "'answers'?",
    ),
    (
      {'references': 3},
      {},
      'plain, example 0 of test: references is 3; expected a text or a list of '
      'texts.',
    ),
    (
      {'references': np.array([], object)},
      {'references': 'references'},
      'plain, example 0 of test: references is empty; expected at least one '
      'text.',
    ),
    (
      {'references': b'\xff'},
      {},
      "plain, example 0 of test: a text is not UTF-8: 'utf-8' codec can't "
      'decode byte 0xff in position 0: invalid start byte.',
    ),
  ],
)
def test_an_example_that_is_not_valid_is_named(more, declared, message):
  add(fixture.questions(2, **more))
  if declared:
    seqio_lib.declare('plain', **declared)
  assert refusal() == message


def test_an_empty_prompt_is_refused():
  add(
    [{'inputs': '', 'targets': 'a'}],
    preprocessors=[seqio.preprocessors.tokenize],
  )
  assert refusal() == (
    'plain, example 0 of test: inputs is empty; a model needs a prompt.'
  )
