"""Compares the training step on a CPU with T5X's and PyTorch's.

  python benchmarks/step_bench.py [--config S1] [--peers ours,t5x,torch]

Trains T5 v1.1 of size S1 or S2 in float32 with Adafactor, on unpacked batches
of 8 rows of 512 input and 64 target tokens, without dropout. Each measurement
runs in a separate process, and peers are interleaved. T5X is measured if it is
installed, transformers on PyTorch if the extra `parity` is.

Prints median seconds per step, CPU seconds and the kernel's part of them, the
share of the rate of a large matrix product, peak memory, and the time from the
start of the process to the end of the first step. Expect ours to be 2 to 3
times as fast as both peers on S1; on S2, 1.5 times as fast as T5X and 1.0 to
1.2 times as fast as PyTorch.
"""

import argparse
from collections.abc import Mapping, Sequence
import importlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

# The first fields of T5Config: vocabulary, embedding, heads, head dimension,
# mlp, encoder layers, decoder layers.
CONFIGS = {
  'S1': (32128, 256, 4, 64, 512, 4, 4),
  'S2': (32128, 512, 6, 64, 1024, 8, 8),
}
_ROWS, _INPUTS, _TARGETS = 8, 512, 64
# The package that each peer requires.
_NEEDS = {'ours': 'jax', 't5x': 't5x', 'torch': 'transformers'}


def main() -> None:
  """Prints a line for each measurement, then a table of medians."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--config',
    choices=CONFIGS,
    default='S1',
    help='size of the model (default: %(default)s)',
  )
  parser.add_argument(
    '--peers',
    default='ours,t5x,torch',
    help='implementations to measure (default: %(default)s)',
  )
  parser.add_argument(
    '--rounds',
    type=int,
    default=3,
    help='processes for each implementation (default: %(default)s)',
  )
  parser.add_argument(
    '--steps',
    type=int,
    default=4,
    help='timed steps in a process (default: %(default)s)',
  )
  parser.add_argument(
    '--cache',
    metavar='DIR',
    help="folder of JAX's compilation cache (default: no cache)",
  )
  parser.add_argument(
    '--huge_pages',
    choices=('ours', 'all', 'none'),
    default='ours',
    help='processes that use huge pages; our command line enables them '
    '(default: %(default)s)',
  )
  parser.add_argument('--one', choices=_NEEDS, help=argparse.SUPPRESS)
  parser.add_argument('--started', type=float, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.one:
    started = options.started
    measure = {'ours': _ours, 't5x': _t5x, 'torch': _torch}[options.one]
    print(json.dumps(measure(options.config, options.steps, started)))
    return
  peers = []
  for peer in options.peers.split(','):
    if importlib.util.find_spec(_NEEDS[peer]) is None:
      print(f'Skipped {peer}: it requires the package {_NEEDS[peer]}.')
    else:
      peers.append(peer)
  results = {peer: [] for peer in peers}
  for _ in range(options.rounds):
    for peer in peers:
      results[peer].append(_run(peer, options))
      print(peer, results[peer][-1], flush=True)
  _print_table(results)


def _run(peer: str, options: argparse.Namespace) -> dict[str, float]:
  """Measures a peer in a new process."""
  return run_alone(
    __file__,
    [
      *('--one', peer, '--config', options.config),
      *('--steps', options.steps, '--started', time.time()),
    ],
    environment={
      **_cache(options.cache),
      **memory_settings(peer, options.huge_pages),
    },
  )


def _cache(folder: str | None) -> dict[str, str]:
  """Returns variables that enable JAX's compilation cache, as our CLI does."""
  if folder is None:
    return {}
  from it_study.commands.runs import configuration

  return {
    'JAX_COMPILATION_CACHE_DIR': folder,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': str(
      configuration.MIN_COMPILE_SECONDS
    ),
  }


def memory_settings(peer: str, huge_pages: str) -> dict[str, str]:
  """Returns environment variables that enable huge pages, as our CLI does.

  Args:
    peer: Implementation to measure: 'ours', 't5x' or 'torch'.
    huge_pages: Implementation that uses huge pages, or 'all' or 'none'.

  Returns:
    Environment variables for the process of that implementation.
  """
  from it_study.processes import host_memory

  if huge_pages in (peer, 'all'):
    return host_memory.huge_pages_environment()
  return {}


