"""Tests for it_study.evaluation.formats.references."""

import json

import pytest

from it_study.errors import InputError
from it_study.evaluation import formats
from it_study.evaluation.formats.references import Reference


def _write(path, objects):
  path.write_text(''.join(json.dumps(line) + '\n' for line in objects))
  return path


def _reference(id, track='default', **fields):
  return {
    'id': id,
    'references': ['yes'],
    'task_id': 't1',
    'task_category': 'C',
    'track': track,
    **fields,
  }


@pytest.fixture(name='references')
def _references(tmp_path):
  path = _write(
    tmp_path / 'references.jsonl',
    [
      *map(_reference, 'ba'),
      # An instance of both tracks.
      *(_reference(name, 'xlingual') for name in 'xa'),
    ],
  )
  return formats.read_references(path)


def _attach(references, path, *lines):
  return formats.attach(formats.read_rows(_write(path, lines)), references)


def _predicted(*ids):
  return [{'id': name, 'prediction': f'of {name}'} for name in ids]


def test_rows_get_their_references(references, tmp_path):
  assert dict(references.by_id) == {
    'b': Reference('t1', 'C', ('yes',)),
    'a': Reference('t1', 'C', ('yes',)),
  }
  assert references.elsewhere == {'x'}
  rows, notes = _attach(references, tmp_path / 'p', *_predicted('a', 'x', 'b'))
  # In the order of the references.
  assert [
    (r.id, r.prediction, r.task, r.category, r.targets) for r in rows
  ] == [
    ('b', 'of b', 't1', 'C', ('yes',)),
    ('a', 'of a', 't1', 'C', ('yes',)),
  ]
  assert notes == (
    "1 prediction of other tracks than 'default' left out, the first is 'x'.",
  )


def test_a_track_is_chosen(references):
  other = formats.read_references(references.path, track='xlingual')
  assert list(other.by_id) == ['x', 'a']
  assert other.elsewhere == {'b'}
  with pytest.raises(InputError) as error:
    formats.read_references(references.path, track='defualt')
  assert str(error.value) == (
    f"{references.path}: no reference of track 'defualt'; there are 'default', "
    "'xlingual'. Choose one with --track. Did you mean 'default'?"
  )


def test_what_is_optional_may_be_left_out(tmp_path):
  path = _write(
    tmp_path / 'r.jsonl',
    [{'id': 'a', 'references': 'yes'}, {'id': 'b', 'references': ['no', 'x']}],
  )
  references = formats.read_references(path, track='xlingual')
  assert dict(references.by_id) == {
    'a': Reference(None, None, ('yes',)),
    'b': Reference(None, None, ('no', 'x')),
  }
  tk = [
    {
      'Task': 't9',
      'Instance': {'id': name, 'input': 'i', 'output': [output]},
      'prediction': 'p',
    }
    for name, output in (('a', 'yes'), ('b', 'maybe'))
  ]
  rows, notes = _attach(references, tmp_path / 'p', *tk)
  assert [(r.task, r.targets) for r in rows] == [
    ('t9', ('yes',)),
    ('t9', ('no', 'x')),
  ]
  assert notes == (
    f"1 row with references that are not in {path}, the first is 'b'; scored "
    'against those of that file.',
  )


def test_references_as_csv(tmp_path):
  path = tmp_path / 'r.csv'
  path.write_text('id,references,track\na,"[""yes""]",default\nb,"[""n""]",\n')
  references = formats.read_references(path)
  assert [r.targets for r in references.by_id.values()] == [('yes',), ('n',)]


@pytest.mark.parametrize(
  ('lines', 'faults'),
  [
    (_predicted('a', 'b', 'a'), "1 duplicate (first 'a')"),
    (_predicted('a'), "1 of 2 missing (first 'b')"),
    (_predicted('a', 'b', 'c', 'd'), "2 unknown (first 'c')"),
    (
      _predicted('a', 'a', 'c'),
      "1 duplicate (first 'a'); 1 of 2 missing (first 'b'); 1 unknown (first "
      "'c')",
    ),
    (
      [{**line, 'task_id': 't2'} for line in _predicted('a', 'b')],
      "2 of 2 missing (first 'a'); 2 unknown (first 'a' of task 't2')",
    ),
  ],
)
def test_ids_have_to_match(references, tmp_path, lines, faults):
  with pytest.raises(InputError) as error:
    _attach(references, tmp_path / 'p', *lines)
  assert str(error.value) == (
    f'{tmp_path}/p: ids do not match {references.path}: {faults}. Each '
    'instance must occur exactly once. Predict all instances of the track, or '
    'name their own references.'
  )


def test_a_row_without_id_is_refused(references, tmp_path):
  line = {'inputs': {'inputs_pretokenized': 'x'}, 'prediction': 'p'}
  with pytest.raises(InputError) as error:
    _attach(references, tmp_path / 'p', line)
  assert str(error.value) == (
    f'{tmp_path}/p: row 1 has no id to find in {references.path}. Name the '
    'corpus instead, with --corpus.'
  )


@pytest.mark.parametrize(
  ('lines', 'message'),
  [
    (
      [_reference('a', references=[])],
      ':1: references: expected at least one text.',
    ),
    (
      [{'id': 'a', 'reference': ['x']}],
      ":1: no 'references'; got 'id', 'reference'. A row has id and "
      "references. Did you mean 'reference'?",
    ),
    (
      [_reference('a'), _reference('b'), _reference('a'), _reference('b')],
      ": 2 duplicate ids in track 'default', the first is 'a'. Remove the "
      'repeated lines.',
    ),
    ([_reference('a', track=3)], ':1: track: expected a text, got 3.'),
  ],
)
def test_malformed_references_are_refused(tmp_path, lines, message):
  path = _write(tmp_path / 'r.jsonl', lines)
  with pytest.raises(InputError) as error:
    formats.read_references(path)
  assert str(error.value) == f'{path}{message}'
