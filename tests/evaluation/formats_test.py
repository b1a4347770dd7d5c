"""Tests of the formats and of identifying rows without ids."""

import json

import pytest

from it_study import predictions
from it_study.corpus.natinst import open_corpus
from it_study.errors import InputError
from it_study.evaluation import formats
from it_study.predictions import Prediction


def write_lines(path, *objects):
  path.write_text(''.join(json.dumps(line) + '\n' for line in objects))
  return path


def t5x_row(text_input, target, prediction='p', **inputs):
  prompt = (
    'Definition: d.\n\n Positive Example 1 -\nInput: x.\n Output: y.\n\n'
    f'Now complete the following example -\nInput: {text_input}\nOutput: '
  )
  return {
    'inputs': {
      'inputs_pretokenized': prompt,
      'targets_pretokenized': target,
      **inputs,
    },
    'prediction': prediction,
  }


def tk_row(**fields):
  return {
    'Task': 't2',
    'Categories': ['Textual Entailment', 'Other'],
    'Definition': ['d'],
    'id': 't2-0',
    'Instance': {'id': 't2-0', 'input': 'same', 'output': ['no']},
    'prediction': 'No.',
  } | fields


@pytest.fixture
def corpus(tmp_path):
  """Two test tasks of which one instance has the same content in both."""
  contents = {
    't1': [('one thing', ['yes']), ('same ', ['no']), ('a long tale', ['no'])],
    't2': [('same', ['no', 'nope']), ('same', ['yes'])],
    'train': [('z', ['z'])],
  }
  (tmp_path / 'tasks').mkdir()
  for name, pairs in contents.items():
    write_lines(
      tmp_path / 'tasks' / f'{name}.json',
      {
        'Definition': ['d'],
        'Categories': ['C'],
        'Positive Examples': [],
        'Negative Examples': [],
        'Instances': [
          {'id': f'{name}-{k}', 'input': text, 'output': outputs}
          for k, (text, outputs) in enumerate(pairs)
        ],
      },
    )
  splits = tmp_path / 'splits' / 'default'
  splits.mkdir(parents=True)
  (splits / 'train_tasks.txt').write_text('train')
  (splits / 'test_tasks.txt').write_text('t1\nt2')
  return open_corpus(tmp_path, overrides={})


WHOLE = [
  t5x_row('one thing.', 'yes'),
  t5x_row('same.', 'no'),
  t5x_row('a long tale.', 'no'),
  t5x_row('same.', 'nope'),
  t5x_row('same.', 'yes'),
]
IDS = ['t1-0', 't1-1', 't1-2', 't2-0', 't2-1']


def test_our_own_format_is_read_unchanged(tmp_path):
  row = Prediction(
    id='a',
    task='t',
    category='C',
    kind='generation',
    label_space=None,
    position=0,
    split='test',
    inputs='x',
    targets=('y',),
    prediction='z',
    engine='native',
  )
  predictions.write_predictions(tmp_path / 'p.jsonl', [row])
  file = formats.read_rows(tmp_path / 'p.jsonl')
  assert file.format == 'it_study'
  assert file.rows == (row,)
  assert file.queries == (None,)


def test_tk_instruct(tmp_path):
  path = write_lines(
    tmp_path / 'predicted_examples.jsonl',
    tk_row(),
    tk_row(
      Task='task121_atomic_question_rewriting',
      Instance={'input': ' why? ', 'output': 'because'},
    ),
  )
  file = formats.read_rows(path)
  assert file.format == 'tk_instruct'
  assert file.rows[0].to_json() == {
    'id': 't2-0',
    'task': 't2',
    'category': 'Textual Entailment',
    'kind': None,
    'label_space': None,
    'position': None,
    'split': None,
    'inputs': None,
    'targets': ['no'],
    'prediction': 'No.',
    'scores': None,
    'train_condition': None,
    'test_condition': None,
    'seed': None,
    'engine': None,
  }
  assert file.rows[1].task == 'task121_zest_question_rewriting'
  assert file.rows[1].targets == ('because',)
  assert file.queries == ('same', 'why?')


def test_tk_instruct_s_trainer_dump(tmp_path):
  path = write_lines(
    tmp_path / 'd.jsonl',
    {
      'Task': 't',
      'Definition': ['d'],
      'Instance': {'id': 'a', 'input': 'x', 'output': ['y']},
      'Prediction': 'z',
    },
  )
  (row,) = formats.read_rows(path).rows
  assert (row.id, row.category, row.prediction) == ('a', None, 'z')


