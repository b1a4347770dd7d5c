"""Tests of launch.local."""

import sys

import pytest

from it_study.errors import InputError
from launch import local

ENVIRONMENT = {
  'PATH': '/bin',
  'XLA_FLAGS': '--xla_force_host_platform_device_count=9 --xla_other=1',
}


def plan(**changes):
  settings = {'processes': 2, 'devices': 4, 'port': 1234}
  return local.plan(
    ['program', 'a b'], environment=ENVIRONMENT, **{**settings, **changes}
  )


def test_the_environment_of_each_process():
  first, second = plan()
  assert first.environment == {
    'PATH': '/bin',
    'XLA_FLAGS': '--xla_other=1 --xla_force_host_platform_device_count=4',
    'JAX_PLATFORMS': 'cpu',
    'JAX_COORDINATOR_ADDRESS': '127.0.0.1:1234',
    'JAX_NUM_PROCESSES': '2',
    'JAX_PROCESS_ID': '0',
  }
  assert second.environment == {**first.environment, 'JAX_PROCESS_ID': '1'}
  assert [w.is_shown for w in (first, second)] == [True, False]


def test_shell_lines():
  assert local.shell_lines(plan(processes=1), environment=ENVIRONMENT) == [
    "XLA_FLAGS='--xla_other=1 --xla_force_host_platform_device_count=4' "
    'JAX_PLATFORMS=cpu JAX_COORDINATOR_ADDRESS=127.0.0.1:1234 '
    "JAX_NUM_PROCESSES=1 JAX_PROCESS_ID=0 program 'a b'"
  ]


def test_a_port_that_is_free():
  ports = {
    plan(port=None)[0].environment['JAX_COORDINATOR_ADDRESS'].split(':')[1]
    for _ in range(3)
  }
  assert all(1024 < int(port) < 65536 for port in ports)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'processes': 0},
      '--processes is 0; it must be from 1 to 64, such as 2.',
    ),
    (
      {'processes': 65},
      '--processes is 65; it must be from 1 to 64, such as 2.',
    ),
    (
      {'devices': -1},
      '--devices is -1; it must be from 1 to 4096, such as 2.',
    ),
  ],
)
def test_numbers_out_of_range(changes, message):
  with pytest.raises(InputError) as caught:
    plan(**changes)
  assert str(caught.value) == message


def test_the_program_gets_its_environment(capfdbinary):
  code = 'import os; print(os.environ["JAX_PROCESS_ID"])'
  planned = local.plan(
    [sys.executable, '-c', code], processes=2, devices=1, environment={}
  )
  assert local.launch(planned, say=print, grace_seconds=5) == 0
  assert capfdbinary.readouterr().out == b'0\n'
