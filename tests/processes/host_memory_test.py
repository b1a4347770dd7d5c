"""Tests for it_study.processes.host_memory."""

import os
import platform
import subprocess
import sys

import pytest

from it_study.processes import host_memory


def test_glibc_takes_the_setting():
  code = (
    'from it_study.processes import host_memory; '
    'print(host_memory.keep_head_room())'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() in ('True', 'False')


def test_other_systems_are_left_alone(monkeypatch):
  monkeypatch.setattr(sys, 'platform', 'darwin')
  assert host_memory.keep_head_room() is False


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_unused_memory_is_returned():
  code = (
    'import numpy as np\n'
    'from it_study.processes import host_memory\n'
    'host_memory.keep_head_room()\n'
    # Small enough for the heap; the last one keeps it from shrinking by itself.
    'blocks = [np.ones(2**16, np.uint8) for _ in range(5000)]\n'
    'del blocks[:-1]\n'
    'def resident():\n'
    "  return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
    'before = resident()\n'
    'given = host_memory.give_back_unused()\n'
    'print(given, before - resident() > 200 * 2**20)\n'
  )
  result = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert result.stdout == 'True True\n'


@pytest.fixture(name='kernel')
def _kernel(tmp_path, monkeypatch):
  """Sets what the kernel says of huge pages, and a C library that has them."""
  setting = tmp_path / 'enabled'
  monkeypatch.setattr(host_memory, '_HUGE_PAGE_SETTING', setting)
  monkeypatch.setattr(os, 'confstr', lambda name: 'glibc 2.36')
  monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
  setting.write_text('always [madvise] never\n')
  return setting


def test_huge_pages_are_requested_beside_other_tunables(kernel, monkeypatch):
  del kernel
  assert host_memory.huge_pages_environment() == {
    'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'
  }
  monkeypatch.setenv('GLIBC_TUNABLES', 'glibc.malloc.arena_max=2')
  assert host_memory.huge_pages_environment() == {
    'GLIBC_TUNABLES': 'glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1'
  }


@pytest.mark.parametrize('setting', ['[always] madvise never', None])
def test_nothing_is_set_if_the_kernel_decides(kernel, setting):
  if setting is None:
    kernel.unlink()
  else:
    kernel.write_text(setting)
  assert host_memory.huge_pages_environment() == {}


def test_nothing_is_set_if_the_user_decides(kernel, monkeypatch):
  del kernel
  monkeypatch.setenv('GLIBC_TUNABLES', 'glibc.malloc.hugetlb=0')
  assert host_memory.huge_pages_environment() == {}


def test_another_c_library_has_no_such_setting(kernel, monkeypatch):
  del kernel
  monkeypatch.setattr(os, 'confstr', lambda name: 'glibc 2.31')
  assert host_memory.huge_pages_environment() == {}

  def unknown(name):
    raise ValueError(name)

  monkeypatch.setattr(os, 'confstr', unknown)
  assert host_memory.huge_pages_environment() == {}


@pytest.mark.skipif(
  not host_memory.huge_pages_environment(),
  reason='needs glibc 2.35 and a kernel that gives huge pages where asked to',
)
def test_a_process_restarts_once_with_its_own_arguments():
  code = (
    'import sys\n'
    'from it_study.processes import host_memory\n'
    "print('started', flush=True)\n"
    'host_memory.start_with_huge_pages()\n'
    'block = bytearray(2**26)\n'
    "flags = [line.split() for line in open('/proc/self/smaps')\n"
    "  if line.startswith('VmFlags')]\n"
    # Asked for; whether the kernel has huge pages left is another matter.
    "print(sys.argv[1:], sys.flags.dev_mode, any('hg' in f for f in flags))\n"
  )
  words = ['--a', 'b c', '']
  result = subprocess.run(
    [sys.executable, '-X', 'dev', '-c', code, *words],
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.splitlines() == [
    'started',
    'started',
    f'{words} True True',
  ]
