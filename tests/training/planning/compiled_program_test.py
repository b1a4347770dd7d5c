"""Tests of compiled_program: programs written by hand."""

import types

import pytest

from it_study.training.planning import compiled_program
from it_study.training.planning.compiled_program import Collective

# Two rows of work in a loop of 3 in a loop of 5, and some outside.
NESTED = """\
HloModule jit_f, num_partitions=8

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%product (p: f32[4,16], q: f32[16,2]) -> f32[4,2] {
  %p = f32[4,16]{1,0} parameter(0)
  %q = f32[16,2]{1,0} parameter(1)
  ROOT %dot = f32[4,2]{1,0} dot(%p, %q), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}
}

%inner (i: (s32[], f32[16,2])) -> (s32[], f32[16,2]) {
  %i = (s32[], f32[16,2]{1,0}) parameter(0)
  %i0 = s32[] get-tuple-element(%i), index=0
  %i1 = f32[16,2]{1,0} get-tuple-element(%i), index=1
  %shard = f32[4,16]{1,0} constant({...})
  %f = f32[4,2]{1,0} fusion(%shard, %i1), kind=kLoop, calls=%product, \
backend_config={"estimated_cycles":"100"}
  %gather = f32[16,2]{1,0} all-gather(%f), channel_id=1, \
replica_groups=[2,4]<=[8], dimensions={0}, use_global_device_ids=true
  ROOT %it = (s32[], f32[16,2]{1,0}) tuple(%i0, %gather)
}

%outer (o: (s32[], f32[16,2])) -> (s32[], f32[16,2]) {
  %o = (s32[], f32[16,2]{1,0}) parameter(0)
  %w = (s32[], f32[16,2]{1,0}) while(%o), condition=%always, body=%inner, \
backend_config={"known_trip_count":{"n":"3"}}
  %w0 = s32[] get-tuple-element(%w), index=0
  %w1 = f32[16,2]{1,0} get-tuple-element(%w), index=1
  %r = f32[16,2]{1,0} all-reduce(%w1), channel_id=2, \
replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add
  ROOT %ot = (s32[], f32[16,2]{1,0}) tuple(%w0, %r)
}

%always (c: (s32[], f32[16,2])) -> pred[] {
  %c = (s32[], f32[16,2]{1,0}) parameter(0)
  ROOT %true = pred[] constant(true)
}

ENTRY %main (x: f32[16,2]) -> f32[16,2] {
  %x = f32[16,2]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %t = (s32[], f32[16,2]{1,0}) tuple(%zero, %x)
  %loop = (s32[], f32[16,2]{1,0}) while(%t), condition=%always, body=%outer, \
OUTER_NOTE
  %l1 = f32[16,2]{1,0} get-tuple-element(%loop), index=1
  %n = f32[] constant(1)
  %alone = f32[] all-reduce(%n), replica_groups=[8,1]<=[8], to_apply=%add
  %all = (f32[], f32[16,2]{1,0}) all-reduce(%n, %l1), channel_id=3, \
replica_groups={}, to_apply=%add
  ROOT %last = f32[16,2]{1,0} get-tuple-element(%all), index=1
}
"""
KNOWN = 'backend_config={"known_trip_count":{"n":"5"}}'

ASYNC = """\
HloModule jit_f, num_partitions=8

ENTRY %main (x: bf16[8,4]) -> bf16[8,4] {
  %x = bf16[8,4]{1,0} parameter(0)
  %s = (bf16[8,4]{1,0}, bf16[32,4]{1,0}) all-gather-start(%x), \
replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}
  %d = bf16[32,4]{1,0} all-gather-done(%s)
  %m = (bf16[8,4]{1,0}, bf16[8,4]{1,0}) collective-permute-start(%x), \
source_target_pairs={{0,1},{1,0}}
  %e = bf16[8,4]{1,0} collective-permute-done(%m)
  %a = bf16[8,4]{1,0} all-to-all(%x), replica_groups=mesh['axis_0'=2,\
'axis_1'=4], device_ids=([2,4]T(1,0)) {'axis_0','axis_1':(2)2}, dimensions={0}
  ROOT %r = bf16[2,4]{1,0} reduce-scatter(%e), replica_groups=[2,4]<=[8], \
dimensions={0}, to_apply=%add
}
"""

