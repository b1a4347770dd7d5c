"""Tests that benchmarks/gpu_bench.py works, with tiny sizes on a CPU."""

import importlib.util
import pathlib
import sys

import pytest

_PATH = pathlib.Path(__file__).parents[3] / 'benchmarks' / 'gpu_bench.py'
_KERNELS = (
  'attention with position bias, pallas',
  'causal attention, pallas',
  'T5 step, 2 rows, pallas',
  'decoding, pallas',
  'decoder-only step, pallas',
)


@pytest.fixture(name='run')
def _run(monkeypatch, capsys):
  spec = importlib.util.spec_from_file_location('gpu_bench', _PATH)
  bench = importlib.util.module_from_spec(spec)
  monkeypatch.setitem(sys.modules, 'gpu_bench', bench)
  spec.loader.exec_module(bench)

  def run(*options):
    monkeypatch.setattr(sys, 'argv', ['gpu_bench', '--tiny', *options])
    bench.main()
    _, *lines = capsys.readouterr().out.splitlines()
    return dict(line.split(': ', 1) for line in lines)

  return run


@pytest.mark.parametrize(
  ('only', 'names'),
  [
    ('causal attention, pallas', _KERNELS[1:2]),
    pytest.param('pallas', _KERNELS, marks=pytest.mark.slow),
  ],
)
def test_the_kernels_are_measured(run, only, names):
  results = run('--only', only)
  assert tuple(results) == names
  for result in results.values():
    assert ' ms, ' in result or ' tokens per second' in result


def test_a_failure_is_named(run):
  assert run('--only', 'causal attention, cudnn') == {
    'causal attention, cudnn': 'failed, RuntimeError: cuDNN is not detected.'
  }


def test_what_there_is_no_time_for_is_named(run):
  results = run('--minutes', '0')
  assert set(_KERNELS) < set(results)
  assert set(results.values()) == {'left out, the time is over'}
