"""Tests of it_study.graceful_exit."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from it_study.processes import graceful_exit

_MESSAGE = 'stopped; run it again.'


def block(status=75):
  return graceful_exit.graceful_exit(status=status, message=_MESSAGE)


def ends(code):
  """Returns the status and the errors of a program."""
  done = subprocess.run(
    [sys.executable, '-c', code],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    timeout=40,
  )
  return done.returncode, done.stderr


@pytest.mark.parametrize(
  ('number', 'error'),
  [
    (signal.SIGTERM, graceful_exit.Terminated),
    (signal.SIGINT, KeyboardInterrupt),
  ],
)
def test_a_signal_ends_the_block(number, error):
  before = signal.getsignal(number)

  def work():
    with block():
      os.kill(os.getpid(), number)
      time.sleep(20)

  with pytest.raises(error) as caught:
    work()
  if number == signal.SIGTERM:
    assert caught.value.code == 75
  assert signal.getsignal(number) is before


def test_cleaning_up_is_not_interrupted():
  cleaned = []

  def work():
    with block(), contextlib.ExitStack() as stack:
      stack.callback(cleaned.append, True)
      stack.callback(os.kill, os.getpid(), signal.SIGTERM)
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(20)

  with pytest.raises(graceful_exit.Terminated):
    work()
  assert cleaned == [True]


def test_an_ignored_signal_stays_ignored():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with block():
      os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)


def test_other_threads_and_other_handlers_are_left_alone():
  def run():
    with block():
      pass

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  got = []

  def of_the_block(number, frame):
    got.append(number)

  before = signal.getsignal(signal.SIGTERM)
  with block():
    inside = signal.signal(signal.SIGTERM, of_the_block)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, inside)
  assert got == [signal.SIGTERM]
  assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
  ('number', 'status'), [(signal.SIGTERM, 75), (signal.SIGINT, 130)]
)
def test_a_long_call_does_not_hold_the_process(number, status):
  # The main thread waits in C, as in a compilation, without the interpreter.
  code = f"""
import ctypes, os, signal, threading
from it_study.processes import graceful_exit
signal.signal(signal.SIGINT, signal.default_int_handler)
graceful_exit._PATIENCE_SECONDS = 0.2
libc = ctypes.CDLL(None)
with graceful_exit.graceful_exit(status=75, message={_MESSAGE!r}):
  threading.Timer(0.3, os.kill, (os.getpid(), {int(number)})).start()
  mutex = ctypes.create_string_buffer(64)
  libc.pthread_mutex_lock(mutex)
  libc.pthread_mutex_lock(mutex)
"""
  assert ends(code) == (status, f'{_MESSAGE}\n')


def test_a_signal_that_others_handle_ends_nothing():
  # Their handler is gone again before the patience is.
  code = f"""
import os, signal, time
from it_study.processes import graceful_exit
graceful_exit._PATIENCE_SECONDS = 0.4
with graceful_exit.graceful_exit(status=75, message={_MESSAGE!r}):
  ours = signal.signal(signal.SIGTERM, lambda *_: None)
  os.kill(os.getpid(), signal.SIGTERM)
  time.sleep(0.2)
  signal.signal(signal.SIGTERM, ours)
  time.sleep(0.6)
"""
  assert ends(code) == (0, '')


def test_a_user_in_a_hurry_does_not_wait_for_threads():
  code = f"""
import threading, time
from it_study.processes import graceful_exit
graceful_exit._HURRY_SECONDS = 0.2
# Nobody to end but a caller's process.
graceful_exit.hurry()
time.sleep(0.5)
with graceful_exit.graceful_exit(status=75, message={_MESSAGE!r}):
  graceful_exit.hurry()
  threading.Thread(target=time.sleep, args=(50,)).start()
"""
  assert ends(code) == (130, f'{_MESSAGE}\n')
