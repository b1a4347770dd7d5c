"""Tests of launch.slurm with a fake cluster that fails in many ways."""

import dataclasses
import os
import signal
import subprocess
import threading
import time

from launch_fixture import interrupt_when
import pytest

from it_study.errors import InputError
from launch import slurm
from launch.tools import LaunchError, Tools

LIMITS = slurm.Limits(ask=20, poll=0.02, grace=2)
PROGRAMS = ('sbatch', 'squeue', 'scancel', 'srun', 'scontrol')


@pytest.fixture(name='cluster')
def _cluster(fake_tools):
  cluster = fake_tools(*PROGRAMS)
  (cluster.folder / 'logs').mkdir()
  return cluster


@pytest.fixture(name='job')
def _job(cluster):
  return slurm.Job(
    words=['train', '--gin.X=a b'], log_dir=str(cluster.folder / 'logs')
  )


@pytest.fixture(name='launch')
def _launch(job, said):
  def launch(*, limits=LIMITS, is_followed=True, is_kept=False, **changes):
    return slurm.launch(
      dataclasses.replace(job, **changes),
      tools=Tools(say=said.append),
      limits=limits,
      is_followed=is_followed,
      is_kept=is_kept,
    )

  return launch


def test_a_job_from_the_queue_to_its_end(cluster, launch, said, capsys):
  cluster.script(
    squeue=[
      'out:PENDING|Priority;exit:0',
      'log:step 1;out:RUNNING|None;exit:0',
      'log:step 2;out:RUNNING|None;exit:0',
      'log:trained;status:0;out:COMPLETED|None;exit:0',
    ]
  )
  assert launch() == 0
  assert capsys.readouterr().out == 'step 1\nstep 2\ntrained\n'
  logs = cluster.folder / 'logs'
  assert said == [
    f'job 7, output in {logs}/it-study-7.log',
    'job 7 is PENDING (Priority)',
    'job 7 is RUNNING',
    'job 7 is COMPLETED',
  ]
  assert 'scancel' not in cluster.calls()


def test_a_job_that_is_preempted_and_requeued(cluster, launch, said):
  cluster.script(
    squeue=[
      'out:RUNNING|None;exit:0',
      'out:COMPLETING|None;exit:0',
      'out:PENDING|BeginTime;exit:0',
      'out:RUNNING|None;exit:0',
      'status:0;out:COMPLETED|None;exit:0',
    ]
  )
  assert launch() == 0
  assert said[2:] == [
    'job 7 is COMPLETING',
    'job 7 is PENDING (BeginTime)',
    'job 7 is RUNNING',
    'job 7 is COMPLETED',
  ]


def test_a_job_that_the_queue_has_forgotten(cluster, launch):
  cluster.script(squeue=['status:0;out:RUNNING|None;exit:0'])
  assert launch() == 0


def test_a_job_that_is_only_submitted(cluster, launch):
  assert launch(is_followed=False) == 0
  assert cluster.calls() == ['sbatch']


# Failures.


def test_no_cluster(launch, cluster, monkeypatch):
  monkeypatch.setenv('PATH', '/nonexistent')
  with pytest.raises(InputError) as caught:
    launch()
  assert str(caught.value) == (
    'sbatch is not on PATH: run this on a login node of the cluster.'
  )


def test_an_unknown_partition(cluster, launch):
  cluster.script(
    sbatch='err:sbatch: error: invalid partition specified: x;exit:1'
  )
  with pytest.raises(LaunchError) as caught:
    launch(partition='x')
  assert str(caught.value) == (
    'submitting the job failed: sbatch: error: invalid partition specified: x'
  )


def test_a_submission_that_hangs(cluster, launch):
  cluster.script(sbatch='hang:')
  with pytest.raises(LaunchError) as caught:
    launch(limits=slurm.Limits(ask=0.5))
  assert str(caught.value) == 'submitting the job failed: timed out after 0.5 s'


def test_a_submission_that_prints_no_job_id(cluster, launch):
  cluster.script(sbatch='out:Submitted;exit:0')
  with pytest.raises(LaunchError) as caught:
    launch()
  assert str(caught.value) == "sbatch printed no job id: 'Submitted'"


