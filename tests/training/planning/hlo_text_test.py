"""Tests of it_study.training.planning.hlo_text."""

import pytest

from it_study.training.planning import hlo_text

LOOP = """\
HloModule jit_f, is_scheduled=true, replica_count=1, num_partitions=4

%body (arg: (s32[], f32[2])) -> (s32[], f32[2]) {
  %arg = (s32[], f32[2]{0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %x = f32[2]{0} get-tuple-element(%arg), index=1
  %step = s32[] constant(STEP)
  %next = s32[] add(%i, %step)
  ROOT %out = (s32[], f32[2]{0}) tuple(%next, %x)
}

%condition (arg.1: (s32[], f32[2])) -> pred[] {
  %arg.1 = (s32[], f32[2]{0:T(256)S(1)}) parameter(0)
  %limit = s32[] constant(LIMIT)
  %i.1 = s32[] get-tuple-element(%arg.1), index=0
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}

ENTRY %main (x.1: f32[2]) -> (s32[], f32[2]) {
  %x.1 = f32[2]{0} parameter(0)
  %first = s32[]{:T(128)} constant(FIRST)
  %start = s32[]{:T(128)} copy(%first)
  %pair = (s32[], /*index=1*/f32[2]{0}) tuple(%start, %x.1)
  ROOT %loop = (s32[], f32[2]{0}) while(%pair), condition=%condition, \
body=%bodyNOTE
}
"""


def loop(*, first=0, limit=8, step=1, note=''):
  text = LOOP.replace('FIRST', str(first)).replace('STEP', str(step))
  program = hlo_text.parse(
    text.replace('LIMIT', str(limit)).replace('NOTE', note)
  )
  return program, program.computations['main']['loop']


def test_parse_reads_computations_and_instructions():
  program, found = loop()
  assert program.entry == 'main'
  assert list(program.computations) == ['body', 'condition', 'main']
  assert program.num_devices == 4
  assert found.operands == ('pair',)
  assert found.opcode == 'while'
  assert found.is_root
  assert found.called() == {'condition': ('condition',), 'body': ('body',)}
  assert program.computations['main']['pair'] == hlo_text.Instruction(
    'pair', '(s32[], /*index=1*/f32[2]{0})', 'tuple', ('start', 'x.1'), ''
  )
  assert program.computations['condition']['limit'].operands == ('8',)


def test_other_text_is_an_error():
  with pytest.raises(ValueError, match='no ENTRY computation'):
    hlo_text.parse('HloModule nothing\n')


@pytest.mark.parametrize(
  ('settings', 'trips'),
  [
    ({}, 8),
    ({'first': 2}, 6),
    ({'step': 2, 'limit': 7}, 4),
    ({'note': ', backend_config={"known_trip_count":{"n":"5"}}'}, 5),
  ],
)
def test_trip_counts_come_from_the_note_or_the_counter(settings, trips):
  program, found = loop(**settings)
  assert program.trip_count('main', found) == trips


def test_a_loop_with_another_condition_has_no_known_trip_count():
  text = LOOP.replace(
    '%limit = s32[] constant(LIMIT)', '%limit = s32[] other()'
  )
  program = hlo_text.parse(text)
  found = program.computations['main']['loop']
  assert program.trip_count('main', found) is None


@pytest.mark.parametrize(
  ('result', 'size'),
  [
    ('f32[8,2]{1,0:T(8,128)(2,1)S(1)}', 64),
    ('(bf16[3,5]{1,0}, /*index=1*/u8[7]{0})', 37),
    ('pred[3]', 3),
    ('s4[3]', 2),
    ('f8e4m3fn[10]', 10),
    ('token[]', 0),
    ('f32[]', 4),
  ],
)
def test_bytes_are_the_sum_over_arrays(result, size):
  assert hlo_text.num_bytes(result) == size
