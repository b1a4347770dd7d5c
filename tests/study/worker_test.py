"""Tests of several workers on one study."""

import collections
import os
import signal
import time

import fakes
import pytest

from it_study.conditions import Condition
from it_study.storage import local_folders
from it_study.study import run, worker as study_worker

_WORK = """
import os, pathlib, sys, time
import fakes
from it_study.study import run, worker
from it_study.study.run_record import RunRecord
from it_study.conditions import Condition
worker._WAIT_SECONDS = 0.02
corpus, folder, log, pause = sys.argv[1:]

class Engine(fakes.Engine):
  def _count(self, call):
    tell('begin', call)
    time.sleep(float(pause))
    tell('end', call)

def tell(what, call):
  with open(log, 'a') as file:
    file.write(f'{os.getpid()}|{what}|{call}\\n')

engine = Engine(pathlib.Path(corpus))
run.run_study(
  corpus=corpus,
  conditions=[
    Condition.from_name('natinst_def_empty_ex_original2_n5'),
    Condition.from_name('natinst_def_original_ex_original2_n5'),
  ],
  seeds=(0, 1),
  study_dir=folder,
  engine=engine,
  splits=('test',),
  record=RunRecord(config='SEED = 0\\n'),
)
"""


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('workers') / 'corpus')


def start(corpus, folder, log, pause=0.02):
  return fakes.start_script(_WORK, corpus, folder, log, pause)


def calls(log):
  if not log.exists():
    return []
  return [line.split('|') for line in log.read_text().splitlines()]


def finish(worker):
  _, errors = worker.communicate(timeout=120)
  assert worker.returncode == 0, errors[-2000:]


@pytest.fixture(name='alone', scope='module')
def _alone(corpus, tmp_path_factory):
  folder = tmp_path_factory.mktemp('alone')
  finish(start(corpus, folder / 'study', folder / 'log'))
  return folder


def results(folder):
  return (folder / 'study/results.jsonl').read_text()


def test_two_workers_share_a_study(corpus, tmp_path, alone):
  log = tmp_path / 'log'
  workers = [start(corpus, tmp_path / 'study', log) for _ in range(2)]
  for worker in workers:
    finish(worker)
  assert results(tmp_path) == results(alone)
  ended = [(pid, call) for pid, what, call in calls(log) if what == 'end']
  assert sorted(call for _, call in ended) == sorted(
    call for _, what, call in calls(alone / 'log') if what == 'end'
  )
  assert len({pid for pid, _ in ended}) == 2


def test_a_dead_worker_s_unit_is_taken_over(corpus, tmp_path, alone):
  log = tmp_path / 'log'
  workers = {
    str(worker.pid): worker
    for worker in (
      start(corpus, tmp_path / 'study', log, pause) for pause in (0.3, 0.05)
    )
  }
  # The first worker to finish a unit is killed in its next one.
  victim = None
  while victim is None:
    time.sleep(0.005)
    counts = collections.Counter()
    for pid, what, _ in calls(log):
      counts[pid, what] += 1
    for pid in workers:
      if counts[pid, 'begin'] > counts[pid, 'end'] > 0:
        victim = pid
  os.kill(int(victim), signal.SIGKILL)
  workers.pop(victim).communicate()
  (left,) = workers.values()
  finish(left)
  assert results(tmp_path) == results(alone)
  times = [
    collections.Counter(
      call for _, what, call in calls(path) if what == 'begin'
    )
    for path in (log, alone / 'log')
  ]
  # Only the interrupted unit was started again.
  assert sum((times[0] - times[1]).values()) == 1
  assert not times[1] - times[0]


def test_a_worker_waits_for_another_s_unit(
  corpus, tmp_path, alone, monkeypatch
):
  monkeypatch.setattr(study_worker, '_WAIT_SECONDS', 0.01)
  engine = fakes.Engine(corpus)
  phases = []
  name = 'natinst_def_empty_ex_original2_n5_seed0'
  held = local_folders.try_locked(tmp_path / 'study/trainings' / name)
  assert held.__enter__()

  def watch(step):
    phases.append(step.phase)
    if phases.count('wait') == 2:
      held.__exit__(None, None, None)

  run.run_study(
    corpus=corpus,
    conditions=[Condition.from_name('natinst_def_empty_ex_original2_n5')],
    seeds=(0,),
    study_dir=tmp_path / 'study',
    engine=engine,
    splits=('test',),
    on_step=watch,
  )
  # Everything that does not depend on a training came first.
  assert phases.index('wait') > phases.index('done')
  assert phases[-1] == 'done'
  assert engine.calls[0].startswith('predict untuned')
