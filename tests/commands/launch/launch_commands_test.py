"""Tests of the launch commands, from the command line to the processes."""

import json
import shlex
import signal
import subprocess
import sys
import time

from fakes import refusal, run_command as run
import pytest

from it_study.commands import registry

TRAIN = (
  'train',
  '--gin_file=models/t5_1_1_tiny.gin',
  '--gin_file=runs/finetune.gin',
  '--gin.CORPUS=miniature',
  '--gin.IT_STUDY_VOCABULARY=miniature',
  '--gin.BATCH_SIZE=8',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 16}",
  '--gin.MIXTURE_OR_TASK_NAME=natinst_def_original_ex_original2',
)


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (
      ('launch', 'local'),
      'the command to run is missing: add it after --, as in it-study launch '
      'local ... -- train --gin_file=F. See it-study launch local --help.',
    ),
    (('launch', 'local', '--', 'trian'), "Did you mean 'train'?"),
    (('launch', 'local', '--', 'train', '--gin_fil=x'), "'--gin_file'?"),
    (
      ('launch', 'local', '--', '--quiet'),
      "cannot run '--quiet' after --.",
    ),
    (
      ('launch', 'local', '--', 'study'),
      'study runs in a single process, found 2 (--processes). Only train and '
      'predict run in several.',
    ),
    (('launch', 'local', '--proceses=2', '--', 'train'), "'--processes'?"),
    (('launch', 'lokal', '--', 'train'), "Did you mean 'local'?"),
    (
      ('launch', 'local', '--gin.X=1', '--', 'train'),
      'does not accept --gin.X=1.',
    ),
    (
      ('launch', 'local', '--grace_seconds=0', '--', 'train'),
      '--grace_seconds is 0; it must be above 0, such as 60.',
    ),
  ],
)
def test_unknown_words(capsys, words, message):
  assert message in refusal(capsys, *words)


def test_other_commands_end_their_flags_with_a_double_dash(capsys):
  assert refusal(capsys, 'score', '--', '--p').startswith('--p: cannot be')


def test_a_dry_run_starts_nothing(capsys, tmp_path):
  model_dir = tmp_path / 'model'
  assert (
    run(
      'launch',
      'local',
      '--dry_run',
      '--processes=3',
      '--devices=2',
      '--',
      *TRAIN,
      f'--gin.MODEL_DIR={model_dir}',
    )
    == 0
  )
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 3
  for index, line in enumerate(lines):
    assert f' JAX_PROCESS_ID={index} ' in line
    assert '--xla_force_host_platform_device_count=2' in line
    assert line.endswith(f'--gin.MODEL_DIR={model_dir}')
    assert shlex.split(line)[-len(TRAIN) - 1 : -1] == list(TRAIN)
  assert not model_dir.exists()


def test_bad_input_of_the_command_stops_all(capfd, tmp_path):
  assert run('launch', 'local', '--', 'train', '--gin_file=nowhere.gin') == 2
  err = capfd.readouterr().err
  assert "it-study: no gin file 'nowhere.gin'" in err
  assert 'it-study launch: process ' in err


def start(*words):
  return subprocess.Popen(
    [sys.executable, '-m', 'it_study.cli', *words],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.slow
def test_the_example_is_stopped_and_resumes(tmp_path):
  (command,) = (c for c in registry.LAUNCH_COMMANDS if c.name == 'local')
  words = shlex.split(command.example.replace('/tmp/', f'{tmp_path}/'))
  # The last binding wins.
  often = '--gin.LOG_PERIOD=1'
  launcher = start(*words[1:], often, '--gin.TRAIN_STEPS=2000')
  model_dir = tmp_path / 'it_study_launched'
  log = model_dir / 'metrics.jsonl'
  deadline = time.monotonic() + 600
  while not log.exists() or len(log.read_text().splitlines()) < 3:
    assert launcher.poll() is None, launcher.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.05)
  launcher.send_signal(signal.SIGINT)
  _, errors = launcher.communicate(timeout=600)
  assert launcher.returncode == 75, errors[-3000:]
  assert 'SIGINT: stopping 2 processes' in errors
  assert errors.endswith(
    'it-study launch: stopped; run the same command to resume\n'
  )
  stopped = json.loads(log.read_text().splitlines()[-1])['step']
  assert 3 <= stopped < 2000
  # The same command resumes, with few steps left.
  end = stopped + 2
  launcher = start(*words[1:], often, f'--gin.TRAIN_STEPS={end}')
  out, errors = launcher.communicate(timeout=600)
  assert launcher.returncode == 0, errors[-3000:]
  assert out.splitlines()[-1] == f'trained: {model_dir}'
  assert f'step {end}/{end}, loss' in errors
  training = json.loads((model_dir / 'training.json').read_text())
  assert training['num_processes'] == 2
  assert training['mesh'] == {'data': 8, 'fsdp': 1, 'model': 1}