def run_alone(
  file: str, arguments: Sequence[object], *, environment: Mapping[str, str]
) -> dict[str, Any]:
  """Runs a benchmark in a new process on the CPU, and returns what it prints.

  Args:
    file: Path of the benchmark, whose last line is a JSON object.
    arguments: Its arguments.
    environment: Variables beside those of this process.
  """
  process = subprocess.run(
    [sys.executable, file, *map(str, arguments)],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', **environment},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(process.stdout.splitlines()[-1])


def _print_table(results: dict[str, list[dict[str, float]]]) -> None:
  for peer, runs in results.items():
    seconds = [run['seconds'] for run in runs]
    median = statistics.median(seconds)
    cpu = statistics.median(run['cpu'] for run in runs)
    system = statistics.median(run['system'] for run in runs)
    rate = statistics.median(run['matmul'] for run in runs)
    print(
      f'{peer:6} {median:.2f} s per step '
      f'({min(seconds):.2f}-{max(seconds):.2f}), '
      f'{cpu:.2f} CPU-s, {system:.2f} of them in the kernel, '
      f'{runs[0]["flops"] / median / rate:.0%} of {rate / 1e9:.0f} GFLOP/s, '
      f'{statistics.median(run["gigabytes"] for run in runs):.2f} GB, first '
      f'step after {statistics.median(run["first"] for run in runs):.1f} s'
    )


def _result(run, started, *, config, steps, matmul) -> dict[str, float]:
  """Times steps, and the process up to the end of the first step."""
  run()
  first = time.time() - started
  seconds = []
  start = os.times()
  for _ in range(steps):
    before = time.perf_counter()
    run()
    seconds.append(time.perf_counter() - before)
  end = os.times()
  user, system = end.user - start.user, end.system - start.system
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
  return {
    'seconds': statistics.median(seconds),
    'cpu': (user + system) / steps,
    'system': system / steps,
    'first': first,
    'gigabytes': peak,
    'flops': _flops(config),
    'matmul': _best_rate(matmul),
  }


def _flops(config: str) -> float:
  from it_study.models.config import T5Config
  from it_study.models.flops import training_flops

  return training_flops(
    T5Config(*CONFIGS[config]),
    batch_size=_ROWS,
    input_length=_INPUTS,
    target_length=_TARGETS,
  )


def _best_rate(multiply, size: int = 2048) -> float:
  """Returns the FLOP/s of a float32 matrix product, the best of ten runs."""
  multiply()
  seconds = []
  for _ in range(10):
    before = time.perf_counter()
    multiply()
    seconds.append(time.perf_counter() - before)
  return 2 * size**3 / min(seconds)


def _jax_matmul(size: int = 2048):
  import jax
  import jax.numpy as jnp

  matrix = jnp.ones((size, size), jnp.float32)
  product = jax.jit(jnp.matmul)
  return lambda: product(matrix, matrix).block_until_ready()


def _batch() -> dict[str, np.ndarray]:
  random = np.random.default_rng(0)
  targets = random.integers(2, 32128, (_ROWS, _TARGETS), np.int32)
  return {
    'encoder_input_tokens': random.integers(
      2, 32128, (_ROWS, _INPUTS), np.int32
    ),
    'decoder_input_tokens': np.pad(targets[:, :-1], ((0, 0), (1, 0))),
    'decoder_target_tokens': targets,
    'decoder_loss_weights': np.ones((_ROWS, _TARGETS), np.float32),
  }


def training(config: str, batch: dict[str, np.ndarray]):
  """Returns our initial state, and the step compiled for a batch's shapes."""
  from it_study.processes import host_memory

  host_memory.keep_head_room()
  from it_study.models import partitioning
  from it_study.models.t5 import T5, T5Config
  from it_study.training import optimizers, train_step

  model = T5(T5Config(*CONFIGS[config]))
  optimizer = optimizers.adafactor(learning_rate=1e-3)
  mesh = partitioning.make_mesh()
  state = train_step.init_state(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    params=partitioning.init_params(model=model, seed=0, mesh=mesh),
  )
  step, _ = train_step.compile_train_step(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    batch_shapes=tuple(
      (name, array.shape, array.dtype.name) for name, array in batch.items()
    ),
  )
  host_memory.give_back_unused()
  return state, step


def _ours(config: str, steps: int, started: float) -> dict[str, float]:
  """Measures our training step."""
  import jax

  batch = _batch()
  state, step = training(config, batch)

  def run():
    nonlocal state
    state, _ = step(state, batch, np.uint32(0))
    jax.block_until_ready(state)

  return _result(run, started, config=config, steps=steps, matmul=_jax_matmul())


def t5x_model(sizes, *, network: str = 't5', decode_fn=None, **settings):
  """Returns T5X's model with its Adafactor.

  Args:
    sizes: Sizes of the model, as in `CONFIGS`.
    network: Name of the network among T5X's examples.
    decode_fn: Function of T5X's `decoding`; None for the model's default.
    **settings: Further fields of the network's configuration.
  """
  # isort: off
  import seqio
  from t5x import adafactor, models
  # isort: on

  network = importlib.import_module(f't5x.examples.{network}.network')
  names = (
    *('vocab_size', 'emb_dim', 'num_heads', 'head_dim', 'mlp_dim'),
    *('num_encoder_layers', 'num_decoder_layers'),
  )
  vocabulary = seqio.PassThroughVocabulary(sizes[0], eos_id=1)
  return models.EncoderDecoderModel(
    module=network.Transformer(
      network.T5Config(
        dropout_rate=0.0,
        mlp_activations=('gelu', 'linear'),
        **dict(zip(names, sizes, strict=True)),
        **settings,
      )
    ),
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    optimizer_def=adafactor.Adafactor(
      decay_rate=0.8,
      step_offset=0,
      logical_factor_rules=adafactor.standard_logical_factor_rules(),
    ),
    z_loss=1e-4,
    **({} if decode_fn is None else {'decode_fn': decode_fn}),
  )


def _t5x(config: str, steps: int, started: float) -> dict[str, float]:
  """Measures T5X's network, loss, Adafactor and training step, jitted."""
  import jax
  from t5x import train_state, trainer

  model = t5x_model(CONFIGS[config])
  batch = _batch()
  state = jax.jit(
    lambda key: train_state.FlaxOptimTrainState.create(
      model.optimizer_def,
      model.get_initial_variables(
        key, {name: array.shape for name, array in batch.items()}
      ),
    )
  )(jax.random.key(0))
  step = jax.jit(
    lambda state, batch: trainer.train_with_lr(
      state, batch, 1e-3, jax.random.key(0), model, num_microbatches=None
    ),
    donate_argnums=0,
  )

  def run():
    nonlocal state
    state, _ = step(state, batch)
    jax.block_until_ready(state)

  return _result(run, started, config=config, steps=steps, matmul=_jax_matmul())


def _torch(config: str, steps: int, started: float) -> dict[str, float]:
  """Measures transformers' T5 v1.1 and Adafactor."""
  import torch
  import transformers
  from transformers.optimization import Adafactor

  vocabulary, emb, heads, head_dim, mlp, encoder, decoder = CONFIGS[config]
  torch.set_num_threads(os.cpu_count())
  model = transformers.T5ForConditionalGeneration(
    transformers.T5Config(
      vocab_size=vocabulary,
      d_model=emb,
      d_kv=head_dim,
      d_ff=mlp,
      num_layers=encoder,
      num_decoder_layers=decoder,
      num_heads=heads,
      feed_forward_proj='gated-gelu',
      tie_word_embeddings=False,
      dropout_rate=0.0,
      decoder_start_token_id=0,
    )
  ).train()
  optimizer = Adafactor(
    model.parameters(), lr=1e-3, relative_step=False, scale_parameter=True
  )
  batch = _batch()
  inputs = torch.from_numpy(batch['encoder_input_tokens']).long()
  labels = torch.from_numpy(batch['decoder_target_tokens']).long()

  def run():
    optimizer.zero_grad(set_to_none=True)
    model(
      input_ids=inputs, attention_mask=torch.ones_like(inputs), labels=labels
    ).loss.backward()
    optimizer.step()

  matrix = torch.ones(2048, 2048)
  return _result(
    run, started, config=config, steps=steps, matmul=lambda: matrix @ matrix
  )


if __name__ == '__main__':
  main()
