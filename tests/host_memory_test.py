"""Tests for it_study.host_memory."""

import platform
import subprocess
import sys

import pytest

from it_study import host_memory


def test_glibc_takes_the_setting():
  code = 'from it_study import host_memory; print(host_memory.keep_head_room())'
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() in ('True', 'False')


def test_other_systems_are_left_alone(monkeypatch):
  monkeypatch.setattr(sys, 'platform', 'darwin')
  assert host_memory.keep_head_room() is False


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='needs glibc')
def test_what_is_held_for_no_one_is_given_back():
  code = (
    'import numpy as np\n'
    'from it_study import host_memory\n'
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
