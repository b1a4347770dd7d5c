"""Parses the text of a compiled program: computations and trip counts."""

from collections.abc import Mapping
import dataclasses
import math
import re

_HEADER = re.compile(r'(ENTRY )?%([\w.\-]+) .*\{\s*$')
_INSTRUCTION = re.compile(r'\s+(ROOT )?%([\w.\-]+) = ')
_OPCODE = re.compile(r'\s*([a-z][\w\-]*)\(')
_NAME = re.compile(r'%([\w.\-]+)')
_ARRAY = re.compile(r'\b(pred|token|[a-z]+\d+\w*)\[([\d,]*)\]')
_PARTITIONS = re.compile(r'\b(?:num_partitions|replica_count)=(\d+)')
_CALLED = re.compile(
  r'\b(calls|to_apply|body|condition|branch_computations|true_computation'
  r'|false_computation|called_computations)=(\{[^}]*\}|%[\w.\-]+)'
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_INDEX = re.compile(r'\bindex=(\d+)')
_DIRECTION = re.compile(r'\bdirection=(\w+)')
# Opcodes that pass a value on unchanged.
_PASSING = ('copy', 'bitcast', 'convert', 'copy-start', 'copy-done')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line: `%name = result opcode(operands), attributes`.

  Attributes:
    name: Name, without the percent sign.
    result: Type of the result; that of a tuple in parentheses.
    opcode: Operation, such as 'dot' or 'all-reduce-start'.
    operands: Names of the operands; a constant's value or a parameter's number.
    attributes: Rest of the line.
    is_root: Whether its computation returns it.
  """

  name: str
  result: str
  opcode: str
  operands: tuple[str, ...]
  attributes: str
  is_root: bool = False

  def called(self) -> dict[str, tuple[str, ...]]:
    """Returns the names of the computations that each attribute refers to."""
    return {
      key: tuple(_NAME.findall(names))
      for key, names in _CALLED.findall(self.attributes)
    }


@dataclasses.dataclass(frozen=True)
class Program:
  """A parsed module.

  Attributes:
    entry: Name of the computation that it starts with.
    computations: Instructions in order, by computation and name.
    num_devices: Number of devices that it runs on.
  """

  entry: str
  computations: Mapping[str, Mapping[str, Instruction]]
  num_devices: int

  def trip_count(self, computation: str, loop: Instruction) -> int | None:
    """Returns how often a while loop's body runs; None if unknown.

    Uses the compiler's note (`known_trip_count`), or else a condition that
    compares a counter with a constant. The counter's start and step are taken
    as 0 and 1 unless they are visible constants.
    """
    note = _TRIPS.search(loop.attributes)
    if note:
      return int(note[1])
    called = loop.called()
    condition = self.computations[called['condition'][0]]
    compare = _root(condition)
    if compare.opcode != 'compare':
      return None
    direction = _DIRECTION.search(compare.attributes)
    counter = condition.get(compare.operands[0])
    position = _INDEX.search(counter.attributes) if counter else None
    limit = _constant(condition, compare.operands[1])
    if (
      direction is None
      or direction[1] not in ('LT', 'LE')
      or counter is None
      or counter.opcode != 'get-tuple-element'
      or position is None
      or limit is None
    ):
      return None
    index = int(position[1])
    outside = self.computations[computation]
    start = _constant(outside, _element(outside, loop.operands[0], index)) or 0
    body = self.computations[called['body'][0]]
    step = _step(body, _element(body, _root(body).name, index)) or 1
    return math.ceil((limit + (direction[1] == 'LE') - start) / step)


def parse(text: str) -> Program:
  """Parses the text of `jax.stages.Compiled.as_text`.

  Raises:
    ValueError: If it has no entry computation.
  """
  computations: dict[str, dict[str, Instruction]] = {}
  entry, current = None, None
  lines = text.splitlines()
  for line in lines:
    if current is None:
      header = _HEADER.match(line)
      if header:
        current = computations.setdefault(header[2], {})
        entry = header[2] if header[1] else entry
    elif line.startswith('}'):
      current = None
    else:
      instruction = _instruction(line)
      if instruction is not None:
        current[instruction.name] = instruction
  if entry is None:
    raise ValueError('no ENTRY computation in the text of a program')
  return Program(
    entry=entry,
    computations=computations,
    num_devices=math.prod(int(n) for n in _PARTITIONS.findall(lines[0])),
  )


def arrays(result: str) -> list[tuple[str, tuple[int, ...]]]:
  """Returns dtypes and shapes in a result's type.

  >>> arrays('(f32[8,2]{1,0:T(8,128)}, /*index=1*/u32[])')
  [('f32', (8, 2)), ('u32', ())]
  """
  return [
    (dtype, tuple(int(size) for size in sizes.split(',') if size))
    for dtype, sizes in _ARRAY.findall(result)
  ]


def num_bytes(result: str) -> int:
  """Returns the bytes of all arrays in a result's type, without padding.

  >>> num_bytes('(f32[8,2]{1,0}, bf16[3], pred[], s4[3])')
  73
  """
  return sum(
    math.ceil(math.prod(shape) * _bits(dtype) / 8)
    for dtype, shape in arrays(result)
  )


def _bits(dtype: str) -> int:
  digits = re.search(r'\d+', dtype)
  if digits:
    return int(digits[0])
  return 8 if dtype == 'pred' else 0


def _instruction(line: str) -> Instruction | None:
  start = _INSTRUCTION.match(line)
  if start is None:
    return None
  at = start.end()
  end = _closing(line, at) if line[at] == '(' else line.index(' ', at)
  opcode = _OPCODE.match(line, end)
  if opcode is None:
    return None
  close = _closing(line, opcode.end() - 1)
  inside = line[opcode.end() : close - 1]
  operands = tuple(_NAME.findall(inside)) or (inside,)
  return Instruction(
    name=start[2],
    result=line[at:end],
    opcode=opcode[1],
    operands=operands,
    attributes=line[close:],
    is_root=bool(start[1]),
  )


def _closing(line: str, start: int) -> int:
  """Returns the index after the parenthesis that closes the one at `start`."""
  depth = 0
  for match in re.compile(r'[()]').finditer(line, start):
    depth += 1 if match[0] == '(' else -1
    if not depth:
      return match.end()
  return len(line)


def _root(computation: Mapping[str, Instruction]) -> Instruction:
  return next(i for i in computation.values() if i.is_root)


def _element(
  computation: Mapping[str, Instruction], name: str, index: int
) -> str | None:
  """Returns the name of an element of a tuple built in a computation."""
  instruction = computation.get(name)
  if instruction is None or instruction.opcode != 'tuple':
    return None
  return instruction.operands[index]


def _constant(
  computation: Mapping[str, Instruction], name: str | None
) -> int | None:
  """Returns the value of an integer constant; None for anything else."""
  instruction = _source(computation, name)
  if instruction is None or instruction.opcode != 'constant':
    return None
  value = instruction.operands[0]
  return int(value) if re.fullmatch(r'-?\d+', value) else None


def _step(
  computation: Mapping[str, Instruction], name: str | None
) -> int | None:
  """Returns the increment of a counter, from `add(counter, constant)`."""
  instruction = _source(computation, name)
  if instruction is None or instruction.opcode != 'add':
    return None
  constants = [_constant(computation, name) for name in instruction.operands]
  return next((value for value in constants if value), None)


def _source(
  computation: Mapping[str, Instruction], name: str | None
) -> Instruction | None:
  """Returns the instruction that computes a value, behind copies of it."""
  instruction = computation.get(name) if name is not None else None
  while instruction is not None and instruction.opcode in _PASSING:
    instruction = computation.get(instruction.operands[0])
  return instruction
