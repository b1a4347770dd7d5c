"""Tests of launch.tpu_vm against a gcloud that fails in every way we know."""

import os
import signal
import subprocess
import sys
import tarfile
import threading
import time

import fakes
import pytest

from it_study.errors import InputError
from launch import accelerators, gcloud, tpu_vm
from launch.tools import LaunchError, Tools

LIMITS = gcloud.Limits(
  ask=20, create=20, wait=2, copy=20, set_up=20, delete=20, poll=0.02
)
DELETE = 'gcloud compute tpus tpu-vm delete t1 --zone=z --quiet'


@pytest.fixture(name='cloud')
def _cloud(tmp_path, monkeypatch):
  cloud = fakes.FakeTools(tmp_path / 'cloud', 'gcloud')
  cloud.use(monkeypatch)
  yield cloud
  assert cloud.refused() == ''


@pytest.fixture(name='said')
def _said():
  return []


@pytest.fixture(name='launch')
def _launch(cloud, said):
  def launch(*, kind='v5litepod-8', limits=LIMITS, request=None, **changes):
    return tpu_vm.launch(
      gcloud.Request(
        name='t1',
        accelerator=accelerators.find(kind),
        zone='z',
        **(request or {}),
      ),
      tpu_vm.Run(
        words=['train', '--gin.X=a b'],
        **{'outputs': ['gs://b/m'], 'grace_seconds': 20, **changes},
      ),
      tools=Tools(say=said.append),
      limits=limits,
    )

  return launch


def is_left(cloud) -> bool:
  return (cloud.folder / 'state').exists()


def asked(cloud) -> int:
  """How many of the processes were asked to stop."""
  return len((cloud.folder / 'asked').read_text())


def interrupt_when(cloud, key, number=signal.SIGINT):
  """Sends a signal to this process once a call was made."""

  def send():
    deadline = time.monotonic() + 30
    while key not in cloud.calls() and time.monotonic() < deadline:
      time.sleep(0.02)
    time.sleep(0.2)
    os.kill(os.getpid(), number)

  threading.Thread(target=send, daemon=True).start()


def test_a_run_from_nothing_to_nothing(cloud, launch, said, capfd, tmp_path):
  cloud.script(run_0='out:step 1;err:careful', run_1='out:unseen;err:oh')
  results = tmp_path / 'results'
  status = launch(
    kind='v5litepod-16',
    results=str(results),
    price_per_hour=1.2,
    compile_cache='gs://b/xla',
    environment={'IT_STUDY_VOCABULARY': 'gs://b/my model'},
    request={'project': 'p', 'is_spot': True},
  )
  assert status == 0
  keys = cloud.calls()
  assert keys[:5] == ['describe', 'create', 'describe', 'scp', 'set_up']
  assert sorted(keys[5:9]) == ['run.0', 'run.1', 'run.2', 'run.3']
  assert keys[9:] == ['storage', 'delete']
  assert cloud.calls('create') == [
    [
      *('compute', 'tpus', 'tpu-vm', 'create', 't1'),
      *('--accelerator-type=v5litepod-16', '--version=v2-alpha-tpuv5-lite'),
      *('--spot', '--zone=z', '--project=p', '--quiet'),
    ]
  ]
  (line,) = {cloud.calls(f'run.{k}')[0][0] for k in range(4)}
  assert (
    "; env IT_STUDY_LAUNCH=t1 IT_STUDY_VOCABULARY='gs://b/my model' "
    'IT_STUDY_DISTRIBUTED=detect JAX_COMPILATION_CACHE_DIR=gs://b/xla '
    ".venv/bin/it-study train '--gin.X=a b' </dev/null 3<&- & p=$!; " in line
  )
  assert '; cd it_study_code || exit 1; ' in line
  out, err = capfd.readouterr()
  assert out == 'step 1\n'
  assert sorted(err.splitlines()) == ['[1] oh', 'careful']
  assert (
    'v5litepod-16: 16 chips (4x4) of 16 GiB on 4 hosts, 19.20 an hour, 460.80 '
    'a day' in said
  )
  assert (results / 'metrics.jsonl').read_text() == 'collected'
  assert not is_left(cloud)
  with tarfile.open(cloud.folder / 'copied') as archive:
    names = archive.getnames()
  assert {'setup.py', 'it_study/cli.py', 'gin_configs/runs/finetune.gin'} <= {
    *names
  }


