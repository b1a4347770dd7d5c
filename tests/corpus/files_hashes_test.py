"""Tests of the hashes in it_study.corpus.files: read once, unless changed."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import time

import pytest

from it_study.corpus import files

ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'


@pytest.fixture(name='cache', autouse=True)
def _cache(tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  return tmp_path / 'cache/file_hashes'


@pytest.fixture(name='read')
def _read(monkeypatch):
  """The names of the files that were read, in the order of their names."""
  names = []
  hash_file = files._hash_file

  def counted(path):
    names.append(path.name)
    return hash_file(path)

  monkeypatch.setattr(files, '_hash_file', counted)
  return names


@pytest.fixture(name='folder')
def _folder(tmp_path, monkeypatch):
  # Files that a test has just written count as old.
  monkeypatch.setattr(files, 'RECENT_NS', 0)
  folder = tmp_path / 'files'
  folder.mkdir()
  (folder / 'a').write_text('abc')
  (folder / 'b').write_text('b')
  time.sleep(0.02)
  return folder


def hashes(folder, names=('a', 'b')):
  return files.sha256_of_files(names, directory=folder)


def test_hashes_are_sha256_in_the_requested_order(folder):
  assert list(hashes(folder, ['b', 'a']).items()) == [
    ('b', hashlib.sha256(b'b').hexdigest()),
    ('a', ABC),
  ]


def test_nothing_is_read_twice(folder, read, cache):
  first = hashes(folder)
  assert sorted(read) == ['a', 'b']
  assert hashes(folder) == first
  assert hashes(folder, ['a']) == {'a': ABC}
  assert len(read) == 2
  (path,) = cache.iterdir()
  assert json.loads(path.read_text())['files']['a'][1] == ABC


def test_a_changed_byte_is_noticed_despite_a_restored_time(folder, read):
  hashes(folder)
  before = os.stat(folder / 'a')
  (folder / 'a').write_text('abd')
  os.utime(folder / 'a', ns=(before.st_atime_ns, before.st_mtime_ns))
  after = os.stat(folder / 'a')
  assert (after.st_size, after.st_mtime_ns) == (3, before.st_mtime_ns)
  read.clear()
  assert hashes(folder)['a'] == hashlib.sha256(b'abd').hexdigest()
  assert read == ['a']


def test_a_replaced_file_is_noticed(folder):
  hashes(folder)
  (folder / 'c').write_text('xyz')
  os.replace(folder / 'c', folder / 'a')
  assert hashes(folder)['a'] == hashlib.sha256(b'xyz').hexdigest()


def test_a_hash_of_a_recent_file_is_not_stored(folder, read, monkeypatch):
  monkeypatch.setattr(files, 'RECENT_NS', 10_000_000_000)
  hashes(folder)
  # Its modification time was set, but the status change is recent.
  os.utime(folder / 'a', ns=(0, 0))
  hashes(folder)
  assert sorted(read) == ['a', 'a', 'b', 'b']


def test_a_file_with_a_future_time_is_not_trusted(folder, read):
  hour = 3_600_000_000_000
  os.utime(folder / 'a', ns=(time.time_ns() + hour,) * 2)
  hashes(folder)
  read.clear()
  hashes(folder)
  assert read == ['a']


@pytest.mark.parametrize(
  'content', ['', '{', '[]', '{"format": 0, "files": {}}', '{"format": 1}']
)
def test_an_invalid_cache_is_replaced(folder, cache, content):
  hashes(folder)
  (path,) = cache.iterdir()
  path.write_text(content)
  assert hashes(folder)['a'] == ABC
  assert len(json.loads(path.read_text())['files']) == 2


def test_an_unwritable_cache_is_ignored(folder, cache):
  cache.parent.write_text('a file where the folder should be')
  assert hashes(folder)['a'] == ABC


def test_a_missing_file_is_named(folder):
  hashes(folder)
  (folder / 'b').unlink()
  with pytest.raises(FileNotFoundError) as error:
    hashes(folder)
  assert pathlib.Path(error.value.filename) == folder / 'b'


def test_an_unreadable_file_is_named(folder):
  (folder / 'c').mkdir()
  with pytest.raises(IsADirectoryError) as error:
    hashes(folder, ['a', 'c'])
  assert pathlib.Path(error.value.filename) == folder / 'c'


def test_processes_share_a_cache(folder, cache):
  for index in range(20):
    (folder / f'{index}').write_text(f'{index}')
  time.sleep(0.02)
  names = [f'{index}' for index in range(20)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    futures = [pool.submit(hashes, folder, names[i:]) for i in range(16)]
    for start, future in enumerate(futures):
      assert list(future.result()) == names[start:]
  (path,) = cache.iterdir()
  stored = json.loads(path.read_text())['files']
  assert all(
    digest == hashlib.sha256(name.encode()).hexdigest()
    for name, (_, digest) in stored.items()
  )
