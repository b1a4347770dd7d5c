"""Tests of launch.ssh, with this machine as every host and real shells."""

import os
import signal
import threading
import time

import fakes
from fakes import is_running
import pytest

from it_study.errors import InputError
from launch import ssh
from launch.tools import LaunchError, Tools

# it-study on the hosts: prints where it is, then follows its arguments.
_PROGRAM = """
import os, pathlib, signal, sys, time
if sys.argv[1:] == ['--version']:
  print('it-study 0')
  sys.exit()
home = pathlib.Path(os.environ['HOME'])
names = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')
print(home.name, *(os.environ.get(name) for name in names), flush=True)
(home / 'program.pid').write_text(str(os.getpid()))
actions = dict(word.split('=') for word in sys.argv if '=' in word)
action = actions.get(home.name, 'wait')
if sys.argv[-1] == 'quick': sys.exit()
def stop(*_):
  (home / 'checkpoint').touch()
  sys.exit(75)
signal.signal(signal.SIGTERM, signal.SIG_IGN if action == 'deaf' else stop)
if action == 'fail':
  print('out of memory', file=sys.stderr, flush=True)
  time.sleep(0.5)
  sys.exit(4)
time.sleep(60)
"""


@pytest.fixture(name='machines')
def _machines(fake_tools):
  return fake_tools('ssh')


@pytest.fixture(name='launch')
def _launch(machines, said):
  program = fakes.write_program(machines.folder / 'it-study', _PROGRAM)

  def launch(*words, hosts='n1,me@n2', check_seconds=20.0, **changes):
    return ssh.launch(
      ssh.Run(
        hosts=ssh.parse_hosts(hosts),
        words=['train', *words],
        **{'program': str(program), 'grace_seconds': 2, **changes},
      ),
      tools=Tools(say=said.append),
      check_seconds=check_seconds,
    )

  return launch


def home(machines, host):
  return machines.folder / 'homes' / host


def wait_for(path):
  deadline = time.monotonic() + 30
  while not path.exists() or not path.read_text():
    assert time.monotonic() < deadline, path
    time.sleep(0.02)
  return path.read_text()


def assert_none_runs(machines, *hosts):
  deadline = time.monotonic() + 15
  for host in hosts:
    pid = int((home(machines, host) / 'program.pid').read_text())
    while is_running(pid):
      assert time.monotonic() < deadline, host
      time.sleep(0.05)


def test_every_machine_gets_the_address_of_the_first(launch, capfd):
  assert launch('quick', port=4000) == 0
  assert capfd.readouterr().out == 'n1 n1:4000 2 0\n'


def test_one_machine_needs_no_others(launch, capfd):
  assert launch('quick', hosts='me@n1') == 0
  assert capfd.readouterr().out == 'me@n1 None None None\n'


def test_a_program_that_fails_stops_the_others(launch, said, machines, capfd):
  assert launch('me@n2=fail') == 4
  assert said[1] == 'process me@n2 ended with status 4; stopping 1 process'
  # Output and errors come through separate pipes, in no order.
  assert sorted(said[2:]) == [
    '  me@n2: me@n2 n1:12321 2 1',
    '  me@n2: out of memory',
  ]
  assert '[me@n2] out of memory' in capfd.readouterr().err
  assert (home(machines, 'n1') / 'checkpoint').exists()
  assert_none_runs(machines, 'n1', 'me@n2')


def test_an_unresponsive_program_is_killed_on_every_machine(launch, machines):
  assert launch('n1=deaf', 'me@n2=fail') == 4
  assert not (home(machines, 'n1') / 'checkpoint').exists()
  assert_none_runs(machines, 'n1', 'me@n2')


def test_an_interrupt_stops_all_with_a_checkpoint(launch, machines):
  def interrupt():
    for host in ('n1', 'me@n2'):
      wait_for(home(machines, host) / 'program.pid')
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGINT)

  threading.Thread(target=interrupt, daemon=True).start()
  assert launch() == 75
  assert (home(machines, 'n1') / 'checkpoint').exists()
  assert (home(machines, 'me@n2') / 'checkpoint').exists()
  assert_none_runs(machines, 'n1', 'me@n2')


def test_a_machine_that_cannot_be_reached(launch, machines):
  machines.script(
    **{'ssh.me@n2': 'err:connect to host n2: No route to host;exit:255'}
  )
  with pytest.raises(LaunchError) as caught:
    launch()
  assert str(caught.value).startswith(
    'me@n2: connect to host n2: No route to host. Every machine needs '
  )
  assert not (home(machines, 'n1') / 'program.pid').exists()


def test_a_machine_that_does_not_answer(launch, machines):
  machines.script(**{'ssh.n1': 'hang:'})
  with pytest.raises(LaunchError) as caught:
    launch(check_seconds=1.0)
  assert 'n1: timed out after 1 s' in str(caught.value)


def test_a_machine_without_the_program(launch):
  with pytest.raises(LaunchError) as caught:
    launch(program='/no/it-study')
  assert 'n1: ' in str(caught.value)
  assert 'me@n2: ' in str(caught.value)
  assert 'needs /no/it-study in . (--program, --folder)' in str(caught.value)


def test_a_connection_that_breaks(launch, machines, said):
  machines.script(**{'ssh.n1': ['', 'sleep:0.5;err:Broken pipe;exit:255']})
  assert launch() == 255
  assert said[1] == 'process n1 ended with status 255; stopping 1 process'
  assert_none_runs(machines, 'me@n2')


@pytest.mark.parametrize(
  ('hosts', 'message'),
  [
    (
      'a,,b',
      "--hosts 'a,,b': '' is not a valid host. Separate hosts by commas, such "
      'as node1,me@node2.',
    ),
    ('-oX', "'-oX' is not a valid host"),
    ('a,b,a', "--hosts 'a,b,a': a is listed twice."),
  ],
)
def test_invalid_hosts(hosts, message):
  with pytest.raises(InputError) as caught:
    ssh.parse_hosts(hosts)
  assert message in str(caught.value)


def test_an_invalid_port(launch):
  with pytest.raises(InputError) as caught:
    launch(port=80)
  assert str(caught.value) == (
    '--port is 80; it must be from 1024 to 65535, and reachable from the other '
    'hosts.'
  )
