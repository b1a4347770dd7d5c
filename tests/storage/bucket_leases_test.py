"""Tests of shared folders in a bucket, against a local fake."""

import contextlib
import json
import logging
import os
import shutil
import socket
import sys
import threading
import time

import fake_bucket
import pytest

from it_study.errors import InputError
from it_study.storage import buckets, leases, run_folder, shared_folder
from it_study.storage.bucket_leases import BucketFolder
from it_study.storage.storage_path import StoragePath
from it_study.study import worker as study_worker

UNIT = 'cells/one'


@pytest.fixture(name='there')
def _there(tmp_path, monkeypatch):
  """The bucket's files."""
  folder = tmp_path / 'bucket'
  folder.mkdir()
  monkeypatch.setattr(study_worker, '_WAIT_SECONDS', 0.05)
  with fake_bucket.serve(folder) as url:
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', url)
    yield folder


@pytest.fixture(name='machine')
def _machine(there, tmp_path, monkeypatch):
  """Opens the folder with the cache of another machine."""

  def open_(name, path='gs://bucket/study'):
    monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / name))
    return BucketFolder(path)

  return open_


def write(folder, name, text):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


def names(folder):
  return {
    str(path.relative_to(folder))
    for path in folder.rglob('*')
    if path.is_file()
  }


def test_what_one_machine_publishes_another_fetches(machine, there):
  first, second = machine('a'), machine('b')
  assert first.path != second.path
  assert not second.exists('cells/one/DONE')
  with first.claimed(UNIT) as acquired:
    assert acquired
    write(first.path, 'cells/one/DONE', 'done')
    write(first.path, 'cells/one/deep/rows', 'rows')
  assert second.exists('cells/one/DONE')
  assert not second.exists('cells/one')
  second.fetch(UNIT, exclude=('deep',))
  assert names(second.path / 'cells') == {'one/DONE'}
  second.fetch('cells')
  assert (second.path / 'cells/one/deep/rows').read_text() == 'rows'
  # The lease is gone.
  assert names(there) == {
    'study/cells/one/DONE',
    'study/cells/one/deep/rows',
  }


def test_only_one_machine_holds_a_work_unit(machine):
  first, second = machine('a'), machine('b')
  with first.claimed(UNIT) as acquired, second.claimed(UNIT) as is_theirs:
    assert (acquired, is_theirs) == (True, False)
    with second.claimed('cells/one_more') as is_theirs:
      assert is_theirs
  with second.claimed(UNIT) as is_theirs:
    assert is_theirs


def test_of_many_simultaneous_claims_one_succeeds(machine):
  workers = [machine(str(number)) for number in range(6)]
  barrier = threading.Barrier(6)
  got = []

  def ask(worker):
    barrier.wait()
    with worker.claimed(UNIT) as acquired:
      got.append(acquired)
      barrier.wait()

  threads = [threading.Thread(target=ask, args=(w,)) for w in workers]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(got) == [False] * 5 + [True]


def test_an_expired_lease_is_taken_over(machine, there, monkeypatch):
  monkeypatch.setattr(leases, 'LEASE_SECONDS', 0.4)
  second = machine('b')
  write(there, 'study/leases/cells/one', 'of a dead holder')
  write(there, 'study/cells/one/half', 'so far')
  # A local leftover that was never published.
  write(second.path, 'cells/one/stale', 'of an earlier attempt')
  refusals, started = 0, time.monotonic()
  while True:
    with second.claimed(UNIT) as acquired:
      if acquired:
        assert time.monotonic() - started >= leases.LEASE_SECONDS
        assert names(second.path / UNIT) == {'.lock', 'half'}
        break
    refusals += 1
    time.sleep(0.05)
  assert refusals >= 1


def test_a_live_holder_keeps_its_work_unit(machine, monkeypatch):
  monkeypatch.setattr(leases, 'LEASE_SECONDS', 0.4)
  first, second = machine('a'), machine('b')
  with first.claimed(UNIT):
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
      with second.claimed(UNIT) as acquired:
        assert not acquired
      time.sleep(0.02)


def test_a_lost_work_unit_is_not_published(machine, there):
  first = machine('a')

  def work():
    with first.claimed(UNIT):
      write(first.path, 'cells/one/DONE', 'mine')
      write(there, 'study/leases/cells/one', 'of another')

  with pytest.raises(InputError, match='another worker has taken this part'):
    work()
  # The other worker's lease is left alone.
  assert names(there) == {'study/leases/cells/one'}


