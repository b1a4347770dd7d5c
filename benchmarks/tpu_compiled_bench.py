"""Compiles our programs and T5X's for a TPU slice, and compares their costs.

  python benchmarks/tpu_compiled_bench.py [--what train,decode] [--only NAME]

Compiles the training step and greedy decoding of T5 v1.1 large: bfloat16,
inputs of 1,024 tokens, targets of 128, 128 rows, Adafactor, no dropout; and
attention of one encoder layer with its gradient, 8 rows on one chip. Requires
libtpu (extra `tpu-aot`) but no TPU; T5X is skipped if it is not installed.

Prints seconds, memory per chip, FLOP and bytes sent. Seconds are the compiler's
cycle counts over the chip's clock rate, with the instructions of a loop counted
once per iteration; waiting for other chips is not included, nor are our
kernels, for which the compiler has neither cycles nor FLOP. The bytes that the
instructions read and write, which count a loop once, are shown for attention,
which has none. Each program is compiled in a separate process, which takes
minutes. Expect our training step to
take about 0.75 of the seconds of T5X's fastest variant, and our decoding about
0.3.
"""

import argparse
import dataclasses
import importlib.util
import json
import math
import re

import new_process

_ROWS, _INPUTS, _TARGETS = 128, 1024, 128
_LARGE = (32_128, 1024, 16, 64, 2816, 24, 24)


@dataclasses.dataclass(frozen=True)
class _Case:
  """A program to compile.

  Attributes:
    what: Kind of the program, 'train', 'decode' or 'attention'.
    peer: Implementation, 'ours' or 't5x'.
    mesh: Sizes of the mesh axes data, fsdp and model; for T5X, data and model.
    remat: Rematerialisation policy of the scanned layers.
    network: Name of the network among T5X's examples.
    parameter_dims: T5X's `parameter_partitioning_dims`; with 2, parameters are
      sharded over data too, as fsdp does.
    microbatches: Number of microbatches in a batch.
    attention: Our implementation of attention.
  """

  what: str
  peer: str
  mesh: tuple[int, int, int] | tuple[int, int]
  remat: str = 'none'
  network: str = 'scalable_t5'
  parameter_dims: int = 1
  microbatches: int = 1
  attention: str = 'xla'


_CASES = {
  'ours, fsdp 16, full': _Case('train', 'ours', (1, 16, 1), 'full'),
  'ours, data 16, full': _Case('train', 'ours', (16, 1, 1), 'full'),
  'ours, fsdp 16, full, kernel': _Case(
    'train', 'ours', (1, 16, 1), 'full', attention='pallas'
  ),
  'ours, fsdp 16, minimal, kernel': _Case(
    'train', 'ours', (1, 16, 1), 'minimal', attention='pallas'
  ),
  't5x, data 16, full': _Case('train', 't5x', (16, 1), 'full'),
  't5x, data 16, parameters sharded, full': _Case(
    'train', 't5x', (16, 1), 'full', parameter_dims=2
  ),
  't5x, data 16, parameters sharded, minimal': _Case(
    'train', 't5x', (16, 1), 'minimal', parameter_dims=2
  ),
  't5x, data 4, model 4, full': _Case('train', 't5x', (4, 4), 'full'),
  't5x, plain network, data 16, 8 microbatches': _Case(
    'train', 't5x', (16, 1), network='t5', microbatches=8
  ),
  'XLA': _Case('attention', 'ours', (1, 1, 1)),
  'kernel': _Case('attention', 'ours', (1, 1, 1), attention='pallas'),
  'ours, data 16': _Case('decode', 'ours', (16, 1, 1)),
  'ours, data 4, model 4': _Case('decode', 'ours', (4, 1, 4)),
  't5x, data 16': _Case('decode', 't5x', (16, 1)),
  't5x, data 4, model 4': _Case('decode', 't5x', (4, 4)),
}


