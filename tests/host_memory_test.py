"""Tests for it_study.host_memory."""

import subprocess
import sys

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
