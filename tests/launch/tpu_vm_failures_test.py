"""Failures of a slice, in the order of a launch."""

import functools
import signal
import subprocess
import sys
import time

from launch_fixture import DELETE, interrupt_when, is_left, launch_slice
import pytest

from it_study.errors import InputError
from launch import gcloud
from launch.tools import LaunchError


@pytest.fixture(name='cloud')
def _cloud(fake_tools):
  return fake_tools('gcloud')


@pytest.fixture(name='launch')
def _launch(cloud, said):
  return functools.partial(launch_slice, said)


def asked(cloud) -> int:
  """Counts the processes that were asked to stop."""
  return len((cloud.folder / 'asked').read_text())


def test_no_gcloud(launch, cloud, monkeypatch):
  monkeypatch.setenv('PATH', '/nonexistent')
  with pytest.raises(InputError) as caught:
    launch()
  assert str(caught.value) == (
    'gcloud is not on PATH: install the Google Cloud CLI, then run gcloud auth '
    'login.'
  )
  assert cloud.calls() == []


def test_no_account(cloud, launch):
  cloud.script(
    describe='err:ERROR: You do not currently have an active account;'
    'err:Please run gcloud auth login;exit:1'
  )
  with pytest.raises(LaunchError) as caught:
    launch()
  assert str(caught.value) == (
    'gcloud failed: ERROR: You do not currently have an active account Please '
    'run gcloud auth login (run gcloud auth login)'
  )
  assert cloud.calls() == ['describe']


def test_a_name_that_is_taken(cloud, launch):
  (cloud.folder / 'state').write_text('READY')
  with pytest.raises(InputError) as caught:
    launch()
  assert str(caught.value) == (
    't1 already exists (READY). Choose another --name, use it with --reuse, or '
    f'delete it: {DELETE}'
  )
  # It belongs to somebody else.
  assert is_left(cloud)
  assert cloud.calls() == ['describe']


def test_an_unknown_commit(cloud, launch):
  with pytest.raises(InputError) as caught:
    launch(ref='no_such_branch')
  assert str(caught.value).startswith("--ref is 'no_such_branch', which is no")
  assert cloud.calls() == []


def test_no_capacity(cloud, launch):
  cloud.script(
    create='gone:;err:ERROR: RESOURCE_EXHAUSTED: no more capacity;exit:1'
  )
  with pytest.raises(LaunchError) as caught:
    launch()
  assert str(caught.value) == (
    'creating t1 failed: ERROR: RESOURCE_EXHAUSTED: no more capacity (no '
    'capacity: use --queued, or another --zone)'
  )
  # It may exist in part.
  assert cloud.calls()[-1] == 'delete'


def test_a_creation_that_hangs(cloud, launch):
  cloud.script(create='hang:')
  with pytest.raises(LaunchError) as caught:
    launch(limits=gcloud.Limits(create=1, poll=0.02))
  assert str(caught.value) == 'creating t1 failed: timed out after 1 s'
  assert not is_left(cloud)


def test_a_request_that_fails_in_the_queue(cloud, launch):
  cloud.script(queue_describe='out:FAILED;exit:0')
  with pytest.raises(LaunchError) as caught:
    launch(request={'is_queued': True})
  assert str(caught.value) == 't1 is FAILED and cannot become ACTIVE'
  assert not (cloud.folder / 'queued').exists()


def test_a_slice_that_is_never_ready(cloud, launch):
  cloud.script(create='state:CREATING')
  with pytest.raises(LaunchError) as caught:
    launch(limits=gcloud.Limits(wait=0.5, poll=0.02))
  assert str(caught.value) == (
    't1 is CREATING, not READY, after 0.5 s. Increase --wait_hours, or choose '
    'another --type or --zone'
  )
  assert not is_left(cloud)


def test_a_package_that_cannot_be_installed(cloud, launch):
  cloud.script(set_up=['err:no matching distribution;exit:1'] * 3)
  with pytest.raises(LaunchError) as caught:
    launch()
  assert str(caught.value) == 'setting up t1 failed: no matching distribution'
  assert not is_left(cloud)
  assert cloud.calls('run.0') == []


def test_a_worker_that_dies(cloud, launch, said):
  cloud.script(
    run_0='until_asked:143', run_1='err:Killed by the kernel;sleep:0.2;exit:137'
  )
  assert launch(kind='v4-16') == 137
  assert 'process 1 ended with signal SIGKILL; stopping 1 process' in said
  assert '  1: Killed by the kernel' in said
  assert asked(cloud) == 1
  assert not is_left(cloud)
  # A failure of the program is no reason for a restart.
  assert len(cloud.calls('create')) == 1


def test_what_a_failed_run_wrote_is_collected(cloud, launch, tmp_path, said):
  cloud.script(run_0='exit:1')
  assert launch(results=str(tmp_path / 'r')) == 1
  assert (tmp_path / 'r/metrics.jsonl').exists()
  cloud.script(run_0='exit:1', storage=['err:nothing there;exit:1'] * 3)
  assert launch(results=str(tmp_path / 'r')) == 1
  assert 'collecting gs://b/m failed: nothing there' in said