def test_a_queued_slice_waits_for_its_turn(cloud, launch, said):
  cloud.script(
    queue_describe=[
      'out:WAITING_FOR_RESOURCES;exit:0',
      'out:PROVISIONING;exit:0',
    ]
  )
  assert launch(request={'is_queued': True, 'is_spot': True}) == 0
  assert cloud.calls('queue_create') == [
    [
      *('compute', 'tpus', 'queued-resources', 'create', 't1'),
      *('--node-id=t1', '--accelerator-type=v5litepod-8'),
      *('--runtime-version=v2-alpha-tpuv5-lite', '--spot', '--zone=z'),
      '--quiet',
    ]
  ]
  assert 't1 is WAITING_FOR_RESOURCES, waiting for ACTIVE' in said
  assert 't1 is PROVISIONING, waiting for ACTIVE' in said
  assert cloud.calls()[-1] == 'queue_delete'
  assert not is_left(cloud)


def test_what_one_host_wrote_is_collected_from_its_disk(
  cloud, launch, said, tmp_path
):
  status = launch(
    outputs=['out', '/abs'],
    results=str(tmp_path / 'r'),
    request={'is_spot': True},
  )
  assert status == 0
  assert cloud.calls('scp')[1:] == [
    ['t1:it_study_code/out', str(tmp_path / 'r')],
    ['t1:/abs', str(tmp_path / 'r')],
  ]
  assert said[0] == (
    "out is on the machine's own disk: when the machine is taken away, the run "
    'starts anew'
  )


def test_a_machine_that_takes_no_connection_yet(cloud, launch, said):
  cloud.script(
    scp=['err:connection refused;exit:1', 'err:connection refused;exit:1']
  )
  assert launch() == 0
  assert (
    said.count(
      'copying it_study.tar.gz to t1: connection refused; trying again in '
      '0.02 s'
    )
    == 2
  )


# What can go wrong, in the order in which it can.


def test_no_gcloud(launch, cloud, monkeypatch):
  monkeypatch.setenv('PATH', '/nonexistent')
  with pytest.raises(InputError) as caught:
    launch()
  assert str(caught.value) == (
    "gcloud is not on PATH: install Google Cloud's command line, then gcloud "
    'auth login.'
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
    'gcloud does not answer: Please run gcloud auth login (run gcloud auth '
    'login)'
  )
  assert cloud.calls() == ['describe']


def test_a_name_that_is_taken(cloud, launch):
  (cloud.folder / 'state').write_text('READY')
  with pytest.raises(InputError) as caught:
    launch()
  assert str(caught.value) == (
    't1 is there already, READY: give another --name, use it as it is with '
    f'--reuse, or delete it: {DELETE}'
  )
  # It is somebody's.
  assert is_left(cloud)
  assert cloud.calls() == ['describe']


def test_a_commit_that_is_none(cloud, launch):
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
    'creating t1 failed: ERROR: RESOURCE_EXHAUSTED: no more capacity (none is '
    'free: try --queued, or another --zone)'
  )
  # Half of it may be there.
  assert cloud.calls()[-1] == 'delete'


def test_a_creation_that_hangs(cloud, launch):
  cloud.script(create='hang:')
  with pytest.raises(LaunchError) as caught:
    launch(limits=gcloud.Limits(create=1, poll=0.02))
  assert str(caught.value) == 'creating t1 failed: no end within 1 s'
  assert not is_left(cloud)


def test_a_request_that_fails_in_the_queue(cloud, launch):
  cloud.script(queue_describe='out:FAILED;exit:0')
  with pytest.raises(LaunchError) as caught:
    launch(request={'is_queued': True})
  assert str(caught.value) == 't1 is FAILED and will not be ACTIVE'
  assert not (cloud.folder / 'queued').exists()


