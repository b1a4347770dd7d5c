"""Tests of it_study.commands.progress."""

import sys
import time

import pytest

from it_study.commands import progress
from it_study.corpus.fetch.fetched_files import Progress
from it_study.study.worker import Step

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
# Constructor of each display, and arguments of a call.
USES = [
  (lambda **fields: progress.CountProgress('files', **fields), (5, 10)),
  (progress.BuildProgress, ('parse', 5, 10)),
  (progress.FetchProgress, (Progress('tasks', 5, 10),)),
  (progress.StudyProgress, (TRAINING,)),
  (progress.StudyProgress, (DONE,)),
  (
    lambda **fields: progress.PhaseProgress(['parsing'], **fields),
    ('parsing',),
  ),
]


@pytest.fixture(name='clock')
def _clock(monkeypatch):
  """A clock that the test sets, in seconds."""
  now = [0.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  return now


@pytest.fixture(name='terminal')
def _terminal(monkeypatch):
  """Makes standard error look like a terminal, when called in the test."""
  monkeypatch.setenv('COLUMNS', '160')
  monkeypatch.setenv('TERM', 'xterm')
  # Standard error differs between fixture and test.
  return lambda: monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)


def assert_in_order(line, *parts):
  found = [line.find(part) for part in parts]
  assert -1 not in found, line
  assert found == sorted(found)


def test_a_count_is_an_occasional_line(capsys, clock):
  with progress.CountProgress('files') as show:
    show(1, 10)
    clock[0] = 25.0
    show(5, 10)
    show(6, 10)
    clock[0], show.note = 50.0, '7,000 prompts'
    show(8, 10)
  assert capsys.readouterr() == (
    '',
    '5/10 files, 25 s left\n8/10 files, 7,000 prompts, 12 s left\n',
  )


def test_a_build_is_an_occasional_line(capsys, clock):
  with progress.BuildProgress() as show:
    for now, *done in (
      (1.0, 'parse', 1, 100),
      (31.0, 'parse', 60, 100),
      # A second later is too soon.
      (32.0, 'parse', 62, 100),
      (60.0, 'write', 1000, 30_000),
      (80.0, 'write', 20_000, 30_000),
    ):
      clock[0] = now
      show(*done)
  assert capsys.readouterr() == (
    '',
    '60/100 files parsed, 2/s, 20 s left\n'
    '1000/30000 rows written, 0/s\n'
    '20000/30000 rows written, 1,000/s, 10 s left\n',
  )


def test_a_fetch_is_an_occasional_line(capsys, clock):
  with progress.FetchProgress() as show:
    for now, step in (
      (1.0, Progress('asking for the commit')),
      (5.0, Progress('tasks', 100, 1600)),
      (25.0, Progress('tasks', 200, 1600, 200_000_000)),
      (26.0, Progress('tasks', 225, 1600, 250_000_000)),
      (60.0, Progress('unpacking', 300)),
      (90.0, Progress('unpacking', 360, 0, 60_000_000)),
    ):
      clock[0] = now
      show(step)
  assert capsys.readouterr() == (
    '',
    'tasks: 200/1600 files, 10.0 MB/s, 280 s left\n'
    'unpacking: 300 files\n'
    'unpacking: 360 files, 2.0 MB/s\n',
  )


def test_a_study_is_an_occasional_line_and_one_per_cell(capsys, clock):
  with progress.StudyProgress() as show:
    clock[0] = 30.0
    show(TRAINING)
    clock[0] = 31.0
    show(TRAINING)
    clock[0] = 40.0
    show(DONE)
  assert capsys.readouterr() == (
    '',
    '[    30 s] 1/4 train natinst_def_empty_ex_original2_seed0 50/200 '
    'loss 1.250, 2.0 steps/s, 75 s left\n'
    '[    40 s] 1/4 done baseline_random_seed0__none__test\n',
  )


def test_a_phase_is_an_occasional_line_until_it_ends(capsys, monkeypatch):
  monkeypatch.setattr(progress, '_LINE_PERIOD', 0.05)
  with progress.PhaseProgress(('tracing', 'compiling')) as show:
    show('tracing')
    show('compiling')
    time.sleep(0.2)
  output, errors = capsys.readouterr()
  assert output == ''
  assert set(errors.splitlines()) == {'compiling, 0 s so far'}
  time.sleep(0.1)
  assert capsys.readouterr() == ('', '')


def test_phases_are_a_bar_on_a_terminal(capsys, terminal):
  terminal()
  with progress.PhaseProgress(('tracing', 'compiling')) as show:
    show('tracing')
    show('compiling')
  errors = capsys.readouterr().err
  assert_in_order(errors.replace('\r', ''), 'compiling', '1/2')
  assert 'so far' not in errors


