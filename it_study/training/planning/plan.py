"""What a training needs of devices that are not here."""

from collections.abc import Mapping
import dataclasses
import math
import time
from typing import Any

import jax
from jax.sharding import Mesh

from it_study.errors import InputError
from it_study.models import partitioning
from it_study.models.flops import training_flops
from it_study.models.t5 import T5, T5Config
from it_study.training import hardware, train_step
from it_study.training.optimizers import Optimizer
from it_study.training.planning import compiled_program
from it_study.training.planning.compiled_program import Collective

# What is counted is settled before machine code is made, which nobody runs: a
# third less time.
_CPU_COMPILER_OPTIONS = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What one training step takes. Bytes are those of one device.

  Attributes:
    model: the model's configuration.
    mesh: devices along each axis.
    device_kind: JAX's name of the devices.
    is_estimate: whether the program was compiled for virtual CPU devices, in
      place of what it is to run on.
    batch_size: rows a step, over all devices.
    lengths: tokens in a row, by feature.
    packed: whether several examples share a row.
    num_microbatches: parts that a batch is computed in.
    num_parameters: of the model.
    parameter_bytes: without the padding of the device's layout.
    optimizer_bytes: likewise, the step's number included.
    batch_bytes: likewise.
    temporary_bytes: activations, gradients and everything else in between, at
      their peak, by the compiler's account.
    other_bytes: padding, what is returned besides the state, and the program.
    total_bytes: the sum of these five.
    device_memory_bytes: of one device, None if it is not known.
    model_flops: of a step over all devices, by formula.
    program_flops: of the compiled program's matrix products, over all devices,
      loops counted as often as they run: what is computed again is in it.
    compiler_flops: of one device, by the compiler's cost analysis, which counts
      the body of a loop once; None if it has none.
    collectives: of one device in a step, by kind.
    estimated_cycles: of one device in a step, by the compiler, without waiting
      for others; None where the compiler gives none.
    estimated_seconds: the same by the device's clock; None if not known.
    unknown_loops: loops whose number of runs is not known, counted once.
    trace_seconds: that tracing took here.
    compile_seconds: that compiling took here.
  """

  model: Mapping[str, Any]
  mesh: Mapping[str, int]
  device_kind: str
  is_estimate: bool
  batch_size: int
  lengths: Mapping[str, int]
  packed: bool
  num_microbatches: int
  num_parameters: int
  parameter_bytes: int
  optimizer_bytes: int
  batch_bytes: int
  temporary_bytes: int
  other_bytes: int
  total_bytes: int
  device_memory_bytes: int | None
  model_flops: float
  program_flops: float
  compiler_flops: float | None
  collectives: Mapping[str, Collective]
  estimated_cycles: float | None
  estimated_seconds: float | None
  unknown_loops: int
  trace_seconds: float
  compile_seconds: float

  def to_dict(self) -> dict[str, Any]:
    """Returns all of it as JSON has it."""
    return dataclasses.asdict(self)


def plan(
  *,
  model_config: T5Config,
  optimizer: Optimizer,
  mesh: Mesh,
  batch_size: int,
  lengths: Mapping[str, int],
  microbatch_size: int | None = None,
  packed: bool = True,
) -> Plan:
  """Compiles the training step that `trainer.train` would run, and reads it.

  Nothing of the model is allocated.

  Args:
    model_config: of the model; with `scan_layers` it compiles a layer of each
      stack once, which keeps the time off the number of layers.
    optimizer: from `it_study.training.optimizers`.
    mesh: of devices that need not be here: virtual ones of the CPU, or a
      topology's.
    batch_size: rows a step, over all devices.
    lengths: 'inputs' and 'targets', in tokens.
    microbatch_size: the most rows that a device computes at once; None is all.
    packed: whether several examples share a row.

  Raises:
    InputError: the batch cannot be split over the mesh, or a compiler that
      knows the device's memory finds that the step does not fit.
  """
  num_microbatches = partitioning.count_microbatches(
    batch_size=batch_size, mesh=mesh, microbatch_size=microbatch_size
  )
  model = T5(model_config)
  device = mesh.devices.flat[0]
  batch_shapes = _batch_shapes(batch_size, lengths, packed)
  started = time.perf_counter()
  lowered = train_step.lower_train_step(
    batch_shapes=batch_shapes,
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    num_microbatches=num_microbatches,
  )
  traced = time.perf_counter()
  compiled = _compile(lowered, device)
  compile_seconds = time.perf_counter() - traced
  memory = compiled_program.memory(compiled)
  cost = compiled_program.cost(compiled.as_text())
  state = train_step.abstract_state(model=model, optimizer=optimizer, mesh=mesh)
  parameter_bytes = _device_bytes(state.params)
  optimizer_bytes = _device_bytes((state.step, state.opt_state))
  batch_bytes = sum(
    math.prod(shape) * jax.numpy.dtype(dtype).itemsize
    for _, shape, dtype in batch_shapes
  ) // (mesh.shape['data'] * mesh.shape['fsdp'])
  other_bytes = memory.new_outputs + memory.code
  # Without what of the batch the program does not read.
  other_bytes += max(
    0, memory.arguments - parameter_bytes - optimizer_bytes - batch_bytes
  )
  clock = hardware.lookup(hardware.CLOCK_HERTZ, device.device_kind)
  return Plan(
    model=dataclasses.asdict(model_config),
    mesh=dict(mesh.shape),
    device_kind=device.device_kind,
    is_estimate=device.platform == 'cpu',
    batch_size=batch_size,
    lengths=dict(lengths),
    packed=packed,
    num_microbatches=num_microbatches,
    num_parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    parameter_bytes=parameter_bytes,
    optimizer_bytes=optimizer_bytes,
    batch_bytes=batch_bytes,
    temporary_bytes=memory.temporaries,
    other_bytes=other_bytes,
    total_bytes=(
      parameter_bytes
      + optimizer_bytes
      + batch_bytes
      + memory.temporaries
      + other_bytes
    ),
    device_memory_bytes=hardware.lookup(
      hardware.MEMORY_BYTES, device.device_kind
    ),
    model_flops=training_flops(
      model_config,
      batch_size=batch_size,
      input_length=lengths['inputs'],
      target_length=lengths['targets'],
    ),
    program_flops=cost.matmul_flops * mesh.size,
    compiler_flops=compiled_program.compiler_flops(compiled),
    collectives=cost.collectives,
    estimated_cycles=cost.cycles or None,
    estimated_seconds=cost.cycles / clock if clock and cost.cycles else None,
    unknown_loops=cost.unknown_loops,
    trace_seconds=traced - started,
    compile_seconds=compile_seconds,
  )


def _compile(
  lowered: jax.stages.Lowered, device: jax.Device
) -> jax.stages.Compiled:
  options = _CPU_COMPILER_OPTIONS if device.platform == 'cpu' else None
  try:
    return lowered.compile(compiler_options=options)
  except jax.errors.JaxRuntimeError as error:
    kind, _, reason = str(error).partition(': ')
    if kind != 'RESOURCE_EXHAUSTED':
      raise
    raise InputError(
      f'the step does not fit one {device.device_kind}: '
      f'{reason.splitlines()[0]} Try a smaller MICROBATCH_SIZE, '
      "T5Config.remat_policy='full', or more of MESH_FSDP or MESH_MODEL."
    ) from error


def _batch_shapes(
  batch_size: int, lengths: Mapping[str, int], packed: bool
) -> tuple[tuple[str, tuple[int, int], str], ...]:
  """Name, shape and type of every feature that `feed.Feed` gives."""
  inputs, targets = (
    (batch_size, lengths[name]) for name in ('inputs', 'targets')
  )
  features = [
    ('encoder_input_tokens', inputs, 'int32'),
    ('decoder_input_tokens', targets, 'int32'),
    ('decoder_target_tokens', targets, 'int32'),
    ('decoder_loss_weights', targets, 'float32'),
  ]
  if packed:
    features += [
      (f'{side}_{kind}', shape, 'int32')
      for side, shape in (('encoder', inputs), ('decoder', targets))
      for kind in ('segment_ids', 'positions')
    ]
  return tuple(features)


def _device_bytes(tree: Any) -> int:
  """Bytes of a tree's arrays on one device."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