def main() -> None:
  """Prints a line for each program once it is compiled."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--what',
    default='train,decode,attention',
    help='kinds of programs to compile (default: %(default)s)',
  )
  names = '; '.join(_CASES)
  parser.add_argument(
    '--only',
    action='append',
    metavar='NAME',
    help=f'program to compile, repeatable (default: all). Programs: {names}',
  )
  parser.add_argument(
    '--topology', default='v5e:4x4', help='TPU slice (default: %(default)s)'
  )
  parser.add_argument('--one', choices=_CASES, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.one:
    case = _CASES[options.one]
    print(json.dumps(_measure(case, options.topology)))
    return
  missing = [
    name for name in ('libtpu', 't5x') if importlib.util.find_spec(name) is None
  ]
  if 'libtpu' in missing:
    print("Skipped: requires libtpu. Run pip install 'it_study[tpu-aot]'.")
    return
  for name, case in _CASES.items():
    if case.what not in options.what.split(',') or case.peer in missing:
      continue
    if not options.only or name in options.only:
      print(f'{case.what}: {name}: {_run(name, options.topology)}', flush=True)


def _run(name: str, topology: str) -> str:
  """Compiles a program in a new process, and describes its costs."""
  result, seconds = new_process.measure(
    *(__file__, '--one', name, '--topology', topology),
    environment={'JAX_PLATFORMS': 'cpu'},
  )
  if isinstance(result, str):
    return f'does not compile, after {seconds:.0f} s: {result}'
  return (
    f'{result["seconds"]:.3f} s, {result["bytes"] / 2**30:.2f} GiB per chip, '
    f'{result["flops"]:.3e} FLOP in products, '
    f'{result["sent"] / 2**30:.2f} GiB sent, '
    f'{result["unknown_loops"]} loops of unknown length, '
    f'{result["moved"] / 2**30:.2f} GiB read and written '
    f'(compiled in {seconds:.0f} s)'
  )


def _measure(case: _Case, topology: str) -> dict[str, float]:
  """Compiles a program in this process, and returns its costs."""
  from it_study.training import hardware
  from it_study.training.planning import compiled_program, tpu_topologies

  devices = tpu_topologies.devices(topology)
  lower = {
    ('train', 'ours'): _our_step,
    ('train', 't5x'): _t5x_step,
    ('decode', 'ours'): _our_decoding,
    ('decode', 't5x'): _t5x_decoding,
    ('attention', 'ours'): _our_attention,
  }[case.what, case.peer]
  compiled = lower(case, devices).compile()
  text = compiled.as_text()
  if case.what == 'decode':
    text = _set_num_decoding_steps(text)
  cost = compiled_program.cost(text)
  clock = hardware.lookup(hardware.CLOCK_HERTZ, devices[0].device_kind)
  return {
    'moved': (compiled.cost_analysis() or {}).get('bytes accessed', 0.0),
    'seconds': cost.cycles / clock,
    'bytes': compiled_program.memory(compiled).total,
    'flops': cost.matmul_flops * math.prod(case.mesh),
    'sent': sum(kind.sent_bytes for kind in cost.collectives.values()),
    'unknown_loops': cost.unknown_loops,
  }


def _set_num_decoding_steps(text: str) -> str:
  """Sets the trip count of the loop over tokens to the longest target.

  It is the only loop whose trip count is not in the text, since it depends on
  the tokens.
  """
  from it_study.training.planning import hlo_text

  program = hlo_text.parse(text)
  (loop,) = [
    instruction.name
    for name, computation in program.computations.items()
    for instruction in computation.values()
    if instruction.opcode == 'while'
    and program.trip_count(name, instruction) is None
  ]
  return re.sub(
    rf'^(\s+(?:ROOT )?%{re.escape(loop)} = .*)$',
    rf'\1, backend_config={{"known_trip_count":{{"n":"{_TARGETS}"}}}}',
    text,
    flags=re.MULTILINE,
  )


def _batch(sharding, *, with_targets: bool):
  import jax

  def feature(length, dtype='int32'):
    return jax.ShapeDtypeStruct((_ROWS, length), dtype, sharding=sharding)

  batch = {
    'encoder_input_tokens': feature(_INPUTS),
    'decoder_input_tokens': feature(_TARGETS),
  }
  if with_targets:
    batch['decoder_target_tokens'] = feature(_TARGETS)
    batch['decoder_loss_weights'] = feature(_TARGETS, 'float32')
  return batch


def _our_model(case: _Case):
  from it_study.models.t5 import T5, T5Config

  return T5(
    T5Config(
      *_LARGE,
      dtype='bfloat16',
      # In decoding, scanning the encoder's layers copies their parameters.
      scan_layers=case.what == 'train',
      remat_policy=case.remat,
      attention_implementation=case.attention,
    )
  )


def _our_mesh(case: _Case, devices):
  from it_study.models import partitioning

  return partitioning.make_mesh(
    **dict(zip(('data', 'fsdp', 'model'), case.mesh, strict=True)),
    devices=devices,
  )


def _our_step(case: _Case, devices):
  from it_study.training import optimizers, train_step

  mesh = _our_mesh(case, devices)
  return train_step.lower_train_step(
    model=_our_model(case),
    optimizer=optimizers.adafactor(learning_rate=1e-3),
    mesh=mesh,
    num_microbatches=case.microbatches,
    batch_shapes=tuple(
      (name, array.shape, array.dtype.name)
      for name, array in _batch(None, with_targets=True).items()
    ),
  )


def _our_attention(case: _Case, devices):
  """Lowers attention of one encoder layer, packed, and its gradient."""
  import jax
  import jax.numpy as jnp

  from it_study.models import dot_product_attention, layers
  from it_study.models.kernels import flash_attention

  rows, heads, dim = 8, _LARGE[2], _LARGE[3]
  sharding = jax.sharding.SingleDeviceSharding(devices[0])

  def attend(query, key, value, table, segments):
    bias = layers.RelativePositionBias(heads, 32, 128, True).bind(
      {'params': {'rel_embedding': table}}
    )
    if case.attention == 'pallas':
      segments = flash_attention.Segments(segments, segments)
      return flash_attention.attend(
        query, key, value, segments, bias.by_steps()
      )
    same = segments[:, None, :, None] == segments[:, None, None, :]
    return dot_product_attention.attend(
      *(query, key, value, bias(_INPUTS, _INPUTS)),
      jnp.where(same, 0.0, dot_product_attention.MASKED),
    )

  def with_gradient(gradient, segments, *inputs):
    mixed, vjp = jax.vjp(lambda *inputs: attend(*inputs, segments), *inputs)
    return mixed, vjp(gradient)

  def array(shape, dtype):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

  of_heads = array((rows, heads, _INPUTS, dim), 'bfloat16')
  return jax.jit(with_gradient).lower(
    of_heads,
    array((rows, _INPUTS), 'int32'),
    *(of_heads,) * 3,
    array((heads, 32), 'float32'),
  )


def _our_decoding(case: _Case, devices):
  """Lowers the encoder and the token loop as one program, as T5X does."""
  from it_study.inference import token_loop
  from it_study.models import partitioning
  from it_study.models.param_dtype import to_compute_dtype

  mesh = _our_mesh(case, devices)
  model = _our_model(case)
  params = partitioning.abstract_params(model=model, mesh=mesh)

  # Not `decode_tokens`, which takes the mesh from concrete arrays.
  return token_loop._decode_tokens.lower(
    to_compute_dtype(params, model.config),
    _batch(partitioning.batch_sharding(mesh), with_targets=False)[
      'encoder_input_tokens'
    ],
    *(None,) * 4,
    model=model,
    max_decode_length=_TARGETS,
    eos_id=1,
    other_ends=(),
    mesh=mesh,
  )


def _t5x_model(case: _Case):
  """Returns T5X's model and the shapes of its training state."""
  import jax
  import step_bench
  from t5x import decoding, train_state

  scanned = {'scan_layers': True, 'remat_policy': case.remat}
  model = step_bench.t5x_model(
    _LARGE,
    network=case.network,
    decode_fn=decoding.temperature_sample,
    dtype='bfloat16',
    **(scanned if case.network == 'scalable_t5' else {}),
  )
  shapes = {
    name: array.shape for name, array in _batch(None, with_targets=True).items()
  }
  state = jax.eval_shape(
    lambda key: train_state.FlaxOptimTrainState.create(
      model.optimizer_def, model.get_initial_variables(key, shapes)
    ),
    jax.random.key(0),
  )
  return model, state


