"""Tests of the row schema: written, read, refused, complete."""

import dataclasses
import json
import os
import pathlib
import types

from hypothesis import given, strategies as st
import pytest

from it_study import predictions
from it_study.corpus.schema import Instance, Task
from it_study.errors import InputError
from it_study.predictions import Prediction
from it_study.storage import text_files

ROW = Prediction(
  id='task1-a',
  task='task1_x',
  category='Textual Entailment',
  kind='classification',
  label_space=('yes', 'no'),
  position=3,
  split='test',
  inputs='Definition: …\n\n',
  targets=('yes',),
  prediction='Yes.',
  scores={'yes': -0.5, 'no': -2},
  train_condition=None,
  test_condition='natinst_def_original_ex_original2',
  seed=0,
  engine='native',
)


def make_row(**fields) -> Prediction:
  return dataclasses.replace(ROW, **fields)


def make_corpus(ids: dict[str, list[str]]):
  """Just enough of a corpus to say which instances are due."""
  rows = []
  for name, instance_ids in ids.items():
    task = Task(
      name=name,
      definition='d',
      categories=('Title Generation',),
      kind='generation',
      label_space=None,
      positive_examples=(),
      negative_examples=(),
    )
    for position, instance_id in enumerate(instance_ids):
      instance = Instance(
        id=instance_id, input='i', outputs=('o',), position=position
      )
      rows.append((task, instance))
  return types.SimpleNamespace(directory='C', rows=lambda split: iter(rows))


def test_a_line_holds_the_fields_of_the_schema_in_order(tmp_path):
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, [ROW])
  assert path.read_text(encoding='utf-8') == (
    '{"id": "task1-a", "task": "task1_x", "category": "Textual Entailment", '
    '"kind": "classification", "label_space": ["yes", "no"], "position": 3, '
    '"split": "test", "inputs": "Definition: …\\n\\n", "targets": ["yes"], '
    '"prediction": "Yes.", "scores": {"yes": -0.5, "no": -2}, '
    '"train_condition": null, '
    '"test_condition": "natinst_def_original_ex_original2", "seed": 0, '
    '"engine": "native"}\n'
  )


def test_a_raw_prediction_is_written_where_there_is_one(tmp_path):
  path = tmp_path / 'p.jsonl'
  row = make_row(prediction='yes', raw_prediction='<extra_id_0> yes')
  predictions.write_predictions(path, [row])
  assert (
    '"prediction": "yes", "raw_prediction": "<extra_id_0> yes", "scores"'
  ) in path.read_text()
  assert predictions.read_predictions(path) == [row]


@pytest.mark.parametrize(
  ('raw', 'special', 'unknown'),
  [
    (None, False, False),
    ('<extra_id_0> yes', True, False),
    ('yes <id 32100>', True, False),
    ('⁇ yes ⁇', False, True),
    ('⁇ yes <extra_id_12>', True, True),
  ],
)
def test_a_raw_prediction_tells_special_from_unknown(raw, special, unknown):
  row = make_row(raw_prediction=raw)
  assert (row.has_special_tokens, row.has_unknown_tokens) == (special, unknown)


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('yes ', ('yes ', None)),
    # As SentencePiece decodes [unknown, yes, unknown] and so on.
    (' ⁇ yes ⁇ ', ('yes', '⁇ yes ⁇')),
    ('a ⁇ b ⁇  c', ('ab c', 'a ⁇ b ⁇  c')),
    ('<extra_id_0> yes<extra_id_1>', ('yes', '<extra_id_0> yes<extra_id_1>')),
  ],
)
def test_marks_of_a_decoded_text(text, expected):
  assert predictions.without_marks(text) == expected


def test_rows_are_sorted_by_task_and_position(tmp_path):
  path = tmp_path / 'p.jsonl'
  rows = [
    make_row(id='c', task='t2', position=0),
    make_row(id='b', task='t1', position=10),
    make_row(id='a', task='t1', position=9),
  ]
  predictions.write_predictions(path, rows)
  assert [row.id for row in predictions.read_predictions(path)] == [
    'a',
    'b',
    'c',
  ]


def test_of_instance_takes_fields_from_the_corpus():
  ((task, instance),) = make_corpus({'t1': ['a']}).rows('test')
  row = Prediction.of_instance(
    task, instance, split='test', inputs='p', prediction='q', engine='t5x'
  )
  assert row.to_json() == {
    'id': 'a',
    'task': 't1',
    'category': 'Title Generation',
    'kind': 'generation',
    'label_space': None,
    'position': 0,
    'split': 'test',
    'inputs': 'p',
    'targets': ['o'],
    'prediction': 'q',
    'scores': None,
    'train_condition': None,
    'test_condition': None,
    'seed': None,
    'engine': 't5x',
  }


_TEXTS = st.text(st.characters(exclude_categories=()), max_size=20).filter(
  # Two halves of a pair next to each other are one character in JSON.
  lambda text: text == json.loads(json.dumps(text))
)