# As libtpu 0.0.42 writes them.
TPU = """\
HloModule jit_f, num_partitions=4

%starting (s0: bf16[8,4]) -> (bf16[8,4], bf16[32,4]) {
  %s0 = bf16[8,4]{1,0:T(8,128)(2,1)} parameter(0)
  %g0 = bf16[32,4]{1,0} all-gather(%s0), channel_id=1, replica_groups=\
mesh['axis_0'=4] {'axis_0'}, dimensions={0}, frontend_attributes={chain_id="0"}
  ROOT %c0 = (bf16[8,4]{1,0}, bf16[32,4]{1,0}) custom-call(%g0), \
custom_call_target="AsyncCollectiveStart"
}

%meanwhile (s1: bf16[8,4], s2: bf16[32,4]) -> bf16[32,4] {
  %s1 = bf16[8,4]{1,0} parameter(0)
  %s2 = bf16[32,4]{1,0} parameter(1)
  ROOT %g1 = bf16[32,4]{1,0} all-gather(%s1), channel_id=1, replica_groups=\
mesh['axis_0'=4] {'axis_0'}, dimensions={0}, frontend_attributes={chain_id="0"}
}

%ending (s3: bf16[8,4]) -> bf16[32,4] {
  %s3 = bf16[8,4]{1,0} parameter(0)
  %g2 = bf16[32,4]{1,0} all-gather(%s3), channel_id=1, replica_groups=\
mesh['axis_0'=4] {'axis_0'}, dimensions={0}, frontend_attributes={chain_id="0"}
  ROOT %c2 = bf16[32,4]{1,0} custom-call(%g2), \
custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter (s4: bf16[32,4]) -> bf16[8,4] {
  %s4 = bf16[32,4]{1,0} parameter(0)
  %r4 = bf16[32,4]{1,0} all-reduce(%s4), channel_id=2, replica_groups=\
mesh['axis_0'=4] {'axis_0'}, to_apply=%add
  %id = u32[] partition-id()
  %none = u32[] constant(0)
  ROOT %slice = bf16[8,4]{1,0} dynamic-slice(%r4, %id, %none), \
dynamic_slice_sizes={8,4}
}

ENTRY %main (x: bf16[8,4]) -> bf16[8,4] {
  %x = bf16[8,4]{1,0} parameter(0)
  %b = (bf16[8,4]{1,0}, bf16[32,4]{1,0}) fusion(%x), kind=kCustom, \
calls=%starting
  %b1 = bf16[32,4]{1,0} get-tuple-element(%b), index=1
  %o = bf16[32,4]{1,0} fusion(%x, %b1), kind=kOutput, calls=%meanwhile, \
backend_config={"window_config":{"estimated_cycles":"2000"}}
  %e = bf16[32,4]{1,0} fusion(%x), kind=kCustom, calls=%ending
  ROOT %y = bf16[8,4]{1,0} fusion(%e), kind=kCustom, calls=%all-reduce-scatter,\
 backend_config={"window_config":{"estimated_cycles":"500"}}
}
"""


def test_loop_bodies_count_as_often_as_they_run():
  cost = compiled_program.cost(NESTED.replace('OUTER_NOTE', KNOWN))
  # A product of 4 x 16 by 16 x 2 is 256 operations.
  assert cost.matmul_flops == 5 * 3 * 256
  assert cost.cycles == 5 * 3 * 100
  assert cost.unknown_loops == 0
  assert cost.collectives == {
    # 16 x 2 float32 is 128 bytes, of which each of 4 has a quarter.
    'all-gather': Collective(
      count=15, payload_bytes=15 * 128, sent_bytes=15 * 128 * 3 / 4
    ),
    # Between 2 devices 5 times, between 8 once, the latter with a scalar.
    'all-reduce': Collective(
      count=6,
      payload_bytes=5 * 128 + 132,
      sent_bytes=5 * 128 + 2 * 132 * 7 / 8,
    ),
  }


def test_a_loop_of_unknown_trip_count_counts_once_and_is_reported():
  cost = compiled_program.cost(NESTED.replace(', \\\nOUTER_NOTE', ''))
  assert cost.matmul_flops == 3 * 256
  assert cost.unknown_loops == 1


def test_operations_of_two_parts_count_once():
  assert compiled_program.cost(ASYNC).collectives == {
    'all-gather': Collective(count=1, payload_bytes=256, sent_bytes=192),
    'collective-permute': Collective(count=1, payload_bytes=64, sent_bytes=64),
    # Along an axis of 2 and half of an axis of 4: groups of 4.
    'all-to-all': Collective(count=1, payload_bytes=64, sent_bytes=48),
    'reduce-scatter': Collective(count=1, payload_bytes=64, sent_bytes=48),
  }


def test_fused_operations_of_a_tpu_count_once():
  cost = compiled_program.cost(TPU)
  assert cost.collectives == {
    'all-gather': Collective(count=1, payload_bytes=256, sent_bytes=192),
    'reduce-scatter': Collective(count=1, payload_bytes=256, sent_bytes=192),
  }
  assert cost.cycles == 2500


@pytest.mark.parametrize(
  ('shapes', 'attributes', 'flops'),
  [
    # A 1 x 3 kernel over 8 places: 8 products each, but for 2 at the ends.
    (
      ('f32[1,8,5]', 'f32[3,5,7]', 'f32[1,8,7]'),
      'window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f',
      2 * 5 * 7 * (3 * 8 - 2),
    ),
    # 6 products of 4 x 16 by 16 x 2, the way a TPU writes a batch of them.
    (
      ('f32[6,4,16]', 'f32[6,2,16]', 'f32[6,4,2]'),
      'window={size=6 stride=5 lhs_dilate=6}, dim_labels=0bf_0oi->0bf',
      6 * 2 * 4 * 16 * 2,
    ),
    # The same, the kernel turned round.
    (
      ('f32[6,4,16]', 'f32[6,2,16]', 'f32[6,4,2]'),
      'window={size=6 stride=6 pad=5_5 lhs_dilate=5 rhs_reversal=1},'
      ' dim_labels=0bf_0oi->0bf',
      6 * 2 * 4 * 16 * 2,
    ),
    (
      ('f32[4,16]', 'f32[16,2]', 'f32[4,2]'),
      'dim_labels=bf_io->bf',
      4 * 16 * 2 * 2,
    ),
  ],
)
def test_a_convolution_does_not_count_padding(shapes, attributes, flops):
  left, right, result = shapes
  text = f"""\
HloModule jit_f

ENTRY %main (x: {left}, y: {right}) -> {result} {{
  %x = {left} parameter(0)
  %y = {right} parameter(1)
  ROOT %c = {result} convolution(%x, %y), {attributes}
}}
"""
  assert compiled_program.cost(text).matmul_flops == flops


def test_memory_excludes_results_that_reuse_an_argument():
  stats = types.SimpleNamespace(
    argument_size_in_bytes=100,
    output_size_in_bytes=90,
    alias_size_in_bytes=80,
    temp_size_in_bytes=1000,
    generated_code_size_in_bytes=7,
  )
  memory = compiled_program.memory(
    types.SimpleNamespace(memory_analysis=lambda: stats)
  )
  assert memory.new_outputs == 10
  assert memory.total == 1117
