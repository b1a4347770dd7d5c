"""Measures the training step of T5 v1.1 large on one GPU.

  python benchmarks/gpu_bench.py --rows 32 --attention cudnn --remat minimal

Trains in bfloat16 on packed rows of 1,024 input and 128 target tokens. Prints
milliseconds per step, TFLOP/s, the share of the GPU's peak, compile time and
memory. With --only_attention, compares XLA's and cuDNN's attention instead.
Requires only JAX, Flax and Optax. Expect cuDNN to be about 1.5 times as fast as
XLA: 0.42 s per step of 32 rows on an H100.
"""

import argparse
import collections
import glob
import gzip
import itertools
import json
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from it_study.models import cudnn_attention, dot_product_attention, partitioning
from it_study.models.dot_product_attention import MASKED
from it_study.models.flops import training_flops
from it_study.models.t5 import T5, T5Config
from it_study.training import hardware, optimizers, train_step

_INPUTS, _TARGETS, _VOCABULARY = 1024, 128, 32128
_SEGMENTS = 3


def main() -> None:
  """Prints a line for the step, or one for each attention implementation."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--rows', type=int, default=32, help='rows per batch (default: %(default)s)'
  )
  parser.add_argument(
    '--microbatches',
    type=int,
    default=1,
    help='microbatches per batch (default: %(default)s)',
  )
  parser.add_argument(
    '--layers',
    type=int,
    default=24,
    help='layers of the encoder and of the decoder (default: %(default)s)',
  )
  parser.add_argument(
    '--dropout',
    type=float,
    default=0.0,
    help='dropout rate (default: %(default)s)',
  )
  parser.add_argument(
    '--attention',
    default='auto',
    choices=('auto', 'xla', 'cudnn'),
    help='attention implementation (default: %(default)s)',
  )
  parser.add_argument(
    '--remat',
    default='minimal',
    choices=('none', 'minimal', 'full'),
    help='rematerialisation policy (default: %(default)s)',
  )
  parser.add_argument(
    '--no_scan', action='store_true', help='do not scan over layers'
  )
  parser.add_argument(
    '--steps', type=int, default=6, help='timed steps (default: %(default)s)'
  )
  parser.add_argument(
    '--kernels',
    action='store_true',
    help='also profile two steps and list the slowest kernels',
  )
  parser.add_argument(
    '--only_attention',
    action='store_true',
    help='time attention of one encoder layer over 8 rows instead of a step',
  )
  parser.add_argument(
    '--anywhere', action='store_true', help='run even without a GPU'
  )
  options = parser.parse_args()
  if jax.default_backend() != 'gpu' and not options.anywhere:
    print('Skipped: requires a GPU. Use --anywhere to run without one.')
    return
  print(jax.devices()[0].device_kind, 'jax', jax.__version__)
  if options.only_attention:
    compare_attention()
  else:
    time_step(options)


def time_step(options: argparse.Namespace) -> None:
  """Compiles and times the step."""
  config = T5Config(
    *(_VOCABULARY, 1024, 16, 64, 2816, options.layers, options.layers),
    dtype='bfloat16',
    dropout_rate=options.dropout,
    remat_policy=options.remat,
    scan_layers=not options.no_scan,
    attention_implementation=options.attention,
  )
  model = T5(config)
  optimizer = optimizers.adafactor(learning_rate=1e-3)
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  before = time.perf_counter()
  state = train_step.init_state(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    params=partitioning.init_params(model=model, seed=0, mesh=mesh),
  )
  jax.block_until_ready(state)
  print(f'initialised in {time.perf_counter() - before:.1f} s')
  batch = jax.device_put(
    packed_batch(options.rows), partitioning.batch_sharding(mesh)
  )
  step, compile_seconds = train_step.compile_train_step(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
    num_microbatches=options.microbatches,
    batch_shapes=tuple(
      (name, array.shape, array.dtype.name) for name, array in batch.items()
    ),
  )
  seed = np.uint32(0)

  def run(state):
    state, metrics = step(state, batch, seed)
    jax.block_until_ready(state)
    return state, metrics

  for _ in range(2):
    state, _ = run(state)
  seconds = []
  for _ in range(options.steps):
    before = time.perf_counter()
    state, metrics = run(state)
    seconds.append(time.perf_counter() - before)
  median = statistics.median(seconds)
  flops = training_flops(
    config,
    batch_size=options.rows,
    input_length=_INPUTS,
    target_length=_TARGETS,
  )
  peak = hardware.peak_flops(jax.devices()[0])
  share = f', {flops / median / peak:.1%} of peak' if peak else ''
  print(
    f'{options.rows} rows: {1e3 * median:.1f} ms, '
    f'{flops / median / 1e12:.1f} TFLOP/s{share}, compiled in '
    f'{compile_seconds:.0f} s, temporaries '
    f'{step.memory_analysis().temp_size_in_bytes / 2**30:.1f} GiB, loss '
    f'{float(metrics["loss"]):.3f}'
  )
  if options.kernels:
    list_kernels(lambda: run(run(state)[0]))


def packed_batch(rows: int) -> dict[str, np.ndarray]:
  """Returns random tokens: three examples per row, and some padding."""
  random = np.random.default_rng(0)
  features = {}
  for side, length in (('encoder', _INPUTS), ('decoder', _TARGETS)):
    segments, positions = np.zeros((2, rows, length), np.int32)
    for row in range(rows):
      cuts = random.choice(
        np.arange(length // 8, length - length // 16), _SEGMENTS - 1, False
      )
      ends = [0, *sorted(cuts), length - length // 50]
      for number, (start, end) in enumerate(itertools.pairwise(ends), start=1):
        segments[row, start:end] = number
        positions[row, start:end] = np.arange(end - start)
    features[f'{side}_segment_ids'] = segments
    features[f'{side}_positions'] = positions
    tokens = random.integers(
      2, _VOCABULARY, size=(rows, length), dtype=np.int32
    )
    features[f'{side}_tokens'] = tokens * (segments > 0)
  targets = features.pop('decoder_tokens')
  shifted = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
  return {
    'encoder_input_tokens': features.pop('encoder_tokens'),
    'decoder_target_tokens': targets,
    'decoder_input_tokens': shifted * (features['decoder_positions'] > 0),
    'decoder_loss_weights': (targets > 0).astype(np.float32),
    **features,
  }


def compare_attention(rows: int = 8, heads: int = 16, dim: int = 64) -> None:
  """Times attention with T5's bias over packed rows, by XLA and by cuDNN."""
  keys = jax.random.split(jax.random.key(0), 5)
  shape = (rows, heads, _INPUTS, dim)
  query, key, value, gradient = (
    (0.35 * jax.random.normal(k, shape)).astype('bfloat16') for k in keys[:4]
  )
  bias = 0.5 * jax.random.normal(keys[4], (heads, _INPUTS, _INPUTS))
  segments = jnp.asarray(packed_batch(rows)['encoder_segment_ids'])
  same_segment = segments[:, :, None] == segments[:, None, :]
  mask = jnp.where(same_segment, 0.0, MASKED)[:, None]
  codes = cudnn_attention.segment_codes(segments, segments, dtype='bfloat16')
  is_token = np.asarray(segments > 0)[:, None, :, None]
  arguments = (query, key, value, bias)
  flops = 3.5 * 4 * rows * heads * _INPUTS**2 * dim
  results = []
  for name, function in (
    ('xla', lambda q, k, v, b: dot_product_attention.attend(q, k, v, b, mask)),
    (
      'cudnn',
      lambda q, k, v, b: cudnn_attention.attend_fused(q, k, v, b, codes),
    ),
  ):

    @jax.jit
    def with_backward(*inputs, function=function):
      output, vjp = jax.vjp(function, *inputs)
      return output, vjp(gradient)

    seconds = _seconds(lambda do=with_backward: do(*arguments))
    forward = jax.jit(function)
    forward_seconds = _seconds(lambda do=forward: do(*arguments))
    results.append(np.asarray(with_backward(*arguments)[0], np.float32))
    print(
      f'{name}: forward {1e3 * forward_seconds:.3f} ms, with backward '
      f'{1e3 * seconds:.3f} ms, {flops / seconds / 1e12:.0f} TFLOP/s'
    )
  xla, cudnn = (np.where(is_token, result, 0) for result in results)
  print(
    f'largest difference {abs(xla - cudnn).max()}, largest value '
    f'{abs(xla).max()}'
  )


def list_kernels(run, limit: int = 30) -> None:
  """Prints the slowest kernels of a call, with their total milliseconds."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      run()
    (path,) = glob.glob(f'{folder}/**/*.trace.json.gz', recursive=True)
    with gzip.open(path) as file:
      events = json.load(file)['traceEvents']
  streams = {
    (event['pid'], event['tid'])
    for event in events
    if event.get('name') == 'thread_name' and 'Stream' in event['args']['name']
  }
  totals = collections.Counter()
  for event in events:
    if event.get('ph') == 'X' and (event['pid'], event['tid']) in streams:
      totals[event['name'][:70]] += event['dur'] / 1e3
  for name, milliseconds in totals.most_common(limit):
    print(f'{milliseconds:9.2f} ms {name}')


def _seconds(function, repeats: int = 20) -> float:
  """Returns the mean seconds of a call, compilation excluded."""
  jax.block_until_ready(function())
  before = time.perf_counter()
  for _ in range(repeats):
    result = function()
  jax.block_until_ready(result)
  return (time.perf_counter() - before) / repeats


if __name__ == '__main__':
  main()
