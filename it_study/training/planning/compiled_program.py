"""What a compiled program needs: memory, operations, bytes that are sent.

XLA's own cost analysis counts the body of a loop once, however often it runs.
Here the program's text is read, and a loop's body counts as often as it runs.
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
# A part of an axis is written 'axis':(2)4, the 4 being its size.
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
    count: operations; several arrays reduced in one are one.
    payload_bytes: of the whole arrays: what is reduced, what a gather gives,
      what is scattered, exchanged or handed on.
    sent_bytes: that one device sends if the operation goes round a ring of its
      n devices: 2 (n - 1) / n of the payload for all-reduce, (n - 1) / n for
      all-gather, reduce-scatter and all-to-all, all of it for
      collective-permute (Thakur et al. 2005, section 4).
  """

  count: int = 0
  payload_bytes: float = 0.0
  sent_bytes: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """What one device does in one run of a program.

  Attributes:
    matmul_flops: operations of matrix products and convolutions, a
      multiplication and an addition being two.
    collectives: by kind, those of `COLLECTIVES` that occur.
    cycles: the compiler's estimate, instruction by instruction, where it gives
      one (TPU); waiting for others is not in it. 0 elsewhere.
    unknown_loops: loops with something to count whose number of runs the text
      does not tell; they count once.
  """

  matmul_flops: float = 0.0
  collectives: Mapping[str, Collective] = dataclasses.field(
    default_factory=dict
  )
  cycles: float = 0.0
  unknown_loops: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """Bytes on one device, by the compiler's account.

  Attributes:
    arguments: what the program is given, padded as the device lays it out.
    new_outputs: results that do not take an argument's place.
    temporaries: everything in between, at its peak.
    code: of the program; 0 where it lies in the host's memory.
  """

  arguments: int
  new_outputs: int
  temporaries: int
  code: int

  @property
  def total(self) -> int:
    """All of it."""
    return self.arguments + self.new_outputs + self.temporaries + self.code


def memory(compiled: jax.stages.Compiled) -> Memory:
  """What the compiler says that a program takes."""
  stats = compiled.memory_analysis()
  return Memory(
    arguments=stats.argument_size_in_bytes,
    new_outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    temporaries=stats.temp_size_in_bytes,
    code=stats.generated_code_size_in_bytes,
  )


def cost(text: str) -> Cost:
  """Counts a program from its text, as `Compiled.as_text` gives it."""
  program = hlo_text.parse(text)
  return _Counter(program).cost(program.entry, fused=False)


def compiler_flops(compiled: jax.stages.Compiled) -> float | None:
  """The compiler's count for a device, loop bodies once; None if it has none.

  Its `optimal_seconds` is of no use: it counts loops once as well, and of a
  program for a TPU it was a twentieth of a second less 333 whole ones, as if
  every instruction of unknown cost took -1.
  """
  return (compiled.cost_analysis() or {}).get('flops')


class _Counter:
  """Counts every computation once, and what it calls as often as it does."""

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
      # What is inside a fusion is in the fusion's own estimate.
      match = _CYCLES.search(instruction.attributes)
      cycles = float(match[1]) if match else 0.0
    if opcode == 'dot':
      return Cost(matmul_flops=_dot(instruction, instructions), cycles=cycles)
    if opcode == 'convolution':
      flops = _convolution(instruction, instructions)
      return Cost(matmul_flops=flops, cycles=cycles)
    kind = opcode.removesuffix('-start')
    if kind in COLLECTIVES:
      if fused:
        kind = _fused_kind(kind, instruction, instructions)
      found = self._collective(kind, instruction, instructions)
      return Cost(collectives=found, cycles=cycles)
    if opcode == 'while':
      return self._loop(computation, instruction)
    names = ()
    if opcode in ('fusion', 'async-start'):
      names = called.get('calls', ())
    elif opcode in ('call', 'custom-call'):
      names = called.get('to_apply', called.get('called_computations', ()))
    elif opcode == 'conditional':
      return self._dearest_branch(called)
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

  def _dearest_branch(self, called: Mapping[str, tuple[str, ...]]) -> Cost:
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
  """What a collective inside a fusion is; None if it counts elsewhere.

  On a TPU an all-reduce fused with slices of its result is a reduce-scatter;
  and an operation that goes on while others compute is written once in the
  fusion that starts it, in each that computes meanwhile, and in the one that
  ends it.
  """
  others = instructions.values()
  if 'chain_id=' in instruction.attributes:
    starts = any(_TARGET.search(other.attributes) for other in others)
    return kind if starts else None
  if kind == 'all-reduce' and any(o.opcode == 'dynamic-slice' for o in others):
    return 'reduce-scatter'
  return kind


def _group_size(attributes: str) -> int | None:
  """Devices that take part together; None for all there are."""
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
  """2 times the result's size times the contracted axes."""
  ((_, result),) = hlo_text.arrays(instruction.result)
  ((_, left),) = hlo_text.arrays(instructions[instruction.operands[0]].result)
  contracted = _CONTRACTED.search(instruction.attributes)
  axes = [int(a) for a in contracted[1].split(',') if a] if contracted else []
  return 2.0 * math.prod(result) * math.prod(left[axis] for axis in axes)


def _convolution(
  instruction: Instruction, instructions: Mapping[str, Instruction]
) -> float:
  """2 times every product of an input value and a kernel value.

  Products with padding, and with the gaps that dilation makes, do not count: a
  TPU writes a batch of matrix products as such a convolution.
  """
  ((_, result),) = hlo_text.arrays(instruction.result)
  left, kernel = (
    hlo_text.arrays(instructions[name].result)[0][1]
    for name in instruction.operands
  )
  left_labels, kernel_labels, labels = _LABELS.search(
    instruction.attributes
  ).groups()
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
  """Stride, low padding, dilation of input and kernel, of each axis."""
  match = _WINDOW.search(attributes)
  fields = dict(f.split('=') for f in match[1].split()) if match else {}
  rank = len(fields['size'].split('x')) if 'size' in fields else 0

  def values(name, default):
    given = fields.get(name)
    return given.split('x') if given else [default] * rank

  return [
    (int(stride), int(pad.split('_')[0]), int(spread), int(kernel_spread))
    for stride, pad, spread, kernel_spread in zip(
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
  spread: int,
  kernel_spread: int,
) -> int:
  """Pairs of a result's and a kernel's place that meet an input value."""
  place = (
    np.arange(result)[:, None] * stride
    + np.arange(kernel) * kernel_spread
    - pad
  )
  inside = (place >= 0) & (place <= (size - 1) * spread)
  return int(np.count_nonzero(inside & (place % spread == 0)))


def _sum(first: Cost, second: Cost) -> Cost:
  collectives = dict(first.collectives)
  for kind, more in second.collectives.items():
    had = collectives.get(kind, Collective())
    collectives[kind] = Collective(
      count=had.count + more.count,
      payload_bytes=had.payload_bytes + more.payload_bytes,
      sent_bytes=had.sent_bytes + more.sent_bytes,
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
        count=found.count * trips,
        payload_bytes=found.payload_bytes * trips,
        sent_bytes=found.sent_bytes * trips,
      )
      for kind, found in once.collectives.items()
    },
    cycles=once.cycles * trips,
    unknown_loops=once.unknown_loops,
  )
