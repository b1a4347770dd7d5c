"""Tests for it_study.corpus.locate."""

import json
import pathlib
import shutil

import fake_bucket
import fakes
import pytest

from it_study.corpus import locate, natinst
from it_study.errors import InputError


def test_a_directory_is_itself(tmp_path):
  assert locate.find(tmp_path) == tmp_path
  assert locate.find('not/there') == pathlib.Path('not/there')


def test_the_miniature_is_written_to_the_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  monkeypatch.chdir(tmp_path)
  found = locate.find('miniature')
  assert found == tmp_path / 'cache' / 'miniature'
  assert natinst.open_corpus(found).test_tasks
  before = {path: path.stat().st_mtime_ns for path in found.rglob('*.json')}
  assert locate.find('miniature') == found
  assert before == {
    path: path.stat().st_mtime_ns for path in found.rglob('*.json')
  }


def test_a_directory_named_miniature_takes_precedence(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('miniature').mkdir()
  assert locate.find('miniature') == pathlib.Path('miniature')


def test_an_unwritable_cache_is_refused(tmp_path, monkeypatch):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'file'))
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError) as error:
    locate.find('miniature')
  assert str(error.value) == (
    f'cannot write the miniature to {tmp_path}/file/miniature: Not a '
    'directory. Name a directory that can be written.'
  )


def test_a_corpus_in_a_bucket_is_copied_once(tmp_path, monkeypatch, caplog):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  there = fakes.write_small_corpus(tmp_path / 'bucket/a/corpus')
  (there / 'README.md').write_text('not read')
  asked = []
  with fake_bucket.serve(tmp_path / 'bucket', requests=asked) as url:
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', url)
    found = locate.find('gs://bucket/a/corpus/')
    assert caplog.messages == [
      f'gs://bucket/a/corpus: copying 0.0 MB to {found}.'
    ]
    corpus = natinst.open_corpus(found)
    assert corpus.test_tasks == natinst.open_corpus(there).test_tasks
    assert not (found / 'README.md').exists()
    asked.clear()
    assert locate.find('gs://bucket/a/corpus') == found
    assert asked == []
    # Changed files are copied again, missing ones are removed.
    task = f'tasks/{corpus.train_tasks[0]}.json'
    changed = {**json.loads((there / task).read_text()), 'Domains': ['News']}
    (there / task).write_text(json.dumps(changed))
    (found / 'tasks/task9_left.json').touch()
    locate.find('gs://bucket/a/corpus')
    assert asked == [f'a/corpus/{task}']
    assert json.loads((found / task).read_text()) == changed
    assert not (found / 'tasks/task9_left.json').exists()
    shutil.rmtree(there)
    with pytest.raises(InputError, match='no files in splits or tasks'):
      locate.find('gs://bucket/a/corpus')
