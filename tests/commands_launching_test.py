"""Tests of it_study.commands.launching: from the words to the processes."""

import json
import shlex
import signal
import subprocess
import sys
import time

from fakes import refusal
from fakes import run_command as run
import pytest

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
      'what to run is missing: give a command behind --, as in it-study launch '
      'local ... -- train --gin_file=F. See it-study launch local --help.',
    ),
    (('launch', 'local', '--', 'trian'), "Did you mean 'train'?"),
    (('launch', 'local', '--', 'train', '--gin_fil=x'), "'--gin_file'?"),
    (
      ('launch', 'local', '--', '--quiet'),
      "cannot run '--quiet' behind --.",
    ),
    (('launch', 'local', '--proceses=2', '--', 'train'), "'--processes'?"),
    (('launch', 'lokal', '--', 'train'), "Did you mean 'local'?"),
    (('score', 'p', '--', 'x'), 'it-study score takes no command behind --.'),
    (('launch', 'local', '--gin.X=1', '--', 'train'), 'takes no --gin.X=1.'),
    (
      ('launch', 'local', '--grace_seconds=0', '--', 'train'),
      '--grace_seconds is 0; give a number above 0, such as 60.',
    ),
  ],
)
def test_words_that_are_none(capsys, words, message):
  assert message in refusal(capsys, *words)


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


def test_bad_input_of_the_command_ends_all(capfd, tmp_path):
  assert run('launch', 'local', '--', 'train', '--gin_file=nowhere.gin') == 2
  err = capfd.readouterr().err
  assert "it-study: no gin file 'nowhere.gin'" in err
  assert 'it-study launch: process ' in err


def start(model_dir, *words):
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'it_study.cli', 'launch', 'local'),
      *('--processes=2', '--devices=2', '--', *TRAIN),
      *(f'--gin.MODEL_DIR={model_dir}', *words),
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.slow
def test_the_miniature_trains_in_two_processes_of_two_devices(tmp_path):
  steps = ('--gin.TRAIN_STEPS=200', '--gin.finetune.log_period=1')
  launcher = start(tmp_path, *steps)
  log = tmp_path / 'metrics.jsonl'
  deadline = time.monotonic() + 200
  while not log.exists() or len(log.read_text().splitlines()) < 3:
    assert launcher.poll() is None, launcher.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.05)
  launcher.send_signal(signal.SIGINT)
  _, errors = launcher.communicate(timeout=200)
  assert launcher.returncode == 75, errors[-3000:]
  assert 'SIGINT: stopping 2 processes' in errors
  assert errors.endswith(
    'it-study launch: stopped with a checkpoint; the same command continues\n'
  )
  stopped = json.loads(log.read_text().splitlines()[-1])['step']
  assert 3 <= stopped < 200
  # The same command goes on, to an end that is near.
  launcher = start(
    tmp_path, f'--gin.TRAIN_STEPS={stopped + 2}', '--gin.finetune.log_period=1'
  )
  out, errors = launcher.communicate(timeout=300)
  assert launcher.returncode == 0, errors[-3000:]
  assert out.splitlines()[-1] == f'trained: {tmp_path}'
  assert f'step {stopped + 2}/{stopped + 2}, loss' in errors
  training = json.loads((tmp_path / 'training.json').read_text())
  assert training['num_processes'] == 2
  assert training['mesh'] == {'data': 4, 'fsdp': 1, 'model': 1}
