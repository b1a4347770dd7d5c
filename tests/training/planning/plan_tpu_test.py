"""Tests of plan on a TPU topology: no TPU is needed, libtpu is."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = [
  pytest.mark.tpu_aot,
  pytest.mark.slow,
  pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='needs libtpu'
  ),
]


@pytest.fixture(name='found', scope='module')
def _found():
  process = subprocess.run(
    [
      *(sys.executable, '-m', 'it_study.cli', 'plan', '--json', '--quiet'),
      '--topology=v5e:2x2',
      '--gin_file=models/t5_1_1_tiny.gin',
      '--gin_file=runs/finetune.gin',
      '--gin.BATCH_SIZE=8',
      "--gin.TASK_FEATURE_LENGTHS={'inputs': 128, 'targets': 64}",
      '--gin.DROPOUT_RATE=0.0',
      '--gin.IT_STUDY_VOCABULARY=byte',
      '--gin.MESH_DATA=1',
      '--gin.MESH_FSDP=4',
    ],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert process.returncode == 0, process.stderr[-3000:]
  assert process.stderr == ''
  return json.loads(process.stdout)


def test_it_is_compiled_for_the_chip(found):
  assert found['device_kind'] == 'TPU v5 lite'
  assert found['is_estimate'] is False
  assert found['device_memory_bytes'] == 16 * 2**30
  assert found['model']['dtype'] == 'bfloat16'


def test_loops_and_products_are_all_read(found):
  assert found['unknown_loops'] == 0
  assert found['program_flops'] == pytest.approx(found['model_flops'], rel=0.01)


def test_sharded_parameters_are_gathered_and_gradients_scattered(found):
  in_bfloat16 = 2 * found['num_parameters']
  gathered = found['collectives']['all-gather']['payload_bytes']
  scattered = found['collectives']['reduce-scatter']['payload_bytes']
  # Gathered once or for each pass; some gradients are sent in float32.
  assert 0.9 * in_bfloat16 < gathered < 2.2 * in_bfloat16
  assert 0.9 * in_bfloat16 < scattered < 2.2 * in_bfloat16


def test_seconds_are_no_fewer_than_the_products_take(found):
  assert found['estimated_seconds'] == found['estimated_cycles'] / 1.5e9
  assert found['estimated_seconds'] > found['program_flops'] / 4 / 197e12
