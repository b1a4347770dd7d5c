"""Tests of it_study.progress: what is shown of a study that runs."""

import io
import sys

import pytest

from it_study import progress
from it_study.study import Step

TRAINING = Step(
  cell='natinst_def_empty_ex_original2_seed0',
  phase='train',
  finished=1,
  planned=4,
  done=50,
  total=200,
  metrics={'loss': 1.25, 'steps': 10, 'seconds': 5.0},
)
DONE = Step(
  cell='baseline_random_seed0__none__test', phase='done', finished=1, planned=4
)


def test_without_a_terminal_it_is_a_line_now_and_then(capsys, monkeypatch):
  clock = iter([0.0, 30.0, 30.0, 31.0, 40.0, 40.0])
  monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
  with progress.StudyProgress() as show:
    show(TRAINING)
    # A second later is too soon.
    show(TRAINING)
    show(DONE)
  captured = capsys.readouterr()
  assert captured.out == ''
  assert captured.err == (
    '[    30 s] 1/4 train natinst_def_empty_ex_original2_seed0 50/200 '
    'loss 1.250, 2.0 steps/s, 75 s left\n'
    '[    40 s] 1/4 done baseline_random_seed0__none__test\n'
  )


@pytest.mark.parametrize('terminal', [True, False])
def test_quiet_says_nothing(capsys, monkeypatch, terminal):
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: terminal)
  with progress.StudyProgress(quiet=True) as show:
    show(TRAINING)
    show(DONE)
  assert capsys.readouterr() == ('', '')


def test_on_a_terminal_it_is_two_bars(monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  terminal = Terminal()
  monkeypatch.setattr(sys, 'stderr', terminal)
  monkeypatch.setenv('COLUMNS', '160')
  monkeypatch.setenv('TERM', 'xterm')
  with progress.StudyProgress() as show:
    show(TRAINING)
  shown = terminal.getvalue()
  # Cell, step, loss, rate and time left; and how far the study is.
  assert 'train def_empty_ex_original2_seed0' in shown
  assert '50/200' in shown
  assert 'loss 1.250, 2.0 steps/s, 75 s left' in shown
  assert '1/4' in shown


def test_before_the_first_metrics_there_is_no_rate():
  assert progress._note(DONE) == ''
  assert (
    progress._note(
      Step(
        cell='c',
        phase='train',
        finished=0,
        planned=1,
        metrics={'loss': 2.0, 'steps': 1, 'seconds': 0.0},
      )
    )
    == 'loss 2.000, 0.0 steps/s, 0 s left'
  )
