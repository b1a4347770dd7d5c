"""Compiles our programs for an H100, and counts their kernels and bytes.

  python benchmarks/gpu_compiled_bench.py [--only NAME]

Requires the extra `gpu`, but no GPU: JAX's CUDA plugin compiles for one that it
is told about. Compiles what `gpu_bench.py` times: attention of one encoder
layer with its gradient, the training step of T5 v1.1 large and that of a
decoder-only model; and the optimizer's update alone.

Prints the kernels and copies that a device runs, those of a loop once per
iteration; the bytes that they read and write; and memory. These are no timings:
without a device, the compiler measures nothing, so that all matrix products are
left to cuBLAS here, and kernels have the shapes that it guesses. Each program
is compiled in a separate process, which takes a minute or two. Expect the
update of all layers together to take a tenth of the kernels that tensor by
tensor takes.
"""

import argparse
from collections.abc import Callable, Mapping
import dataclasses
import functools
import importlib.util
import json
import math

import new_process

from it_study.training.planning import hlo_text
from it_study.training.planning.hlo_text import Instruction, Program

_BANDWIDTH = 3.35e12
# NVIDIA's figures of an H100 as an SXM module, and of the libraries in use.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Ends of the opcodes that take no kernel.
_FREE = (
  *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast'),
  *('after-all', 'opt-barrier', '-done'),
)
# Instructions of a fusion that read all of an operand, even for a part of their
# result. The others read as much of it as is needed of theirs.
_READ_ALL = ('reduce', 'broadcast', 'scatter', 'dot', 'dynamic-update-slice')
_SLICES = ('slice', 'dynamic-slice', 'gather')


@dataclasses.dataclass(frozen=True)
class Work:
  """What a device does in one run of a program.

  Attributes:
    kernels: Number of kernels and copies.
    outside_loops: Number of those outside loops.
    read: Bytes read; what several kernels read counts for each.
    written: Bytes written.
  """

  kernels: int = 0
  outside_loops: int = 0
  read: float = 0.0
  written: float = 0.0


def main() -> None:
  """Prints a line for each program once it is compiled."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--only',
    default='',
    help='part of the names of what to compile (default: everything)',
  )
  parser.add_argument('--one', help=argparse.SUPPRESS)
  parser.add_argument(
    '--tiny', action='store_true', help='tiny sizes, compiled in seconds'
  )
  options = parser.parse_args()
  if not has_plugin():
    print(
      "Skipped: requires JAX's CUDA plugin. Run pip install 'it_study[gpu]'."
    )
    return
  if options.one:
    print(json.dumps(_measure(options.one, tiny=options.tiny)))
    return
  for name in _PROGRAMS:
    if options.only in name:
      print(f'{name}: {_run(name, tiny=options.tiny)}', flush=True)


def has_plugin() -> bool:
  """Whether JAX can compile for NVIDIA GPUs."""
  return importlib.util.find_spec('jax_plugins') is not None and any(
    importlib.util.find_spec(f'jax_plugins.xla_cuda{version}')
    for version in (12, 13)
  )


def work(text: str) -> Work:
  """Counts a program's work from the text of `Compiled.as_text`."""
  program = hlo_text.parse(text)
  return _work(program, program.entry)


def _run(name: str, *, tiny: bool) -> str:
  """Compiles a program in a new process, and describes its costs."""
  result, seconds = new_process.measure(
    *(__file__, '--one', name, *(['--tiny'] if tiny else [])),
    environment={
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_gpu_enable_triton_gemm=false',
    },
  )
  if isinstance(result, str):
    return f'does not compile, after {seconds:.0f} s: {result}'
  moved = result['read'] + result['written']
  return (
    f'{result["kernels"]:,} kernels, {result["outside_loops"]:,} outside '
    f'loops; {result["read"] / 1e9:.2f} GB read, '
    f'{result["written"] / 1e9:.2f} GB written, '
    f'{1e3 * moved / _BANDWIDTH:.2f} ms at the full bandwidth; '
    f'{result["arguments"] / 1e9:.2f} GB of arguments, '
    f'{result["temporaries"] / 1e9:.2f} GB of temporaries '
    f'(compiled in {seconds:.0f} s)'
  )