@pytest.fixture(name='cloud')
def _cloud(fake_tools):
  return fake_tools('gcloud')


def tpu(*words, kind='v5litepod-16', command=TRAIN, model_dir='/mnt/m'):
  return (
    *('launch', 'tpu_vm', f'--type={kind}', '--zone=z', *words, '--'),
    *(*command, f'--gin.MODEL_DIR={model_dir}'),
  )


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (
      (*tpu(), '--gin.MESH_FSDP=3'),
      'the mesh MESH_DATA=-1, MESH_FSDP=3, MESH_MODEL=1 does not fit '
      'v5litepod-16: it needs a multiple of 3 devices, found 16. Change the '
      'mesh.',
    ),
    (
      (*tpu(kind='v5litepod-8'), '--gin.MESH_MODEL=16'),
      'Change the mesh, or use v5litepod-16.',
    ),
    (tpu(kind='v5litepo-16'), "'v5litepod-16'?"),
    (
      tpu('--name=It'),
      "--name is 'It'; it must start with a letter and "
      'consist of lower-case letters, digits',
    ),
    (tpu('--env=1=2'), "--env '1=2': expected NAME=VALUE."),
    (tpu('--wait_hours=0'), '--wait_hours is 0; it must be above 0'),
    (tpu('--max_restarts=-1'), '--max_restarts is -1; it must be at least 0'),
    (
      ('launch', 'tpu_vm', '--type=v4-16', '--zone=z', '--', 'study'),
      'study runs in a single process, found 2 (v4-16). Only train and predict '
      'run in several.',
    ),
    (
      (*tpu(), '--gin.BATCH_SIZ=8'),
      "gin macro 'BATCH_SIZ' is set but not used.",
    ),
    (
      tpu(command=TRAIN[:-1]),
      "gin macro 'MIXTURE_OR_TASK_NAME' is required but not set",
    ),
  ],
)
def test_invalid_slice_requests_create_nothing(capsys, cloud, words, message):
  assert message in refusal(capsys, *words)
  assert cloud.calls() == []


def test_a_study_on_one_host_of_a_cloud(capsys, cloud, tmp_path):
  results = tmp_path / 'results'
  status = run(
    *('launch', 'tpu_vm', '--type=v6e-8', '--zone=z', f'--results={results}'),
    *('--skip_memory_check', '--', 'study', '--study_dir=out'),
  )
  assert status == 0
  assert cloud.calls()[-2:] == ['scp', 'delete']
  assert cloud.calls('scp')[-1] == [
    'it-study:it_study_code/out',
    str(results),
  ]
  assert (
    '.venv/bin/it-study study --study_dir=out' in cloud.calls('run.0')[0][0]
  )


def test_a_failure_outside_is_one_line_and_status_1(capsys, cloud):
  cloud.script(create='err:ERROR: Quota exceeded;exit:1')
  assert run(*tpu('--quiet', '--skip_memory_check')) == 1
  assert capsys.readouterr().err == (
    'it-study launch: creating it-study failed: ERROR: Quota exceeded (request '
    'more quota, or choose another --zone or --type)\n'
  )


def test_a_dry_run_of_a_slice_shows_what_it_costs(capsys, cloud):
  words = tpu('--dry_run', '--price_per_hour=1.5', kind='v3-32')
  assert run(*words) == 0
  out, err = capsys.readouterr()
  assert 'v3-32: 16 chips (4x4) of 32 GiB on 4 hosts, 24.00 per hour' in err
  assert 'memory of v3-32 not checked: no compiler for v3:4x4' in err
  assert (
    len(
      [
        line
        for line in out.splitlines()
        if ' it-study train ' in line or '/it-study train ' in line
      ]
    )
    == 4
  )
  assert cloud.calls() == []


