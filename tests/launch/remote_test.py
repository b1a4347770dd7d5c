"""Tests of launch.remote, with a real shell."""

import subprocess
import sys
import time

from fakes import is_running
import pytest

from it_study.errors import InputError
from launch import remote

_PROGRAM = """
import os, pathlib, signal, sys, time
action, status = sys.argv[1:]
def stop(*_):
  print('stopping', flush=True)
  sys.exit(int(status))
signal.signal(signal.SIGTERM, signal.SIG_IGN if action == 'deaf' else stop)
pathlib.Path('started').write_text(f'{os.getpid()} {os.environ["NAME"]}')
if action == 'exit':
  print('read', repr(sys.stdin.read()), flush=True)
  sys.exit(int(status))
time.sleep(60)
"""


@pytest.fixture(name='start')
def _start(tmp_path):
  def start(*arguments, grace_seconds=1.0, label='r-1'):
    line = remote.run_line(
      [sys.executable, '-c', _PROGRAM, *arguments],
      label=label,
      folder=str(tmp_path / 'a b'),
      environment={'NAME': "it's"},
      grace_seconds=grace_seconds,
    )
    return subprocess.Popen(
      ['/bin/sh', '-c', line],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env={'HOME': str(tmp_path), 'PATH': '/usr/bin:/bin'},
    )

  (tmp_path / 'a b').mkdir()
  return start


def wait_until_started(tmp_path) -> int:
  """The program's process id."""
  path = tmp_path / 'a b/started'
  deadline = time.monotonic() + 30
  while not path.exists() or not path.read_text():
    assert time.monotonic() < deadline
    time.sleep(0.02)
  pid, name = path.read_text().split()
  assert name == "it's"
  path.unlink()
  return int(pid)


def test_a_program_that_ends_by_itself(start, tmp_path):
  shell = start('exit', '7')
  assert shell.wait(timeout=30) == 7
  # The shell's input does not reach the program.
  assert shell.stdout.read() == "read ''\n"
  assert not (tmp_path / '.it_study_r-1.pid').exists()


def test_the_end_of_the_input_asks_it_to_stop(start, tmp_path):
  shell = start('wait', '75')
  pid = wait_until_started(tmp_path)
  assert (tmp_path / '.it_study_r-1.pid').read_text() == f'{pid}\n'
  out, _ = shell.communicate(timeout=30)
  assert shell.returncode == 75
  assert out == 'stopping\n'


def test_an_unresponsive_program_is_killed(start, tmp_path):
  shell = start('deaf', '0')
  pid = wait_until_started(tmp_path)
  shell.communicate(timeout=30)
  assert shell.returncode == 137
  assert not is_running(pid)


def test_a_connection_that_breaks_leaves_nothing(start, tmp_path):
  shell = start('deaf', '0')
  pid = wait_until_started(tmp_path)
  shell.kill()
  shell.stdin.close()
  deadline = time.monotonic() + 15
  while is_running(pid):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_a_former_run_is_stopped_first(start, tmp_path):
  first = start('wait', '75')
  former = wait_until_started(tmp_path)
  second = start('exit', '0')
  wait_until_started(tmp_path)
  assert not is_running(former)
  assert second.wait(timeout=30) == 0
  assert first.wait(timeout=30) == 75


def test_another_program_with_that_pid_is_left_alone(start, tmp_path):
  other = subprocess.Popen(
    [sys.executable, '-c', 'import time; time.sleep(60)']
  )
  (tmp_path / '.it_study_r-1.pid').write_text(f'{other.pid}\n')
  assert start('exit', '0').wait(timeout=30) == 0
  assert other.poll() is None
  other.kill()
  other.wait()


def test_a_missing_folder(tmp_path):
  line = remote.run_line(
    ['true'], label='r', folder='/none', environment={}, grace_seconds=1
  )
  assert subprocess.run(['/bin/sh', '-c', line], stderr=-3).returncode == 1


def test_environment_settings():
  assert remote.parse_environment(['A=1', 'B_2=x=y', 'C=']) == {
    'A': '1',
    'B_2': 'x=y',
    'C': '',
  }
  with pytest.raises(InputError) as caught:
    remote.parse_environment(['2A=1'])
  assert str(caught.value) == "--env '2A=1': expected NAME=VALUE."
