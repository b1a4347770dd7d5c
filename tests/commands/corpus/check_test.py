"""Tests of corpus check and audit: what they print and write."""

import csv
import json

import fakes
import pytest
from vocabularies_fixture import write_model

from it_study import cli
from it_study.data import tfds_builder


@pytest.fixture(name='corpus', autouse=True)
def _corpus(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  return fakes.write_small_corpus(tmp_path / 'corpus')


def _run(capsys, *words) -> tuple[int, str, str]:
  capsys.readouterr()
  status = cli.main(['corpus', *words])
  return status, *capsys.readouterr()


def _break(corpus) -> None:
  (corpus / 'tasks/task2_echo.json').write_text('{')
  path = corpus / 'tasks/task5_title.json'
  path.write_text(path.read_text().replace('"title-1"', '"entail-1"'))


def _take_negatives(corpus) -> None:
  path = corpus / 'tasks/task5_title.json'
  raw = json.loads(path.read_text())
  path.write_text(json.dumps(raw | {'Negative Examples': []}))


def _leak(corpus) -> None:
  """Gives a training task an instance of a test task."""
  test = json.loads((corpus / 'tasks/task4_entail.json').read_text())
  path = corpus / 'tasks/task2_echo.json'
  train = json.loads(path.read_text())
  for key in ('input', 'output'):
    train['Instances'][0][key] = test['Instances'][0][key]
  path.write_text(json.dumps(train))


def test_check_finds_every_fault(capsys, corpus):
  status, out, err = _run(capsys, 'check', 'corpus')
  assert (status, err) == (0, '')
  assert out.splitlines()[-1].startswith(
    '3 training and 2 test tasks: 0 errors, '
  )
  _break(corpus)
  with open(corpus / 'splits/default/train_tasks.txt', 'a') as file:
    file.write('task2_ehco\n')
  status, out, err = _run(capsys, 'check', 'corpus', '--severity=error')
  assert status == 2
  assert err.splitlines() == [
    'error: duplicate-id-across-tasks, 1 finding',
    "  task5_title: Instances: instance id 'entail-1': in both task4_entail "
    'and task5_title; ids must be unique in a corpus',
    'error: missing-file, 1 finding',
    '  task2_ehco: corpus/splits/default/train_tasks.txt: no file of this name '
    "in corpus/tasks. Did you mean 'task2_echo'?",
    'error: truncated-json, 1 finding',
    '  task2_echo: corpus/tasks/task2_echo.json: not JSON, truncated: '
    'Expecting property name enclosed in double quotes at line 1, column 2. '
    'Fetch the file again or fix it.',
  ]
  assert out.startswith('3 training and 2 test tasks: 3 errors, ')


def test_severity_and_quiet_choose_what_is_printed(capsys, corpus):
  _take_negatives(corpus)
  every = _run(capsys, 'check', 'corpus')[1]
  assert 'note: no-negative-examples' in every
  assert 'warning: few-test-instances' in every
  warnings = _run(capsys, 'check', 'corpus', '--severity=warning')[1]
  assert 'warning: few-test-instances' in warnings
  assert 'note: ' not in warnings
  assert warnings.splitlines()[-1] == every.splitlines()[-1]
  assert _run(capsys, 'check', 'corpus', '--quiet') == (0, '', '')


def test_json_has_findings_by_severity(capsys, corpus):
  _break(corpus)
  status, out, err = _run(capsys, 'check', 'corpus', '--json')
  found = json.loads(out)
  assert (status, err) == (2, '')
  assert sorted(found) == ['errors', 'notes', 'warnings']
  assert [(f['code'], f['task']) for f in found['errors']] == [
    ('duplicate-id-across-tasks', 'task5_title'),
    ('truncated-json', 'task2_echo'),
  ]


def test_all_findings_are_written(capsys, corpus):
  _take_negatives(corpus)
  _break(corpus)
  for name in ('f.jsonl', 'f.csv'):
    _run(capsys, 'check', 'corpus', '--severity=error', f'--out={name}')
  with open('f.jsonl') as file:
    rows = [json.loads(line) for line in file]
  assert rows[0]['code'] == 'duplicate-id-across-tasks'
  assert rows[0]['instances'] == ['entail-1']
  assert {row['severity'] for row in rows} == {'error', 'warning', 'note'}
  with open('f.csv', newline='') as file:
    table = list(csv.DictReader(file))
  assert len(table) == len(rows)
  assert table[0]['instances'] == 'entail-1'


def test_with_the_list_that_check_writes_no_error_is_left(capsys, corpus):
  _break(corpus)
  _run(capsys, 'check', 'corpus', '--write_exclusions=x.txt')
  with open('x.txt') as file:
    assert file.read().splitlines()[1:] == [
      '# task2_echo: truncated-json',
      'task2_echo',
      '# task5_title: duplicate-id-across-tasks',
      'task5_title\tentail-1',
    ]
  status, out, err = _run(
    capsys, 'check', 'corpus', '--exclude=x.txt', '--write_exclusions=y.txt'
  )
  assert (status, err) == (0, '')
  assert out.splitlines()[-1].startswith(
    '2 training and 2 test tasks: 0 errors'
  )
  # Existing exclusions remain.
  with open('y.txt') as file:
    assert file.read().splitlines()[1:] == [
      'task2_echo',
      'task5_title\tentail-1',
    ]
  status, out, _ = _run(capsys, 'stats', 'corpus', '--exclude=x.txt', '--json')
  assert status == 0
  assert json.loads(out)['splits']['train']['tasks'] == 2


def test_audit_refuses_overlap_unless_allowed(capsys, corpus):
  status, _, err = _run(capsys, 'audit', 'corpus')
  assert (status, err) == (0, '')
  _leak(corpus)
  status, out, err = _run(capsys, 'audit', 'corpus', '--write_exclusions=x.txt')
  assert status == 2
  assert err.startswith('error: shared-instance, 1 finding\n  task2_echo: ')
  assert ' test tasks: 1 error, ' in out
  status, out, err = _run(capsys, 'audit', 'corpus', '--allow_overlap')
  assert (status, err) == (0, '')
  assert 'warning: shared-instance, 1 finding' in out
  assert ' test tasks: 0 errors, ' in out
  status, out, err = _run(capsys, 'audit', 'corpus', '--exclude=x.txt')
  assert (status, err) == (0, '')


def test_rows_with_overlap_are_refused_unless_allowed(capsys, corpus):
  build = ('build', 'corpus', '--data_dir=rows', '--quiet')
  _leak(corpus)
  status, _, err = _run(capsys, *build)
  assert status == 2
  assert err.startswith(
    'it-study: corpus corpus: 0 test instances would be trained on and 1 '
    "validated on, with an output: 'echo-0' of task2_echo is 'entail-0' of "
    "task4_entail. 'it-study corpus audit corpus --write_exclusions F' lists "
  )
  assert _run(capsys, *build, '--allow_overlap') == (0, '', '')
  assert _run(capsys, *build[:-1])[2] == (
    'warning: 1 test instance (in 1 pair of tasks) also in the training or '
    'validation data, with an output.\n'
  )
  # Existing rows were built with leave to overlap.
  assert _run(capsys, *build) == (0, '', '')
  stored = tfds_builder.stored_metadata('rows')
  assert stored['overlap'] == {
    'train_instances': 1,
    'test_instances': 1,
    'pairs_of_tasks': 1,
    'allowed': True,
  }
  _run(capsys, 'audit', 'corpus', '--write_exclusions=x.txt')
  other = ('build', 'corpus', '--data_dir=others', '--quiet')
  assert _run(capsys, *other, '--exclude=x.txt') == (0, '', '')
  assert tfds_builder.stored_metadata('others')['overlap'] == {
    'train_instances': 0,
    'test_instances': 0,
    'pairs_of_tasks': 0,
    'allowed': False,
  }


def test_bad_words_are_reported(capsys):
  status, _, err = _run(capsys, 'check', 'corpus', '--exclude=none.txt')
  assert status == 2
  assert err == (
    'it-study: exclusion list none.txt: cannot be read: No such file or '
    'directory.\n'
  )
  with open('x.txt', 'w') as file:
    file.write('task2_echoo\n')
  status, _, err = _run(capsys, 'audit', 'corpus', '--exclude=x.txt')
  assert status == 2
  assert err == (
    "it-study: x.txt: no task 'task2_echoo' in corpus corpus. Did you mean "
    "'task2_echo'?\n"
  )
  with open('x.txt', 'w') as file:
    file.write('task5_title\tentail-1\n')
  for command in ('check', 'audit'):
    status, _, err = _run(capsys, command, 'corpus', '--exclude=x.txt')
    assert status == 2
    assert err.startswith(
      "it-study: corpus/tasks/task5_title.json: no instance 'entail-1', which "
    )


def test_stats_lists_tasks_with_kind_and_labels(capsys, corpus):
  status, out, err = _run(capsys, 'stats', 'corpus')
  assert (status, err) == (0, '')
  assert out.splitlines()[:7] == [
    'task         split kind           instances  labels',
    "task1_mood   train classification        40  'good', 'bad'",
    'task2_echo   train generation            14',
    'task3_few    train generation            12',
    "task4_entail test  classification       105  'yes', 'no'",
    'task5_title  test  generation             6',
    '',
  ]
  status, out, _ = _run(capsys, 'stats', 'corpus', '--json')
  tasks = json.loads(out)['tasks']
  assert [task['task'] for task in tasks] == [
    'task1_mood',
    'task2_echo',
    'task3_few',
    'task4_entail',
    'task5_title',
  ]
  assert tasks[3] == {
    'task': 'task4_entail',
    'split': 'test',
    'category': 'Textual Entailment',
    'kind': 'classification',
    'label_space': ['yes', 'no'],
    'instances': 105,
  }
  assert tasks[4]['label_space'] is None


def test_check_says_what_a_vocabulary_cannot_spell(
  capsys, corpus, monkeypatch, tmp_path
):
  def found(*words):
    status, out, _ = _run(capsys, 'check', 'corpus', '--json', *words)
    assert status == 0
    findings = [f for group in json.loads(out).values() for f in group]
    return {f['code'] for f in findings if 'spellable' in f['code']}

  # Few letters, and no capital ones.
  model = str(write_model(tmp_path / 'v.model'))
  monkeypatch.delenv('IT_STUDY_VOCABULARY', raising=False)
  assert found() == set()
  assert found('--vocabulary=byte') == set()
  monkeypatch.setenv('IT_STUDY_VOCABULARY', model)
  assert 'unspellable-reference' in found()
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  assert found() == set()
  assert 'unspellable-reference' in found('--vocabulary', model)


def test_check_names_a_vocabulary_that_cannot_be_read(capsys, monkeypatch):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', '')
  words = ('corpus', 'check', 'corpus', '--vocabulary=none.model')
  assert fakes.refusal(capsys, *words).startswith(
    'vocabulary none.model: cannot be read ('
  )
