"""Tests of it_study.commands.doctor.doctor."""

import json

from fakes import refusal, run_command as run
import pytest

from it_study.commands import doctor

FINDINGS = [
  doctor.DoctorCheck('jax', doctor.OK, '0.10.2'),
  doctor.DoctorCheck('T5X', doctor.OPTIONAL, 'not installed'),
  doctor.DoctorCheck('disk', doctor.WARNING, '1.0 GiB free', 'free some'),
]
BAD = doctor.DoctorCheck('cache', doctor.BROKEN, 'cannot be written', 'move it')


@pytest.fixture(name='find')
def _find(monkeypatch):
  def use(findings):
    monkeypatch.setattr(doctor, 'examine', lambda *, seconds: findings)

  return use


def test_a_machine_that_works(capsys, find):
  find(FINDINGS)
  assert run('doctor') == 0
  assert capsys.readouterr().out == (
    'ok       jax   0.10.2\n'
    '-        T5X   not installed\n'
    'warning  disk  1.0 GiB free\n'
    '               -> free some\n'
    'The miniature study runs here; 1 warning.\n'
  )


def test_a_machine_that_is_broken(capsys, find):
  find([*FINDINGS, BAD])
  assert run('doctor') == 1
  assert capsys.readouterr().out.endswith(
    'BROKEN   cache  cannot be written\n'
    '                -> move it\n'
    'Fix the BROKEN checks first: cache.\n'
  )


def test_json(capsys, find):
  find([*FINDINGS, BAD])
  assert run('doctor', '--json') == 1
  told = json.loads(capsys.readouterr().out)
  assert told['works'] is False
  assert told['checks'][2] == {
    'name': 'disk',
    'status': 'warning',
    'found': '1.0 GiB free',
    'advice': 'free some',
  }


def test_quiet(capsys, find):
  find([*FINDINGS, BAD])
  assert run('doctor', '--quiet') == 1
  assert capsys.readouterr() == (
    '',
    'it-study: cache: cannot be written; move it\n',
  )


def test_an_invalid_time_limit(capsys):
  assert refusal(capsys, 'doctor', '--seconds', '0') == (
    '--seconds is 0; it must be above 0, such as 60.'
  )


@pytest.mark.slow
def test_the_example_runs_here(capsys):
  assert run('doctor', '--seconds', '90') == 0
  out = capsys.readouterr().out
  assert 'ok       devices' in out
  assert 'ok       tasks' in out
