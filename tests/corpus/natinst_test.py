"""Tests for it_study.corpus.natinst."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from it_study.corpus import natinst
from it_study.errors import InputError


@pytest.fixture(name='directory')
def _directory(write_corpus, raw_task):
  return write_corpus(
    train={'task1_a': raw_task(num_instances=14)},
    test={'task2_b': raw_task(num_instances=103)},
  )


def _ids(corpus, split, name='task1_a'):
  return [instance.id for instance in corpus.instances(name, split)]


def _message(directory, **fields):
  with pytest.raises(InputError) as error:
    natinst.open_corpus(directory, **fields)
  return str(error.value).replace(str(directory), 'DIR')


def test_splits_name_their_tasks(directory):
  corpus = natinst.open_corpus(directory)
  assert corpus.tasks_of('train') == ('task1_a',)
  assert corpus.tasks_of('validation') == ('task1_a',)
  assert corpus.tasks_of('test') == ('task2_b',)
  assert corpus.warnings == ()


def test_validation_is_the_ten_lowest_hashes(directory):
  corpus = natinst.open_corpus(directory)
  ordered = [12, 10, 3, 6, 4, 11, 9, 1, 13, 8, 5, 2, 7, 0]
  assert _ids(corpus, 'validation') == [f't-{i}' for i in ordered[:10]]
  assert _ids(corpus, 'train') == [f't-{i}' for i in ordered[10:]]


def test_test_is_the_first_100_positions(write_corpus, raw_task):
  raw = raw_task(num_instances=103)
  raw['Instances'][50] = raw['Instances'][49]
  directory = write_corpus(train={'task1_a': raw_task()}, test={'task2_b': raw})
  instances = natinst.open_corpus(directory).instances('task2_b', 'test')
  positions = [instance.position for instance in instances]
  assert positions == [*range(50), *range(51, 100)]


def test_few_test_instances_are_drawn_by_their_ids(write_corpus, raw_task):
  directory = write_corpus(
    train={'task1_a': raw_task()}, test={'task2_b': raw_task(num_instances=103)}
  )
  corpus = natinst.open_corpus(directory)

  def positions(number):
    few = dataclasses.replace(corpus, test_instances=number)
    return [i.position for i in few.instances('task2_b', 'test')]

  assert positions(2) == [85, 97]
  assert set(positions(2)) < set(positions(3))
  assert positions(3) == sorted(positions(3))
  assert positions(100) == [*range(100)]


def test_splits_do_not_follow_the_order_of_the_file(write_corpus, raw_task):
  raw = raw_task(num_instances=40)
  found = []
  for folder in ('forwards', 'backwards'):
    raw['Instances'] = raw['Instances'][::-1]
    directory = write_corpus(
      train={'task1_a': raw}, test={'task2_b': raw_task()}, folder=folder
    )
    corpus = natinst.open_corpus(directory)
    found.append((_ids(corpus, 'train'), _ids(corpus, 'validation')))
  assert found[0] == found[1]
  train, validation = found[0]
  assert len(train) == 30
  assert len(validation) == 10
  assert not set(train) & set(validation)


def test_a_longer_file_keeps_the_order_of_old_instances(write_corpus, raw_task):
  orders = []
  for number in (30, 40):
    directory = write_corpus(
      train={'task1_a': raw_task(num_instances=number)},
      test={'task2_b': raw_task()},
      folder=f'of_{number}',
    )
    corpus = natinst.open_corpus(directory)
    orders.append(_ids(corpus, 'validation') + _ids(corpus, 'train'))
  old = set(orders[0])
  assert [i for i in orders[1] if i in old] == orders[0]


def test_splits_are_the_same_in_another_process(directory):
  script = (
    'import sys; from it_study.corpus import natinst;'
    'corpus = natinst.open_corpus(sys.argv[1]);'
    "print([i.id for i in corpus.instances('task1_a', 'validation')])"
  )
  expected = f'{_ids(natinst.open_corpus(directory), "validation")}\n'
  for seed in ('0', '1'):
    output = subprocess.run(
      [sys.executable, '-c', script, str(directory)],
      env=os.environ | {'PYTHONHASHSEED': seed},
      capture_output=True,
      check=True,
      text=True,
    ).stdout
    assert output == expected


def test_a_task_with_few_instances_has_no_training_instances(
  write_corpus, raw_task
):
  directory = write_corpus(
    train={'task1_a': raw_task(num_instances=10)}, test={'task2_b': raw_task()}
  )
  corpus = natinst.open_corpus(directory)
  assert len(_ids(corpus, 'validation')) == 10
  assert _ids(corpus, 'train') == []


def test_rows_are_sorted_by_task_name(write_corpus, raw_task):
  directory = write_corpus(
    train={'task1_a': raw_task()},
    test={'task3_c': raw_task(num_instances=2), 'task2_b': raw_task()},
  )
  rows = natinst.open_corpus(directory).rows('test')
  assert [(task.name, instance.position) for task, instance in rows] == [
    ('task2_b', 0),
    ('task2_b', 1),
    ('task2_b', 2),
    ('task3_c', 0),
    ('task3_c', 1),
  ]


def test_a_changed_file_is_noticed(directory, raw_task):
  corpus = natinst.open_corpus(directory)
  before = corpus.fingerprint()
  assert corpus.load('task1_a') is corpus.load('task1_a')
  path = directory / 'tasks' / 'task1_a.json'
  path.write_text(json.dumps(raw_task(num_instances=14, Definition='Other.')))
  assert corpus.load('task1_a').task.definition == 'Other.'
  assert corpus.fingerprint() != before


def test_fingerprint_covers_splits_overrides_and_file_boundaries(
  write_corpus, raw_task
):
  tasks = {'task1_a': raw_task()}, {'task2_b': raw_task()}
  one, same, swapped = (
    write_corpus(train=train, test=test, folder=folder)
    for folder, train, test in (
      ('one', *tasks),
      ('same', *tasks),
      ('swapped', *tasks[::-1]),
    )
  )
  prints = [natinst.open_corpus(d).fingerprint() for d in (one, same, swapped)]
  assert prints[0] == prints[1] != prints[2]
  overridden = natinst.open_corpus(one, overrides={'task1_a': 'classification'})
  assert overridden.fingerprint() != prints[0]
  # The same bytes with another boundary.
  paths = [one / 'tasks' / f'{name}.json' for name in ('task1_a', 'task2_b')]
  whole = b''.join(path.read_bytes() for path in paths)
  paths[0].write_bytes(whole[:10])
  paths[1].write_bytes(whole[10:])
  assert natinst.open_corpus(one).fingerprint() != prints[0]


def test_overrides_win_over_the_rule(directory):
  corpus = natinst.open_corpus(
    directory, overrides={'task1_a': 'classification'}
  )
  assert corpus.load('task1_a').task.kind == 'classification'
  assert natinst.open_corpus(directory).load('task1_a').task.kind == (
    'generation'
  )
  assert corpus != natinst.open_corpus(directory)
  assert "kind 'cls' is unknown" in _message(
    directory, overrides={'task1_a': 'cls'}
  )


def test_byte_order_marks_and_crlf_are_harmless(directory):
  for path in (
    directory / 'splits/default/train_tasks.txt',
    directory / 'tasks/task1_a.json',
  ):
    content = path.read_bytes().replace(b'\n', b'\r\n')
    path.write_bytes(b'\xef\xbb\xbf' + content + b'\r\n \r\n')
  corpus = natinst.open_corpus(directory)
  assert corpus.train_tasks == ('task1_a',)
  assert len(corpus.load('task1_a').instances) == 14


def test_a_task_listed_twice_counts_once(directory):
  path = directory / 'splits/default/train_tasks.txt'
  path.write_text('task1_a\ntask1_a\n')
  corpus = natinst.open_corpus(directory)
  assert corpus.train_tasks == ('task1_a',)
  assert corpus.warnings == (f'{path}: some tasks are listed more than once',)


def test_another_track(directory):
  (directory / 'splits/default').rename(directory / 'splits/xlingual')
  assert natinst.open_corpus(directory, track='xlingual').test_tasks == (
    'task2_b',
  )


def test_missing_folders_are_refused(directory, tmp_path):
  assert _message(tmp_path / 'none') == (
    'corpus DIR: no directory DIR; expected one that holds tasks/ and '
    "splits/. 'it-study corpus mini DIR' writes a small corpus to start with."
  )
  (tmp_path / 'empty').mkdir()
  assert (
    'no directory DIR/tasks; expected one that holds one NAME.json'
    in _message(tmp_path / 'empty')
  )
  assert _message(directory / 'tasks') == (
    'corpus DIR: no directory DIR/tasks; expected one that holds one NAME.json '
    "per task. 'it-study corpus mini DIR' writes a small corpus to start with. "
    f'Did you mean {directory}?'
  )
  assert _message(directory, track='defualt') == (
    "corpus DIR: no track 'defualt' in DIR/splits; available: default. Did "
    "you mean 'default'?"
  )
  (directory / 'splits').rename(directory / 'slpits')
  assert (
    'no directory DIR/splits/other; expected one that holds train_'
    in _message(directory, track='other')
  )
  (directory / 'slpits').rename(directory / 'splits')
  (directory / 'splits/default/test_tasks.txt').unlink()
  assert _message(directory) == (
    'corpus DIR: no split file DIR/splits/default/test_tasks.txt; expected '
    'one task name per line.'
  )


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'\xff\xfet\x00', 'not UTF-8 at byte 0: invalid start byte.'),
    (
      b'task1_a\ntask1_aa\n',
      "1 of 2 tasks have no file in DIR/tasks, the first being 'task1_aa'. "
      "Did you mean 'task1_a'?",
    ),
    (
      b'task1_a.json\n',
      '1 of 1 tasks have no file in DIR/tasks, the first being '
      "'task1_a.json'. Did you mean 'task1_a'?",
    ),
    (
      b'x' * 5000,
      '1 of 1 tasks have no file in DIR/tasks, the first being '
      f"'{'x' * 27}...{'x' * 28}'.",
    ),
  ],
)
def test_malformed_split_files_are_refused(directory, content, message):
  (directory / 'splits/default/train_tasks.txt').write_bytes(content)
  assert _message(directory) == (
    f'DIR/splits/default/train_tasks.txt: {message}'
  )


def test_a_corpus_may_have_test_tasks_only(directory):
  path = directory / 'splits/default/train_tasks.txt'
  for make in (lambda: path.write_text('\n \n'), path.unlink):
    make()
    corpus = natinst.open_corpus(directory)
    assert (corpus.train_tasks, corpus.test_tasks) == ((), ('task2_b',))
    assert list(corpus.rows('train')) == list(corpus.rows('validation')) == []
    corpus.check_has('test')
    with pytest.raises(InputError) as error:
      corpus.check_has('validation')
    assert str(error.value) == (
      f"corpus {directory}: no training tasks, so no split 'validation'; it "
      'can be predicted and scored on test, not trained on. List its training '
      'tasks in train_tasks.txt, or name another corpus.'
    )
    _, findings = natinst.survey_corpus(directory)
    assert [(f.severity, f.code, f.message) for f in findings] == [
      (
        'note',
        'no-training-tasks',
        'no training tasks; the corpus can only be evaluated on',
      )
    ]
  (directory / 'splits/default/test_tasks.txt').write_text('\n')
  assert _message(directory) == (
    'DIR/splits/default/test_tasks.txt: no tasks; expected one task name per '
    'line.'
  )


def test_a_task_in_both_splits_is_refused(directory):
  (directory / 'splits/default/test_tasks.txt').write_text('task1_a\n')
  assert _message(directory) == (
    'corpus DIR: 1 task is in both train_tasks.txt and test_tasks.txt, the '
    "first being 'task1_a'. Remove it from one."
  )


def test_unknown_names_are_refused(directory):
  corpus = natinst.open_corpus(directory)
  with pytest.raises(InputError) as error:
    corpus.load('task1_aa')
  assert str(error.value) == (
    f"corpus {directory}: no task 'task1_aa' in its splits. Did you mean "
    "'task1_a'?"
  )
  with pytest.raises(InputError) as error:
    corpus.instances('task1_a', 'valid')
  assert str(error.value) == (
    "split 'valid' is unknown; available: train, validation, test. Did you "
    "mean 'validation'?"
  )
  with pytest.raises(InputError, match='split None is unknown'):
    corpus.tasks_of(None)


def test_a_missing_file_is_refused(directory):
  corpus = natinst.open_corpus(directory)
  path = directory / 'tasks' / 'task1_a.json'
  path.unlink()
  message = (
    f'{path}: cannot be read: No such file or directory. Restore the file, or '
    'remove its task from the split files.'
  )
  for call in (corpus.fingerprint, lambda: corpus.load('task1_a')):
    with pytest.raises(InputError) as error:
      call()
    assert str(error.value) == message


def test_errors_in_a_file_name_it(directory):
  path = directory / 'tasks' / 'task1_a.json'
  path.write_bytes(b'{"Definition": "\xff"}')
  with pytest.raises(InputError) as error:
    natinst.open_corpus(directory).load('task1_a')
  assert str(error.value) == (
    f'{path}: not UTF-8 at byte 16: invalid start byte.'
  )


def test_real_files_are_read(natinst_dir):
  corpus = natinst.open_corpus(natinst_dir)
  for name in corpus.test_tasks:
    assert len(corpus.instances(name, 'test')) <= 100
  for name in corpus.train_tasks:
    assert len(corpus.instances(name, 'validation')) == 10
