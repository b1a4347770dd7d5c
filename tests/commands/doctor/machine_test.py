"""Tests of it_study.commands.doctor.machine."""

import errno
import fcntl
import os
import sys

from it_study.commands import doctor
from it_study.commands.doctor import machine

_MEMORY = 'MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n'


def write_system(root, **files):
  (root / 'proc').mkdir()
  (root / 'proc/meminfo').write_text(_MEMORY)
  folder = root / 'sys/fs/cgroup'
  folder.mkdir(parents=True)
  for name, text in files.items():
    (folder / name.replace('_', '.')).write_text(text)


def test_memory(tmp_path):
  write_system(tmp_path, memory_max='max\n')
  assert machine.check_memory(root=tmp_path) == doctor.DoctorCheck(
    'memory', 'ok', '16 GiB, 8.0 GiB free'
  )


def test_memory_of_a_small_container(tmp_path):
  write_system(tmp_path, memory_max=f'{2 * 2**30}\n')
  assert machine.check_memory(root=tmp_path) == doctor.DoctorCheck(
    'memory',
    'warning',
    '2 GiB, 2.0 GiB free',
    'the miniature study needs 4 GiB; close other programs',
  )


def test_memory_that_is_unknown(tmp_path):
  assert machine.check_memory(root=tmp_path).status == 'optional'


def test_the_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'new'))
  found = machine.check_cache(least=0)
  assert [(f.name, f.status) for f in found] == [
    ('cache', 'ok'),
    ('compiled programs', 'ok'),
    ('disk', 'ok'),
  ]
  assert (tmp_path / 'new/xla').is_dir()
  assert list((tmp_path / 'new/xla').iterdir()) == []
  disk = machine.check_cache(least=2**70)[-1]
  assert (disk.status, f'{tmp_path}/new' in disk.found) == ('warning', True)


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'file/cache'))
  (found,) = machine.check_cache()
  assert found == doctor.DoctorCheck(
    'cache',
    'broken',
    f'{tmp_path}/file/cache is not writable: Not a directory',
    'set IT_STUDY_CACHE to a writable folder',
  )


def test_tools_are_found_on_path(tmp_path, monkeypatch):
  (tmp_path / 'gcloud').write_text('#!/bin/sh\nsleep 60\n')
  os.chmod(tmp_path / 'gcloud', 0o755)
  monkeypatch.setenv('PATH', str(tmp_path))
  assert machine.check_tools()[1:3] == [
    doctor.DoctorCheck('gcloud', 'ok', f'{tmp_path}/gcloud'),
    doctor.DoctorCheck('ssh', 'optional', 'not on PATH; launch ssh needs it'),
  ]


def test_a_package_that_shadows_ours(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert machine.check_tasks().status == 'ok'
  (tmp_path / 'tasks').mkdir()
  found = machine.check_tasks()
  assert found.status == 'warning'
  assert found.found == (
    f'python -m would import {tmp_path}/tasks instead of ours'
  )
  (tmp_path / 'tasks/__init__.py').write_text('')
  monkeypatch.delitem(sys.modules, 'tasks', raising=False)
  monkeypatch.syspath_prepend(tmp_path)
  found = machine.check_tasks()
  assert found.status == 'broken'
  assert found.found == f'{tmp_path}/tasks/__init__.py shadows ours'


def test_file_locks(tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'cache').mkdir()
  assert machine.check_locks() == doctor.DoctorCheck(
    'file locks', 'ok', 'in the cache and the working folder'
  )

  def refuse(*_):
    raise OSError(errno.ENOSYS, 'Function not implemented')

  monkeypatch.setattr(fcntl, 'flock', refuse)
  assert machine.check_locks() == doctor.DoctorCheck(
    'file locks',
    'warning',
    f'not supported by the file system of {tmp_path}/cache and {tmp_path}; a '
    'killed run keeps its folder for 120 s',
    'use a folder on another disk (IT_STUDY_CACHE for the cache), or mount '
    'this one with locks, such as Lustre with -o flock',
  )