def test_a_program_that_fails(cluster, launch, said):
  cluster.script(squeue='log:oh;status:3;out:FAILED|NonZeroExitCode;exit:0')
  assert launch() == 3
  assert said[-1] == (
    f'job 7 ended with status 3; see {cluster.folder}/logs/it-study-7.log'
  )


@pytest.mark.parametrize('state', ['NODE_FAIL', 'OUT_OF_MEMORY', 'TIMEOUT'])
def test_a_job_that_is_ended_from_outside(cluster, launch, state):
  cluster.script(squeue=f'out:{state}|None;exit:0')
  with pytest.raises(LaunchError) as caught:
    launch()
  assert str(caught.value) == (
    f'job 7 ended in state {state}, without an exit status: see '
    f'{cluster.folder}/logs/it-study-7.log and sacct --jobs=7'
  )


def test_a_queue_that_does_not_answer_for_a_while(cluster, launch):
  cluster.script(
    squeue=['err:timed out;exit:1'] * 5 + ['status:0;out:COMPLETED|;exit:0']
  )
  assert launch() == 0


def test_a_queue_that_does_not_answer_at_all(cluster, launch):
  cluster.script(squeue=['err:connection refused;exit:1'] * 20)
  with pytest.raises(LaunchError) as caught:
    launch()
  assert str(caught.value) == (
    'squeue does not answer (connection refused); job 7 may still run: squeue '
    '--jobs=7, scancel 7'
  )


def test_an_interrupt_stops_the_job_with_a_checkpoint(cluster, launch, said):
  cluster.script(
    squeue=['out:RUNNING|None;exit:0'] * 1000, scancel='status:75;exit:0'
  )
  interrupt_when(cluster, 'squeue', count=3)

  def end_when_asked():
    while 'scancel' not in cluster.calls():
      time.sleep(0.02)
    cluster.script(squeue='out:COMPLETED|None;exit:0')

  threading.Thread(target=end_when_asked, daemon=True).start()
  assert launch(limits=dataclasses.replace(LIMITS, grace=20)) == 75
  assert cluster.calls('scancel') == [['--signal=TERM', '7']]
  # It is not requeued.
  assert (cluster.folder / 'logs/it-study-7.stop').exists()


def test_an_interrupt_ends_a_job_that_does_not_stop(cluster, launch):
  cluster.script(squeue=['out:RUNNING|None;exit:0'] * 1000)
  interrupt_when(cluster, 'squeue', number=signal.SIGTERM)
  assert launch() == 130
  assert cluster.calls('scancel') == [['--signal=TERM', '7'], ['7']]


def test_an_interrupt_takes_a_waiting_job_from_the_queue(cluster, launch):
  cluster.script(squeue=['out:PENDING|Resources;exit:0'] * 1000)
  interrupt_when(cluster, 'squeue')
  assert launch() == 130
  assert cluster.calls('scancel') == [['7']]


def test_a_job_that_cannot_be_cancelled(cluster, launch, said):
  cluster.script(
    squeue=['out:PENDING|Resources;exit:0'] * 1000,
    scancel='err:Access denied;exit:1',
  )
  interrupt_when(cluster, 'squeue')
  assert launch() == 130
  assert said[-1] == (
    'scancel failed: Access denied. Job 7 MAY STILL RUN: scancel 7'
  )


def test_a_job_that_is_kept_keeps_running(cluster, launch, said):
  cluster.script(squeue=['out:RUNNING|None;exit:0'] * 1000)
  interrupt_when(cluster, 'squeue')
  with pytest.raises(KeyboardInterrupt):
    launch(is_kept=True)
  assert said[-1] == 'job 7 keeps running; stop it with scancel 7'
  assert cluster.calls('scancel') == []


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'nodes': 0}, '--nodes is 0; it must be at least 1.'),
    ({'gpus_per_node': -1}, '--gpus_per_node is -1; it must be at least 0.'),
    (
      {'process_per': 'core'},
      "--process_per is 'core'; it must be gpu or node.",
    ),
    (
      {'hours': 0.05},
      '--hours is 0.05, which is no more than the 300 s reserved for the last '
      'checkpoint (--lead_seconds).',
    ),
    (
      {'name': 'a b'},
      "--name is 'a b'; it must start with a letter and consist of letters, "
      'digits, - and _.',
    ),
    (
      {'options': ('constraint=x',)},
      "--sbatch 'constraint=x': expected an option of sbatch, as in "
      '--sbatch=--constraint=h100.',
    ),
  ],
)
def test_invalid_requests_are_refused_first(cluster, launch, changes, message):
  with pytest.raises(InputError) as caught:
    launch(**changes)
  assert str(caught.value) == message
  assert cluster.calls() == []


