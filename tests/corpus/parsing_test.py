"""Tests for it_study.corpus.parsing."""

import json

import pytest

from it_study.corpus import parsing, schema
from it_study.corpus.schema import Example, Instance, Task
from it_study.errors import InputError


def _parse(raw, **fields) -> schema.TaskFile:
  text = raw if isinstance(raw, str) else json.dumps(raw)
  return parsing.parse_task(text, name='task1_a', path='a.json', **fields)


def _message(raw) -> str:
  with pytest.raises(InputError) as error:
    _parse(raw)
  return str(error.value)


def test_a_valid_file_is_read(raw_task):
  file = _parse(raw_task(num_instances=2))
  assert file == schema.TaskFile(
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


def test_texts_are_not_modified(raw_task):
  instance = {'id': ' a ', 'input': ' b\r\n', 'output': [' c', 'd\u2028']}
  (kept,) = _parse(raw_task(Instances=[instance])).instances
  assert (kept.id, kept.input, kept.outputs) == (
    ' a ',
    ' b\r\n',
    (' c', 'd\u2028'),
  )


_BLANK = {'id': 'a', 'input': ' ', 'output': ['', 'b']}
_ONE = {'id': 'a', 'input': 'b', 'output': ['c']}
_NO_CATEGORY = (
  "warning no-category: Categories is empty; counts as 'Uncategorized'"
)


@pytest.mark.parametrize(
  ('fields', 'warnings'),
  [
    ({'Categories': ...}, [_NO_CATEGORY]),
    ({'Categories': []}, [_NO_CATEGORY]),
    ({'Categories': ['']}, [_NO_CATEGORY]),
    ({'Definition': ' '}, ['warning empty-definition: Definition is empty']),
    (
      {'Definition': ['Do.', 'Do it.']},
      [
        'note several-definitions: Definition has 2 texts; only the first is '
        'used',
      ],
    ),
    (
      {'Positive_Examples': ...},
      ['warning no-positive-examples: Positive Examples is missing'],
    ),
    (
      {'Positive_Examples': []},
      ['warning no-positive-examples: Positive Examples is empty'],
    ),
    (
      {'Negative_Examples': ...},
      ['note no-negative-examples: Negative Examples is missing'],
    ),
    ({'Negative_Examples': []}, []),
    (
      {'Positive_Examples': [{'input': 'a', 'output': ['b', 'c']}]},
      [
        'note several-outputs: Positive Examples[0].output has 2 texts; only '
        'the first is used'
      ],
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
        'warning empty-input: Instances[0].input is empty (a)',
        'warning empty-reference: Instances[0].output has an empty reference '
        '(a)',
      ],
    ),
    (
      {'Instances': [_ONE, _BLANK | {'id': 'b'}, _ONE]},
      [
        'warning empty-input: Instances[1].input is empty (b)',
        'warning empty-reference: Instances[1].output has an empty reference '
        '(b)',
        'note repeated-instance: Instances[2] repeats Instances[0]; left out '
        '(a)',
      ],
    ),
    ({'Source': [1e999], 'Reasoning': {'a': [None]}}, []),
  ],
)
def test_harmless_irregularities_are_warnings(raw_task, fields, warnings):
  file = _parse(raw_task(**fields))
  assert [
    f'{w.severity} {w.code}: {w.where} {w.message}'
    + ''.join(f' ({id_})' for id_ in w.instances)
    for w in file.warnings
  ] == warnings
  assert {w.task for w in file.warnings} <= {'task1_a'}


def test_a_repeated_instance_does_not_change_positions(raw_task):
  file = _parse(raw_task(Instances=[_ONE, _ONE, _ONE | {'id': 'b'}]))
  assert [(i.id, i.position) for i in file.instances] == [('a', 0), ('b', 2)]


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    (
      {'Definition': ..., 'definition': 'Do.'},
      "field 'Definition' is missing; the file has ['Categories', 'Positive "
      "Examples', 'Negative Examples', 'Instances', 'definition']. Did you "
      "mean 'definition'?",
    ),
    (
      {'Definition': []},
      'Definition: expected a string or a non-empty list, got [].',
    ),
    (
      {'Definition': [['Do.']]},
      "Definition: expected a string, got ['Do.'].",
    ),
    (
      {'Categories': None},
      'Categories: expected a string or a non-empty list, got None.',
    ),
    (
      {'Positive_Examples': None},
      'Positive Examples: expected a list of examples, got None.',
    ),
    (
      {'Negative_Examples': '-'},
      "Negative Examples: expected a list of examples, got '-'.",
    ),
    (
      {'Negative_Examples': ['-']},
      'Negative Examples[0]: expected an object with input and output, got '
      "'-'.",
    ),
    (
      {'Positive_Examples': [{'input': 'a'}]},
      "Positive Examples[0]: expected an object with 'output', got ['input'].",
    ),
    (
      {'Positive_Examples': [{'input': 'a', 'output': 'b', 'explanation': 1}]},
      'Positive Examples[0].explanation: expected a string, got 1.',
    ),
    (
      {'Instances': ...},
      'Instances: expected a list of at least one instance, got '
      "['Definition', 'Categories', 'Positive Examples', 'Negative Examples'].",
    ),
    (
      {'Instances': []},
      'Instances: expected a list of at least one instance, got [].',
    ),
    (
      {'Instances': [_ONE, 'b']},
      "Instances[1]: expected an object with id, input, output, got 'b'.",
    ),
    (
      {'Instances': [{'input': 'b', 'output': 'c'}]},
      "Instances[0]: expected an object with 'id', got ['input', 'output'].",
    ),
    (
      {'Instances': [_ONE | {'output': []}]},
      'Instances[0].output: expected a string or a non-empty list, got [].',
    ),
    (
      {'Instances': [_ONE | {'output': [3]}]},
      'Instances[0].output: expected a string, got 3.',
    ),
    (
      {'Instances': [_ONE | {'input': {'text': 'b'}}]},
      "Instances[0].input: expected a string, got {'text': 'b'}.",
    ),
    (
      {'Instances': [_ONE | {'id': 7}]},
      'Instances[0].id: expected a string, got 7.',
    ),
    (
      {'Instances': [_ONE | {'id': ' '}]},
      "Instances[0].id: expected a non-blank text, got ' '.",
    ),
    (
      {'Instances': [_ONE | {'input': 'b\ud800'}]},
      'Instances[0].input: expected text without lone surrogates, got '
      "'b\\ud800'.",
    ),
    (
      {'Instances': [_ONE, _ONE | {'output': ['d']}]},
      "Instances[1].id: 'a' is also the id of Instances[0], which differs; "
      'ids must be unique.',
    ),
  ],
)
def test_unusable_fields_are_refused(raw_task, fields, message):
  assert _message(raw_task(**fields)) == f'a.json: {message}'


