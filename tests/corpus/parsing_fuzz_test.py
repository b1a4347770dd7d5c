"""Tests that damaged task files are parsed or refused, and nothing else."""

import copy
import json

import hypothesis
from hypothesis import strategies as st
import pytest

from it_study.audit import corpus_check
from it_study.corpus import files, natinst, parsing, schema
from it_study.errors import InputError

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
_ODD = st.sampled_from(
  [
    None,
    True,
    -1,
    10**400,
    float('nan'),
    float('-inf'),
    1e308,
    '',
    ' ',
    '\x00',
    '\ufeff',
    '\ud800',
    'a\nb',
    'x' * 5000,
    [],
    [[]],
    {},
    [None],
    {'': ''},
    ['\udfff'],
  ]
)
# Inserted into the bytes of a file.
_JUNK = st.sampled_from(
  [
    b'\x00',
    b'\xef\xbb\xbf',
    b'\xff\xfe',
    b'\xed\xa0\x80',
    b'\r',
    b'"',
    b'\\',
    b'\\ud800',
    b'}',
    b']',
    b',',
    b'NaN',
    b'1' * 5000,
    b'[' * 3000,
    b'{"":' * 3000,
    b'"Instances": [], ',
    b'"id": "t-0", ',
  ]
)


def _places(value: object, path: tuple = ()) -> list[tuple]:
  """Paths to everything inside a JSON value."""
  found = []
  if isinstance(value, dict | list):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
      found += [(*path, key), *_places(inner, (*path, key))]
  return found


@st.composite
def _damaged(draw: st.DrawFn, raw: dict) -> bytes:
  """Draws a task file with damaged structure and text."""
  raw = copy.deepcopy(raw)
  for _ in range(draw(st.integers(0, 3))):
    places = _places(raw)
    if not places:
      break
    *parents, key = draw(st.sampled_from(places))
    holder = raw
    for parent in parents:
      holder = holder[parent]
    how = draw(st.sampled_from(['odd', 'odd', 'any', 'delete', 'twin', 'wrap']))
    if how == 'delete':
      del holder[key]
    elif how == 'twin' and isinstance(holder, list):
      holder.insert(0, copy.deepcopy(holder[key]))
    elif how == 'twin':
      holder[f'{key} '] = holder.pop(key)
    elif how == 'wrap':
      holder[key] = [holder[key], copy.deepcopy(draw(_ODD))]
    else:
      holder[key] = copy.deepcopy(draw(_ODD if how == 'odd' else _JSON))
  content = json.dumps(raw, indent=draw(st.sampled_from([None, 1]))).encode()
  for _ in range(draw(st.integers(0, 2))):
    position = draw(st.integers(0, len(content)))
    junk = draw(_JUNK | st.binary(max_size=3))
    replaced = draw(st.sampled_from([0, 0, 1, 30]))
    content = content[:position] + junk + content[position + replaced :]
  if draw(st.integers(0, 3)) == 0:
    content = content[: draw(st.integers(0, len(content)))]
  return content


def _check_message(message: str, path: str) -> None:
  assert message.startswith(f'{path}: ')
  assert message.isprintable()
  assert message[-1] in '.?'
  assert len(message) < len(path) + 1000


def _check_file(file: schema.TaskFile) -> None:
  ids = [instance.id for instance in file.instances]
  assert ids
  assert len(set(ids)) == len(ids)
  assert all(instance.outputs for instance in file.instances)
  json.dumps(file.task.to_json(), ensure_ascii=False).encode()


def _parses_or_refuses(text: str) -> None:
  try:
    file = parsing.parse_task(text, name='task1_a', path='a.json')
  except InputError as error:
    _check_message(str(error), 'a.json')
  else:
    _check_file(file)


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory, raw_task):
  directory = tmp_path_factory.mktemp('corpus')
  for folder, names in (
    ('tasks', ('task1_a.json', 'task2_b.json')),
    ('splits/default', ()),
  ):
    (directory / folder).mkdir(parents=True)
    for name in names:
      (directory / folder / name).write_text(json.dumps(raw_task()))
  for split, name in (('train', 'task1_a'), ('test', 'task2_b')):
    (directory / f'splits/default/{split}_tasks.txt').write_text(f'{name}\n')
  return natinst.open_corpus(directory)


@hypothesis.settings(max_examples=1000)
@hypothesis.given(st.data())
def test_a_fuzzed_file_is_read_or_refused(corpus, raw_task, data):
  content = data.draw(_damaged(raw_task(num_instances=2)))
  path = files.task_path(corpus.directory, 'task1_a')
  path.write_bytes(content)
  try:
    file, faults = corpus.load_broken('task1_a')
  except InputError as error:
    _check_message(str(error), str(path))
    return
  _check_file(file)
  for fault in faults:
    _check_message(str(fault), str(path))
  for finding in corpus_check.check_task(
    task=file.task, instances=file.instances, is_test=False
  ):
    assert finding.message.isprintable()
  # Without faults, the result is the same as when faults are not allowed.
  assert faults or corpus.load('task1_a').instances == file.instances


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
