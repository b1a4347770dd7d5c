"""Tests for it_study.corpus.exclusions."""

import pickle

import pytest

from it_study.corpus import exclusions
from it_study.corpus.findings import CorpusFinding
from it_study.errors import InputError


def _error(code, task, instances=(), severity='error') -> CorpusFinding:
  return CorpusFinding(
    severity=severity,
    code=code,
    task=task,
    where='',
    message='',
    instances=instances,
  )


def test_a_list_is_read(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_bytes(
    b'\xef\xbb\xbf# broken\r\n\ntask2_b\ntask1_a\tt-1 # empty\r\n'
    b'task1_a\ta b#c\ntask2_b\tt-9\n'
  )
  found = exclusions.read(path)
  # Instances of an excluded task are dropped.
  assert list(found) == [
    ('task1_a', 'a b#c'),
    ('task1_a', 't-1'),
    ('task2_b', None),
  ]
  assert found.tasks == {'task2_b'}
  assert found.names == ('task1_a', 'task2_b')
  assert found.instances_of('task1_a') == {'t-1', 'a b#c'}
  assert found.instances_of('task2_b') == set()
  assert pickle.loads(pickle.dumps(found)) == found


def test_order_repetition_and_comments_make_no_difference(tmp_path):
  for name, text in (('a', 'task2\ntask1\tx\n'), ('b', 'task1\tx\n#\ntask2\n')):
    (tmp_path / name).write_text(text)
  one, other = (exclusions.read(tmp_path / name) for name in 'ab')
  assert one == other
  assert hash(one) == hash(other)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (
      b'task1\ta\tb\n',
      ', line 1: expected TASK, or TASK, a tab and an instance id, got '
      "'task1\\ta\\tb'.",
    ),
    (
      b'# a\ntask1 task2\n',
      ", line 2: expected TASK, or TASK, a tab and an instance id, got 'task1 "
      "task2'.",
    ),
    (
      b'\tt-1\n',
      ', line 1: expected TASK, or TASK, a tab and an instance id, got '
      "'\\tt-1'.",
    ),
    (
      b'task1\n../task1\tt-1\n',
      ", line 2: expected the name of a task, got the path '../task1'. Name a "
      "file of the corpus's tasks folder, without folder and .json.",
    ),
    (b'task1\n\xff\n', ': not UTF-8 at byte 6.'),
    (None, ': cannot be read: No such file or directory.'),
  ],
)
def test_malformed_lists_are_refused(tmp_path, content, message):
  path = tmp_path / 'list.txt'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(InputError) as error:
    exclusions.read(path)
  assert str(error.value) == f'exclusion list {path}{message}'


def test_errors_make_a_list_that_reads_back(tmp_path):
  found = [
    _error('bad-instance', 'task2_b', ('t-2', 't-1')),
    _error('truncated-json', 'task1_a'),
    _error('conflicting-id', 'task1_a', ('t-0',)),
    # Ids that cannot be written as a line.
    _error('bad-instance', 'task3_c', ('a\tb',)),
    _error('bad-instance', 'task4_d', ('a #b',)),
    _error('bad-instance', 'task5_e', (' a',)),
    _error('empty-input', 'task6_f', ('t-1',), severity='warning'),
    _error('missing', None),
  ]
  left_out = exclusions.from_findings(found)
  text = exclusions.to_text(left_out, findings=found)
  assert text.splitlines()[1:] == [
    '# task1_a: truncated-json, conflicting-id',
    'task1_a',
    '# task2_b: bad-instance',
    'task2_b\tt-1',
    'task2_b\tt-2',
    '# task3_c: bad-instance',
    'task3_c',
    '# task4_d: bad-instance',
    'task4_d',
    '# task5_e: bad-instance',
    'task5_e',
  ]
  (tmp_path / 'list.txt').write_text(text)
  assert exclusions.read(tmp_path / 'list.txt') == left_out
