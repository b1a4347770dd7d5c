"""Tests of it_study.commands.runs: what a training says while it is at it."""

import os
import subprocess
import sys

import pytest

from it_study import trainer
from it_study.commands import runs

METRICS = {
  'loss': 1.25,
  'gradient_norm': 0.12345,
  'tokens_per_second': 16707.8,
}


@pytest.mark.parametrize(
  ('phase', 'step', 'metrics', 'expected'),
  [
    ('tokenising', 9_000, {}, ''),
    ('tokenising', 20_000, {}, 'tokenising: 20,000 examples\n'),
    ('compiling', 0, {}, 'compiling the training step\n'),
    (
      'training',
      50,
      METRICS,
      'step 50/100, loss 1.2500, gradient 0.123, 16,708 tokens/s, 7 s left\n',
    ),
    (
      'training',
      50,
      {
        **METRICS,
        'model_flops_utilization': 0.412,
        'compile_seconds': 12.3,
        'validation_loss': 2.5,
        'validation_seconds': 0.31,
      },
      'step 50/100, loss 1.2500, gradient 0.123, 16,708 tokens/s, 41.2% of '
      'peak, compiled in 12 s, held-out loss 2.5000 in 0.3 s, 7 s left\n',
    ),
  ],
)
def test_a_training_says_what_it_is_at(capsys, phase, step, metrics, expected):
  runs._print_progress(
    trainer.Progress(
      phase=phase,
      step=step,
      train_steps=100,
      metrics=metrics,
      seconds_left=7.0,
    )
  )
  assert capsys.readouterr() == ('', expected)


@pytest.mark.parametrize(
  ('named', 'expected'), [('', '{cache}/xla'), ('gs://b/x', 'gs://b/x')]
)
def test_compiled_programs_are_kept_where_jax_is_told(
  tmp_path, named, expected
):
  code = (
    'import jax\n'
    'from it_study.commands import runs\n'
    'runs._prepare_devices()\n'
    'print(jax.config.jax_compilation_cache_dir)\n'
  )
  environment = {
    **os.environ,
    'IT_STUDY_CACHE': str(tmp_path),
    'JAX_COMPILATION_CACHE_DIR': named,
  }
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    check=True,
    env=environment,
    text=True,
  )
  assert done.stdout.strip() == expected.format(cache=tmp_path)
