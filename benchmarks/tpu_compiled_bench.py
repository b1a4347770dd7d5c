"""What a TPU's compiler says of our programs and of T5X's, on the same slice.

python benchmarks/tpu_compiled_bench.py [--what train,decode] [--only NAME]

No TPU is needed; libtpu is (extra `tpu-aot`), and T5X, whose rows are left out
where it cannot be imported. T5 v1.1 large, bfloat16, inputs 1,024, targets 128,
128 rows, Adafactor, no dropout. Seconds are the compiler's cycles, instruction
by instruction and a loop's as often as it runs, by the chip's clock; waiting
for other chips is not in them. Every program is compiled in a process of its
own, which takes minutes.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import time

_ROWS, _INPUTS, _TARGETS = 128, 1024, 128
_LARGE = (32_128, 1024, 16, 64, 2816, 24, 24)


@dataclasses.dataclass(frozen=True)
class _Case:
  """A program to compile.

  Attributes:
    what: 'train' or 'decode'.
    whose: 'ours' or 't5x'.
    mesh: data, fsdp and model; for T5X data and model.
    remat: policy, of the scanned layers.
    network: which of T5X's examples.
    parameter_dims: T5X's `parameter_partitioning_dims`; 2 splits parameters
      over data as well, as fsdp does.
    microbatches: parts of a batch.
  """

  what: str
  whose: str
  mesh: tuple[int, int, int] | tuple[int, int]
  remat: str = 'none'
  network: str = 'scalable_t5'
  parameter_dims: int = 1
  microbatches: int = 1


_CASES = {
  'ours, fsdp 16, full': _Case('train', 'ours', (1, 16, 1), 'full'),
  'ours, data 16, full': _Case('train', 'ours', (16, 1, 1), 'full'),
  't5x, data 16, full': _Case('train', 't5x', (16, 1), 'full'),
  't5x, data 16, parameters split, full': _Case(
    'train', 't5x', (16, 1), 'full', parameter_dims=2
  ),
  't5x, data 16, parameters split, minimal': _Case(
    'train', 't5x', (16, 1), 'minimal', parameter_dims=2
  ),
  't5x, data 4, model 4, full': _Case('train', 't5x', (4, 4), 'full'),
  't5x, plain network, data 16, 8 microbatches': _Case(
    'train', 't5x', (16, 1), network='t5', microbatches=8
  ),
  'ours, data 16': _Case('decode', 'ours', (16, 1, 1)),
  'ours, data 4, model 4': _Case('decode', 'ours', (4, 1, 4)),
  't5x, data 16': _Case('decode', 't5x', (16, 1)),
  't5x, data 4, model 4': _Case('decode', 't5x', (4, 4)),
}


def main() -> None:
  """Prints a line for each program as it is compiled."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--what', default='train,decode')
  parser.add_argument('--only', action='append', help=', '.join(_CASES))
  parser.add_argument('--topology', default='v5e:4x4')
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
    print("left out: needs libtpu, pip install 'it_study[tpu-aot]'")
    return
  for name, case in _CASES.items():
    if case.what not in options.what.split(',') or case.whose in missing:
      continue
    if not options.only or name in options.only:
      print(f'{case.what}: {name}: {_run(name, options.topology)}', flush=True)


def _run(name: str, topology: str) -> str:
  started = time.time()
  process = subprocess.run(
    [sys.executable, __file__, '--one', name, '--topology', topology],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    check=False,
  )
  took = f'{time.time() - started:.0f} s here'
  if process.returncode:
    exhausted = [
      line
      for line in process.stderr.splitlines()
      if 'RESOURCE_EXHAUSTED' in line
    ]
    return f'does not compile ({took}): ' + (
      exhausted[-1] if exhausted else process.stderr[-2000:]
    )
  found = json.loads(process.stdout.splitlines()[-1])
  return (
    f'{found["seconds"]:.3f} s, {found["bytes"] / 2**30:.2f} GiB a chip, '
    f'{found["flops"]:.3e} FLOP in products, sent '
    f'{found["sent"] / 2**30:.2f} GiB, {found["unknown_loops"]} loops of '
    f'unknown length ({took})'
  )


def _measure(case: _Case, topology: str) -> dict[str, float]:
  from it_study.training import hardware
  from it_study.training.planning import compiled_program, tpu_topologies

  devices = tpu_topologies.devices(topology)
  lower = {
    ('train', 'ours'): _our_step,
    ('train', 't5x'): _their_step,
    ('decode', 'ours'): _our_decoding,
    ('decode', 't5x'): _their_decoding,
  }[case.what, case.whose]
  compiled = lower(case, devices).compile()
  text = compiled.as_text()
  if case.what == 'decode':
    text = _decode_to_the_end(text)
  cost = compiled_program.cost(text)
  clock = hardware.lookup(hardware.CLOCK_HERTZ, devices[0].device_kind)
  return {
    'seconds': cost.cycles / clock,
    'bytes': compiled_program.memory(compiled).total,
    'flops': cost.matmul_flops * len(devices),
    'sent': sum(one.sent_bytes for one in cost.collectives.values()),
    'unknown_loops': cost.unknown_loops,
  }


def _decode_to_the_end(text: str) -> str:
  """Writes how often the loop over tokens runs, which depends on the tokens.

  It is the one loop whose length the text does not tell.
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
      # A loop over the encoder's layers takes a copy of their parameters.
      scan_layers=case.what == 'train',
      remat_policy=case.remat,
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


def _our_decoding(case: _Case, devices):
  """Encoder and all tokens in one program, as T5X has it."""
  from it_study.inference import token_loop
  from it_study.models import partitioning
  from it_study.models.param_dtype import to_compute_dtype

  mesh = _our_mesh(case, devices)
  model = _our_model(case)
  params = partitioning.abstract_params(model=model, mesh=mesh)

  # Not `decode_tokens`, which looks for the mesh of arrays.
  return token_loop._decode_tokens.lower(
    to_compute_dtype(params, model.config),
    _batch(partitioning.batch_sharding(mesh), with_targets=False)[
      'encoder_input_tokens'
    ],
    *(None,) * 4,
    config=model.config,
    max_decode_length=_TARGETS,
    eos_id=1,
    mesh=mesh,
  )


def _their_model(case: _Case):
  """T5X's model, and its state's shapes."""
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


def _their_partitioner(case: _Case, devices):
  import jax
  import numpy as np
  from t5x import partitioning

  class Partitioner(partitioning.PjitPartitioner):
    """On devices that are not here."""

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
  """Shapes, with where the partitioner puts them."""
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


def _their_step(case: _Case, devices):
  import jax
  from t5x import trainer

  model, state = _their_model(case)
  partitioner = _their_partitioner(case, devices)
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


def _their_decoding(case: _Case, devices):
  model, state = _their_model(case)
  partitioner = _their_partitioner(case, devices)
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
