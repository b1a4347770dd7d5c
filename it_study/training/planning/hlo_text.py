"""The text of a compiled program: computations, instructions, loops."""

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
# What passes a value on as it is.
_PASSING = ('copy', 'bitcast', 'convert', 'copy-start', 'copy-done')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line: `%name = result opcode(operands), attributes`.

  Attributes:
    name: without the percent sign.
    result: type of the result, a tuple's in brackets.
    opcode: such as 'dot' or 'all-reduce-start'.
    operands: their names; a constant's value, a parameter's number.
    attributes: the rest of the line.
    is_root: whether it is what its computation returns.
  """

  name: str
  result: str
  opcode: str
  operands: tuple[str, ...]
  attributes: str
  is_root: bool = False

  def called(self) -> dict[str, tuple[str, ...]]:
    """Returns the computations it names, by the attribute that names them."""
    return {
      key: tuple(_NAME.findall(names))
      for key, names in _CALLED.findall(self.attributes)
    }


@dataclasses.dataclass(frozen=True)
class Program:
  """A parsed module.

  Attributes:
    entry: name of the computation that it starts with.
    computations: instructions by name, by computation, in order.
    num_devices: that it runs on.
  """

  entry: str
  computations: Mapping[str, Mapping[str, Instruction]]
  num_devices: int

  def trip_count(self, computation: str, loop: Instruction) -> int | None:
    """How often a while loop's body runs, None if its text does not tell.

    As the compiler noted it (`known_trip_count`); else from a condition that
    compares a counter with a constant, the counter's first value and its step
    being 0 and 1 where they are not constants in sight.
    """
    noted = _TRIPS.search(loop.attributes)
    if noted:
      return int(noted[1])
    called = loop.called()
    condition = self.computations[called['condition'][0]]
    compare = _root(condition)
    if compare.opcode != 'compare':
      return None
    direction = _DIRECTION.search(compare.attributes)
    counter = condition.get(compare.operands[0])
    limit = _constant(condition, compare.operands[1])
    if (
      direction is None
      or direction[1] not in ('LT', 'LE')
      or counter is None
      or counter.opcode != 'get-tuple-element'
      or limit is None
    ):
      return None
    index = int(_INDEX.search(counter.attributes)[1])
    outside = self.computations[computation]
    start = _constant(outside, _element(outside, loop.operands[0], index)) or 0
    body = self.computations[called['body'][0]]
    step = _step(body, _element(body, _root(body).name, index)) or 1
    return math.ceil((limit + (direction[1] == 'LE') - start) / step)


def parse(text: str) -> Program:
  """Reads the text that `jax.stages.Compiled.as_text` gives.

  Raises:
    ValueError: it has no entry computation.
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
  """Types and shapes in a result's type.

  >>> arrays('(f32[8,2]{1,0:T(8,128)}, /*index=1*/u32[])')
  [('f32', (8, 2)), ('u32', ())]
  """
  return [
    (dtype, tuple(int(size) for size in sizes.split(',') if size))
    for dtype, sizes in _ARRAY.findall(result)
  ]


def num_bytes(result: str) -> int:
  """Bytes of all arrays in a result's type, without padding.

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
  """The index after the bracket that closes the one at `start`."""
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
  """The name of an element of a tuple that is made in a computation."""
  instruction = computation.get(name)
  if instruction is None or instruction.opcode != 'tuple':
    return None
  return instruction.operands[index]


def _constant(
  computation: Mapping[str, Instruction], name: str | None
) -> int | None:
  instruction = computation.get(name)
  while instruction is not None and instruction.opcode in _PASSING:
    instruction = computation.get(instruction.operands[0])
  if instruction is None or instruction.opcode != 'constant':
    return None
  value = instruction.operands[0]
  return int(value) if re.fullmatch(r'-?\d+', value) else None


def _step(
  computation: Mapping[str, Instruction], name: str | None
) -> int | None:
  """What a counter grows by: that of `add(counter, constant)`."""
  instruction = computation.get(name)
  while instruction is not None and instruction.opcode in _PASSING:
    instruction = computation.get(instruction.operands[0])
  if instruction is None or instruction.opcode != 'add':
    return None
  found = [_constant(computation, name) for name in instruction.operands]
  return next((value for value in found if value), None)
