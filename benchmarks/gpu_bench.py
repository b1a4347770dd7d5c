"""Measures attention, training and decoding on one GPU, in one run.

  python benchmarks/gpu_bench.py [--only pallas] [--minutes 8.5]

Attention alone, forward and backward: with T5's position bias over packed rows,
and causal with grouped heads, by XLA, by cuDNN and by our Pallas kernels. The
training step of T5 v1.1 large in bfloat16, over packed rows of 1,024 input and
128 target tokens; greedy decoding of 128 prompts; the step of a decoder-only
model of TinyLlama's sizes. Prints a line for each, the most telling ones first,
and continues where one fails. What there is no time for is named.
Requires only JAX, Flax and Optax. Expect cuDNN to be about 1.5 times as fast as
XLA: 0.42 s per step of 32 rows on an H100.
"""

import argparse
import collections
from collections.abc import Callable
import dataclasses
import functools
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

from it_study.inference.token_loop import decode_tokens
from it_study.models import (
  cudnn_attention,
  dot_product_attention,
  layers,
  param_dtype,
  partitioning,
)
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import make_model
from it_study.models.dot_product_attention import MASKED
from it_study.models.flops import training_flops
from it_study.models.kernels import flash_attention
from it_study.models.kernels.distance_bias import DistanceBias
from it_study.models.t5 import T5Config
from it_study.training import hardware, optimizers, train_step

_SEGMENTS = 3
_IMPLEMENTATIONS = ('xla', 'cudnn', 'pallas')