def test_work_is_published_periodically_and_on_shutdown(
  machine, there, monkeypatch
):
  monkeypatch.setattr(leases, 'PUBLISH_SECONDS', 0.05)
  first = machine('a')

  def work():
    with first.claimed(UNIT, adds_to=('answers',)):
      write(first.path, 'answers/x', 'answer')
      write(first.path, 'cells/one/half.partial', 'being written')
      write(first.path, 'cells/one/checkpoints/1/params', 'no manifest')
      write(first.path, 'cells/one/checkpoints/2/params', 'whole')
      write(first.path, 'cells/one/checkpoints/2/manifest.json', '{}')
      until = time.monotonic() + 20
      last = there / 'study/cells/one/checkpoints/2/manifest.json'
      while not last.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
      write(first.path, 'cells/one/log', 'the last words')
      raise SystemExit(75)

  with pytest.raises(SystemExit):
    work()
  assert names(there) == {
    'study/answers/x',
    'study/cells/one/checkpoints/2/manifest.json',
    'study/cells/one/checkpoints/2/params',
    'study/cells/one/log',
  }


def test_deletions_are_published_except_in_append_only_folders(machine, there):
  first = machine('a')
  old = 'study/cells/one/checkpoints/1'
  for name in (f'{old}/params', f'{old}/manifest.json', 'study/answers/theirs'):
    write(there, name, 'x')
  with first.claimed(UNIT, adds_to=('answers',)):
    shutil.rmtree(first.path / 'cells/one/checkpoints/1')
    (first.path / 'answers/theirs').unlink()
  assert names(there) == {'study/answers/theirs'}


def test_a_work_unit_may_be_named_checkpoints(machine, there):
  first = machine('a', 'gs://bucket/checkpoints')
  with first.claimed('checkpoints'):
    write(first.path, 'checkpoints/training.json', '{}')
  assert names(there) == {'checkpoints/checkpoints/training.json'}


def test_reading_a_study_changes_nothing(machine, there, tmp_path):
  worker = machine('a')
  for name in ('report/index.html', 'cells/one/rows', 'results.jsonl'):
    write(there, f'study/{name}', 'old')
  write(there, 'study/trainings/one/checkpoints/1/params', 'large')
  write(worker.path, 'cells/one/rows', 'at work')
  reader = shared_folder.open_to_read('gs://bucket/study')
  assert names(reader.path) == {
    *('.lock', 'report/index.html', 'cells/one/rows', 'results.jsonl')
  }
  assert (worker.path / 'cells/one/rows').read_text() == 'at work'
  write(there, 'study/report/index.html', 'of another')
  again = shared_folder.open_to_read('gs://bucket/study')
  assert (again.path / 'report/index.html').read_text() == 'of another'
  local = shared_folder.open_to_read(tmp_path / 'nothing')
  assert not local.path.exists()


def test_a_file_is_uploaded_once(machine, there):
  first = machine('a')
  write(first.path, 'cells/one/rows', 'rows')
  first.publish(UNIT)
  written = (there / 'study/cells/one/rows').stat().st_mtime_ns
  first.publish(UNIT)
  assert (there / 'study/cells/one/rows').stat().st_mtime_ns == written
  write(first.path, 'cells/one/rows', 'more')
  first.publish(UNIT)
  assert (there / 'study/cells/one/rows').read_text() == 'more'


def test_a_run_folder_is_exclusive(there, tmp_path, monkeypatch):
  monkeypatch.setattr(leases, '_WAIT_SECONDS', 0.05)
  monkeypatch.setattr(leases, 'LEASE_SECONDS', 6.0)
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'a'))
  with run_folder.working('gs://bucket/runs/one/') as (folder, publish):
    write(folder, 'training.json', '{}')
    publish()
    assert (there / 'runs/one/training.json').read_text() == '{}'
    monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'b'))
    other = run_folder.working('gs://bucket/runs/one')
    who = (
      rf'process {os.getpid()} on {socket.gethostname()}, since [-\d:, ]+UTC'
    )
    message = rf'runs/one: another run is using it \({who}\)\. Wait for that'
    started = time.monotonic()
    with pytest.raises(InputError, match=message):
      other.__enter__()
    # Its first renewal showed that the other run lives.
    assert time.monotonic() - started < leases.LEASE_SECONDS
  with run_folder.working('gs://bucket/runs/one') as (again, _):
    assert again != folder
    assert (again / 'training.json').read_text() == '{}'
  with run_folder.working(tmp_path / 'local') as (local, _):
    assert local == tmp_path / 'local'
    assert local.is_dir()