def test_a_preempted_slice_is_created_again(cloud, launch, said):
  cloud.script(
    run_0=['out:step 10;state:PREEMPTED;err:connection closed;exit:255'],
  )
  assert launch(request={'is_spot': True}) == 0
  assert 't1 was preempted; restart 1 of 20 from the last checkpoint' in said
  keys = cloud.calls()
  assert keys.count('create') == 2
  assert keys.count('run.0') == 2
  # The remains of the first one occupied its name.
  assert keys.index('delete') < len(keys) - 1 - keys[::-1].index('create')
  assert not is_left(cloud)


def test_a_slice_that_is_preempted_during_the_setup(cloud, launch):
  cloud.script(set_up=['gone:;err:closed;exit:255'])
  assert launch(request={'is_spot': True}) == 0
  assert len(cloud.calls('create')) == 2


def test_a_run_that_was_asked_to_stop_resumes_on_the_same_slice(
  cloud, launch, said
):
  cloud.script(run_0=['exit:75'])
  assert launch() == 0
  assert 't1 was asked to stop; restart 1 of 20 from the last checkpoint' in (
    said
  )
  assert len(cloud.calls('create')) == 1
  assert len(cloud.calls('set_up')) == 1
  assert len(cloud.calls('run.0')) == 2


def test_a_slice_that_is_preempted_too_often(cloud, launch):
  cloud.script(run_0=['state:PREEMPTED;exit:255'] * 3)
  with pytest.raises(LaunchError) as caught:
    launch(max_restarts=2)
  assert str(caught.value) == (
    't1 was stopped 3 times; run the same command to resume from the last '
    'checkpoint, or increase --max_restarts'
  )
  assert len(cloud.calls('create')) == 3
  assert not is_left(cloud)


def test_an_interrupt_stops_the_run_with_a_checkpoint(
  cloud, launch, said, tmp_path
):
  cloud.script(run_0='until_asked:75', run_1='until_asked:75')
  interrupt_when(cloud, 'run.1')
  assert launch(kind='v4-16', results=str(tmp_path / 'r')) == 75
  assert asked(cloud) == 2
  assert (tmp_path / 'r/metrics.jsonl').exists()
  assert not is_left(cloud)


@pytest.mark.parametrize(
  'number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)
def test_an_interrupt_while_it_is_created(cloud, launch, number):
  cloud.script(create='hang:')
  interrupt_when(cloud, 'create', number=number)
  with pytest.raises(KeyboardInterrupt):
    launch()
  assert not is_left(cloud)


def test_an_interrupt_while_it_is_deleted(cloud, launch, said):
  cloud.script(delete='sleep:1')
  interrupt_when(cloud, 'delete')
  assert launch() == 0
  assert 'deleting the slice; please wait' in said
  assert not is_left(cloud)


def test_a_deletion_that_fails_once(cloud, launch, said):
  cloud.script(delete=['err:INTERNAL;exit:1'])
  assert launch() == 0
  assert 'deleting t1: INTERNAL' in said
  assert not is_left(cloud)


def test_a_deletion_that_fails_is_a_loud_warning(cloud, launch, said):
  cloud.script(delete=['err:INTERNAL;exit:1'] * 3)
  assert launch() == 0
  assert said[-1] == (f't1 MAY STILL RUN AND COST MONEY. Delete it: {DELETE}')


def test_results_that_cannot_be_collected(cloud, launch, tmp_path):
  cloud.script(storage=['err:no such bucket;exit:1'] * 3)
  with pytest.raises(LaunchError) as caught:
    launch(results=str(tmp_path / 'r'))
  assert str(caught.value) == 'collecting gs://b/m failed: no such bucket'
  assert not is_left(cloud)


def test_a_launcher_that_its_parent_stops(cloud, tmp_path):
  """Runs the launch as a process, since signals go to processes."""
  cloud.script(run_0='until_asked:75')
  code = (
    'import sys\n'
    'from launch import accelerators, gcloud, tpu_vm\n'
    'from launch.tools import Tools\n'
    "request = gcloud.Request(name='t1', zone='z',\n"
    "  accelerator=accelerators.find('v6e-8'))\n"
    "sys.exit(tpu_vm.launch(request, tpu_vm.Run(words=['train']),\n"
    '  tools=Tools(say=print), limits=gcloud.Limits(poll=0.02)))\n'
  )
  launcher = subprocess.Popen([sys.executable, '-c', code])
  deadline = time.monotonic() + 60
  while 'run.0' not in cloud.calls():
    assert time.monotonic() < deadline
    time.sleep(0.05)
  launcher.terminate()
  assert launcher.wait(timeout=60) == 75
  assert not is_left(cloud)


@pytest.mark.parametrize('is_queued', [False, True])
def test_a_name_that_is_taken_in_the_meantime(cloud, launch, is_queued):
  answer = 'state:READY;err:ERROR: ALREADY_EXISTS: it already exists;exit:1'
  cloud.script(create=answer, queue_create=answer)
  with pytest.raises(InputError) as caught:
    launch(request={'is_queued': is_queued})
  assert str(caught.value).startswith('t1 already exists or is queued. ')
  # It belongs to somebody else.
  assert is_left(cloud)
