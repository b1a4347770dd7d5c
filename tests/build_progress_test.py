"""Tests of it_study.commands.build_progress: what is shown of a build."""

import sys

import pytest

from it_study.commands import build_progress


def test_without_a_terminal_it_is_a_line_now_and_then(capsys, monkeypatch):
  clock = iter([0.0, 1.0, 31.0, 32.0, 60.0, 80.0])
  monkeypatch.setattr(build_progress.time, 'monotonic', lambda: next(clock))
  with build_progress.BuildProgress() as show:
    show('parse', 1, 100)
    show('parse', 60, 100)
    # A second later is too soon.
    show('parse', 62, 100)
    show('write', 1000, 30_000)
    show('write', 20_000, 30_000)
  captured = capsys.readouterr()
  assert captured.out == ''
  assert captured.err == (
    '60/100 files parsed, 2/s, 20 s left\n'
    '1000/30000 rows written, 0/s\n'
    '20000/30000 rows written, 1,000/s, 10 s left\n'
  )


def test_quiet_is_quiet(capsys, monkeypatch):
  monkeypatch.setattr(build_progress, '_LINE_PERIOD', 0.0)
  with build_progress.BuildProgress(quiet=True) as show:
    show('parse', 1, 2)
    show('parse', 2, 2)
  assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize('quiet', [False, True])
def test_a_terminal_gets_bars(capsys, monkeypatch, quiet):
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
  monkeypatch.setenv('COLUMNS', '100')
  with build_progress.BuildProgress(quiet=quiet) as show:
    show('parse', 5, 5)
    show('write', 1000, 2000)
  shown = capsys.readouterr().err
  assert ('files parsed' in shown) is not quiet
  assert ('1000/2000' in shown) is not quiet