@pytest.mark.parametrize('on_terminal', [True, False])
@pytest.mark.parametrize(('make', 'done'), USES)
def test_quiet_says_nothing(
  capsys, clock, monkeypatch, make, done, on_terminal
):
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: on_terminal)
  with make(quiet=True) as show:
    clock[0] = 100.0
    show(*done)
  assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(('make', 'done'), USES)
def test_no_bar_before_the_first_count(capsys, terminal, make, done):
  terminal()
  with make() as show:
    assert capsys.readouterr() == ('', '')
    show(*done)
  output, errors = capsys.readouterr()
  assert output == ''
  assert errors != ''


def test_a_count_is_a_bar_that_disappears_when_done(capsys, terminal):
  terminal()
  with progress.CountProgress('files') as show:
    show(5, 10)
  shown = capsys.readouterr().err
  assert_in_order(shown, 'files', '5/10')
  # The line is cleared last.
  assert shown.endswith('\x1b[1A\x1b[2K')


def test_a_build_is_a_bar_per_phase(capsys, terminal):
  terminal()
  with progress.BuildProgress() as show:
    show('parse', 5, 5)
    show('write', 1000, 2000)
  # The line that stays; the cursor comes last.
  *_, parsed, written, _ = capsys.readouterr().err.splitlines()
  assert_in_order(parsed, 'files parsed', '5/5')
  assert_in_order(written, 'rows written', '1000/2000')


def test_a_fetch_is_a_bar_that_restarts_with_each_phase(capsys, terminal):
  terminal()
  with progress.FetchProgress() as show:
    show(Progress('lists', 0, 8))
    show(Progress('tasks', 400, 1600, 3_000_000))
    show(Progress('unpacking', 3))
  first, *_, last, _ = capsys.readouterr().err.splitlines()
  assert_in_order(first, 'lists', '0/8')
  assert_in_order(last, 'unpacking', '3/?')


def test_a_study_is_two_bars(capsys, terminal):
  terminal()
  with progress.StudyProgress() as show:
    show(TRAINING)
  *_, study, piece, _ = capsys.readouterr().err.splitlines()
  # Progress of the study; then cell, step, loss, rate and time left.
  assert_in_order(study, 'study', '1/4')
  assert_in_order(
    piece,
    'train def_empty_ex_original2_seed0',
    '50/200',
    'loss 1.250, 2.0 steps/s, 75 s left',
  )


def test_an_error_ends_the_bar(terminal):
  terminal()
  show = progress.CountProgress('files')

  def fail():
    with show:
      show(1, 2)
      raise KeyError

  with pytest.raises(KeyError):
    fail()
  assert not show._bars.live.is_started


@pytest.mark.parametrize(
  ('metrics', 'note'),
  [
    ({}, ''),
    (
      {'loss': 2.0, 'steps': 1, 'seconds': 0.0},
      'loss 2.000, 0.0 steps/s, 0 s left',
    ),
  ],
)
def test_before_the_first_metrics_there_is_no_rate(
  capsys, clock, metrics, note
):
  with progress.StudyProgress() as show:
    clock[0] = 20.0
    show(Step(cell='c', phase='train', finished=0, planned=1, metrics=metrics))
  line = f'[    20 s] 0/1 train c {note}'.rstrip()
  assert capsys.readouterr().err == f'{line}\n'


def test_tokenising_is_a_count_without_an_end(capsys, clock, terminal):
  def step(done):
    return Step(cell='c', phase='tokenise', finished=0, planned=1, done=done)

  with progress.StudyProgress() as show:
    for clock[0], done in ((1.0, 1000), (21.0, 75_000), (22.0, 76_000)):
      show(step(done))
  line = '[    21 s] 0/1 tokenise c 75,000 examples\n'
  assert capsys.readouterr().err == line
  terminal()
  with progress.StudyProgress() as show:
    show(step(75_000))
  shown = capsys.readouterr().err
  assert '75000/?' in shown
  assert ' examples ' in shown


@pytest.mark.parametrize(
  ('finished', 'line'),
  [
    (3, 'continuing: 3 of 8 cells are done\n'),
    (8, 'already done: all 8 cells; nothing to do\n'),
  ],
)
def test_a_study_says_where_it_continues(capsys, terminal, finished, line):
  step = Step(cell='', phase='resume', finished=finished, planned=8)
  with progress.StudyProgress() as show:
    show(step)
  assert capsys.readouterr() == ('', line)