def _measure(name: str, *, tiny: bool) -> dict[str, float]:
  """Compiles a program in this process, and returns its costs."""
  import gpu_bench

  from it_study.training.planning import compiled_program

  sizes = gpu_bench._TINY if tiny else gpu_bench._Sizes()
  compiled = _PROGRAMS[name](sizes, _device()).compile()
  memory = compiled_program.memory(compiled)
  return {
    **dataclasses.asdict(work(compiled.as_text())),
    'arguments': memory.arguments,
    'temporaries': memory.temporaries,
  }


def _device():
  """Returns an H100 to compile for; nothing can run on it."""
  from jax._src import xla_bridge
  from jax.experimental import topologies

  canonical = xla_bridge.canonicalize_platform
  # JAX looks for a device to tell NVIDIA's GPUs from others.
  xla_bridge.canonicalize_platform = lambda platform: (
    'cuda' if platform == 'gpu' else canonical(platform)
  )
  topology = topologies.get_topology_desc(
    platform='cuda', target_config=_H100, topology='1x1x1'
  )
  return topology.devices[0]


def _attention(implementation: str, sizes, device):
  """Lowers attention of one encoder layer, packed, and its gradient."""
  import gpu_bench
  import jax

  attend = gpu_bench._with_position_bias(implementation)
  sharding = jax.sharding.SingleDeviceSharding(device)

  def array(shape, dtype):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  def with_gradient(gradient, segments, *inputs):
    mixed, vjp = jax.vjp(lambda *inputs: attend(*inputs, segments), *inputs)
    return mixed, vjp(gradient)

  rows = sizes.rows[0]
  of_heads = array(
    (rows, sizes.heads, sizes.inputs, sizes.head_dim), 'bfloat16'
  )
  return jax.jit(with_gradient).lower(
    of_heads,
    array((rows, sizes.inputs), 'int32'),
    *(of_heads,) * 3,
    array((sizes.heads, 32), 'float32'),
  )


def _step(
  kind: str,
  attention: str,
  sizes,
  device,
  *,
  index: int = 0,
  optimizer: str = 'adafactor',
):
  """Lowers the training step of 'T5' or of a 'decoder-only' model.

  Args:
    kind: Kind of the model.
    attention: Implementation of attention.
    sizes: Sizes of `gpu_bench.py`.
    device: Device to compile for.
    index: Index of the number of rows in `sizes`.
    optimizer: Name of the optimizer.
  """
  import gpu_bench

  from it_study.models import partitioning
  from it_study.models.decoder_only.model import make_model
  from it_study.training import optimizers, train_step

  batch = gpu_bench.packed_batch(sizes, sizes.rows[index % len(sizes.rows)])
  config = sizes.t5(attention)
  if kind == 'decoder-only':
    config, batch = (
      sizes.decoder_only(attention),
      gpu_bench._decoder_only(batch),
    )
  return train_step.lower_train_step(
    model=make_model(config),
    optimizer=getattr(optimizers, optimizer)(learning_rate=1e-3),
    mesh=partitioning.make_mesh(devices=[device]),
    batch_shapes=tuple(
      (name, array.shape, array.dtype.name) for name, array in batch.items()
    ),
  )


def _update(optimizer: str, sizes, device, *, grouped: bool):
  """Lowers the update alone, of float32 gradients in an array each."""
  import jax
  import optax

  from it_study.models import partitioning
  from it_study.models.decoder_only.model import make_model
  from it_study.training import optimizers, train_step

  settings = getattr(optimizers, optimizer)(learning_rate=1e-3)
  state = train_step.abstract_state(
    model=make_model(sizes.t5('xla')),
    optimizer=settings,
    mesh=partitioning.make_mesh(devices=[device]),
  )

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(params, opt_state, gradients):
    updates, opt_state = settings.transformation(grouped=grouped).update(
      gradients, opt_state, params
    )
    return optax.apply_updates(params, updates), opt_state

  return update.lower(state.params, state.opt_state, state.params)


_PROGRAMS: dict[str, Callable] = {
  **{
    f'attention with position bias, {name}': functools.partial(_attention, name)
    for name in ('xla', 'cudnn', 'pallas')
  },
  **{
    f'T5 step, {rows} rows, {name}': functools.partial(
      _step, 'T5', name, index=index
    )
    for index, rows in enumerate((8, 32))
    for name in ('xla', 'cudnn', 'pallas')
  },
  'T5 step, 8 rows, xla, AdamW': functools.partial(
    _step, 'T5', 'xla', optimizer='adamw'
  ),
  **{
    f'decoder-only step, {name}': functools.partial(_step, 'decoder-only', name)
    for name in ('xla', 'pallas')
  },
  'update, AdamW': functools.partial(_update, 'adamw', grouped=False),
  'update, Adafactor, layers together': functools.partial(
    _update, 'adafactor', grouped=True
  ),
  'update, Adafactor, tensor by tensor': functools.partial(
    _update, 'adafactor', grouped=False
  ),
}