@given(prediction=_TEXTS, inputs=_TEXTS, label=_TEXTS)
def test_any_text_survives_and_stays_on_its_line(
  tmp_path_factory, prediction, inputs, label
):
  path = tmp_path_factory.mktemp('rows') / 'p.jsonl'
  row = make_row(
    prediction=prediction, inputs=inputs, label_space=(label,), scores=None
  )
  predictions.write_predictions(path, [row])
  assert predictions.read_predictions(path) == [row]
  assert len(path.read_text(encoding='utf-8').splitlines()) == 1


def test_json_line_escapes_what_breaks_lines_and_leaves_the_rest():
  assert text_files.json_line('é\u2028\x85\ud800\n') == (
    '"é\\u2028\\u0085\\ud800\\n"\n'
  )


def test_missing_scores_blank_lines_and_a_byte_order_mark_are_accepted(
  tmp_path,
):
  fields = ROW.to_json()
  del fields['scores']
  path = tmp_path / 'p.jsonl'
  path.write_text('\ufeff\n' + json.dumps(fields) + '\r\n\n', encoding='utf-8')
  assert predictions.read_predictions(path) == [make_row(scores=None)]


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('id', '', "id: expected a non-empty text, got ''."),
    (
      'kind',
      'regression',
      "kind: expected 'classification' or 'generation', or null, got "
      "'regression'.",
    ),
    (
      'label_space',
      'yes',
      "label_space: expected a list of at least one text, or null, got 'yes'.",
    ),
    ('position', -1, 'position: expected an integer of at least 0, got -1.'),
    (
      'position',
      True,
      'position: expected an integer of at least 0, got True.',
    ),
    ('split', '', "split: expected a non-empty text, got ''."),
    ('id_source', 'data', "id_source: expected 'position', got 'data'."),
    ('targets', [], 'targets: expected a list of at least one text, got [].'),
    (
      'targets',
      ['a', 1],
      "targets: expected a list of at least one text, got ['a', 1].",
    ),
    ('prediction', None, 'prediction: expected a text, got None.'),
    (
      'scores',
      {'yes': float('-inf')},
      'scores: expected an object of finite numbers, or null, got '
      "{'yes': -inf}.",
    ),
    ('seed', 1.5, 'seed: expected an integer, or null, got 1.5.'),
    ('engine', None, 'engine: expected a non-empty text, got None.'),
    (
      'predicton',
      'x',
      "field 'predicton' is unknown; expected id, task, category, kind, "
      'label_space, position, split, inputs, targets, prediction, '
      'raw_prediction, scores, train_condition, test_condition, seed, engine, '
      "prior_targets, id_source. Did you mean 'prediction'?",
    ),
  ],
)
def test_a_bad_field_is_named_with_its_line(tmp_path, field, value, message):
  path = tmp_path / 'p.jsonl'
  good = json.dumps(ROW.to_json())
  path.write_text(f'{good}\n{json.dumps(ROW.to_json() | {field: value})}\n')
  with pytest.raises(InputError) as error:
    predictions.read_predictions(path)
  assert str(error.value).startswith(f'{path}:2: {message}')


def test_missing_fields_are_all_named(tmp_path):
  path = tmp_path / 'p.jsonl'
  fields = ROW.to_json()
  del fields['prediction'], fields['engine']
  path.write_text(json.dumps(fields))
  with pytest.raises(
    InputError,
    match=r':1: missing prediction, engine; a row has id, .*, id_source '
    r'\(raw_prediction, scores, prior_targets and id_source are optional\)\.$',
  ):
    predictions.read_predictions(path)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', ': no rows; expected one JSON object per line for each instance.'),
    (b'\n{"id": \n', ':2: not JSON: Expecting value at column 8; expected one'),
    (b'[1]', ':1: expected one JSON object per line, got list.'),
    (b'{"id": "\xff"}', ':1: not UTF-8 at byte 8: invalid start byte.'),
    (b'[' * 200_000, ':1: JSON is nested too deeply.'),
    (
      b'{"n": ' + b'9' * 5000 + b'}',
      ':1: not JSON that can be read: a number has 5,000 digits; at most 300 ',
    ),
  ],
)
def test_a_file_without_rows_is_refused(tmp_path, content, message):
  path = tmp_path / 'p.jsonl'
  path.write_bytes(content)
  with pytest.raises(InputError) as error:
    predictions.read_predictions(path)
  assert str(error.value).startswith(f'{path}{message}')


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match=r'x\.jsonl: cannot be read: No such'):
    predictions.read_predictions(tmp_path / 'x.jsonl')


def test_writing_refuses_rows_outside_the_schema(tmp_path):
  path = tmp_path / 'p.jsonl'
  with pytest.raises(
    InputError, match=r"p\.jsonl: row 'task1-a': position: expected an"
  ):
    predictions.write_predictions(path, [make_row(position=None)])
  with pytest.raises(InputError, match='no predictions to write'):
    predictions.write_predictions(path, [])
  with pytest.raises(
    InputError,
    match="1 instance predicted more than once, the first is 'task1-a'",
  ):
    predictions.write_predictions(path, [ROW, ROW, ROW])
  assert list(tmp_path.iterdir()) == []