def test_one_host_writes_to_a_bucket(capsys, cloud):
  words = ('--dry_run', '--skip_memory_check')
  assert run(*tpu(*words, kind='v5litepod-8', model_dir='gs://b/m')) == 0
  assert '--gin.MODEL_DIR=gs://b/m' in capsys.readouterr().out
  assert cloud.calls() == []


def test_quiet_still_reports_failures(capfd):
  words = ('launch', 'local', '--quiet', '--', 'train', '--gin_file=no.gin')
  assert run(*words) == 2
  assert 'it-study launch: process ' in capfd.readouterr().err


@pytest.mark.parametrize('name', ['tpu_vm', 'slurm', 'ssh'])
def test_an_example_runs_as_printed(capsys, cloud, name):
  (command,) = (c for c in registry.LAUNCH_COMMANDS if c.name == name)
  words = shlex.split(command.example)
  assert words.pop(0) == 'it-study'
  assert run(*words) == 0
  assert 'it-study train ' in capsys.readouterr().out
  assert cloud.calls() == []


@pytest.mark.tpu_aot
@pytest.mark.slow
def test_a_step_that_does_not_fit_is_refused_by_its_compiler(capsys, cloud):
  pytest.importorskip('libtpu')
  large = tuple(w.replace('t5_1_1_tiny', 't5_1_1_xl') for w in TRAIN)
  words = tpu('--quiet', kind='v5litepod-4', command=large)
  assert 'v5litepod-4: ' in refusal(
    capsys, *words, '--gin.T5Config.scan_layers=True'
  )
  assert cloud.calls() == []


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (
      ('ssh', '--hosts=a,b', '--', 'study'),
      'study runs in a single process, found 2 (the list of hosts). Only train '
      'and predict run in several.',
    ),
    (('ssh', '--hosts=a,a', '--', 'study'), 'a is listed twice.'),
    (('ssh', '--', 'study'), 'required: --hosts.'),
    (
      ('slurm', '--gpus_per_node=4', '--', 'study'),
      'study runs in a single process, found 4 (1 x 4 GPUs). Only train and '
      'predict run in several.',
    ),
    (
      (
        'slurm',
        '--nodes=2',
        '--gpus_per_node=4',
        '--',
        *TRAIN,
        '--gin.MODEL_DIR=/m',
        '--gin.MESH_FSDP=3',
      ),
      'the mesh MESH_DATA=-1, MESH_FSDP=3, MESH_MODEL=1 does not fit 2 x 4 '
      'GPUs: it needs a multiple of 3 devices, found 8. Change the mesh.',
    ),
    (('slurm', '--hours=0', '--', 'study'), '--hours is 0; it must be above 0'),
  ],
)
def test_invalid_cluster_requests(capsys, words, message):
  assert message in refusal(capsys, 'launch', *words)


def test_a_dry_run_of_a_job_shows_its_script(capsys, tmp_path):
  status = run(
    *('launch', 'slurm', '--nodes=2', '--gpus_per_node=8', '--dry_run'),
    *(f'--log_dir={tmp_path}/logs', '--', *TRAIN, '--gin.MODEL_DIR=/m'),
  )
  assert status == 0
  out = capsys.readouterr().out
  assert out.startswith(f'# {tmp_path}/logs/it-study.sbatch:\n#!/bin/bash\n')
  assert '#SBATCH --ntasks-per-node=8\n' in out
  assert out.endswith(f'sbatch --parsable {tmp_path}/logs/it-study.sbatch\n')
  assert not (tmp_path / 'logs').exists()


def test_a_dry_run_over_ssh_shows_every_command(capsys):
  words = ('launch', 'ssh', '--hosts=a,b', '--dry_run', '--', *TRAIN)
  assert run(*words, '--gin.MODEL_DIR=/m') == 0
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 4
  assert 'JAX_PROCESS_ID=1 it-study train' in lines[3]