def test_t5x(tmp_path):
  path = write_lines(
    tmp_path / 'x-predict.jsonl-00000-of-00001',
    WHOLE[0],
    t5x_row(
      'x', 'y', 'z', id='a', task='t', references=['y', 'yy'], position=3
    ),
  )
  file = formats.read_rows(path)
  assert file.format == 't5x'
  first, second = file.rows
  assert (first.id, first.task, first.engine) == (None, None, 't5x')
  assert first.targets == ('yes',)
  assert first.inputs.startswith('Definition: d.')
  assert (second.id, second.task, second.targets) == ('a', 't', ('y', 'yy'))
  assert file.queries == ('one thing', 'x')


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    (
      {'text': 'x'},
      ":1: not a row of a known format: got the fields 'text'. A file holds "
      'rows of one format: it_study (id, task, ..., prediction, ...), '
      'Tk-Instruct (Task, Instance, prediction), T5X (inputs as an object, '
      'prediction), lm-evaluation-harness (doc, filtered_resps) or the '
      'leaderboard (id, prediction).',
    ),
    (
      {'inputs': {}, 'score': -1.5},
      ":1: no prediction, only 'inputs', 'score'. Run t5x.infer with "
      "mode='predict'.",
    ),
    (
      t5x_row('x', 'y', ['beam 1', 'beam 2']),
      ":1: prediction: expected a text, got ['beam 1', 'beam 2'].",
    ),
    (
      tk_row(Instance='x'),
      ":1: Instance: expected an object, got 'x'.",
    ),
    (
      tk_row(Instance={'input': 'x', 'output': [1]}),
      ':1: Instance.output: expected a text, got 1.',
    ),
    (
      tk_row(Instance={'input': 'x'}),
      ':1: Instance.output: expected a text or a list of texts, got None.',
    ),
    (
      {'id': 'a', 'task': 't', 'inputs': 'x', 'targets': ['y']},
      ':1: missing category, kind, label_space, position, split, prediction',
    ),
  ],
)
def test_unreadable_rows_are_refused(tmp_path, line, message):
  path = write_lines(tmp_path / 'p.jsonl', line)
  with pytest.raises(InputError) as error:
    formats.read_rows(path)
  assert str(error.value).startswith(f'{path}{message}')


def test_t5x_s_marks_of_tokens_are_left_out(tmp_path):
  lines = [t5x_row('x', 'y', ' ⁇ yes ⁇ '), t5x_row('x', 'y', ' no')]
  path = tmp_path / 'p.jsonl'
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  rows = formats.read_rows(path).rows
  assert [(row.prediction, row.raw_prediction) for row in rows] == [
    ('yes', '⁇ yes ⁇'),
    (' no', None),
  ]


def test_formats_do_not_mix(tmp_path):
  path = write_lines(tmp_path / 'p.jsonl', tk_row(), WHOLE[0])
  with pytest.raises(
    InputError, match=':2: not a row of tk_instruct: got the fields'
  ):
    formats.read_rows(path)


def identify(path, lines, corpus):
  file = formats.read_rows(write_lines(path, *lines))
  rows = formats.identify(file, corpus=corpus, split='test')
  assert all(row.id.split('-')[0] == row.task for row in rows)
  return [row.id for row in rows]


def test_rows_in_corpus_order_are_identified_by_it(tmp_path, corpus):
  assert identify(tmp_path / 'p', WHOLE, corpus) == IDS
  # Truncation has removed the middle of an input.
  cut = [*WHOLE[:2], t5x_row('a l ale.', 'no'), *WHOLE[3:]]
  assert identify(tmp_path / 'p', cut, corpus) == IDS


def test_rows_in_another_order_are_identified_by_content(tmp_path, corpus):
  lines = [WHOLE[4], WHOLE[3], WHOLE[2], WHOLE[0]]
  # 'same' with 'yes' or 'nope' is in one task only.
  assert identify(tmp_path / 'p', lines, corpus) == [
    't2-1',
    't2-0',
    't1-2',
    't1-0',
  ]


