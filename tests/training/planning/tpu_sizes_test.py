"""Steps of T5's small and large compiled for a TPU; no TPU is needed for it."""

import functools
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
# Of T5 v1.1 with 32,128 tokens.
_PARAMETERS = {'small': 76_961_152, 'large': 783_150_080}
_DECODE = """
import json, sys
import jax
from it_study.models import partitioning
from it_study.training.planning import compiled_program, tpu_topologies
from it_study.inference import token_loop
from it_study.models import attention
from it_study.models.t5 import T5, T5Config

sizes, unit = sys.argv[1:]
if unit == 'other':
  attention._mix_padded_to_eight = attention._mix_by_products
config = T5Config(
  vocab_size=32_128, head_dim=64, dtype='bfloat16', **json.loads(sizes)
)
mesh = partitioning.make_mesh(devices=tpu_topologies.devices('v5e:2x2'))
def of_rows(dtype, *shape):
  sharding = partitioning.batch_sharding(mesh)
  return jax.ShapeDtypeStruct((32, *shape), dtype, sharding=sharding)
compiled = token_loop._decode_tokens.lower(
  partitioning.abstract_params(model=T5(config), mesh=mesh),
  of_rows('int32', 512),
  *(None,) * 3,
  of_rows('bfloat16', 512, config.emb_dim),  # Encoded already.
  model=T5(config),
  max_decode_length=16,
  eos_id=1,
  other_ends=(),
  mesh=mesh,
).compile()
cost = compiled_program.cost(compiled.as_text())
print(json.dumps({
  'cycles': cost.cycles,
  'collectives': sorted(cost.collectives),
  'unknown_loops': cost.unknown_loops,
  'total': compiled_program.memory(compiled).total,
}))
"""
_SIZES = {
  'small': {
    'emb_dim': 512,
    'num_heads': 6,
    'mlp_dim': 1024,
    'num_encoder_layers': 8,
    'num_decoder_layers': 8,
  },
  'large': {
    'emb_dim': 1024,
    'num_heads': 16,
    'mlp_dim': 2816,
    'num_encoder_layers': 24,
    'num_decoder_layers': 24,
  },
}


def _run(*words):
  process = subprocess.run(
    [sys.executable, *words],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=3600,
    check=False,
  )
  assert process.returncode == 0, process.stderr[-3000:]
  return json.loads(process.stdout.splitlines()[-1])


@functools.cache
def decode(size, unit='matrix'):
  return _run('-c', _DECODE, json.dumps(_SIZES[size]), unit)


@pytest.mark.parametrize('size', ['small', 'large'])
def test_a_training_step(size):
  found = _run(
    *('-m', 'it_study.cli', 'plan', '--json', '--quiet'),
    '--topology=v5e:2x2',
    f'--gin_file=models/t5_1_1_{size}.gin',
    '--gin_file=runs/finetune.gin',
    '--gin.BATCH_SIZE=8',
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 512, 'targets': 64}",
    '--gin.DROPOUT_RATE=0.0',
    '--gin.T5Config.scan_layers=True',
    "--gin.T5Config.remat_policy='full'",
    '--gin.MESH_DATA=1',
    '--gin.MESH_FSDP=4',
  )
  assert found['num_parameters'] == _PARAMETERS[size]
  assert found['device_kind'] == 'TPU v5 lite'
  assert found['unknown_loops'] == 0
  assert found['total_bytes'] < 16 * 2**30
  # Everything but the logits is computed once more.
  assert 1.1 < found['program_flops'] / found['model_flops'] < 1.35


@pytest.mark.parametrize('size', ['small', 'large'])
def test_decoding(size):
  found = decode(size)
  # Whether every row has ended.
  assert found['collectives'] == ['all-reduce']
  # The one over tokens.
  assert found['unknown_loops'] == 1
  assert found['total'] < 16 * 2**30


def test_a_decode_step_attends_in_the_matrix_unit():
  # Of a step and of projecting the prompts' keys and values.
  ours, other = (
    decode('small', unit)['cycles'] for unit in ('matrix', 'other')
  )
  assert ours < 0.9 * other, (ours, other)
