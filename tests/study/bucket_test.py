"""Tests of a study in a bucket, by workers on separate machines."""

import os
import signal
import time

import fake_bucket
import fakes
import pytest

from it_study import cli
from it_study.conditions import Condition
from it_study.study import run
from it_study.study.run_record import RunRecord

STUDY = 'gs://bucket/studies/one'
CONDITIONS = [
  Condition.from_name('natinst_def_empty_ex_original2_n5'),
  Condition.from_name('natinst_def_original_ex_original2_n5'),
]
_WORK = """
import pathlib, sys, time
import fakes
from it_study.storage import leases
from it_study.study import run, worker
from it_study.study.run_record import RunRecord
from it_study.conditions import Condition
worker._WAIT_SECONDS = 0.05
leases.LEASE_SECONDS = 3.0
corpus, folder, pause, *names = sys.argv[1:]

class Engine(fakes.Engine):
  def _count(self, call):
    print(call, flush=True)
    time.sleep(float(pause))

engine = Engine(pathlib.Path(corpus))
run.run_study(
  corpus=corpus,
  conditions=[Condition.from_name(name) for name in names],
  seeds=(0,),
  study_dir=folder,
  engine=engine,
  splits=('test',),
  record=RunRecord(config='SEED = 0\\n'),
)
"""


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('bucket') / 'corpus')


@pytest.fixture(name='there')
def _there(tmp_path, monkeypatch):
  """The bucket's files."""
  with fake_bucket.serve(tmp_path / 'bucket') as url:
    monkeypatch.setenv('STORAGE_EMULATOR_HOST', url)
    yield tmp_path / 'bucket'


def start(corpus, cache, *, pause):
  names = (condition.name for condition in CONDITIONS)
  return fakes.start_script(
    _WORK, corpus, STUDY, pause, *names, IT_STUDY_CACHE=str(cache)
  )


def test_a_work_unit_of_a_dead_machine_is_taken_over(
  corpus, there, tmp_path, monkeypatch, capsys
):
  engine = fakes.Engine(corpus)
  alone = run.run_study(
    corpus=corpus,
    conditions=CONDITIONS,
    seeds=(0,),
    study_dir=tmp_path / 'alone',
    engine=engine,
    splits=('test',),
    record=RunRecord(config='SEED = 0\n'),
  )
  victim = start(corpus, tmp_path / 'a', pause=600)
  begun = victim.stdout.readline()
  other = start(corpus, tmp_path / 'b', pause=0.01)
  time.sleep(1)
  os.kill(victim.pid, signal.SIGKILL)
  victim.communicate()
  calls, errors = other.communicate(timeout=120)
  assert other.returncode == 0, errors[-2000:]
  # It did all the work, also what was interrupted.
  assert sorted(calls.splitlines()) == sorted(engine.calls)
  assert begun in calls
  found = there / 'studies/one'
  assert (found / 'results.jsonl').read_text() == alone.read_text()
  assert not list(found.glob('leases/**/cells/*'))
  # A third machine writes the report to the bucket.
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'c'))
  assert cli.main(['report', STUDY]) == 0
  assert 'report: ' in capsys.readouterr().out
  assert (found / 'report/index.html').stat().st_size > 10_000
  assert (found / 'report/results.csv').exists()
  assert not list((tmp_path / 'c').rglob('checkpoints'))


def test_the_study_is_described_before_its_first_work_unit(
  corpus, there, tmp_path, monkeypatch
):
  monkeypatch.setenv('IT_STUDY_CACHE', str(tmp_path / 'cache'))
  described = []

  class Engine(fakes.Engine):
    def _count(self, call):
      super()._count(call)
      described.append(
        [(there / 'studies/one' / name).exists() for name in run._RECORDS]
      )

  run.run_study(
    corpus=corpus,
    conditions=CONDITIONS[:1],
    seeds=(0,),
    study_dir=STUDY,
    engine=Engine(corpus),
    splits=('test',),
    record=RunRecord(config='SEED = 0\n'),
  )
  assert described[0] == [True, True]