@dataclasses.dataclass(frozen=True)
class _Sizes:
  """Sizes of T5 v1.1 large and of the batches."""

  rows: tuple[int, ...] = (8, 32)
  inputs: int = 1024
  targets: int = 128
  vocabulary: int = 32128
  emb_dim: int = 1024
  heads: int = 16
  head_dim: int = 64
  mlp_dim: int = 2816
  layers: int = 24
  prompts: int = 128
  repeats: int = 20
  steps: int = 6

  def t5(self, attention: str) -> T5Config:
    return T5Config(
      *(self.vocabulary, self.emb_dim, self.heads, self.head_dim),
      *(self.mlp_dim, self.layers, self.layers),
      **_training(attention),
    )

  def decoder_only(self, attention: str) -> DecoderConfig:
    return DecoderConfig(
      *(self.vocabulary, 2 * self.emb_dim, *self.grouped_heads),
      *(self.head_dim, 2 * self.mlp_dim, self.layers),
      **_training(attention),
    )

  @property
  def grouped_heads(self) -> tuple[int, int]:
    return 2 * self.heads, max(1, self.heads // 4)


_TINY = _Sizes((2,), 24, 8, 64, 32, 2, 16, 64, 1, 4, 1, 1)


def _training(attention: str) -> dict[str, object]:
  return {
    'dtype': 'bfloat16',
    'remat_policy': 'minimal',
    'scan_layers': True,
    'attention_implementation': attention,
  }


def main() -> None:
  """Prints a line for each measurement."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--only',
    default='',
    help='part of the names of what to measure (default: everything)',
  )
  parser.add_argument(
    '--minutes',
    type=float,
    default=8.5,
    help='minutes after which nothing more is begun (default: %(default)s)',
  )
  parser.add_argument(
    '--kernels',
    action='store_true',
    help='also profile two steps and list the slowest kernels',
  )
  parser.add_argument(
    '--tiny', action='store_true', help='tiny sizes, with or without a GPU'
  )
  options = parser.parse_args()
  if jax.default_backend() != 'gpu' and not options.tiny:
    print('Skipped: requires a GPU. Use --tiny to try it without one.')
    return
  started = time.monotonic()
  print(jax.devices()[0].device_kind, 'jax', jax.__version__)
  sizes = _TINY if options.tiny else _Sizes()
  for name, measure in _measurements(sizes, kernels=options.kernels).items():
    if options.only not in name:
      continue
    if time.monotonic() - started > 60 * options.minutes:
      print(f'{name}: left out, the time is over')
      continue
    try:
      print(f'{name}: {measure()}', flush=True)
    except Exception as error:
      (reason, *_) = str(error).splitlines() or ['']
      print(f'{name}: failed, {type(error).__name__}: {reason}', flush=True)


def _measurements(
  sizes: _Sizes, *, kernels: bool
) -> dict[str, Callable[[], str]]:
  """Returns what to measure by name, in order."""
  partial = functools.partial
  found: dict[str, Callable[[], str]] = {}
  for name in _IMPLEMENTATIONS:
    found[f'attention with position bias, {name}'] = partial(
      time_attention, sizes, _with_position_bias, name, causal=False
    )
    found[f'causal attention, {name}'] = partial(
      time_attention, sizes, _causal, name, causal=True
    )
  step = partial(time_step, sizes, kernels=kernels)
  for rows, name in itertools.product(
    reversed(sizes.rows), ('pallas', 'cudnn')
  ):
    found[f'T5 step, {rows} rows, {name}'] = partial(step, sizes.t5(name), rows)
  for name in ('pallas', 'cudnn'):
    found[f'decoding, {name}'] = partial(time_decoding, sizes, sizes.t5(name))
  for name in ('pallas', 'xla'):
    found[f'decoder-only step, {name}'] = partial(
      step, sizes.decoder_only(name), sizes.rows[0]
    )
  for rows in sizes.rows:
    found[f'T5 step, {rows} rows, xla'] = partial(step, sizes.t5('xla'), rows)
  return found


def time_attention(
  sizes: _Sizes,
  function: Callable[..., Callable[..., jax.Array]],
  implementation: str,
  *,
  causal: bool,
) -> str:
  """Times attention of one layer, and compares it with XLA's."""
  heads, kv_heads = sizes.grouped_heads if causal else (sizes.heads,) * 2
  rows = sizes.rows[0]
  keys = jax.random.split(jax.random.key(0), 5)
  query, key, value, gradient = (
    (
      0.35 * jax.random.normal(k, (rows, count, sizes.inputs, sizes.head_dim))
    ).astype('bfloat16')
    for k, count in zip(keys, (heads, kv_heads, kv_heads, heads), strict=False)
  )
  table = 0.5 * jax.random.normal(keys[4], (heads, 32))
  segments = jnp.asarray(packed_batch(sizes, rows)['encoder_segment_ids'])
  # Nothing reads the results of padding.
  gradient *= causal | (segments > 0)[:, None, :, None]

  def with_backward(attend):
    @jax.jit
    def run(*inputs):
      mixed, vjp = jax.vjp(lambda *i: attend(*i, segments), *inputs)
      return mixed * (gradient != 0), *vjp(gradient)

    return run

  inputs = (query, key, value, table)
  attend = function(implementation)
  run = with_backward(attend)
  forward = jax.jit(lambda *inputs: attend(*inputs, segments))
  forward_seconds = _seconds(lambda: forward(*inputs), sizes.repeats)
  seconds = _seconds(lambda: run(*inputs), sizes.repeats)
  flops = 3.5 * 4 * query.size * sizes.inputs / (2 if causal else 1)
  differences = [
    float(abs(a - b).max() / max(float(abs(b).max()), 1e-30))
    for a, b in zip(
      *(
        [x.astype(jnp.float32) for x in results(*inputs)]
        for results in (run, with_backward(function('xla')))
      ),
      strict=True,
    )
  ]
  return (
    f'forward {1e3 * forward_seconds:.3f} ms, with backward '
    f'{1e3 * seconds:.3f} ms, {flops / seconds / 1e12:.0f} TFLOP/s; largest '
    'differences from XLA in result, queries, keys, values and table, relative '
    f'to the largest number: {", ".join(f"{d:.1e}" for d in differences)}'
  )


def _with_position_bias(implementation: str) -> Callable[..., jax.Array]:
  """Returns T5's attention in the encoder."""

  def attend(query, key, value, table, segments):
    module = layers.RelativePositionBias(table.shape[0], 32, 128, True).bind(
      {'params': {'rel_embedding': table}}
    )
    if implementation == 'pallas':
      return flash_attention.attend(
        *(query, key, value, flash_attention.Segments(segments, segments)),
        module.by_steps(),
      )
    bias = module(query.shape[2], key.shape[2])
    if implementation == 'cudnn':
      codes = cudnn_attention.segment_codes(
        segments, segments, dtype=query.dtype.name
      )
      return cudnn_attention.attend_fused(query, key, value, bias, codes)
    same = segments[:, None, :, None] == segments[:, None, None, :]
    mask = jnp.where(same, 0.0, MASKED)
    return dot_product_attention.attend(query, key, value, bias, mask)

  return attend


def _causal(implementation: str) -> Callable[..., jax.Array]:
  """Returns attention of a decoder-only model over rows of one text."""

  def attend(query, key, value, table, segments):
    del table
    if implementation == 'pallas':
      same = jnp.zeros_like(segments)
      causal = DistanceBias(jnp.array([[0.0, MASKED]]), starts=(0, 1))
      return flash_attention.attend(
        query, key, value, flash_attention.Segments(same, same), causal
      )
    if implementation == 'cudnn':
      return jax.nn.dot_product_attention(
        *(x.swapaxes(1, 2) for x in (query, key, value)),
        scale=1.0,
        is_causal=True,
        implementation='cudnn',
      ).swapaxes(1, 2)
    key, value = (
      jnp.repeat(x, query.shape[1] // x.shape[1], axis=1) for x in (key, value)
    )
    length = query.shape[2]
    mask = jnp.triu(jnp.full((length, length), MASKED), 1)
    mask = jnp.broadcast_to(mask, (query.shape[0], 1, length, length))
    return dot_product_attention.attend(query, key, value, None, mask)

  return attend


def time_step(
  sizes: _Sizes,
  config: T5Config | DecoderConfig,
  rows: int,
  *,
  kernels: bool,
) -> str:
  """Compiles and times the training step."""
  model = make_model(config)
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
  initialised = time.perf_counter() - before
  batch = packed_batch(sizes, rows)
  targets = sizes.targets
  if isinstance(config, DecoderConfig):
    batch, targets = _decoder_only(batch), 0
  batch = jax.device_put(batch, partitioning.batch_sharding(mesh))
  step, compile_seconds = train_step.compile_train_step(
    model=model,
    optimizer=optimizer,
    mesh=mesh,
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
    state, metrics = run(state)
  seconds = []
  for _ in range(sizes.steps):
    before = time.perf_counter()
    state, metrics = run(state)
    seconds.append(time.perf_counter() - before)
  median = statistics.median(seconds)
  flops = training_flops(
    config,
    batch_size=rows,
    input_length=sizes.inputs,
    target_length=targets,
  )
  peak = hardware.peak_flops(jax.devices()[0])
  share = f', {flops / median / peak:.1%} of peak' if peak else ''
  if kernels:
    list_kernels(lambda: run(run(state)[0]))
  return (
    f'{1e3 * median:.1f} ms, {flops / median / 1e12:.1f} TFLOP/s{share}, '
    f'initialised in {initialised:.0f} s, compiled in {compile_seconds:.0f} s, '
    'temporaries '
    f'{step.memory_analysis().temp_size_in_bytes / 2**30:.1f} GiB, loss '
    f'{float(metrics["loss"]):.3f}'
  )


def time_decoding(sizes: _Sizes, config: T5Config) -> str:
  """Times greedy decoding of all prompts at once, to the longest answer."""
  model = make_model(config)
  mesh = partitioning.make_mesh(devices=jax.devices()[:1])
  params = param_dtype.to_compute_dtype(
    partitioning.init_params(model=model, seed=0, mesh=mesh), config
  )
  prompts = packed_batch(sizes, sizes.prompts)['encoder_input_tokens']

  def decode():
    return decode_tokens(
      model=model,
      params=params,
      encoder_input_tokens=prompts,
      max_decode_length=sizes.targets,
      eos_id=-1,
    )

  seconds = _seconds(decode, min(3, sizes.repeats))
  return (
    f'{seconds:.3f} s for {sizes.prompts} prompts of {sizes.inputs} tokens and '
    f'{sizes.targets} new ones, '
    f'{sizes.prompts * sizes.targets / seconds:.0f} tokens per second'
  )


def packed_batch(sizes: _Sizes, rows: int) -> dict[str, np.ndarray]:
  """Returns random tokens: three examples per row, and some padding."""
  random = np.random.default_rng(0)
  features = {}
  for side, length in (('encoder', sizes.inputs), ('decoder', sizes.targets)):
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
      2, sizes.vocabulary, size=(rows, length), dtype=np.int32
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


def _decoder_only(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the batch of a decoder-only model: the inputs are its texts."""
  tokens = batch['encoder_input_tokens']
  return {
    'decoder_input_tokens': tokens,
    'decoder_target_tokens': np.roll(tokens, -1, axis=1),
    'decoder_loss_weights': (tokens > 0).astype(np.float32),
    'decoder_segment_ids': batch['encoder_segment_ids'],
    'decoder_positions': batch['encoder_positions'],
  }


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


def _seconds(function: Callable[[], object], repeats: int) -> float:
  """Returns the mean seconds of a call, compilation excluded."""
  jax.block_until_ready(function())
  before = time.perf_counter()
  for _ in range(repeats):
    result = function()
  jax.block_until_ready(result)
  return (time.perf_counter() - before) / repeats


if __name__ == '__main__':
  main()
