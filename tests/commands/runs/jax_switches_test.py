"""Tests of it_study.commands.runs.jax_switches."""

import json
import os
import subprocess
import sys

import fakes
import pytest

# Values that change numbers or random bits, or that stop decoding.
HOSTILE = {
  'JAX_CHECK_TRACER_LEAKS': '1',
  'JAX_DEBUG_NANS': '1',
  'JAX_DEFAULT_MATMUL_PRECISION': 'bfloat16',
  'JAX_DEFAULT_PRNG_IMPL': 'rbg',
  'JAX_DISABLE_JIT': '1',
  'JAX_ENABLE_X64': '1',
  'JAX_NUMPY_DTYPE_PROMOTION': 'strict',
  'JAX_NUMPY_RANK_PROMOTION': 'raise',
  'JAX_RANDOM_SEED_OFFSET': '3',
  'JAX_THREEFRY_PARTITIONABLE': '0',
  'JAX_TRANSFER_GUARD': 'disallow',
}
# Trains two steps, answers by two methods, and converts the weights.
_RUN = """
import json, pathlib, sys
from it_study import cli
model = ['--gin_file=models/t5_1_1_tiny.gin'] + [
  f'--gin.T5Config.{name}={value}' for name, value in json.loads(sys.argv[1])]
shared = [
  '--gin.CORPUS=corpus', '--gin.IT_STUDY_VOCABULARY=byte',
  '--gin.MIXTURE_OR_TASK_NAME=natinst_def_empty_ex_empty0_n2',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 4}"]
assert cli.main([
  'train', *model, '--gin_file=runs/finetune.gin', *shared,
  '--gin.DROPOUT_RATE=0.1', '--gin.TRAIN_STEPS=2', '--gin.BATCH_SIZE=2',
  '--gin.MODEL_DIR=model', '--gin.LOG_PERIOD=1', '--quiet']) == 0
for method in ('sample', 'constrained_beam'):
  assert cli.main([
    'predict', *model, '--gin_file=runs/predict.gin', *shared,
    '--gin.CHECKPOINT_PATH=model', f'--gin.DECODING={method}',
    f'--gin.INFER_OUTPUT_DIR={method}', '--quiet']) == 0
assert cli.main(
  ['convert', 'model', 'hf', '--from=it_study', '--to=hf', '--quiet']) == 0
"""


def results(folder, environment):
  """Returns the losses of a small run, and the files that it writes."""
  folder.mkdir()
  fakes.write_small_corpus(folder / 'corpus')
  sizes = json.dumps(list(fakes.tiny_model().keywords.items()))
  done = subprocess.run(
    [sys.executable, '-c', _RUN, sizes],
    capture_output=True,
    cwd=folder,
    env=os.environ | environment,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  losses = [
    json.loads(line)['loss']
    for line in (folder / 'model/metrics.jsonl').read_text().splitlines()
  ]
  files = [
    (folder / name).read_bytes()
    for name in (
      'sample/predictions.jsonl',
      'constrained_beam/predictions.jsonl',
      'hf/model.safetensors',
    )
  ]
  return losses, files


@pytest.mark.slow
def test_results_do_not_depend_on_the_switches_of_the_shell(tmp_path):
  plain = results(tmp_path / 'plain', {})
  assert results(tmp_path / 'hostile', HOSTILE) == plain


def test_switches_that_are_set_have_no_effect():
  script = (
    'import jax, logging; logging.basicConfig(format="%(message)s")\n'
    'from it_study.commands.runs import jax_switches\n'
    'before = dict(jax.config.values)\n'
    'jax_switches.set_defaults()\n'
    'print(jax.config.jax_enable_x64, jax.config.jax_threefry_partitionable)\n'
    'print(before == dict(jax.config.values))\n'
  )

  def run(environment):
    done = subprocess.run(
      [sys.executable, '-c', script],
      capture_output=True,
      check=True,
      env=os.environ | environment,
      text=True,
    )
    return done.stdout, done.stderr

  assert run({}) == ('False True\nTrue\n', '')
  assert run(HOSTILE) == (
    'False True\nFalse\n',
    f'no effect: {", ".join(HOSTILE)}. Runs use the defaults of JAX, so that '
    'results do not depend on the shell.\n',
  )