def _t5x_partitioner(case: _Case, devices):
  import jax
  import numpy as np
  from t5x import partitioning

  class Partitioner(partitioning.PjitPartitioner):
    """Partitioner for devices that this machine does not have."""

    mesh = jax.sharding.Mesh(
      np.array(devices).reshape(case.mesh), ('data', 'model')
    )

  return Partitioner(
    num_partitions=case.mesh[1],
    logical_axis_rules=partitioning.standard_logical_axis_rules(
      parameter_partitioning_dims=case.parameter_dims
    ),
  )


def _placed(tree, axes, mesh):
  """Returns shapes with the shardings of the partitioner."""
  import jax

  def place(leaf, spec):
    sharding = jax.sharding.NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return jax.tree.map(
    lambda spec, leaf: place(leaf, spec or jax.sharding.PartitionSpec()),
    axes,
    tree,
    is_leaf=lambda leaf: (
      leaf is None or isinstance(leaf, jax.sharding.PartitionSpec)
    ),
  )


def _t5x_step(case: _Case, devices):
  import jax
  from t5x import trainer

  model, state = _t5x_model(case)
  partitioner = _t5x_partitioner(case, devices)
  axes = partitioner.get_mesh_axes(state)
  step = partitioner.partition(
    lambda state, batch: trainer.train_with_lr(
      state,
      batch,
      1e-3,
      jax.random.key(0),
      model,
      num_microbatches=case.microbatches if case.microbatches > 1 else None,
      data_partition_spec=partitioner.data_partition_spec,
    ),
    in_axis_resources=(axes, partitioner.data_partition_spec),
    out_axis_resources=(axes, None),
    donate_argnums=(0,),
  )
  return step.lower(state, _batch(None, with_targets=True))


def _t5x_decoding(case: _Case, devices):
  model, state = _t5x_model(case)
  partitioner = _t5x_partitioner(case, devices)
  predict = partitioner.partition(
    model.predict_batch,
    in_axis_resources=(
      partitioner.get_mesh_axes(state).params,
      partitioner.data_partition_spec,
    ),
    out_axis_resources=partitioner.data_partition_spec,
  )
  return predict.lower(state.params, _batch(None, with_targets=False))


if __name__ == '__main__':
  main()