def test_a_slice_that_is_never_ready(cloud, launch):
  cloud.script(create='state:CREATING')
  with pytest.raises(LaunchError) as caught:
    launch(limits=gcloud.Limits(wait=0.5, poll=0.02))
  assert str(caught.value) == (
    't1 is CREATING, not READY, after 0.5 s: wait longer by --wait_hours, or '
    'ask for another --type or --zone'
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
  # A fault of the program is not a reason to start it again.
  assert len(cloud.calls('create')) == 1


def test_a_slice_that_is_taken_away_is_created_anew(cloud, launch, said):
  cloud.script(
    run_0=['out:step 10;state:PREEMPTED;err:connection closed;exit:255'],
  )
  assert launch(request={'is_spot': True}) == 0
  assert 't1 was taken away; restart 1 of 20, from the last checkpoint' in said
  keys = cloud.calls()
  assert keys.count('create') == 2
  assert keys.count('run.0') == 2
  # What was left of the first one held its name.
  assert keys.index('delete') < len(keys) - 1 - keys[::-1].index('create')
  assert not is_left(cloud)


def test_a_slice_that_is_taken_away_while_it_is_set_up(cloud, launch):
  cloud.script(set_up=['gone:;err:closed;exit:255'])
  assert launch(request={'is_spot': True}) == 0
  assert len(cloud.calls('create')) == 2


def test_a_run_that_was_asked_to_stop_goes_on_where_it_is(cloud, launch, said):
  cloud.script(run_0=['exit:75'])
  assert launch() == 0
  assert 't1 was asked to stop; restart 1 of 20, from the last checkpoint' in (
    said
  )
  assert len(cloud.calls('create')) == 1
  assert len(cloud.calls('set_up')) == 1
  assert len(cloud.calls('run.0')) == 2


def test_a_slice_that_is_taken_away_too_often(cloud, launch):
  cloud.script(run_0=['state:PREEMPTED;exit:255'] * 3)
  with pytest.raises(LaunchError) as caught:
    launch(max_restarts=2)
  assert str(caught.value) == (
    't1 was stopped 3 times; the same command goes on from the last checkpoint '
    '(--max_restarts)'
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


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_it_is_created(cloud, launch, number):
  cloud.script(create='hang:')
  interrupt_when(cloud, 'create', number)
  with pytest.raises(KeyboardInterrupt):
    launch()
  assert not is_left(cloud)


def test_an_interrupt_while_it_is_deleted(cloud, launch, said):
  cloud.script(delete='sleep:1')
  interrupt_when(cloud, 'delete')
  assert launch() == 0
  assert 'deleting what runs; it will not take long' in said
  assert not is_left(cloud)


def test_a_deletion_that_fails_once(cloud, launch, said):
  cloud.script(delete=['err:INTERNAL;exit:1'])
  assert launch() == 0
  assert 'deleting t1: INTERNAL' in said
  assert not is_left(cloud)


def test_a_deletion_that_fails_is_told_loudly(cloud, launch, said):
  cloud.script(delete=['err:INTERNAL;exit:1'] * 3)
  assert launch() == 0
  assert said[-1] == (f't1 MAY STILL RUN AND COST MONEY. Delete it: {DELETE}')


def test_results_that_cannot_be_collected(cloud, launch, tmp_path):
  cloud.script(storage=['err:no such bucket;exit:1'] * 3)
  with pytest.raises(LaunchError) as caught:
    launch(results=str(tmp_path / 'r'))
  assert str(caught.value) == 'collecting gs://b/m failed: no such bucket'
  assert not is_left(cloud)


def test_a_slice_that_is_kept_and_used_again(cloud, launch, said):
  assert launch(is_kept=True) == 0
  assert is_left(cloud)
  assert said[-1] == (
    f't1 is kept and costs money until it is deleted: {DELETE}'
  )
  assert launch(is_reused=True) == 0
  assert len(cloud.calls('create')) == 1
  assert not is_left(cloud)


def test_a_launcher_that_is_told_to_stop_by_its_own_parent(cloud, tmp_path):
  """The whole of it as a process, since signals belong to processes."""
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


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'price_per_hour': -1.0},
      '--price_per_hour is -1; give what a chip costs.',
    ),
    (
      {'compile_cache': '/tmp/x'},
      "--compile_cache is '/tmp/x'; give a folder in a bucket, such as "
      'gs://BUCKET/xla, which outlives the machine.',
    ),
  ],
)
def test_what_cannot_work_is_told_beforehand(cloud, launch, changes, message):
  with pytest.raises(InputError) as caught:
    launch(**changes)
  assert str(caught.value) == message
  assert cloud.calls() == []


def test_a_dry_run_calls_nothing(cloud, capsys, said):
  request = gcloud.Request(
    name='t1', zone='z', accelerator=accelerators.find('v5p-8'), is_queued=True
  )
  status = tpu_vm.launch(
    request,
    tpu_vm.Run(words=['train'], outputs=['gs://b/m'], results='R'),
    tools=Tools(say=said.append, is_dry=True),
  )
  assert status == 0
  assert cloud.calls() == []
  lines = capsys.readouterr().out.splitlines()
  assert [line.split(' t1')[0] for line in lines[1:]] == [
    'gcloud compute tpus queued-resources create',
    'gcloud compute tpus queued-resources describe',
    'gcloud compute tpus tpu-vm describe',
    lines[4].split(' t1')[0],
    'gcloud compute tpus tpu-vm ssh',
    'gcloud compute tpus tpu-vm ssh',
    'gcloud storage rsync --recursive gs://b/m R',
    'gcloud compute tpus queued-resources delete',
  ]
  assert not os.path.exists('R')