def test_excluded_folders_are_left_alone(there, tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'a'))
  # The exclusion does not apply to the folder's own name.
  path = 'gs://bucket/runs/checkpoints'
  write(there, 'runs/checkpoints/checkpoints/2/params', 'theirs')
  write(there, 'runs/checkpoints/training.json', 'before')
  with run_folder.working(path, exclude=('checkpoints',)) as (folder, _):
    assert names(folder) == {'training.json', '.lock'}
    write(folder, 'checkpoints/4/params', 'here')
    write(folder, 'training.json', 'after')
  assert names(there / 'runs') == {
    'checkpoints/checkpoints/2/params',
    'checkpoints/training.json',
  }
  assert (there / 'runs/checkpoints/training.json').read_text() == 'after'
  assert (folder / 'checkpoints/4/params').exists()


def test_a_part_that_was_taken_over_is_not_published(machine, there):
  first = machine('a')
  taken_over = 'another worker has taken this part over'
  with contextlib.ExitStack() as stack:
    stack.enter_context(pytest.raises(InputError, match=taken_over))
    assert stack.enter_context(first.claimed(UNIT))
    write(first.path, 'cells/one/rows', 'rows')
    first.publish_claimed(UNIT)
    write(there, 'study/leases/cells/one', '{}')
    write(first.path, 'cells/one/rows', 'more')
    with pytest.raises(InputError, match=taken_over):
      first.publish_claimed(UNIT)
  assert (there / 'study/cells/one/rows').read_text() == 'rows'


def test_a_file_outside_the_copy_is_refused(there, monkeypatch):
  monkeypatch.setattr(
    fake_bucket,
    '_list',
    lambda *_, **__: json.dumps(
      {'items': [{'name': 'a/../../b', 'generation': '1', 'size': '1'}]}
    ).encode(),
  )
  with pytest.raises(InputError, match=r"a: a file is named '../../b', which"):
    buckets.Bucket(StoragePath('gs://bucket/a')).files()


def test_a_changed_file_and_a_full_disk_are_reported(there, tmp_path):
  write(there, 'a/file', 'before')
  bucket = buckets.Bucket(StoragePath('gs://bucket/a'))
  files = bucket.files().values()
  assert [(file.name, file.num_bytes) for file in files] == [('file', 6)]
  os.utime(there / 'a/file', ns=(1_000, 1_000))
  with pytest.raises(InputError, match=r'a/file: cannot be read: .*412'):
    bucket.download(files, to=tmp_path / 'copy')
  assert not (tmp_path / 'copy/file').exists()
  (tmp_path / 'full').write_text('a file where a folder should be')
  with pytest.raises(InputError, match=r'cannot be copied: File exists'):
    bucket.download(files, to=tmp_path / 'full')


def test_hits_and_misses_of_the_cache_are_logged(
  there, tmp_path, monkeypatch, caplog
):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  write(there, 'a/one', 'x')
  write(there, 'a/two', 'x')
  bucket = buckets.Bucket(StoragePath('gs://bucket/a'))
  copy = tmp_path / 'cache/buckets-read/bucket/a'
  with caplog.at_level(logging.INFO, logger='it_study'):
    for _ in range(2):
      assert bucket.copy_to_read(bucket.files().values()) == copy
    write(there, 'a/two', 'other')
    bucket.copy_to_read(bucket.files().values())
  assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
    ('WARNING', f'gs://bucket/a: copying 0.0 MB to {copy}.'),
    ('INFO', f'gs://bucket/a: cache hit in {copy}.'),
    (
      'INFO',
      f'gs://bucket/a: cache miss in {copy}: copying 1 of 2 files, 0.0 MB.',
    ),
  ]
  assert (copy / 'two').read_text() == 'other'


def test_a_missing_library_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'google.cloud', None)
  with pytest.raises(InputError, match=r"pip install 'it_study\[gcs\]'"):
    buckets.Bucket(StoragePath('gs://bucket/a'))
