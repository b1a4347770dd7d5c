"""Tests of launch.tpu_vm with a fake gcloud."""

import functools
import os
import tarfile

from launch_fixture import DELETE, is_left, launch_slice
import pytest

from it_study.errors import InputError
from launch import accelerators, gcloud, tpu_vm
from launch.tools import Tools


@pytest.fixture(name='cloud')
def _cloud(fake_tools):
  return fake_tools('gcloud')


@pytest.fixture(name='launch')
def _launch(cloud, said):
  return functools.partial(launch_slice, said)


def test_a_run_from_creation_to_deletion(cloud, launch, said, capfd, tmp_path):
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
    'v5litepod-16: 16 chips (4x4) of 16 GiB on 4 hosts, 19.20 per hour, 460.80 '
    'per day' in said
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
    "out is on the slice's disk: after a preemption, the run starts from "
    'scratch'
  )


def test_a_machine_that_takes_no_connection_yet(cloud, launch, said):
  cloud.script(
    scp=['err:connection refused;exit:1', 'err:connection refused;exit:1']
  )
  assert launch() == 0
  assert (
    said.count(
      'copying it_study.tar.gz to t1: connection refused; retrying in 0.02 s'
    )
    == 2
  )


def test_a_slice_that_is_kept_and_used_again(cloud, launch, said):
  assert launch(is_kept=True) == 0
  assert is_left(cloud)
  assert said[-1] == (f't1 is kept and costs money until deleted: {DELETE}')
  assert launch(is_reused=True) == 0
  assert len(cloud.calls('create')) == 1
  assert not is_left(cloud)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'price_per_hour': -1.0},
      '--price_per_hour is -1; it must be at least 0.',
    ),
    (
      {'outputs': ['out']},
      "out is on the slice's disk, which is deleted at the end. Collect it "
      'with --results DIR, or keep the slice with --keep.',
    ),
    (
      {'compile_cache': '/tmp/x'},
      "--compile_cache is '/tmp/x'; it must be a bucket folder, such as "
      'gs://BUCKET/xla, to outlive the slice.',
    ),
  ],
)
def test_invalid_requests_are_refused_first(cloud, launch, changes, message):
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
