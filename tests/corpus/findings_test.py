"""Tests for it_study.corpus.findings."""

import json

from it_study.corpus import findings
from it_study.corpus.findings import CorpusFinding


def _finding(severity, code, task='task1_a', **fields) -> CorpusFinding:
  settings = {'where': 'Definition', 'message': 'is odd'} | fields
  return CorpusFinding(severity=severity, code=code, task=task, **settings)


def test_findings_that_differ_in_their_instance_are_merged():
  found = findings.merge(
    [
      _finding('warning', 'empty-input', where='[0]', instances=('a',)),
      _finding('warning', 'empty-input', where='[4]', instances=('b',)),
      _finding('warning', 'empty-input', 'task2_b', instances=('b',)),
      _finding('warning', 'mojibake', where='Definition'),
      _finding('warning', 'mojibake', where='Positive Examples'),
    ]
  )
  assert [(f.task, f.where, f.instances, f.count) for f in found] == [
    ('task1_a', '[0]', ('a', 'b'), 2),
    ('task2_b', 'Definition', ('b',), 1),
    ('task1_a', 'Definition', (), 1),
    ('task1_a', 'Positive Examples', (), 1),
  ]


def test_lines_are_grouped_worst_first():
  found = [
    _finding('note', 'long-input'),
    _finding('error', 'bad-field', 'task2_b', where='a.json'),
    _finding('error', 'bad-field', count=1200),
    _finding('warning', 'no-category', None),
  ]
  assert list(findings.lines(found)) == [
    ('error', 'error: bad-field, 2 findings'),
    ('error', '  task1_a: Definition: is odd (1,200 times)'),
    ('error', '  task2_b: a.json: is odd'),
    ('warning', 'warning: no-category, 1 finding'),
    ('warning', '  Definition: is odd'),
    ('note', 'note: long-input, 1 finding'),
    ('note', '  task1_a: Definition: is odd'),
  ]
  assert list(findings.lines(found[1:3], most=1))[1:] == [
    ('error', '  task1_a: Definition: is odd (1,200 times)'),
    ('error', '  and 1 more; --out F writes all of them'),
  ]


def test_a_summary_counts_each_severity():
  assert findings.summary([]) == '0 errors, 0 warnings, 0 notes'
  found = [_finding('error', 'a'), *[_finding('note', 'b')] * 1001]
  assert findings.summary(found) == '1 error, 0 warnings, 1,001 notes'


def test_severity_filters():
  found = [_finding(severity, 'a') for severity in ('note', 'error', 'warning')]
  for severity, kept in (
    ('error', ['error']),
    ('warning', ['error', 'warning']),
    ('note', ['note', 'error', 'warning']),
  ):
    assert [f.severity for f in findings.at_least(found, severity)] == kept
  assert findings.has_errors(found)
  assert not findings.has_errors(found[:1])


def test_json_lines_hold_everything():
  finding = _finding('error', 'bad', instances=('é',), count=2)
  (line,) = findings.json_lines([finding]).splitlines()
  assert json.loads(line) == {
    'severity': 'error',
    'code': 'bad',
    'task': 'task1_a',
    'where': 'Definition',
    'message': 'is odd',
    'instances': ['é'],
    'count': 2,
  }