def test_a_failed_save_names_the_path_and_leaves_nothing(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  with pytest.raises(
    InputError, match=r'file/p\.jsonl: cannot be written: Not a directory\.'
  ):
    predictions.write_predictions(tmp_path / 'file' / 'p.jsonl', [ROW])
  with pytest.raises(
    InputError, match=r'none/p\.jsonl: cannot be written: No such file or'
  ):
    predictions.write_predictions(tmp_path / 'none' / 'p.jsonl', [ROW])

  path = tmp_path / 'p.jsonl'
  path.write_text('old')

  def full(*unused_args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(
    InputError, match=r'p\.jsonl: cannot be written: No space left on device'
  ):
    predictions.write_predictions(path, [ROW])
  assert path.read_text() == 'old'
  assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'p.jsonl']


def test_a_text_is_written_verbatim(tmp_path):
  text_files.write_text(tmp_path / 'a', 'é\r\n\n')
  assert (tmp_path / 'a').read_bytes() == b'\xc3\xa9\r\n\n'


def test_check_complete_accepts_each_instance_once():
  corpus = make_corpus({'t1': ['a', 'b'], 't2': ['a']})
  rows = [
    make_row(task='t2', id='a'),
    make_row(task='t1', id='b'),
    make_row(task='t1', id='a'),
  ]
  predictions.check_complete(rows, corpus=corpus, split='test')


def test_check_complete_reports_each_fault_with_count_and_first_id():
  corpus = make_corpus({'t1': ['id-1', 'id-2', 'id-3'], 't2': ['x']})
  rows = [
    make_row(task='t1', id='id-1'),
    make_row(task='t1', id='id-1'),
    make_row(task='t1', id='id-9'),
    make_row(task='t2', id='id-2'),
  ]
  with pytest.raises(InputError) as error:
    predictions.check_complete(
      rows, corpus=corpus, split='test', source='p.jsonl'
    )
  assert str(error.value) == (
    "p.jsonl: ids do not match split 'test' of corpus C: 1 duplicate (first "
    "'id-1'); 3 of 4 missing (first 'id-2'); 2 unknown (first 'id-9' of task "
    "'t1'). Each instance must occur exactly once. Predict the split again, or "
    "name the corpus that was predicted. Did you mean 'id-3'?"
  )


def test_check_unique_ignores_rows_without_ids():
  rows = [make_row(id=None), make_row(id=None), make_row(id='a')]
  predictions.check_unique(rows, source='p.jsonl')
  with pytest.raises(
    InputError, match=r"p\.jsonl: 1 duplicate id, the first is 'a'\. Remove"
  ):
    predictions.check_unique([*rows, make_row(id='a')], source='p.jsonl')


def test_paths_may_be_text(tmp_path):
  path = str(pathlib.Path(tmp_path) / 'p.jsonl')
  predictions.write_predictions(path, [ROW])
  assert predictions.read_predictions(path) == [ROW]


@pytest.mark.parametrize(
  ('field', 'value'),
  [
    ('scores', {'yes': True}),
    ('scores', {'yes': '1'}),
    ('scores', [1.0]),
    ('seed', True),
    ('task', ''),
    ('id', None),
    ('inputs', 1),
    ('label_space', []),
    ('train_condition', ''),
    ('test_condition', 3),
  ],
)
def test_other_values_are_refused(tmp_path, field, value):
  path = tmp_path / 'p.jsonl'
  path.write_text(json.dumps(ROW.to_json() | {field: value}))
  with pytest.raises(InputError, match=f':1: {field}: expected'):
    predictions.read_predictions(path)


def test_the_edges_of_what_is_allowed_are_read(tmp_path):
  row = make_row(
    position=0, category='', inputs='', prediction='', scores={}, seed=None
  )
  path = tmp_path / 'p.jsonl'
  predictions.write_predictions(path, [row])
  assert predictions.read_predictions(path) == [row]


def test_long_values_are_shortened_in_messages(tmp_path):
  path = tmp_path / 'p.jsonl'
  for length, shown in ((58, f"'{'k' * 58}'"), (59, f"'{'k' * 56}...")):
    path.write_text(json.dumps(ROW.to_json() | {'kind': 'k' * length}))
    with pytest.raises(InputError) as error:
      predictions.read_predictions(path)
    assert str(error.value).endswith(f', got {shown}.')


def test_a_hint_is_an_id_of_the_same_task():
  corpus = make_corpus({'t1': ['id-1'], 't2': ['other']})
  rows = [
    make_row(task='t1', id='id-1'),
    make_row(task='t2', id='other'),
    make_row(task='t2', id='id-2'),
  ]
  with pytest.raises(InputError) as error:
    predictions.check_complete(rows, corpus=corpus, split='test')
  assert str(error.value).startswith(
    "predictions: ids do not match split 'test'"
  )
  assert str(error.value).endswith('or name the corpus that was predicted.')
