"""Tests for it_study.corpus.files."""

import pytest

from it_study.corpus import files, natinst
from it_study.errors import InputError


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
  assert not files.has_file(directory, '../tasks/task1_a')
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


@pytest.mark.parametrize(
  'name',
  ['../../outside/task1_x', 'tasks/task1_a', '/task1_a', '..', 'a\\b', 'a\0b'],
)
def test_a_split_file_cannot_name_a_path(directory, name):
  path = directory / 'splits/default/test_tasks.txt'
  path.write_text(f'task2_b\n\n{name}\n')
  message = (
    f'{path}, line 3: expected the name of a task, got the path {name!r}. Name '
    "a file of the corpus's tasks folder, without folder and .json."
  )
  for read in (natinst.open_corpus, natinst.survey_corpus):
    with pytest.raises(InputError) as error:
      read(directory)
    assert str(error.value) == message


@pytest.mark.parametrize('track', ['../../elsewhere', '.', 'default/.'])
def test_a_track_is_a_folder_of_the_splits(directory, track):
  (directory.parent / 'elsewhere').mkdir()
  with pytest.raises(InputError) as error:
    natinst.open_corpus(directory, track=track)
  assert str(error.value).startswith(
    f'corpus {directory}: no track {track!r} in {directory / "splits"}; '
    'available: default.'
  )
