"""Tests of it_study.storage.file_locks."""

import errno
import fcntl
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from it_study.errors import InputError
from it_study.storage import file_locks, leases, local_folders
from it_study.storage.leases import Holder

_NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, 524]


@pytest.fixture(name='no_locks', params=_NO_LOCKS[:1])
def _no_locks(request, monkeypatch):
  """A file system without locks."""

  def refuse(*_):
    raise OSError(request.param, os.strerror(request.param))

  monkeypatch.setattr(fcntl, 'flock', refuse)
  monkeypatch.setattr(leases, 'LEASE_SECONDS', 0.4)
  monkeypatch.setattr(leases, '_WAIT_SECONDS', 0.05)
  # Those of a process that has just started.
  monkeypatch.setattr(file_locks, '_seen', {})


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_who_holds_a_lock_is_said(tmp_path):
  with local_folders.locked(tmp_path):
    record = json.loads((tmp_path / '.lock').read_text())
    since = record['since']
    assert record == {
      'host': socket.gethostname(),
      'pid': os.getpid(),
      'since': since,
    }
    who = f'process {os.getpid()} on {socket.gethostname()}, since {since}'
    assert file_locks.find_holder(tmp_path / '.lock') == Holder(0, who)
    with pytest.raises(InputError) as caught, local_folders.locked(tmp_path):
      pass
    assert str(caught.value) == (
      f'{tmp_path}: another run is using it ({who}). Wait for that run, stop '
      'it, or name another folder.'
    )
    # The one that was refused has not signed.
    assert json.loads((tmp_path / '.lock').read_text()) == record


@pytest.mark.parametrize('record', ['', '{"pid": 1', '[]', '{"pid": 1}', '7'])
def test_an_unknown_holder_is_not_described(tmp_path, record):
  with local_folders.locked(tmp_path):
    (tmp_path / '.lock').write_text(record)
    with (
      pytest.raises(InputError, match=r': another run is using it\. Wait'),
      local_folders.locked(tmp_path),
    ):
      pass


@pytest.mark.parametrize('no_locks', _NO_LOCKS, indirect=True)
def test_a_lease_serves_without_locks(no_locks, tmp_path):
  assert not file_locks.are_supported(tmp_path)
  with local_folders.try_locked(tmp_path) as acquired:
    assert acquired
    assert names(tmp_path) == ['.lock', '.lock-1']
    with local_folders.try_locked(tmp_path) as is_theirs:
      assert not is_theirs
  assert names(tmp_path) == ['.lock']
  with local_folders.try_locked(tmp_path) as acquired:
    assert acquired


def test_other_errors_of_locks_are_raised(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(errno.EIO, 'broken')

  monkeypatch.setattr(fcntl, 'flock', fail)
  with pytest.raises(OSError, match='broken'):
    file_locks.are_supported(tmp_path)
  with pytest.raises(OSError, match='broken'):
    file_locks.held(tmp_path / 'lock', waits=False).__enter__()


def test_a_live_lease_is_renewed_and_refuses_others(no_locks, tmp_path):
  with local_folders.locked(tmp_path):
    who = file_locks.find_holder(tmp_path / '.lock').text
    started = time.monotonic()
    with (
      pytest.raises(InputError) as caught,
      local_folders.locked(tmp_path),
    ):
      pass
    assert str(caught.value) == (
      f'{tmp_path}: another run is using it ({who}). Wait for that run, stop '
      'it, or name another folder.'
    )
    # Its first renewal showed that it lives.
    assert time.monotonic() - started < leases.LEASE_SECONDS
  assert names(tmp_path) == ['.lock']


def test_the_lease_of_a_killed_run_expires(no_locks, tmp_path, caplog):
  record = leases.describe_self()
  (tmp_path / '.lock-7').write_text(record)
  started = time.monotonic()
  with local_folders.locked(tmp_path):
    assert time.monotonic() - started >= leases.LEASE_SECONDS
    assert '.lock-8' in names(tmp_path)
  assert names(tmp_path) == ['.lock']
  assert [r.getMessage() for r in caplog.records] == [
    f'{tmp_path}: an earlier run left its lease, or is still running '
    f'({leases.describe(record)}); waiting up to 1 s.'
  ]


def test_of_many_simultaneous_claims_one_succeeds(no_locks, tmp_path):
  barrier = threading.Barrier(6)
  got = []

  def ask():
    barrier.wait()
    with file_locks.held(tmp_path / 'lock', waits=False) as acquired:
      got.append(acquired)
      barrier.wait()

  threads = [threading.Thread(target=ask) for _ in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(got) == [False] * 5 + [True]


def test_waiting_takes_turns(no_locks, tmp_path):
  order = []

  def second():
    with local_folders.one_at_a_time(tmp_path / 'lock'):
      order.append('second')

  thread = threading.Thread(target=second)
  with local_folders.one_at_a_time(tmp_path / 'lock'):
    thread.start()
    time.sleep(0.3)
    order.append('first')
  thread.join()
  assert order == ['first', 'second']


def test_a_stale_worker_cannot_repeat_a_generation(no_locks, tmp_path):
  store = file_locks._LeaseFiles()
  name = str(tmp_path / 'lease')
  assert store.write_small(name, 'a', generation=0) == 1
  assert store.write_small(name, 'b', generation=1) == 2
  assert store.write_small(name, 'late', generation=1) is None
  assert store.write_small(name, 'c', generation=2) == 3
  # It finds the newer one.
  assert store.write_small(name, 'late', generation=0) is None
  assert store.read_small(name) == (3, 'c')
  assert names(tmp_path) == ['lease-2', 'lease-3']
  store.delete(name, generation=2)
  assert store.read_small(name) == (3, 'c')
  store.delete(name, generation=3)
  assert names(tmp_path) == []


def test_a_lost_lease_is_an_error(no_locks, tmp_path):
  lock = tmp_path / 'lock'

  def work():
    with file_locks.held(lock, waits=False):
      (tmp_path / 'lock-99').write_text('of another')

  with pytest.raises(InputError, match='has taken this part over, because its'):
    work()
  assert (tmp_path / 'lock-99').exists()


def test_a_lock_ends_with_its_process(tmp_path):
  code = (
    'import os\nfrom it_study.storage import local_folders\n'
    f'local_folders.locked({str(tmp_path)!r}).__enter__()\nos._exit(0)\n'
  )
  root = pathlib.Path(__file__).parents[2]
  subprocess.run([sys.executable, '-c', code], check=True, cwd=root)
  with local_folders.locked(tmp_path):
    pass
