"""Tests workers of one study on one machine."""

import argparse
import multiprocessing
import os
import pathlib
import time

import pytest

from it_study.commands.runs import workers
from it_study.errors import InputError


@pytest.fixture(autouse=True)
def two_processors(monkeypatch):
  monkeypatch.setattr(workers.spawning, 'processors', lambda: 2)
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)


VARIABLES = ('JAX_PLATFORMS', 'PJRT_NPROC')


def options(tmp_path, number=2, **values):
  values = {'quiet': False, 'json': False, **values}
  return argparse.Namespace(
    study_dir=str(tmp_path), workers=number, run=lambda: None, **values
  )


def record(given: argparse.Namespace) -> None:
  variables = [os.environ.get(name) for name in VARIABLES]
  pathlib.Path(given.study_dir, str(os.getpid())).write_text(
    f'{variables} {given.quiet} {given.workers}'
  )


def fail(given: argparse.Namespace) -> None:
  del given
  raise InputError('weights.bin: ends early.')


def die(given: argparse.Namespace) -> None:
  del given
  os._exit(9)


def last(given: argparse.Namespace) -> None:
  pathlib.Path(given.study_dir, 'pid').write_text(str(os.getpid()))
  time.sleep(60)


def test_each_worker_computes_with_two_threads(tmp_path):
  given = options(tmp_path)
  with workers.workers(given, record):
    record(given)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    wait_until(lambda: not multiprocessing.active_children())
  here = tmp_path / str(os.getpid())
  (there,) = (path for path in tmp_path.iterdir() if path != here)
  assert here.read_text() == "['cpu', '2'] False 2"
  assert there.read_text() == "['cpu', '2'] True 1"
  assert not any(name in os.environ for name in VARIABLES)


def test_one_worker_is_this_process(tmp_path):
  with workers.workers(options(tmp_path, 1), record):
    assert not any(name in os.environ for name in VARIABLES)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('work', 'problem'),
  [(fail, 'weights.bin: ends early.'), (die, 'it ended with status 9.')],
)
def test_a_worker_that_stops_is_said(tmp_path, capsys, work, problem):
  with workers.workers(options(tmp_path), work):
    wait_until(lambda: not multiprocessing.active_children())
  line = capsys.readouterr().err
  assert line.startswith('it-study: note: worker ')
  assert line.endswith(f' stopped early: {problem} The others did its work.\n')


def test_an_error_ends_the_other_workers(tmp_path):
  path = tmp_path / 'pid'

  def fail_once_it_runs():
    with workers.workers(options(tmp_path), last):
      wait_until(lambda: path.exists() and path.read_text())
      raise InputError('out of names.')

  with pytest.raises(InputError, match=r'^out of names\.$'):
    fail_once_it_runs()
  with pytest.raises(ProcessLookupError):
    os.kill(int(path.read_text()), 0)


def wait_until(condition) -> None:
  deadline = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


def test_more_workers_than_processors_are_refused(tmp_path):
  with pytest.raises(InputError) as error:
    workers.workers(options(tmp_path, 3), record).__enter__()
  assert str(error.value) == (
    '--workers is 3, and this process may use 2 processors; give at most as '
    'many workers.'
  )


def test_no_workers_are_refused(tmp_path):
  with pytest.raises(InputError) as error:
    workers.workers(options(tmp_path, 0), record).__enter__()
  assert str(error.value) == '--workers is 0; it must be at least 1.'


def test_workers_are_for_a_cpu(tmp_path, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
  with pytest.raises(InputError) as error:
    workers.workers(options(tmp_path), record).__enter__()
  assert str(error.value) == (
    "--workers is 2, and JAX_PLATFORMS is 'cuda': workers compute on "
    'the CPU. Unset the variable, or leave out --workers.'
  )
