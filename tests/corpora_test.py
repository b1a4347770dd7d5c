"""Tests for it_study.corpora."""

import pathlib

import pytest

from it_study import corpora, natinst
from it_study.errors import InputError


def test_a_directory_is_itself(tmp_path):
  assert corpora.find(tmp_path) == tmp_path
  assert corpora.find('not/there') == pathlib.Path('not/there')


def test_the_miniature_is_written_to_the_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  monkeypatch.chdir(tmp_path)
  found = corpora.find('miniature')
  assert found == tmp_path / 'cache' / 'miniature'
  assert natinst.open_corpus(found).test_tasks
  before = {path: path.stat().st_mtime_ns for path in found.rglob('*.json')}
  assert corpora.find('miniature') == found
  assert before == {
    path: path.stat().st_mtime_ns for path in found.rglob('*.json')
  }


def test_a_directory_of_the_miniatures_name_comes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('miniature').mkdir()
  assert corpora.find('miniature') == pathlib.Path('miniature')


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'file'))
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError) as error:
    corpora.find('miniature')
  assert str(error.value) == (
    f'cannot write the miniature to {tmp_path}/file/miniature: Not a '
    'directory. Name a directory that can be written.'
  )