@pytest.mark.parametrize(
  ('lines', 'message'),
  [
    ([WHOLE[1], WHOLE[0]], 'row 1 has no id, and 2 instances of split'),
    ([WHOLE[0], t5x_row('one thing', 'no')], 'row 2 has no id, and 0 instance'),
    ([t5x_row('a l ale.', 'no')], 'row 1 has no id, and 0 instances of split'),
    (
      [{'inputs': {'inputs_pretokenized': 'my own'}, 'prediction': 'p'}],
      'row 1 has no id, and 0 instances of split',
    ),
  ],
)
def test_rows_are_never_guessed(tmp_path, corpus, lines, message):
  with pytest.raises(InputError, match=message) as error:
    identify(tmp_path / 'p', lines, corpus)
  assert str(error.value).endswith(
    'Predict with ids: it-study predict writes them, t5x.infer does with '
    "write_inferences_to_file.input_fields_to_include=['id', 'task', "
    "'references', 'inputs_pretokenized']."
  )


def test_existing_ids_are_kept(tmp_path, corpus):
  lines = [
    t5x_row('anything', 'no', id='t2-1'),
    t5x_row('anything', 'no', id='t1-1', task='t1'),
  ]
  assert identify(tmp_path / 'p', lines, corpus) == ['t2-1', 't1-1']
  # One row with an id does not keep another from being found.
  assert identify(tmp_path / 'p', [lines[0], WHOLE[0]], corpus) == [
    't2-1',
    't1-0',
  ]


def test_tk_instruct_rows_without_ids_are_found_in_their_task(tmp_path, corpus):
  line = tk_row(Instance={'input': 'same', 'output': ['no', 'nope']})
  del line['id']
  assert identify(tmp_path / 'p', [line], corpus) == ['t2-0']


def test_the_last_query_of_a_prompt_is_its_input(tmp_path):
  prompt = WHOLE[0]['inputs']['inputs_pretokenized']
  line = t5x_row('b', 'y')
  line['inputs']['inputs_pretokenized'] = (
    prompt
    + '\n\n'
    + ('Now complete the following example -\nInput: c\nOutput: d.\nOutput: ')
  )
  (query,) = formats.read_rows(write_lines(tmp_path / 'p', line)).queries
  assert query == 'c\nOutput: d'


def test_an_id_of_two_tasks_does_not_name_one(tmp_path, corpus):
  path = corpus.directory / 'tasks' / 't2.json'
  path.write_text(path.read_text().replace('t2-1', 't1-0'))
  corpus = open_corpus(corpus.directory, overrides={})
  file = formats.read_rows(
    write_lines(
      tmp_path / 'p',
      t5x_row('x', 'y', id='t1-0'),
      t5x_row('x', 'y', id='t1-1'),
      t5x_row('x', 'y', id='t1-0', task='t2'),
    )
  )
  rows = formats.identify(file, corpus=corpus, split='test')
  assert [row.task for row in rows] == [None, 't1', 't2']


@pytest.mark.parametrize(
  ('line', 'expected'),
  [
    # The order of the corpus, but a reference or a task that does not fit.
    (t5x_row('one thing.', 'no'), None),
    (t5x_row('one thing.', 'yes', task='t2'), None),
    (t5x_row('one thing.', 'yes', task='t1'), 't1-0'),
    # Nothing is left of the input, or more than there was.
    (t5x_row('', 'yes'), None),
    (t5x_row('one thing more', 'yes'), None),
    # A cut leaves a head and a tail, not a middle.
    (t5x_row('one ing', 'yes'), 't1-0'),
    (t5x_row('ne thin', 'yes'), None),
  ],
)
def test_rows_in_corpus_order_have_to_fit(tmp_path, corpus, line, expected):
  file = formats.read_rows(write_lines(tmp_path / 'p', line, *WHOLE[1:]))
  if expected is None:
    with pytest.raises(InputError, match='row 1 has no id, and 0 instances of'):
      formats.identify(file, corpus=corpus, split='test')
  else:
    rows = formats.identify(file, corpus=corpus, split='test')
    assert [row.id for row in rows] == [expected, *IDS[1:]]


def test_long_values_are_shortened_in_messages(tmp_path):
  path = write_lines(tmp_path / 'p', t5x_row('x', 'y', ['a' * 60]))
  with pytest.raises(InputError) as error:
    formats.read_rows(path)
  assert str(error.value) == (
    f"{path}:1: prediction: expected a text, got ['{'a' * 55}...."
  )