def test_faults_of_single_instances_are_collected(raw_task):
  instances = [
    _ONE,
    _ONE | {'id': 'b', 'output': 3},
    'c',
    _ONE | {'input': 'other'},
    _ONE | {'id': 'd'},
  ]
  faults = []
  file = _parse(raw_task(Instances=instances), faults=faults)
  assert [(i.id, i.position) for i in file.instances] == [('a', 0), ('d', 4)]
  assert [(f.code, f.where, f.instance) for f in faults] == [
    ('bad-instance', 'Instances[1].output', 'b'),
    ('bad-instance', 'Instances[2]', None),
    ('conflicting-id', 'Instances[3].id', 'a'),
  ]


def test_excluded_instances_do_not_change_positions(raw_task):
  raw = raw_task(num_instances=4)
  raw['Instances'][1]['output'] = None
  raw['Instances'][2]['input'] = ' '
  file = _parse(raw, excluded={'t-1', 't-2'})
  assert [(i.id, i.position) for i in file.instances] == [
    ('t-0', 0),
    ('t-3', 3),
  ]
  assert file.warnings == ()


def test_kind_and_label_space_ignore_excluded_instances(raw_task):
  instances = [_ONE | {'id': str(i), 'output': 'abc'[i % 3]} for i in range(39)]
  raw = raw_task(Instances=instances, Positive_Examples=[])
  assert _parse(raw).task.label_space == ('a', 'b', 'c')
  of_c = {str(i) for i in range(39) if i % 3 == 2}
  assert _parse(raw, excluded=of_c).task.label_space == ('a', 'b')
  more = of_c | {'0', '1'}
  assert _parse(raw, excluded=more).task.kind == 'generation'


def test_an_excluded_instance_must_exist(raw_task):
  with pytest.raises(InputError) as error:
    _parse(raw_task(), excluded={'t-1', 't-8'})
  assert str(error.value) == (
    "a.json: no instance 't-8', which the exclusions name. Did you mean 't-2'?"
  )
  with pytest.raises(InputError) as error:
    _parse(raw_task(num_instances=1), excluded={'t-0'})
  assert str(error.value) == (
    'a.json: Instances: expected at least one instance that is not excluded, '
    'got [].'
  )


@pytest.mark.parametrize(
  ('source', 'sources'),
  [
    (..., ()),
    ('glucose', ('glucose',)),
    (['glucose', ' scitail ', 'glucose', '', None, 3], ('glucose', 'scitail')),
    ({'name': 'glucose'}, ()),
    (['a\ud800'], ()),
  ],
)
def test_sources_are_read_leniently(raw_task, source, sources):
  assert _parse(raw_task(Source=source)).sources == sources


def test_a_message_abbreviates_long_values(raw_task):
  message = _message(raw_task(Definition={'text': 'word ' * 1000}))
  assert len(message) < 200


def test_kind_of_a_test_task_depends_on_its_first_100_positions(raw_task):
  balanced = [_ONE | {'id': str(i), 'output': 'ab'[i % 2]} for i in range(100)]
  more = [_ONE | {'id': f'm{i}', 'output': f'free {i}'} for i in range(20)]
  # A repeated instance is left out and not replaced by a later one.
  balanced[99] = balanced[98]
  raw = raw_task(Instances=balanced + more, Positive_Examples=[])
  assert _parse(raw).task.kind == 'generation'
  task = _parse(raw, is_test=True).task
  assert (task.kind, task.label_space) == ('classification', ('a', 'b'))


def test_label_space_includes_outputs_of_positive_examples(raw_task):
  instances = [_ONE | {'id': str(i)} for i in range(25)]
  task = _parse(raw_task(Instances=instances)).task
  assert task.label_space == ('c', 'two', 'three')


def test_override_is_applied(raw_task):
  task = _parse(raw_task(), override='classification').task
  assert task.label_space == ('out 0', 'out 1', 'out 2', 'two', 'three')


def test_a_task_survives_json(raw_task):
  for override in ('classification', 'generation'):
    task = _parse(raw_task(), override=override).task
    fields = json.loads(json.dumps(task.to_json()))
    assert Task.from_json(fields) == task
