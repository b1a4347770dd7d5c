"""Tests for it_study.storage.local_folders."""

import concurrent.futures
import pathlib

import pytest

from it_study.errors import InputError
from it_study.storage import local_folders


def test_cache_directory(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.setenv('IT_STUDY_CACHE', '/some/where')
  assert local_folders.cache_directory() == pathlib.Path('/some/where')
  monkeypatch.setenv('IT_STUDY_CACHE', '~/where')
  assert local_folders.cache_directory() == tmp_path / 'where'
  monkeypatch.setenv('IT_STUDY_CACHE', '')
  assert local_folders.cache_directory() == tmp_path / '.cache/it_study'


def test_missing_directories_are_created(tmp_path):
  local_folders.make_directory(tmp_path / 'a' / 'b')
  local_folders.make_directory(str(tmp_path / 'a' / 'b'))
  assert list((tmp_path / 'a' / 'b').iterdir()) == []


def test_a_path_that_is_not_writable_is_reported(tmp_path):
  (tmp_path / 'file').touch()
  for path, reason in (
    (tmp_path / 'file', 'File exists'),
    (tmp_path / 'file' / 'a', 'Not a directory'),
  ):
    with pytest.raises(InputError) as error:
      local_folders.make_directory(path)
    assert str(error.value) == (
      f'cannot write to {path}: {reason}. Name a writable directory.'
    )


def test_a_locked_directory_keeps_others_out(tmp_path):
  with (
    local_folders.locked(tmp_path / 'study'),
    pytest.raises(InputError, match='another run is using it'),
    local_folders.locked(tmp_path / 'study'),
  ):
    pass
  with local_folders.locked(tmp_path / 'study'):
    pass


def test_the_second_process_waits_for_the_lock(tmp_path):
  order = []

  def second():
    with local_folders.one_at_a_time(tmp_path / 'lock'):
      order.append('second')

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    with local_folders.one_at_a_time(tmp_path / 'lock'):
      waiting = pool.submit(second)
      assert not concurrent.futures.wait([waiting], timeout=0.2).done
      order.append('first')
    waiting.result(timeout=60)
  assert order == ['first', 'second']