def _work(program: Program, computation: str) -> Work:
  """Counts the work of a computation whose instructions are kernels."""
  total = Work()
  for instruction in program.computations[computation].values():
    called = instruction.called()
    if instruction.opcode == 'while':
      inside = _work(program, called['body'][0])
      trips = program.trip_count(computation, instruction) or 1
      total = _sum(total, inside, trips, is_loop=True)
    elif instruction.opcode in ('call', 'conditional', 'async-start'):
      for name in {name for names in called.values() for name in names}:
        total = _sum(total, _work(program, name), 1, is_loop=False)
    elif not instruction.opcode.endswith(_FREE):
      one = _kernel(program, computation, instruction)
      total = _sum(total, one, 1, is_loop=False)
  return total


def _sum(total: Work, other: Work, times: int, *, is_loop: bool) -> Work:
  return Work(
    total.kernels + times * other.kernels,
    total.outside_loops + (0 if is_loop else times * other.outside_loops),
    total.read + times * other.read,
    total.written + times * other.written,
  )


def _kernel(
  program: Program, computation: str, instruction: Instruction
) -> Work:
  instructions = program.computations[computation]
  if instruction.opcode == 'fusion':
    (name,) = instruction.called()['calls']
    return Work(1, 1, *_fusion_bytes(program.computations[name]))
  read = sum(
    hlo_text.num_bytes(instructions[name].result)
    for name in instruction.operands
    if name in instructions
  )
  result = instruction.result
  written = hlo_text.num_bytes(result)
  if instruction.opcode == 'custom-call':
    # Space that cuBLAS or cuDNN may use.
    written = sum(
      hlo_text.num_bytes(f'{dtype}[{",".join(map(str, shape))}]')
      for dtype, shape in hlo_text.arrays(result)
      if dtype not in ('s8', 'u8')
    )
  return Work(1, 1, read, written)


def _fusion_bytes(body: Mapping[str, Instruction]) -> tuple[float, float]:
  """Returns the bytes that a fusion reads and writes.

  Of an array of which a slice is used, only the slice is read; of one in which
  a slice is replaced, only the slice is written.
  """
  users: dict[str, list[Instruction]] = {name: [] for name in body}
  for instruction in body.values():
    for operand in set(instruction.operands) & users.keys():
      users[operand].append(instruction)
  (root,) = (i for i in body.values() if i.is_root)
  outputs = [root.name]
  if root.opcode == 'tuple':
    outputs = list(root.operands)
  written, in_place = 0.0, set()
  for name in outputs:
    source = body[_behind_bitcasts(body, name)]
    if source.opcode == 'dynamic-update-slice':
      written += hlo_text.num_bytes(body[source.operands[1]].result)
      in_place.add(_behind_bitcasts(body, source.operands[0]))
    else:
      written += hlo_text.num_bytes(body[name].result)
  read, needed = 0.0, {}
  for instruction in reversed(body.values()):
    name = instruction.name
    share = 1.0 if instruction.is_root else 0.0
    for user in users[name]:
      share += _share(body, name, user, needed[user.name])
    needed[name] = min(1.0, share)
    if instruction.opcode == 'parameter' and name not in in_place:
      read += needed[name] * hlo_text.num_bytes(instruction.result)
  return read, written


def _share(
  body: Mapping[str, Instruction], name: str, user: Instruction, needed: float
) -> float:
  """Returns the share of an array that one of its users reads."""
  if user.opcode in _READ_ALL or user.opcode == 'tuple':
    return 1.0
  if user.opcode in _SLICES:
    if user.operands[0] != name:
      return 1.0
    return needed * _size(user) / max(1, _size(body[name]))
  return needed


def _size(instruction: Instruction) -> int:
  return sum(
    math.prod(shape) for _, shape in hlo_text.arrays(instruction.result)
  )


def _behind_bitcasts(body: Mapping[str, Instruction], name: str) -> str:
  while body[name].opcode in ('bitcast', 'convert', 'reshape'):
    name = body[name].operands[0]
  return name


if __name__ == '__main__':
  main()
