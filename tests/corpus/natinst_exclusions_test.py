"""Tests for it_study.corpus.natinst: what is left out, what is wrong."""

import json

import pytest

from it_study.corpus import exclusions, natinst
from it_study.errors import InputError


@pytest.fixture(name='directory')
def _directory(write_corpus, raw_task):
  return write_corpus(
    train={'task1_a': raw_task(num_instances=14)},
    test={'task2_b': raw_task(num_instances=103)},
  )


def _ids(corpus, split, name='task1_a'):
  return [instance.id for instance in corpus.instances(name, split)]


def _excluded(directory, *entries, **fields):
  return natinst.open_corpus(
    directory, exclusions=exclusions.make(entries, path='list'), **fields
  )


def test_excluded_instances_are_missing_not_replaced(directory):
  corpus = _excluded(directory, ('task2_b', 't-7'), ('task2_b', 't-102'))
  positions = [i.position for i in corpus.instances('task2_b', 'test')]
  assert positions == [*range(7), *range(8, 100)]
  ids = [instance.id for instance in corpus.load('task2_b').instances]
  assert len(ids) == 101
  assert 't-102' not in ids


def test_a_tracks_list_applies_unless_another_is_given(directory):
  before = natinst.open_corpus(directory).fingerprint()
  own = directory / 'splits' / 'default' / 'exclusions.txt'
  own.write_text('task2_b\tt-7  # broken\n')
  corpus = natinst.open_corpus(directory)
  assert 't-7' not in _ids(corpus, 'test', 'task2_b')
  assert corpus.fingerprint() != before
  whole = natinst.open_corpus(directory, exclusions=exclusions.NO_EXCLUSIONS)
  assert whole.fingerprint() == before


def test_validation_has_ten_of_the_remaining_instances(directory):
  # Of the ten lowest hashes (12, 10, 3, ...), the eleventh replaces the first.
  corpus = _excluded(directory, ('task1_a', 't-12'))
  assert _ids(corpus, 'validation') == [
    f't-{i}' for i in (10, 3, 6, 4, 11, 9, 1, 13, 8, 5)
  ]
  assert _ids(corpus, 'train') == ['t-2', 't-7', 't-0']


def test_excluded_tasks_are_in_no_split(write_corpus, raw_task):
  directory = write_corpus(
    train={'task1_a': raw_task(), 'task3_c': raw_task()},
    test={'task2_b': raw_task()},
  )
  (directory / 'tasks/task3_c.json').unlink()
  corpus = _excluded(directory, ('task3_c', None))
  assert corpus.train_tasks == ('task1_a',)
  with pytest.raises(InputError) as error:
    corpus.load('task3_c')
  assert str(error.value) == (
    f"corpus {directory}: no task 'task3_c' in its splits. It is left out by "
    'list.'
  )


def test_exclusions_are_read_from_a_file_and_part_of_the_fingerprint(
  directory, tmp_path
):
  (tmp_path / 'list').write_text('task1_a\tt-1\n')
  corpus = natinst.open_corpus(directory, exclusions=tmp_path / 'list')
  assert list(corpus.exclusions) == [('task1_a', 't-1')]
  assert corpus != natinst.open_corpus(directory)
  prints = {
    natinst.open_corpus(directory).fingerprint(),
    corpus.fingerprint(),
    _excluded(directory, ('task1_a', 't-2')).fingerprint(),
  }
  assert len(prints) == 3
  same = _excluded(directory, ('task1_a', 't-1')).fingerprint()
  assert same == corpus.fingerprint()
  # Corpora do not share cached files.
  assert len(natinst.open_corpus(directory).load('task1_a').instances) == 14


def test_excluded_tasks_and_instances_must_exist(directory):
  with pytest.raises(InputError) as error:
    _excluded(directory, ('task1_aa', None))
  assert str(error.value) == (
    f"list: no task 'task1_aa' in corpus {directory}. Did you mean 'task1_a'?"
  )
  corpus = _excluded(directory, ('task1_a', 't-99'))
  with pytest.raises(InputError, match=r"task1_a\.json: no instance 't-99'"):
    corpus.load('task1_a')
  with pytest.raises(InputError) as error:
    _excluded(directory, ('task1_a', None))
  assert str(error.value) == (
    f'{directory}/splits/default/train_tasks.txt: list leaves out every task '
    'in it. Keep at least one.'
  )


def test_a_survey_continues_where_opening_fails(directory):
  splits = directory / 'splits/default'
  (splits / 'train_tasks.txt').write_text('task1_a\ntask1_aa\ntask2_b\n')
  corpus, findings = natinst.survey_corpus(directory)
  assert corpus.train_tasks == ('task1_a',)
  assert corpus.test_tasks == ('task2_b',)
  assert [
    (f.severity, f.code, f.task, f.where, f.message) for f in findings
  ] == [
    (
      'error',
      'missing-file',
      'task1_aa',
      f'{splits}/train_tasks.txt',
      f"no file of this name in {directory}/tasks. Did you mean 'task1_a'?",
    ),
    (
      'error',
      'task-in-both-splits',
      'task2_b',
      'splits',
      'in train_tasks.txt and test_tasks.txt; remove it from one',
    ),
  ]
  with pytest.raises(InputError, match='no directory'):
    natinst.survey_corpus(directory / 'none')


def test_a_broken_file_is_read_without_its_faulty_instances(
  directory, raw_task
):
  raw = raw_task(num_instances=14)
  raw['Instances'][3]['output'] = 7
  (directory / 'tasks/task1_a.json').write_text(json.dumps(raw))
  corpus = natinst.open_corpus(directory)
  with pytest.raises(InputError, match='got 7'):
    corpus.load('task1_a')
  file, faults = corpus.load_broken('task1_a')
  assert len(file.instances) == 13
  assert [fault.instance for fault in faults] == ['t-3']
