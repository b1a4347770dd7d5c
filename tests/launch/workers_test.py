"""Tests of launch.workers: if one fails, all stop, and none is left over."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

from fakes import is_running
import pytest

from launch import workers

# Prints its name, then follows its arguments.
_PROGRAM = """
import os, pathlib, signal, subprocess, sys, time
folder, name, *rest = sys.argv[1:]
(pathlib.Path(folder) / f'{name}.pid').write_text(str(os.getpid()))
for action in rest:
  kind, _, value = action.partition('=')
  if kind == 'out': print(value, flush=True)
  if kind == 'err': print(value, file=sys.stderr, flush=True)
  if kind == 'on_term':
    signal.signal(signal.SIGTERM, lambda *_, v=value: sys.exit(int(v)))
  if kind == 'deaf': signal.signal(signal.SIGTERM, signal.SIG_IGN)
  if kind == 'sleep': time.sleep(float(value))
  if kind == 'exit': sys.exit(int(value))
  if kind == 'kill': os.kill(os.getpid(), int(value))
  if kind == 'child':
    child = subprocess.Popen([sys.executable, '-c',
      'import signal, time\\n'
      'signal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(60)'])
    (pathlib.Path(folder) / f'{name}_child.pid').write_text(str(child.pid))
"""


@pytest.fixture(name='make')
def _make(tmp_path):
  """Makes a worker; only the first one is shown."""

  def make(name, *actions):
    return workers.Worker(
      name=str(name),
      words=[
        sys.executable,
        '-c',
        _PROGRAM,
        str(tmp_path),
        str(name),
        *actions,
      ],
      is_shown=name == 0,
    )

  return make


def pids(folder: pathlib.Path) -> list[int]:
  return [int(path.read_text()) for path in folder.glob('*.pid')]


def assert_none_is_left(folder, *, count, seconds=5.0):
  found = pids(folder)
  assert len(found) == count
  deadline = time.monotonic() + seconds
  while any(map(is_running, found)):
    assert time.monotonic() < deadline, [p for p in found if is_running(p)]
    time.sleep(0.05)


def wait_for(folder, *, count):
  deadline = time.monotonic() + 30
  while len([p for p in folder.glob('*.pid') if p.read_text()]) < count:
    assert time.monotonic() < deadline
    time.sleep(0.02)


def signal_when_started(folder, numbers, *, count=2, pause=0.3):
  def send():
    wait_for(folder, count=count)
    for number in numbers:
      time.sleep(pause)
      os.kill(os.getpid(), number)

  threading.Thread(target=send, daemon=True).start()


def test_output_of_the_first_and_errors_of_the_others(make, said, capfdbinary):
  outcome = workers.run(
    [
      make(0, 'out=hello', 'err=careful'),
      make(1, 'out=unseen', 'err=oh', 'err=dear'),
    ],
    say=said.append,
  )
  assert outcome.status == 0
  assert outcome.statuses == [0, 0]
  assert outcome.last_lines[1] == ['unseen', 'oh', 'dear'] or set(
    outcome.last_lines[1]
  ) == {'unseen', 'oh', 'dear'}
  out, err = capfdbinary.readouterr()
  assert out == b'hello\n'
  assert sorted(err.splitlines()) == [b'[1] dear', b'[1] oh', b'careful']
  assert said == []


def test_one_fails_and_the_others_are_stopped(make, said, tmp_path):
  outcome = workers.run(
    [
      make(0, 'sleep=60'),
      make(1, 'err=first', 'err=no such file', 'sleep=0.5', 'exit=3'),
      make(2, 'on_term=75', 'sleep=60'),
    ],
    say=said.append,
  )
  assert outcome.status == 3
  assert outcome.failed == 1
  assert outcome.statuses == [128 + signal.SIGTERM, 3, 75]
  assert said == [
    'process 1 ended with status 3; stopping 2 processes',
    '  1: first',
    '  1: no such file',
  ]
  assert_none_is_left(tmp_path, count=3)


def test_one_is_killed_and_an_unresponsive_one_is_too(make, said, tmp_path):
  started = time.monotonic()
  outcome = workers.run(
    [
      make(0, 'deaf', 'child', 'sleep=60'),
      make(1, 'sleep=0.5', f'kill={int(signal.SIGKILL)}'),
    ],
    say=said.append,
    grace_seconds=1.0,
  )
  assert time.monotonic() - started < 20
  assert outcome.statuses == [137, 137]
  assert outcome.status == 137
  assert said == [
    'process 1 ended with signal SIGKILL; stopping 1 process',
  ]
  # Its children are dead as well.
  assert_none_is_left(tmp_path, count=3)


def test_children_that_a_program_leaves_are_killed(make, said, tmp_path):
  assert workers.run([make(0, 'child')], say=said.append).status == 0
  assert_none_is_left(tmp_path, count=2)


def test_a_missing_program(said):
  outcome = workers.run(
    [workers.Worker(name='1', words=['/no/such/program'])], say=said.append
  )
  assert outcome.status == 127
  assert said == [
    'process 1 ended with status 127',
    '  1: cannot run /no/such/program: No such file or directory',
  ]


@pytest.mark.parametrize(
  'number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)
def test_a_signal_stops_all_with_a_checkpoint(make, said, tmp_path, number):
  signal_when_started(tmp_path, [number])
  outcome = workers.run(
    [make(0, 'on_term=75', 'sleep=60'), make(1, 'on_term=75', 'sleep=60')],
    say=said.append,
  )
  assert (outcome.asked, outcome.failed) == (number, None)
  assert outcome.status == 75
  assert said == [
    f'{number.name}: stopping 2 processes, with 60 s to write a checkpoint; a '
    'second signal kills them'
  ]
  assert_none_is_left(tmp_path, count=2)


def test_a_signal_to_programs_without_checkpoints(make, said, tmp_path):
  signal_when_started(tmp_path, [signal.SIGINT])
  outcome = workers.run(
    [make(0, 'sleep=60'), make(1, 'on_term=75', 'sleep=60')], say=said.append
  )
  assert outcome.status == 130
  assert_none_is_left(tmp_path, count=2)


def test_a_second_signal_kills_them(make, said, tmp_path):
  started = time.monotonic()
  signal_when_started(tmp_path, [signal.SIGINT, signal.SIGINT])
  outcome = workers.run(
    [make(0, 'deaf', 'sleep=60'), make(1, 'deaf', 'sleep=60')],
    say=said.append,
  )
  assert time.monotonic() - started < 20
  assert outcome.statuses == [137, 137]
  assert outcome.status == 130
  assert said[1:] == ['killing all processes']
  assert_none_is_left(tmp_path, count=2)


def test_one_stops_with_a_checkpoint_and_the_others_are_asked_to(
  make, said, tmp_path
):
  outcome = workers.run(
    [make(0, 'on_term=75', 'sleep=60'), make(1, 'exit=75')],
    say=said.append,
    grace_seconds=1.0,
  )
  assert outcome.statuses == [75, 75]
  assert outcome.status == 75
  assert outcome.failed is None


def test_the_others_continue_after_one_succeeds(make, said):
  outcome = workers.run(
    [make(0, 'exit=0'), make(1, 'sleep=1', 'exit=0')],
    say=said.append,
    grace_seconds=0.1,
  )
  assert outcome.statuses == [0, 0]
  assert said == []


def test_a_launcher_that_is_killed_leaves_nothing(make, tmp_path):
  listed = [make(0, 'deaf', 'child', 'sleep=60'), make(1, 'sleep=60')]
  code = (
    'from launch import workers\n'
    'workers.run([\n'
    + ''.join(
      f'  workers.Worker(name={w.name!r}, words={w.words!r}),\n' for w in listed
    )
    + '], say=print, grace_seconds=0.5)\n'
  )
  launcher = subprocess.Popen([sys.executable, '-c', code])
  wait_for(tmp_path, count=3)
  launcher.kill()
  launcher.wait()
  assert_none_is_left(tmp_path, count=3, seconds=15)


def test_a_signal_that_is_ignored_stays_ignored(make, said, tmp_path):
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    signal_when_started(tmp_path, [signal.SIGHUP], count=1)
    outcome = workers.run([make(0, 'sleep=1')], say=said.append)
  finally:
    signal.signal(signal.SIGHUP, before)
  assert (outcome.status, said) == (0, [])


def test_signal_handlers_are_restored(make, said):
  before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  workers.run([make(0)], say=said.append)
  after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  assert after == before


def test_a_status_in_words():
  assert workers.describe_status(1) == 'status 1'
  assert workers.describe_status(139) == 'signal SIGSEGV'
  assert workers.describe_status(255) == 'status 255'


def test_an_unresponsive_program_is_killed_though_others_stop(
  make, said, tmp_path
):
  started = time.monotonic()
  signal_when_started(tmp_path, [signal.SIGTERM], count=3)
  outcome = workers.run(
    [
      make(0, 'deaf', 'sleep=60'),
      make(1, 'on_term=75', 'sleep=60'),
      make(2, 'on_term=75', 'sleep=60'),
    ],
    say=said.append,
    grace_seconds=2.0,
  )
  # Not repeated for each program that stopped.
  assert time.monotonic() - started < 15
  assert outcome.statuses == [137, 75, 75]
  assert outcome.status == 143
  assert_none_is_left(tmp_path, count=3)