# The script, run by a real shell.


def run_script(cluster, job, tmp_path, **environment):
  path = tmp_path / 'job.sbatch'
  path.write_text(slurm.script(job))
  return subprocess.run(
    ['bash', path],
    env={
      **os.environ,
      'SLURM_JOB_ID': '7',
      'SLURM_JOB_NODELIST': 'n[1-2]',
      **environment,
    },
    capture_output=True,
    text=True,
    timeout=60,
  )


def status_of(cluster) -> str | None:
  path = cluster.folder / 'logs/it-study-7.status'
  return path.read_text() if path.exists() else None


def test_the_script_asks_for_what_is_needed(job, cluster, tmp_path):
  job = dataclasses.replace(
    job,
    nodes=2,
    gpus_per_node=4,
    hours=1.5,
    partition='p',
    account='a',
    options=('--constraint=h100',),
    environment={'IT_STUDY_VOCABULARY': 'my model'},
    folder=str(tmp_path),
  )
  lines = slurm.script(job).splitlines()
  logs = cluster.folder / 'logs'
  assert [line for line in lines if line.startswith('#SBATCH')] == [
    '#SBATCH --job-name=it-study',
    '#SBATCH --nodes=2',
    '#SBATCH --ntasks-per-node=4',
    '#SBATCH --gpus-per-node=4',
    '#SBATCH --time=90',
    '#SBATCH --partition=p',
    '#SBATCH --account=a',
    f'#SBATCH --output={logs}/it-study-%j.log',
    '#SBATCH --open-mode=append',
    '#SBATCH --requeue',
    '#SBATCH --signal=TERM@300',
    '#SBATCH --constraint=h100',
  ]
  done = run_script(cluster, job, tmp_path)
  assert done.returncode == 0
  assert done.stdout == 'job 7 on n[1-2], restart 0\n'
  assert cluster.calls('srun') == [
    ['--kill-on-bad-exit=1', 'it-study', 'train', '--gin.X=a b']
  ]
  environment = (cluster.folder / 'srun_environment').read_text().splitlines()
  assert {'IT_STUDY_VOCABULARY=my model', 'NCCL_DEBUG=WARN'} <= {*environment}
  assert status_of(cluster) == '0\n'


def test_one_process_per_node_uses_all_its_gpus(job, cluster, tmp_path):
  job = dataclasses.replace(job, nodes=2, gpus_per_node=4, process_per='node')
  assert '--ntasks-per-node=1\n' in slurm.script(job)
  run_script(cluster, job, tmp_path)
  environment = (cluster.folder / 'srun_environment').read_text().splitlines()
  assert 'JAX_LOCAL_DEVICE_IDS=0,1,2,3' in environment


def test_a_checkpoint_requeues_the_job(job, cluster, tmp_path):
  cluster.script(srun='exit:75', scontrol='end_caller:')
  done = run_script(cluster, job, tmp_path, SLURM_RESTART_COUNT='3')
  assert cluster.calls('scontrol') == [['requeue', '7']]
  assert done.returncode == -signal.SIGTERM
  assert status_of(cluster) is None


@pytest.mark.parametrize('reason', ['stopped', 'too often', 'failed'])
def test_a_job_that_is_not_requeued(job, cluster, tmp_path, reason):
  restarts = '20' if reason == 'too often' else '0'
  if reason == 'stopped':
    (cluster.folder / 'logs/it-study-7.stop').touch()
  status = 1 if reason == 'failed' else 75
  cluster.script(srun=f'exit:{status}')
  done = run_script(cluster, job, tmp_path, SLURM_RESTART_COUNT=restarts)
  assert cluster.calls('scontrol') == []
  assert done.returncode == status
  assert status_of(cluster) == f'{status}\n'


def test_a_cluster_that_does_not_requeue(job, cluster, tmp_path):
  cluster.script(srun='exit:75', scontrol='err:disabled;exit:1')
  assert run_script(cluster, job, tmp_path).returncode == 75
  assert status_of(cluster) == '75\n'
