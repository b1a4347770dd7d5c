"""Training step of the native engine against this machine's matmul rate.

python benchmarks/train_step_bench.py [--config S1] [--steps 5]
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from it_study import optimizers, partitioning, train_step
from it_study.models.t5 import T5, T5Config

# Batch 8, inputs 512, targets 64, vocabulary 32,128, float32, unpacked.
CONFIGS = {
  'S1': T5Config(32128, 256, 4, 64, 512, 4, 4),
  'S2': T5Config(32128, 512, 6, 64, 1024, 8, 8),
}
_BATCH, _INPUTS, _TARGETS = 8, 512, 64


def main() -> None:
  """Prints seconds a step, FLOP/s, and their share of the matmul rate."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--config', choices=CONFIGS, default='S1')
  parser.add_argument('--steps', type=int, default=5)
  options = parser.parse_args()
  model = T5(CONFIGS[options.config])
  optimizer = optimizers.adafactor(learning_rate=1e-3)
  mesh = partitioning.make_mesh()
  state = train_step.init_state(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    params=partitioning.init_params(model=model, seed=0, mesh=mesh),
  )
  batch = _batch(model.config.vocab_size)
  step, compile_seconds = train_step.compile_train_step(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    batch_shapes=tuple(
      (name, array.shape, array.dtype.name) for name, array in batch.items()
    ),
  )
  flops = step.cost_analysis()['flops']
  seed = np.uint32(0)
  times = []
  for _ in range(options.steps + 1):
    before = time.perf_counter()
    state, metrics = step(state, batch, seed)
    jax.block_until_ready(metrics)
    times.append(time.perf_counter() - before)
  seconds = statistics.median(times[1:])
  peak = _matmul_rate()
  print(f'{options.config}: compiled in {compile_seconds:.1f} s')
  print(f'{seconds:.3f} s a step, {flops / 1e9:.0f} GFLOP by XLA')
  print(
    f'{flops / seconds / 1e9:.0f} GFLOP/s, {flops / seconds / peak:.0%} of '
    f'{peak / 1e9:.0f} GFLOP/s in matrix multiplication'
  )


def _batch(vocab_size: int) -> dict[str, np.ndarray]:
  random = np.random.default_rng(0)
  draw = functools.partial(random.integers, 2, vocab_size, dtype=np.int32)
  targets = draw(size=(_BATCH, _TARGETS))
  return {
    'encoder_input_tokens': draw(size=(_BATCH, _INPUTS)),
    'decoder_input_tokens': np.pad(targets[:, :-1], ((0, 0), (1, 0))),
    'decoder_target_tokens': targets,
    'decoder_loss_weights': np.ones((_BATCH, _TARGETS), np.float32),
  }


def _matmul_rate(size: int = 2048) -> float:
  """FLOP/s of a float32 matrix product, the best of ten."""
  a = jnp.ones((size, size), jnp.float32)
  product = jax.jit(jnp.matmul)
  product(a, a).block_until_ready()
  best = float('inf')
  for _ in range(10):
    before = time.perf_counter()
    product(a, a).block_until_ready()
    best = min(best, time.perf_counter() - before)
  return 2 * size**3 / best


if __name__ == '__main__':
  main()
