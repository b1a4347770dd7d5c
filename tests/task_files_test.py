"""Tests for it_study.task_files."""

import json

import hypothesis
from hypothesis import strategies as st
import pytest

from it_study import task_files
from it_study.errors import InputError
from it_study.task_files import Example, Instance, Task


def _parse(raw, **fields) -> task_files.TaskFile:
  text = raw if isinstance(raw, str) else json.dumps(raw)
  return task_files.parse_task(text, name='task1_a', path='a.json', **fields)


def _message(raw) -> str:
  with pytest.raises(InputError) as error:
    _parse(raw)
  return str(error.value)


def test_a_tidy_file_is_read_whole(raw_task):
  file = _parse(raw_task(num_instances=2))
  assert file == task_files.TaskFile(
    task=Task(
      name='task1_a',
      definition='Say what comes next.',
      categories=('Title Generation',),
      kind='generation',
      label_space=None,
      positive_examples=(
        Example(input='one', output='two', explanation='It comes next.'),
        Example(input='two', output='three', explanation=''),
      ),
      negative_examples=(
        Example(
          input='one',
          output='nine',
          explanation='It does not.',
          source='negatives',
        ),
      ),
    ),
    instances=(
      Instance(id='t-0', input='text 0', outputs=('out 0',), position=0),
      Instance(id='t-1', input='text 1', outputs=('out 1',), position=1),
    ),
    warnings=(),
  )
  assert file.task.category == 'Title Generation'


def test_a_string_stands_for_a_list_of_one(raw_task):
  file = _parse(
    raw_task(
      Definition='Say it.',
      Categories='Dialogue',
      Instances=[{'id': 'a', 'input': 'b', 'output': 'c'}],
      Negative_Examples=[{'input': 'x', 'output': ['y']}],
    )
  )
  assert file.task.definition == 'Say it.'
  assert file.task.categories == ('Dialogue',)
  assert file.instances[0].outputs == ('c',)
  assert file.task.negative_examples == (
    Example(input='x', output='y', explanation=None, source='negatives'),
  )
  assert file.warnings == ()


def test_texts_are_kept_as_they_are(raw_task):
  instance = {'id': ' a ', 'input': ' b\r\n', 'output': [' c', 'd\u2028']}
  (kept,) = _parse(raw_task(Instances=[instance])).instances
  assert (kept.id, kept.input, kept.outputs) == (
    ' a ',
    ' b\r\n',
    (' c', 'd\u2028'),
  )


_BLANK = {'id': 'a', 'input': ' ', 'output': ['', 'b']}
_ONE = {'id': 'a', 'input': 'b', 'output': ['c']}


@pytest.mark.parametrize(
  ('fields', 'warnings'),
  [
    ({'Categories': ...}, ["no Categories: counted as 'Uncategorized'"]),
    ({'Categories': []}, ["no Categories: counted as 'Uncategorized'"]),
    ({'Categories': ['']}, ["no Categories: counted as 'Uncategorized'"]),
    ({'Definition': ' '}, ['Definition is empty']),
    (
      {'Definition': ['Do.', 'Do it.']},
      ['Definition has 2 texts, the first counts'],
    ),
    ({'Positive_Examples': ...}, ['no Positive Examples']),
    ({'Positive_Examples': []}, ['Positive Examples is empty']),
    ({'Negative_Examples': ...}, ['no Negative Examples']),
    ({'Negative_Examples': []}, []),
    (
      {'Positive_Examples': [{'input': 'a', 'output': ['b', 'c']}]},
      ['Positive Examples[0].output has 2 texts, the first counts'],
    ),
    (
      {
        'Negative_Examples': [{'input': 'a', 'output': '', 'explanation': None}]
      },
      [],
    ),
    (
      {'Instances': [_BLANK]},
      [
        'Instances[0].input is empty',
        'Instances[0].output has an empty reference',
      ],
    ),
    (
      {'Instances': [_ONE, _BLANK | {'id': 'b'}, _ONE]},
      [
        'Instances[1].input is empty',
        'Instances[1].output has an empty reference',
        'Instances[2] repeats Instances[0]: left out',
      ],
    ),
    ({'Source': [1e999], 'Reasoning': {'a': [None]}}, []),
  ],
)
def test_what_is_harmless_is_told(raw_task, fields, warnings):
  file = _parse(raw_task(**fields))
  assert file.warnings == tuple(f'a.json: {warning}' for warning in warnings)


