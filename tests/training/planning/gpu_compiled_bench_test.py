"""Tests of benchmarks/gpu_compiled_bench.py: the plugin is needed, no GPU."""

import importlib.util
import pathlib
import sys

import pytest

_FOLDER = pathlib.Path(__file__).parents[3] / 'benchmarks'
# A loop of three products with a layer each, as XLA writes them for a GPU; and
# an update in place of one row.
_TEXT = """\
HloModule step

%layer (p.0: bf16[3,8,8], p.1: s32[]) -> bf16[8,8] {
  %p.0 = bf16[3,8,8]{2,1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %half.1 = bf16[] constant(0.5)
  %half = bf16[3,8,8]{2,1,0} broadcast(%half.1), dimensions={}
  %scaled = bf16[3,8,8]{2,1,0} multiply(%p.0, %half)
  %zero = s32[] constant(0)
  %slice = bf16[1,8,8]{2,1,0} dynamic-slice(%scaled, %p.1, %zero, %zero)
  ROOT %weights = bf16[8,8]{1,0} bitcast(%slice)
}

%row (p.2: f32[8,8], p.3: f32[1,8], p.4: s32[]) -> f32[8,8] {
  %p.2 = f32[8,8]{1,0} parameter(0)
  %p.3 = f32[1,8]{1,0} parameter(1)
  %p.4 = s32[] parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %updated = f32[8,8]{1,0} dynamic-update-slice(%p.2, %p.3, %p.4, %zero.1)
}

%body (p.5: (s32[], bf16[3,8,8], bf16[8,8])) -> (s32[], bf16[3,8,8], bf16[8,8]) {
  %p.5 = (s32[], bf16[3,8,8]{2,1,0}, bf16[8,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p.5), index=0
  %all = bf16[3,8,8]{2,1,0} get-tuple-element(%p.5), index=1
  %x = bf16[8,8]{1,0} get-tuple-element(%p.5), index=2
  %fusion = bf16[8,8]{1,0} fusion(%all, %i), kind=kLoop, calls=%layer
  %call = (bf16[8,8]{1,0}, s8[4194304]{0}) custom-call(%x, %fusion), custom_call_target="__cublas$lt$matmul"
  %y = bf16[8,8]{1,0} get-tuple-element(%call), index=0
  ROOT %next = (s32[], bf16[3,8,8]{2,1,0}, bf16[8,8]{1,0}) tuple(%i, %all, %y)
}

%condition (p.6: (s32[], bf16[3,8,8], bf16[8,8])) -> pred[] {
  %p.6 = (s32[], bf16[3,8,8]{2,1,0}, bf16[8,8]{1,0}) parameter(0)
  ROOT %again = pred[] constant(true)
}

ENTRY %main (p.7: (s32[], bf16[3,8,8], bf16[8,8]), p.8: f32[8,8], p.9: f32[1,8], p.10: s32[]) -> f32[8,8] {
  %p.7 = (s32[], bf16[3,8,8]{2,1,0}, bf16[8,8]{1,0}) parameter(0)
  %p.8 = f32[8,8]{1,0} parameter(1)
  %p.9 = f32[1,8]{1,0} parameter(2)
  %p.10 = s32[] parameter(3)
  %loop = (s32[], bf16[3,8,8]{2,1,0}, bf16[8,8]{1,0}) while(%p.7), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %last = f32[8,8]{1,0} fusion(%p.8, %p.9, %p.10), kind=kLoop, calls=%row
}
"""  # noqa: E501


@pytest.fixture(name='bench')
def _bench(monkeypatch):
  monkeypatch.syspath_prepend(_FOLDER)
  path = _FOLDER / 'gpu_compiled_bench.py'
  spec = importlib.util.spec_from_file_location(path.stem, path)
  bench = importlib.util.module_from_spec(spec)
  monkeypatch.setitem(sys.modules, path.stem, bench)
  spec.loader.exec_module(bench)
  return bench


def test_a_loop_counts_for_each_iteration_and_a_slice_for_itself(bench):
  assert bench.work(_TEXT) == bench.Work(
    kernels=3 * 2 + 1,
    outside_loops=1,
    # A layer of 128 bytes and its number, then two matrices; a row and its
    # number.
    read=3 * (128 + 4 + 2 * 128) + 32 + 4,
    written=3 * (128 + 128) + 32,
  )


def test_without_the_plugin_a_line_says_so(bench, monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['gpu_compiled_bench'])
  monkeypatch.setattr(bench, 'has_plugin', lambda: False)
  bench.main()
  assert capsys.readouterr().out == (
    "Skipped: requires JAX's CUDA plugin. Run pip install 'it_study[gpu]'.\n"
  )


@pytest.mark.parametrize(
  'name',
  [
    'attention with position bias, pallas',
    pytest.param('decoder-only step, pallas', marks=pytest.mark.slow),
  ],
)
def test_a_program_is_compiled_for_a_gpu(bench, name, monkeypatch, capsys):
  if not bench.has_plugin():
    pytest.skip("needs JAX's CUDA plugin")
  options = ['gpu_compiled_bench', '--tiny', '--only', name]
  monkeypatch.setattr(sys, 'argv', options)
  bench.main()
  line = capsys.readouterr().out.splitlines()[0]
  assert line.startswith(f'{name}: ')
  assert ' kernels, ' in line
