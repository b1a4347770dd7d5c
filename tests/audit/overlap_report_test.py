"""Tests of the overlap report."""

import pytest

from it_study.audit import overlap_report
from it_study.corpus import exclusions, natinst
from it_study.corpus.miniature import benchmark as mini_corpus


def _instances(prefix, count, text=None) -> list[dict]:
  return [
    {
      'id': f'{prefix}-{i}',
      'input': f'{text or prefix} text {i}',
      'output': f'{text or prefix} out {i}',
    }
    for i in range(count)
  ]


@pytest.fixture(name='audit')
def _audit(write_corpus, raw_task):
  """Findings about a training task and a test task, by their fields."""

  def audit(train, test):
    sound = {'Source': ['one']}, {'Source': ['two'], 'Definition': 'Tell.'}
    tasks = [
      raw_task(**(fields | given))
      for fields, given in zip(sound, (train, test), strict=True)
    ]
    directory = write_corpus(
      train={'task1_a': tasks[0]}, test={'task2_b': tasks[1]}
    )
    return overlap_report.audit(natinst.open_corpus(directory))

  return audit


_TRAIN = {'Instances': _instances('a', 20)}
_TEST = {'Instances': _instances('b', 20)}


def _lines(findings) -> list[str]:
  return [f'{f.severity} {f.code}: {f.message}' for f in findings]


def test_nothing_in_common_is_no_finding(audit):
  assert audit(_TRAIN, _TEST) == []


@pytest.mark.parametrize(
  ('train', 'test', 'line'),
  [
    (
      {'Definition': 'Do it.'},
      {'Definition': 'Do it.'},
      'warning same-definition: shared by 1 training task and 1 test task, '
      'task2_b first',
    ),
    (
      {'Definition': 'Do it.'},
      {'Definition': 'do  it!'},
      'warning alike-definition: after normalisation, shared by 1 training '
      'task and 1 test task, task2_b first',
    ),
    (
      {'Source': 'Glucose'},
      {'Source': ['other', 'glucose']},
      "note shared-source: 'glucose' is shared by 1 training task and 1 test "
      'task, task1_a and task2_b first; every task names it, so it does not '
      'identify a data set',
    ),
    (
      {'Source': []},
      {},
      'note no-source: 1 task of 2 names no data set to compare, task1_a first',
    ),
  ],
)
def test_definitions_and_sources_in_common(audit, train, test, line):
  assert _lines(audit(_TRAIN | train, _TEST | test)) == [line]


def test_empty_definitions_are_not_the_same(audit):
  assert audit(_TRAIN | {'Definition': ''}, _TEST | {'Definition': ''}) == []


def test_a_source_that_some_tasks_share(write_corpus, raw_task):
  directory = write_corpus(
    train={
      'task1_a': raw_task(Instances=_instances('a', 20), Source=['x']),
      'task2_b': raw_task(Instances=_instances('b', 20), Source=['y']),
    },
    test={
      'task3_c': raw_task(
        Instances=_instances('c', 20), Source=['x'], Definition='Tell.'
      )
    },
  )
  assert _lines(overlap_report.audit(natinst.open_corpus(directory))) == [
    "warning shared-source: 'x' is shared by 1 training task and 1 test task, "
    'task1_a and task3_c first'
  ]


def test_an_instance_that_is_trained_on_is_an_error(audit):
  train = _instances('a', 20)
  train[0] |= {'input': 'B text 3.', 'output': 'b out 3'}
  train[1] |= {'input': 'b text 4', 'output': 'none'}
  found = audit({'Instances': train}, _TEST)
  by_code = {finding.code: finding for finding in found}
  assert sorted(by_code) == ['shared-input', 'shared-instance-normalized']
  leak = by_code['shared-instance-normalized']
  assert (leak.severity, leak.task) == ('error', 'task1_a')
  # Only the training instance: the published test set stays intact.
  assert leak.instances == ('a-0',)
  assert leak.where in ('train and test', 'validation and test')
  assert leak.message == (
    '1 instance with the normalised input and output of 1 instance of task2_b, '
    "such as 'a-0' and 'b-3'"
  )
  assert by_code['shared-input'].severity == 'warning'


