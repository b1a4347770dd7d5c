"""Plans a training: memory, work and communication, without its devices."""

from collections.abc import Callable, Mapping
import dataclasses
import math
import time
from typing import Any, TypedDict

import jax
from jax.sharding import Mesh

from it_study.errors import InputError
from it_study.input_pipeline import row_layouts
from it_study.models import ModelConfig, partitioning
from it_study.models.adapters.lora import Lora
from it_study.models.decoder_only.model import make_model
from it_study.models.flops import training_flops
from it_study.training import hardware, train_step
from it_study.training.optimizers import Optimizer
from it_study.training.planning import compiled_program
from it_study.training.planning.compiled_program import Collective

# The counts are final before machine code is generated, and nobody runs it.
# Skipping its optimization saves a third of the time.
_CPU_COMPILER_OPTIONS: dict[str, Any] = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}
PHASES = ('tracing', 'compiling', 'measuring')
# Name, shape and dtype of each feature.
_BatchShapes = tuple[tuple[str, tuple[int, int], str], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """Requirements of one training step. Bytes are per device.

  Attributes:
    model: Configuration of the model.
    mesh: Number of devices along each axis.
    device_kind: JAX's name of the devices.
    is_estimate: Whether the program was compiled for virtual CPU devices
      instead of the devices that it will run on.
    batch_size: Rows per step, over all devices.
    lengths: Tokens per row, by feature.
    packed: Whether several examples share a row.
    num_microbatches: Number of parts that a batch is computed in.
    num_parameters: Number of parameters of the model, LoRA's not included.
    num_lora_parameters: Number of LoRA's parameters; None if all of the model's
      are trained.
    parameter_bytes: Size of the parameters, LoRA's included, without padding.
    optimizer_bytes: Size of the optimizer's state and the step number, without
      padding.
    batch_bytes: Size of the batch, without padding.
    temporary_bytes: Peak size of activations, gradients and other intermediate
      values, according to the compiler.
    other_bytes: Size of padding, of results besides the state, and of the
      program.
    total_bytes: Sum of these five.
    device_memory_bytes: Memory of one device; None if unknown.
    model_flops: FLOPs of a step over all devices, by formula.
    program_flops: FLOPs of the compiled program's matrix products over all
      devices. Loops count as often as they run, so recomputation is included.
    compiler_flops: FLOPs of one device from the compiler's cost analysis, which
      counts the body of a loop once; None if it gives none.
    collectives: Collective operations of one device in a step, by kind.
    estimated_cycles: The compiler's estimate of the cycles of one device in a
      step, without waiting for others; None if it gives none.
    estimated_seconds: The same in seconds; None if the clock is unknown.
    unknown_loops: Number of loops with an unknown trip count, counted once.
    trace_seconds: Seconds spent tracing.
    compile_seconds: Seconds spent compiling.
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
  num_lora_parameters: int | None
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
    """Returns all attributes as a dict that JSON can hold."""
    return dataclasses.asdict(self)


class _DeviceBytes(TypedDict):
  """The memory attributes of a `Plan`."""

  parameter_bytes: int
  optimizer_bytes: int
  batch_bytes: int
  temporary_bytes: int
  other_bytes: int
  total_bytes: int


class _Cost(TypedDict):
  """The attributes of a `Plan` that count a step's operations."""

  program_flops: float
  compiler_flops: float | None
  collectives: Mapping[str, Collective]
  estimated_cycles: float | None
  estimated_seconds: float | None
  unknown_loops: int


def plan(
  *,
  model_config: ModelConfig,
  optimizer: Optimizer,
  mesh: Mesh,
  batch_size: int,
  lengths: Mapping[str, int],
  microbatch_size: int | None = None,
  packed: bool = True,
  layout: row_layouts.RowLayout = row_layouts.ENCODER_DECODER,
  lora: Lora | None = None,
  on_phase: Callable[[str], None] = lambda phase: None,
) -> Plan:
  """Compiles the step of `trainer.train` and measures it; allocates no model.

  Args:
    model_config: Configuration of the model. With `scan_layers`, one layer of
      each stack is compiled, however many there are.
    optimizer: Optimizer from `it_study.training.optimizers`.
    mesh: Mesh of devices that need not exist: virtual CPUs, or a topology's.
    batch_size: Rows per step, over all devices.
    lengths: Tokens per row of 'inputs' and 'targets'.
    microbatch_size: Maximum rows that a device computes at once; None for all.
    packed: Whether several examples share a row.
    layout: Layout of a batch's rows.
    lora: Settings of LoRA; None to train all parameters.
    on_phase: Callback, called with each of `PHASES` as it begins.

  Raises:
    InputError: If the batch cannot be split over the mesh, or a compiler that
      knows the device's memory finds that the step does not fit.
  """
  num_microbatches = partitioning.count_microbatches(
    batch_size=batch_size, mesh=mesh, microbatch_size=microbatch_size
  )
  model = make_model(model_config)
  device = mesh.devices.flat[0]
  batch_shapes = _batch_shapes(batch_size, lengths, packed, layout)
  on_phase('tracing')
  started = time.perf_counter()
  lowered = train_step.lower_train_step(
    batch_shapes=batch_shapes,
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    z_loss=model_config.z_loss,
    num_microbatches=num_microbatches,
    lora=lora,
  )
  traced = time.perf_counter()
  on_phase('compiling')
  compiled = _compile(lowered, device, model_config)
  compile_seconds = time.perf_counter() - traced
  on_phase('measuring')
  state = train_step.abstract_state(
    model=model, optimizer=optimizer, mesh=mesh, lora=lora
  )
  return Plan(
    model=dataclasses.asdict(model_config),
    mesh=dict(mesh.shape),
    device_kind=device.device_kind,
    is_estimate=device.platform == 'cpu',
    batch_size=batch_size,
    lengths=dict(lengths),
    packed=packed,
    num_microbatches=num_microbatches,
    num_parameters=_count(state.params if lora is None else state.frozen),
    num_lora_parameters=None if lora is None else _count(state.params),
    **_count_bytes(state, batch_shapes, mesh, compiled),
    device_memory_bytes=_memory_of(device),
    model_flops=training_flops(
      model_config,
      batch_size=batch_size,
      input_length=lengths['inputs'],
      target_length=lengths['targets'],
    ),
    **_cost(compiled, mesh),
    trace_seconds=traced - started,
    compile_seconds=compile_seconds,
  )


def _cost(compiled: jax.stages.Compiled, mesh: Mesh) -> _Cost:
  """Returns the operations of a step, and their time if it can be told."""
  cost = compiled_program.cost(compiled.as_text() or '')
  clock = hardware.lookup(
    hardware.CLOCK_HERTZ, mesh.devices.flat[0].device_kind
  )
  return _Cost(
    program_flops=cost.matmul_flops * mesh.size,
    compiler_flops=compiled_program.compiler_flops(compiled),
    collectives=cost.collectives,
    estimated_cycles=cost.cycles or None,
    estimated_seconds=cost.cycles / clock if clock and cost.cycles else None,
    unknown_loops=cost.unknown_loops,
  )


def _count_bytes(
  state: train_step.TrainState,
  batch_shapes: _BatchShapes,
  mesh: Mesh,
  compiled: jax.stages.Compiled,
) -> _DeviceBytes:
  """Splits the memory of one device by what it holds."""
  memory = compiled_program.memory(compiled)
  parameters = _tree_bytes((state.params, state.frozen))
  optimizer = _tree_bytes((state.step, state.opt_state))
  batch = sum(
    math.prod(shape) * jax.numpy.dtype(dtype).itemsize
    for _, shape, dtype in batch_shapes
  ) // (mesh.shape['data'] * mesh.shape['fsdp'])
  # Negative where the program does not read all of the batch.
  padding = max(0, memory.arguments - parameters - optimizer - batch)
  other = memory.new_outputs + memory.code + padding
  return {
    'parameter_bytes': parameters,
    'optimizer_bytes': optimizer,
    'batch_bytes': batch,
    'temporary_bytes': memory.temporaries,
    'other_bytes': other,
    'total_bytes': parameters + optimizer + batch + memory.temporaries + other,
  }


def _memory_of(device: jax.Device) -> int | None:
  """Returns the memory of a device in bytes; None if unknown."""
  memory = hardware.lookup(hardware.MEMORY_BYTES, device.device_kind)
  return None if memory is None else int(memory)


def _compile(
  lowered: jax.stages.Lowered, device: jax.Device, config: ModelConfig
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
      f"{type(config).__name__}.remat_policy='full', or a larger MESH_FSDP or "
      'MESH_MODEL.'
    ) from error


def _batch_shapes(
  batch_size: int,
  lengths: Mapping[str, int],
  packed: bool,
  layout: row_layouts.RowLayout,
) -> _BatchShapes:
  """Returns name, shape and dtype of every feature that `feed.Feed` yields."""
  return tuple(
    (name, (batch_size, length), dtype)
    for name, (length, dtype) in layout.shapes(lengths, pack=packed).items()
  )


def _count(tree: Any) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _tree_bytes(tree: Any) -> int:
  """Returns the size of a tree's arrays on one device, in bytes."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
