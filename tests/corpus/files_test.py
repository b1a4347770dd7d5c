"""Tests for it_study.corpus.files."""

import pytest

from it_study.corpus import files


@pytest.fixture(name='directory')
def _directory(write_corpus, raw_task):
  return write_corpus(train={'task1_a': raw_task()}, test={'task2_b': {}})


def test_tasks_are_files_with_their_name(directory):
  path = files.task_path(directory, 'task1_a')
  assert path == directory / 'tasks' / 'task1_a.json'
  assert files.has_file(directory, 'task1_a')
  assert not files.has_file(directory, 'task1')
  assert not files.has_file(directory, 'x' * 5000)
  assert not files.has_file(directory, 'x\0')
  names = ('task2_b', 'task3_c', 'task1_a', 'task0')
  assert files.missing(directory, names) == ['task3_c', 'task0']
  assert sorted(files.present(directory)) == ['task1_a', 'task2_b']


def test_unreadable_files_are_refused(tmp_path):
  path = tmp_path / 'file'
  path.write_bytes(b'\xef\xbb\xbfa\n')
  assert files.read_text(path) == 'a\n'
  path.write_bytes(b'ab\xff')
  with pytest.raises(files.UnreadableError) as error:
    files.read_text(path)
  assert str(error.value) == f'{path}: not UTF-8 at byte 2: invalid start byte.'
  with pytest.raises(files.UnreadableError) as error:
    files.read_text(tmp_path)
  assert str(error.value) == (
    f'{tmp_path}: cannot be read: Is a directory. Restore the file, or remove '
    'its task from the split files.'
  )