def test_a_repeated_instance_leaves_the_others_positions(raw_task):
  file = _parse(raw_task(Instances=[_ONE, _ONE, _ONE | {'id': 'b'}]))
  assert [(i.id, i.position) for i in file.instances] == [('a', 0), ('b', 2)]


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'Definition': ..., 'definition': 'Do.'},
      "field 'Definition' is missing; found ['Categories', 'Positive "
      "Examples', 'Negative Examples', 'Instances', 'definition'], allowed is "
      "a string or a list of at least one. Did you mean 'definition'?",
    ),
    (
      {'Definition': []},
      'Definition: found [], allowed is a string or a list of at least one.',
    ),
    (
      {'Definition': [['Do.']]},
      "Definition: found ['Do.'], allowed is a string.",
    ),
    (
      {'Categories': None},
      'Categories: found None, allowed is a string or a list of at least one.',
    ),
    (
      {'Positive_Examples': None},
      'Positive Examples: found None, allowed is a list of examples.',
    ),
    (
      {'Negative_Examples': '-'},
      "Negative Examples: found '-', allowed is a list of examples.",
    ),
    (
      {'Negative_Examples': ['-']},
      "Negative Examples[0]: found '-', allowed is an object with input and "
      'output.',
    ),
    (
      {'Positive_Examples': [{'input': 'a'}]},
      "Positive Examples[0]: found ['input'], allowed is an object with "
      "'output'.",
    ),
    (
      {'Positive_Examples': [{'input': 'a', 'output': 'b', 'explanation': 1}]},
      'Positive Examples[0].explanation: found 1, allowed is a string.',
    ),
    (
      {'Instances': ...},
      "Instances: found ['Definition', 'Categories', 'Positive Examples', "
      "'Negative Examples'], allowed is a list of at least one instance.",
    ),
    (
      {'Instances': []},
      'Instances: found [], allowed is a list of at least one instance.',
    ),
    (
      {'Instances': [_ONE, 'b']},
      "Instances[1]: found 'b', allowed is an object with id, input, output.",
    ),
    (
      {'Instances': [{'input': 'b', 'output': 'c'}]},
      "Instances[0]: found ['input', 'output'], allowed is an object with "
      "'id'.",
    ),
    (
      {'Instances': [_ONE | {'output': []}]},
      'Instances[0].output: found [], allowed is a string or a list of at '
      'least one.',
    ),
    (
      {'Instances': [_ONE | {'output': [3]}]},
      'Instances[0].output: found 3, allowed is a string.',
    ),
    (
      {'Instances': [_ONE | {'input': {'text': 'b'}}]},
      "Instances[0].input: found {'text': 'b'}, allowed is a string.",
    ),
    (
      {'Instances': [_ONE | {'id': 7}]},
      'Instances[0].id: found 7, allowed is a string.',
    ),
    (
      {'Instances': [_ONE | {'id': ' '}]},
      "Instances[0].id: found ' ', allowed is a text to know it by.",
    ),
    (
      {'Instances': [_ONE | {'input': 'b\ud800'}]},
      "Instances[0].input: found 'b\\ud800', allowed is text without lone "
      'surrogates.',
    ),
    (
      {'Instances': [_ONE, _ONE | {'output': ['d']}]},
      "Instances[1].id: 'a' is also the id of Instances[0], which has another "
      'content; ids must tell instances apart.',
    ),
  ],
)
def test_what_would_make_a_number_wrong_is_refused(raw_task, fields, message):
  assert _message(raw_task(**fields)) == f'a.json: {message}'


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (
      '{"Definition": ',
      'not JSON: Expecting value at line 1, column 16. Fetch the file again or '
      'mend it there.',
    ),
    ('[1]', "file: found 'list', allowed is one JSON object."),
    ('{"a": ' + '[' * 100_000, 'not a task: JSON nested too deeply.'),
    (
      '{"Definition": "a", "Definition": "b"}',
      "field 'Definition': found 2 times in one object, allowed is once.",
    ),
  ],
)
def test_broken_json_is_refused(text, message):
  assert _message(text) == f'a.json: {message}'


