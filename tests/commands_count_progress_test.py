"""Tests of it_study.commands.count_progress."""

import sys

import pytest

from it_study.commands import count_progress
from it_study.commands.count_progress import CountProgress


@pytest.fixture(name='clock')
def _clock(monkeypatch):
  """Seconds, which the test sets."""
  now = [0.0]
  monkeypatch.setattr(count_progress.time, 'monotonic', lambda: now[0])
  return now


def test_a_line_now_and_then_where_there_is_no_terminal(capsys, clock):
  with CountProgress('files') as show:
    show(1, 10)
    clock[0] = 25.0
    show(5, 10)
    show(6, 10)
    clock[0], show.note = 50.0, '7,000 prompts'
    show(8, 10)
  assert capsys.readouterr().err == (
    '5/10 files, 25 s left\n8/10 files, 7,000 prompts, 12 s left\n'
  )


def test_quiet_says_nothing(capsys, clock):
  with CountProgress('files', quiet=True) as show:
    clock[0] = 100.0
    show(5, 10)
  assert capsys.readouterr() == ('', '')


def test_a_bar_on_a_terminal_which_goes_when_it_is_done(capsys, monkeypatch):
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
  monkeypatch.setenv('TERM', 'xterm')
  with CountProgress('files') as show:
    # What is done at once needs none.
    assert capsys.readouterr().err == ''
    show(5, 10)
  shown = capsys.readouterr().err
  assert 'files' in shown
  assert '5/10' in shown
  # The last thing is to clear the line.
  assert shown.endswith('\x1b[1A\x1b[2K')


def test_an_error_ends_the_bar(monkeypatch):
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
  show = CountProgress('files')

  def fail():
    with show:
      show(1, 2)
      raise KeyError

  with pytest.raises(KeyError):
    fail()
  assert not show._bars.live.is_started