def test_the_same_task_twice_is_an_error(audit):
  train = {'Instances': _instances('a', 30, 'b'), 'Definition': 'Tell!'}
  found = audit(train, _TEST | {'Definition': 'Tell.'})
  messages = {f.code: f.message for f in found if f.severity == 'error'}
  assert messages['same-task'] == (
    'has the definition of task2_b and most of its instances (20 of 20)'
  )
  assert 'shared-instance' in messages
  assert 'task-in-test' not in messages


def test_instances_of_another_definition_are_not_the_same_task(audit):
  train = {'Instances': _instances('a', 30, 'b'), 'Definition': 'Else.'}
  found = audit(train, _TEST)
  assert 'same-task' not in {finding.code for finding in found}


def test_a_task_entirely_in_test_is_excluded_as_a_whole(audit):
  found = audit({'Instances': _instances('a', 15, 'b')}, _TEST)
  messages = {f.code: f.message for f in found if f.severity == 'error'}
  assert (
    messages['task-in-test'] == 'all of its 15 instances are in a test task'
  )
  assert list(exclusions.from_findings(found)) == [('task1_a', None)]


def test_validation_is_compared_with_training(audit):
  train = _instances('a', 20, 'a')
  for row in train[10:]:
    row |= {'input': 'all the same', 'output': 'a'}
  (finding,) = audit({'Instances': train}, _TEST)
  assert (finding.severity, finding.code, finding.where) == (
    'warning',
    'held-out-shared-instance',
    'validation and train',
  )


def test_the_exclusions_of_an_audit_remove_every_error(write_corpus, raw_task):
  train = _instances('a', 40)
  for index in (1, 5, 30):
    train[index] |= {'input': f'b text {index}', 'output': f'b out {index}'}
  directory = write_corpus(
    train={'task1_a': raw_task(Instances=train)},
    test={
      'task2_b': raw_task(Instances=_instances('b', 60), Definition='Tell.')
    },
  )
  found = overlap_report.audit(natinst.open_corpus(directory))
  left_out = exclusions.from_findings(found)
  assert [id_ for _, id_ in left_out] == ['a-1', 'a-30', 'a-5']
  corpus = natinst.open_corpus(directory, exclusions=left_out)
  assert {f.severity for f in overlap_report.audit(corpus)} == {'note'}


def test_progress_is_reported(audit, write_corpus, raw_task):
  train = _instances('a', 20)
  train[0]['input'] = 'b text 0'
  directory = write_corpus(
    train={
      'task1_a': raw_task(Instances=train),
      'task3_c': raw_task(Instances=_instances('c', 20)),
    },
    test={'task2_b': raw_task(Instances=_instances('b', 20))},
  )
  messages = []
  overlap_report.audit(
    natinst.open_corpus(directory),
    on_progress=lambda *step: messages.append(step),
  )
  assert messages == [
    ('parse', 1, 3),
    ('parse', 2, 3),
    ('parse', 3, 3),
    ('compare', 1, 2),
    ('compare', 2, 2),
  ]


def test_the_miniature_shares_only_its_source(tmp_path):
  directory = mini_corpus.write_miniature(tmp_path / 'mini')
  (finding,) = overlap_report.audit(natinst.open_corpus(directory))
  assert (finding.severity, finding.code) == ('note', 'shared-source')


def test_real_files_share_inputs_and_a_source(natinst_dir):
  found = overlap_report.audit(natinst.open_corpus(natinst_dir))
  messages = {f.code: f for f in found if f.severity != 'note'}
  assert sorted(messages) == ['shared-input', 'shared-source']
  assert messages['shared-input'].task.startswith('task748_')
  assert len(messages['shared-input'].instances) == 3
  assert "'glucose'" in messages['shared-source'].message