def test_a_number_of_too_many_digits_is_refused():
  assert _message('1' * 5000).startswith(
    'a.json: not a task: Exceeds the limit'
  )


def test_a_message_shows_part_of_what_was_found(raw_task):
  message = _message(raw_task(Definition={'text': 'word ' * 1000}))
  assert len(message) < 200


def test_kind_of_a_test_task_goes_by_its_first_100_positions(raw_task):
  balanced = [_ONE | {'id': str(i), 'output': 'ab'[i % 2]} for i in range(100)]
  more = [_ONE | {'id': f'm{i}', 'output': f'free {i}'} for i in range(20)]
  # A repeated instance is left out; what then moves up is not balanced.
  balanced[99] = balanced[98]
  raw = raw_task(Instances=balanced + more, Positive_Examples=[])
  assert _parse(raw).task.kind == 'generation'
  task = _parse(raw, is_test=True).task
  assert (task.kind, task.label_space) == ('classification', ('a', 'b'))


def test_label_space_has_the_positive_examples_outputs(raw_task):
  instances = [_ONE | {'id': str(i)} for i in range(25)]
  task = _parse(raw_task(Instances=instances)).task
  assert task.label_space == ('c', 'two', 'three')


def test_override_is_taken(raw_task):
  task = _parse(raw_task(), override='classification').task
  assert task.label_space == ('out 0', 'out 1', 'out 2', 'two', 'three')


def test_a_task_goes_through_json(raw_task):
  for override in ('classification', 'generation'):
    task = _parse(raw_task(), override=override).task
    fields = json.loads(json.dumps(task.to_json()))
    assert Task.from_json(fields) == task


_JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(
      st.sampled_from(['id', 'input', 'output', 'explanation', '']),
      inner,
      max_size=4,
    )
  ),
  max_leaves=6,
)
_FIELDS = [
  'Definition',
  'Categories',
  'Positive_Examples',
  'Negative_Examples',
  'Instances',
]


def _parses_or_refuses(text: str) -> None:
  message = None
  try:
    file = _parse(text)
  except InputError as error:
    message = str(error)
  if message is not None:
    assert message.startswith('a.json: ')
    assert '\n' not in message
    assert message.encode()
    return
  assert file.instances
  assert all(instance.outputs for instance in file.instances)
  assert len({instance.id for instance in file.instances}) == len(
    file.instances
  )


@hypothesis.given(st.text())
def test_any_text_parses_or_is_bad_input(text):
  _parses_or_refuses(text)


@hypothesis.given(_JSON)
def test_any_json_parses_or_is_bad_input(value):
  _parses_or_refuses(json.dumps(value))


@hypothesis.given(
  st.dictionaries(
    st.sampled_from(_FIELDS), _JSON | st.lists(_JSON, max_size=3), max_size=3
  )
)
def test_any_field_parses_or_is_bad_input(raw_task, fields):
  _parses_or_refuses(json.dumps(raw_task(**fields)))


@hypothesis.given(
  st.lists(
    st.fixed_dictionaries(
      {
        'id': st.sampled_from(['a', 'b', 'c']) | _JSON,
        'input': st.sampled_from(['', 'x']) | _JSON,
        'output': st.lists(st.text(max_size=2), max_size=2) | _JSON,
      }
    ),
    min_size=1,
    max_size=4,
  )
)
def test_any_instances_parse_or_are_bad_input(raw_task, instances):
  _parses_or_refuses(json.dumps(raw_task(Instances=instances)))


@hypothesis.given(st.integers(0, 400), st.binary(max_size=3))
def test_any_damage_parses_or_is_bad_input(raw_task, position, junk):
  content = json.dumps(raw_task(num_instances=1)).encode()
  damaged = content[:position] + junk + content[position + 1 :]
  _parses_or_refuses(damaged.decode('utf-8', 'surrogateescape'))
