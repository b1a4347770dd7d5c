"""Tests of it_study.timed_process."""

import sys
import time

import fakes
import pytest

from it_study.processes import timed_process

# Ignores SIGTERM, as does its child, which would outlive it.
_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_program_that_ends_in_time():
  code = 'import sys; print(input()); print("no", file=sys.stderr); exit(3)'
  done = timed_process.run(
    [sys.executable, '-c', code], seconds=30, standard_input='hello\n'
  )
  assert (done.status, done.output, done.errors) == (3, 'hello\n', 'no\n')
  assert done.last_line == 'no'


def test_a_program_that_hangs_is_killed_with_its_children():
  started = time.monotonic()
  done = timed_process.run([sys.executable, '-c', _STUBBORN], seconds=1)
  assert done.status is None
  assert time.monotonic() - started < 20
  child = int(done.output)
  deadline = time.monotonic() + 5
  while fakes.is_running(child):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_a_missing_program():
  with pytest.raises(FileNotFoundError):
    timed_process.run(['/no/such/program'], seconds=1)
