"""Tests of the corpus checks: all tasks together."""

import json

from it_study.audit import corpus_check
from it_study.conditions import DEFINITION_LEVELS
from it_study.corpus.miniature import benchmark as mini_corpus
from it_study.instructions.definitions import OutputSpace


def _codes(findings) -> list[tuple[str, str, str | None]]:
  return [(f.severity, f.code, f.task) for f in findings]


def _instances(outputs, prefix='t', **fields) -> list[dict]:
  return [
    {'id': f'{prefix}-{i}', 'input': f'text {i}', 'output': output} | fields
    for i, output in enumerate(outputs)
  ]


def test_a_bad_file_does_not_stop_the_others(write_corpus, raw_task):
  sound = _instances([f'out {i}' for i in range(100)])
  directory = write_corpus(
    train={'task1_a': raw_task(Instances=sound), 'task2_b': {}, 'task3_c': {}},
    test={'task4_d': raw_task(Instances=sound)},
  )
  tasks = directory / 'tasks'
  (tasks / 'task1_a.json').write_text('{"Definition": "Say')
  (tasks / 'task2_b.json').write_bytes(b'\xff')
  (tasks / 'task3_c.json').unlink()
  (tasks / 'task4_d.json').write_text(
    json.dumps(raw_task(Instances=sound, Definition=' '))
  )
  done = []
  corpus, findings = corpus_check.check(
    directory, on_task=lambda *counts: done.append(counts)
  )
  assert corpus.train_tasks == ('task1_a', 'task2_b')
  assert done == [(1, 3), (2, 3), (3, 3)]
  assert _codes(findings) == [
    ('error', 'missing-file', 'task3_c'),
    ('error', 'truncated-json', 'task1_a'),
    ('error', 'unreadable-file', 'task2_b'),
    ('warning', 'empty-definition', 'task4_d'),
  ]
  assert findings[1].where == f'{tasks}/task1_a.json'
  assert findings[1].message.startswith('not JSON, truncated: Unterminated')


def test_ids_shared_by_two_tasks_are_an_error(write_corpus, raw_task):
  def task(prefix, extra):
    outputs = [f'out {i}' for i in range(100)]
    instances = _instances(outputs, prefix) + _instances(['a'] * 2, extra)
    for number, instance in enumerate(instances):
      instance['input'] = f'text {number}'
    return raw_task(Instances=instances)

  directory = write_corpus(
    train={'task1_a': task('a', 'x'), 'task2_b': task('b', 'y')},
    test={'task3_c': task('c', 'x'), 'task4_d': task('d', 'y')},
  )
  _, findings = corpus_check.check(directory)
  # What is taken out of training leaves the test set as it was.
  assert [(f.code, f.task, f.instances, f.message) for f in findings] == [
    (
      'duplicate-id-across-tasks',
      task,
      (f'{prefix}-0', f'{prefix}-1'),
      f"instance id '{prefix}-0' and 1 other: in both {task} and {other}; ids "
      'must be unique in a corpus',
    )
    for task, other, prefix in (
      ('task1_a', 'task3_c', 'x'),
      ('task2_b', 'task4_d', 'y'),
    )
  ]


def test_workers_lint_a_registered_wording(tmp_path):
  directory = mini_corpus.write_miniature(
    tmp_path / 'mini', size=mini_corpus.SMALL
  )
  space = OutputSpace('One of: {labels}', separator=' no ')
  DEFINITION_LEVELS.register('oneof', space)
  try:
    _, findings = corpus_check.check(directory, num_workers=1)
  finally:
    DEFINITION_LEVELS.unregister('oneof')
  assert {(f.severity, f.code) for f in findings} == {
    ('note', 'ambiguous-label')
  }
  assert findings[0].message.endswith(
    "contains 'no', which separates the labels of def_oneof"
  )


def test_workers_find_the_same(tmp_path):
  directory = mini_corpus.write_miniature(
    tmp_path / 'mini', size=mini_corpus.SMALL
  )
  (directory / 'tasks/task9061_mini_label_only.json').write_text('[')
  alone = corpus_check.check(directory, num_workers=0)[1]
  assert _codes(alone) == [
    ('error', 'truncated-json', 'task9061_mini_label_only')
  ]
  assert corpus_check.check(directory, num_workers=2)[1] == alone


def test_the_miniature_has_no_findings(tmp_path):
  directory = mini_corpus.write_miniature(tmp_path / 'mini')
  assert corpus_check.check(directory)[1] == []


def test_real_files_have_no_errors(natinst_dir):
  _, findings = corpus_check.check(natinst_dir)
  worth_a_look = sorted(
    (f.code, f.task.split('_')[0]) for f in findings if f.severity != 'note'
  )
  assert worth_a_look == [
    ('byte-order-mark', 'task1407'),
    ('empty-reference', 'task511'),
    ('label-without-reference', 'task843'),
    ('mojibake', 'task1290'),
    ('reference-normalized-away', 'task511'),
  ]
