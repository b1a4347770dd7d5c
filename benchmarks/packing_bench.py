"""Compares the throughput of training on packed and on unpacked batches.

  python benchmarks/packing_bench.py --corpus NATINST [--config S1] [--steps 6]

Prompts have a definition and two examples; limits are 1,024 input and 128
target tokens. Batches of 8 rows come in training order; model and training step
are those of `step_bench`. Packed and unpacked steps are interleaved in one
process. Prints useful tokens per second, that is, tokens that are not padding.
Expect packing to process about 1.9 times as many.
"""

import argparse
import pathlib
import tempfile
import time

import feed_bench
import numpy as np
import step_bench

_ROWS = 8


def main() -> None:
  """Prints a line for unpacked and one for packed batches."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  feed_bench.add_corpus_arguments(parser)
  parser.add_argument(
    '--config',
    choices=step_bench.CONFIGS,
    default='S1',
    help='size of the model (default: %(default)s)',
  )
  parser.add_argument(
    '--steps',
    type=int,
    default=6,
    help='timed steps of each kind (default: %(default)s)',
  )
  options = parser.parse_args()
  if options.corpus is None:
    print('Skipped: set --corpus or NATINST_DIR.')
    return
  with tempfile.TemporaryDirectory() as folder:
    cache = feed_bench.tokenise(options, pathlib.Path(folder))
    _measure(cache, config=options.config, steps=options.steps)


def _measure(cache, *, config: str, steps: int) -> None:
  trainings = {
    name: _Training(cache, pack=pack, config=config)
    for name, pack in (('unpacked', False), ('packed', True))
  }
  # The first step warms up.
  measurements = [
    {name: training.time_step(step) for name, training in trainings.items()}
    for step in range(1 + steps)
  ][1:]
  batch_size = _ROWS * sum(feed_bench.LENGTHS.values())
  rates = {}
  for name in trainings:
    tokens, seconds = zip(*[step[name] for step in measurements], strict=True)
    rates[name] = np.divide(tokens, seconds)
    print(
      f'{name}: {np.median(rates[name]):,.0f} useful tokens per second '
      f'({min(rates[name]):,.0f} to {max(rates[name]):,.0f}), '
      f'{np.mean(tokens) / batch_size:.0%} of a batch is useful'
    )
  gain = np.median(rates['packed'] / rates['unpacked'])
  print(f'packing processes {gain:.2f} times as many useful tokens')


class _Training:
  """A model trained on batches from the cache."""

  def __init__(self, cache, *, pack: bool, config: str):
    from it_study.input_pipeline.feed import Feed

    self._name = 'packed' if pack else 'unpacked'
    self._feed = Feed(
      cache, batch_size=_ROWS, lengths=feed_bench.LENGTHS, pack=pack
    )
    self._state, self._step = step_bench.training(config, self._feed.batch(0))

  def time_step(self, step: int) -> tuple[int, float]:
    """Returns the useful tokens of a batch and the seconds of its step."""
    import jax

    batch = self._feed.batch(step)
    before = time.perf_counter()
    self._state, _ = self._step(self._state, batch, np.uint32(step))
    jax.block_until_ready(self._state)
    seconds = time.perf_counter() - before
    tokens = self._feed.layout.count_tokens(batch)
    print(f'{self._name}: {tokens:,} tokens in {seconds:.2f} s', flush=True)
    return tokens, seconds


if __name__ == '__main__':
  main()
