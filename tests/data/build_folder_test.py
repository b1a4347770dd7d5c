"""Tests of it_study.data.build_folder: the lock and leftovers."""

import errno
import threading

from etils import epath
import pytest
import tensorflow as tf

from it_study.data import build_folder
from it_study.errors import InputError


def _clear(directory):
  if directory.exists() and not (directory / 'info.json').exists():
    directory.rmtree()


@pytest.fixture(name='directory')
def _directory(tmp_path):
  return epath.Path(tmp_path / 'name' / '1.0.0')


def test_the_folder_is_next_to_the_build_and_removed(directory):
  with build_folder.working_folder(directory, clear=_clear) as folder:
    assert folder.parent == directory.parent
    (folder / 'rows').write_text('')
  assert not folder.exists()
  assert [path.name for path in directory.parent.iterdir()] == ['.lock']


def test_the_folder_is_removed_after_an_error(directory):
  with (
    pytest.raises(KeyboardInterrupt),
    build_folder.working_folder(directory, clear=_clear) as folder,
  ):
    raise KeyboardInterrupt
  assert not folder.exists()


def test_leftovers_of_the_same_version_are_removed(directory):
  for name in ('incomplete.x_1.0.0', 'incomplete.x_2.0.0', '2.0.0', 'other'):
    (directory.parent / name / 'deep').mkdir(parents=True)
  with build_folder.working_folder(directory, clear=_clear):
    pass
  assert {path.name for path in directory.parent.iterdir()} == {
    '.lock',
    '2.0.0',
    'incomplete.x_2.0.0',
    'other',
  }


@pytest.mark.parametrize('is_finished', [False, True])
def test_only_an_unfinished_directory_is_cleared(directory, is_finished):
  directory.mkdir(parents=True)
  (directory / ('info.json' if is_finished else 'rows')).write_text('')
  with build_folder.working_folder(directory, clear=_clear):
    assert directory.exists() is is_finished


def test_a_second_build_waits(directory):
  order, second_is_in = [], threading.Event()

  def second() -> None:
    with build_folder.working_folder(directory, clear=_clear):
      order.append('second')
      second_is_in.set()

  thread = threading.Thread(target=second)
  with build_folder.working_folder(directory, clear=_clear) as folder:
    thread.start()
    assert not second_is_in.wait(0.3)
    assert folder.exists()
    order.append('first')
  thread.join()
  assert order == ['first', 'second']


@pytest.mark.parametrize(
  'error',
  [
    OSError(errno.ENOSPC, 'full'),
    OSError(errno.EDQUOT, 'full'),
    tf.errors.ResourceExhaustedError(None, None, 'full'),
  ],
)
def test_a_full_disk_is_reported(error):
  with (
    pytest.raises(
      InputError,
      match=r'^no room for the rows in /rows\. Free some space, choose',
    ),
    build_folder.disk_full_as_input_error('/rows'),
  ):
    raise error


def test_other_errors_pass_through():
  with (
    pytest.raises(PermissionError),
    build_folder.disk_full_as_input_error('/rows'),
  ):
    raise PermissionError(errno.EACCES, 'not yours')
