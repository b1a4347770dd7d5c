"""Counts a compiled program's memory, operations and communication.

XLA's own cost analysis counts the body of a loop once, however often it runs.
This module reads the program's text and counts a body as often as it runs.
"""

from collections.abc import Mapping
import dataclasses
import functools
import math
import re

import jax
import numpy as np

from it_study.training.planning import hlo_text
from it_study.training.planning.hlo_text import Instruction, Program

COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)

_GROUPS = re.compile(r'replica_groups=\{\{([\d,]+)\}')
_IOTA_GROUPS = re.compile(r'replica_groups=\[(\d+),(\d+)\]<=')
_MESH_GROUPS = re.compile(r'replica_groups=mesh\[([^\]]*)\].*?\{([^}]*)\}')
_AXIS_SIZE = re.compile(r"'(\w+)'=(\d+)")
# Part of an axis is written 'axis':(2)4, where 4 is its size.
_AXIS = re.compile(r"'(\w+)'(?::\(\d+\)(\d+))?")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TARGET = re.compile(r'custom_call_target="AsyncCollectiveStart"')
_WINDOW = re.compile(r'window=\{([^}]*)\}')
_LABELS = re.compile(r'dim_labels=(\w+)_(\w+)->(\w+)')
_CONTRACTED = re.compile(r'lhs_contracting_dims=\{([\d,]*)\}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
  """One kind of collective operation of one device, in one run.

  Attributes:
    count: Number of operations; one that reduces several arrays counts once.
    payload_bytes: Size of the whole arrays: the input of a reduction or
      scatter, the result of a gather, or what is exchanged or passed on.
    sent_bytes: Bytes that one device sends in a ring of n devices: 2 (n - 1) /
      n of the payload for all-reduce, (n - 1) / n for all-gather,
      reduce-scatter and all-to-all, all of it for collective-permute (Thakur et
      al. 2005, section 4).
  """

  count: int = 0
  payload_bytes: float = 0.0
  sent_bytes: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """The work of one device in one run of a program.

  Attributes:
    matmul_flops: FLOPs of matrix products and convolutions; a multiplication
      and an addition are two.
    collectives: Collective operations by kind, those of `COLLECTIVES` that
      occur.
    cycles: Sum of the compiler's estimates per instruction, without waiting for
      other devices; 0 where it gives none, which only TPUs do.
    unknown_loops: Number of loops with something to count but an unknown trip
      count; their bodies count once.
  """

  matmul_flops: float = 0.0
  collectives: Mapping[str, Collective] = dataclasses.field(
    default_factory=dict
  )
  cycles: float = 0.0
  unknown_loops: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Memory of one device in bytes, according to the compiler.

  Attributes:
    arguments: Size of the arguments, with the padding of the device's layout.
    new_outputs: Size of the results that do not reuse an argument's memory.
    temporaries: Peak size of everything in between.
    code: Size of the program; 0 if it is in the host's memory.
  """

  arguments: int
  new_outputs: int
  temporaries: int
  code: int

  @property
  def total(self) -> int:
    """Sum of all parts."""
    return self.arguments + self.new_outputs + self.temporaries + self.code


def memory(compiled: jax.stages.Compiled) -> Memory:
  """Returns the compiler's account of a program's memory."""
  stats = compiled.memory_analysis()
  # All compilers in use report it.
  assert stats is not None
  return Memory(
    arguments=stats.argument_size_in_bytes,
    new_outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    temporaries=stats.temp_size_in_bytes,
    code=stats.generated_code_size_in_bytes,
  )


def cost(text: str) -> Cost:
  """Counts the work of a program from the text of `Compiled.as_text`."""
  program = hlo_text.parse(text)
  return _Counter(program).cost(program.entry, fused=False)


def compiler_flops(compiled: jax.stages.Compiled) -> float | None:
  """Returns the compiler's FLOPs of a device, counting loop bodies once.

  None if the compiler gives none. Its `optimal_seconds` is useless: it counts
  loops once too, and for a TPU program it was a twentieth of a second minus
  333, as if every instruction of unknown cost took -1.
  """
  return (compiled.cost_analysis() or {}).get('flops')


class _Counter:
  """Counts each computation once, and multiplies it by its number of calls."""

  def __init__(self, program: Program):
    self._program = program
    self._known: dict[tuple[str, bool], Cost] = {}

  def cost(self, computation: str, *, fused: bool) -> Cost:
    key = computation, fused
    if key not in self._known:
      total = Cost()
      for instruction in self._program.computations[computation].values():
        total = _sum(total, self._one(computation, instruction, fused=fused))
      self._known[key] = total
    return self._known[key]

  def _one(
    self, computation: str, instruction: Instruction, *, fused: bool
  ) -> Cost:
    instructions = self._program.computations[computation]
    opcode = instruction.opcode
    called = instruction.called()
    cycles = 0.0
    if not fused:
      # The estimate of a fusion includes what is inside.
      match = _CYCLES.search(instruction.attributes)
      cycles = float(match[1]) if match else 0.0
    if opcode == 'dot':
      return Cost(matmul_flops=_dot(instruction, instructions), cycles=cycles)
    if opcode == 'convolution':
      flops = _convolution(instruction, instructions)
      return Cost(matmul_flops=flops, cycles=cycles)
    kind: str | None = opcode.removesuffix('-start')
    if kind in COLLECTIVES:
      if fused:
        kind = _fused_kind(kind, instruction, instructions)
      collectives = self._collective(kind, instruction, instructions)
      return Cost(collectives=collectives, cycles=cycles)
    if opcode == 'while':
      return self._loop(computation, instruction)
    names: tuple[str, ...] = ()
    if opcode in ('fusion', 'async-start'):
      names = called.get('calls', ())
    elif opcode in ('call', 'custom-call'):
      names = called.get('to_apply', called.get('called_computations', ()))
    elif opcode == 'conditional':
      return self._costliest_branch(called)
    total = Cost(cycles=cycles)
    for name in names:
      total = _sum(total, self.cost(name, fused=fused or opcode == 'fusion'))
    return total

  def _loop(self, computation: str, loop: Instruction) -> Cost:
    called = loop.called()
    once = _sum(
      self.cost(called['body'][0], fused=False),
      self.cost(called['condition'][0], fused=False),
    )
    trips = self._program.trip_count(computation, loop)
    if trips is None:
      unknown = bool(once.matmul_flops or once.collectives)
      return dataclasses.replace(
        once, unknown_loops=once.unknown_loops + unknown
      )
    return _times(once, trips)

  def _costliest_branch(self, called: Mapping[str, tuple[str, ...]]) -> Cost:
    costs = [
      self.cost(name, fused=False)
      for names in called.values()
      for name in names
    ]
    return max(costs, key=lambda cost: (cost.matmul_flops, cost.cycles))

  def _collective(
    self,
    kind: str | None,
    instruction: Instruction,
    instructions: Mapping[str, Instruction],
  ) -> dict[str, Collective]:
    if kind is None:
      return {}
    size = sum(
      hlo_text.num_bytes(instructions[name].result)
      for name in instruction.operands
      if name in instructions
    )
    if kind == 'collective-permute':
      return {kind: Collective(count=1, payload_bytes=size, sent_bytes=size)}
    group = _group_size(instruction.attributes) or self._program.num_devices
    if group == 1:
      return {}
    payload = size * group if kind == 'all-gather' else size
    rounds = 2 if kind == 'all-reduce' else 1
    return {
      kind: Collective(
        count=1,
        payload_bytes=payload,
        sent_bytes=rounds * payload * (group - 1) / group,
      )
    }


def _fused_kind(
  kind: str, instruction: Instruction, instructions: Mapping[str, Instruction]
) -> str | None:
  """Returns the kind of a collective in a fusion; None if counted elsewhere.

  On a TPU, an all-reduce fused with slices of its result is a reduce-scatter.
  And an asynchronous operation is written once in the fusion that starts it, in
  each one that computes meanwhile, and in the one that ends it.
  """
  fused = instructions.values()
  if 'chain_id=' in instruction.attributes:
    starts = any(_TARGET.search(i.attributes) for i in fused)
    return kind if starts else None
  if kind == 'all-reduce' and any(i.opcode == 'dynamic-slice' for i in fused):
    return 'reduce-scatter'
  return kind


def _group_size(attributes: str) -> int | None:
  """Returns the number of devices in a group; None for all devices."""
  match = _GROUPS.search(attributes)
  if match:
    return len(match[1].split(','))
  match = _IOTA_GROUPS.search(attributes)
  if match:
    return int(match[2])
  match = _MESH_GROUPS.search(attributes)
  if match:
    sizes = {name: int(size) for name, size in _AXIS_SIZE.findall(match[1])}
    return math.prod(
      int(part) if part else sizes[name]
      for name, part in _AXIS.findall(match[2])
    )
  return None


def _dot(
  instruction: Instruction, instructions: Mapping[str, Instruction]
) -> float:
  """Returns FLOPs: 2 times the result's size times the contracted axes."""
  ((_, result),) = hlo_text.arrays(instruction.result)
  ((_, left),) = hlo_text.arrays(instructions[instruction.operands[0]].result)
  contracted = _CONTRACTED.search(instruction.attributes)
  axes = [int(a) for a in contracted[1].split(',') if a] if contracted else []
  return 2.0 * math.prod(result) * math.prod(left[axis] for axis in axes)


def _convolution(
  instruction: Instruction, instructions: Mapping[str, Instruction]
) -> float:
  """Returns FLOPs: 2 for each product of an input value and a kernel value.

  Products with padding, and with the gaps of a dilation, do not count, since a
  TPU writes a batch of matrix products as a convolution with these.
  """
  ((_, result),) = hlo_text.arrays(instruction.result)
  left, kernel = (
    hlo_text.arrays(instructions[name].result)[0][1]
    for name in instruction.operands
  )
  dim_labels = _LABELS.search(instruction.attributes)
  # XLA prints them for every convolution.
  assert dim_labels is not None, instruction
  left_labels, kernel_labels, labels = dim_labels.groups()
  products = result[labels.index('b')] * result[labels.index('f')]
  products *= kernel[kernel_labels.index('i')]
  window = _window(instruction.attributes)
  for axis in range(len(labels) - 2):
    products *= _valid_positions(
      left[left_labels.index(str(axis))],
      kernel[kernel_labels.index(str(axis))],
      result[labels.index(str(axis))],
      *window[axis],
    )
  return 2.0 * products


def _window(attributes: str) -> list[tuple[int, int, int, int]]:
  """Returns stride, low padding, input and kernel dilation of each axis."""
  match = _WINDOW.search(attributes)
  fields = dict(f.split('=') for f in match[1].split()) if match else {}
  rank = len(fields['size'].split('x')) if 'size' in fields else 0

  def values(name: str, default: str) -> list[str]:
    value = fields.get(name)
    return value.split('x') if value else [default] * rank

  return [
    (int(stride), int(pad.split('_')[0]), int(dilation), int(kernel_dilation))
    for stride, pad, dilation, kernel_dilation in zip(
      values('stride', '1'),
      values('pad', '0_0'),
      values('lhs_dilate', '1'),
      values('rhs_dilate', '1'),
      strict=True,
    )
  ]


@functools.lru_cache(maxsize=1024)
def _valid_positions(
  size: int,
  kernel: int,
  result: int,
  stride: int,
  pad: int,
  dilation: int,
  kernel_dilation: int,
) -> int:
  """Counts pairs of result and kernel positions that meet an input value."""
  position = (
    np.arange(result)[:, None] * stride
    + np.arange(kernel) * kernel_dilation
    - pad
  )
  inside = (position >= 0) & (position <= (size - 1) * dilation)
  return int(np.count_nonzero(inside & (position % dilation == 0)))


def _sum(first: Cost, second: Cost) -> Cost:
  collectives = dict(first.collectives)
  for kind, right in second.collectives.items():
    left = collectives.get(kind, Collective())
    collectives[kind] = Collective(
      count=left.count + right.count,
      payload_bytes=left.payload_bytes + right.payload_bytes,
      sent_bytes=left.sent_bytes + right.sent_bytes,
    )
  return Cost(
    matmul_flops=first.matmul_flops + second.matmul_flops,
    collectives=collectives,
    cycles=first.cycles + second.cycles,
    unknown_loops=first.unknown_loops + second.unknown_loops,
  )


def _times(once: Cost, trips: int) -> Cost:
  return Cost(
    matmul_flops=once.matmul_flops * trips,
    collectives={
      kind: Collective(
        count=collective.count * trips,
        payload_bytes=collective.payload_bytes * trips,
        sent_bytes=collective.sent_bytes * trips,
      )
      for kind, collective in once.collectives.items()
    },
    cycles=once.cycles * trips,
    unknown_loops=once.unknown_loops,
  )
