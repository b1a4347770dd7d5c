"""Tests of it_study.timed_process."""

import sys
import time

import fakes
import pytest

from it_study import timed_process

# Ignores SIGTERM, as does what it starts, which outlives it if left alone.
_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_what_ends_by_itself():
  code = 'import sys; print(input()); print("no", file=sys.stderr); exit(3)'
  done = timed_process.run(
    [sys.executable, '-c', code], seconds=30, standard_input='hello\n'
  )
  assert (done.status, done.output, done.errors) == (3, 'hello\n', 'no\n')
  assert done.last_line == 'no'


def test_what_hangs_is_ended_with_all_that_it_started():
  started = time.monotonic()
  done = timed_process.run([sys.executable, '-c', _STUBBORN], seconds=1)
  assert done.status is None
  assert time.monotonic() - started < 20
  child = int(done.output)
  deadline = time.monotonic() + 5
  while fakes.is_running(child):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_a_program_that_is_not_there():
  with pytest.raises(FileNotFoundError):
    timed_process.run(['/no/such/program'], seconds=1)
