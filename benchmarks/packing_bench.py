"""Useful tokens a second on real prompts, packed against unpacked.

python benchmarks/packing_bench.py --corpus NATINST [--config S1] [--steps 6]

Definition and 2 examples, at most 1,024 input and 128 target tokens, batches of
8 rows in the order of a training; the network and the step of `step_bench`. A
useful token is one of an input or a target, not padding. Packed and unpacked
batches take turns in one process.
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
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  feed_bench.add_corpus_arguments(parser)
  parser.add_argument('--config', choices=step_bench.CONFIGS, default='S1')
  parser.add_argument('--steps', type=int, default=6)
  options = parser.parse_args()
  if options.corpus is None:
    print('left out: needs --corpus or NATINST_DIR')
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
  taken = [
    {name: training.take(step) for name, training in trainings.items()}
    for step in range(1 + steps)
  ][1:]
  room = _ROWS * sum(feed_bench.LENGTHS.values())
  rates = {}
  for name in trainings:
    tokens, seconds = zip(*[step[name] for step in taken], strict=True)
    rates[name] = np.divide(tokens, seconds)
    print(
      f'{name}: {np.median(rates[name]):,.0f} useful tokens a second '
      f'({min(rates[name]):,.0f} to {max(rates[name]):,.0f}), '
      f'{np.mean(tokens) / room:.0%} of a batch is useful'
    )
  gain = np.median(rates['packed'] / rates['unpacked'])
  print(f'packed is {gain:.2f} times unpacked')


class _Training:
  """A model that learns from the cache's batches."""

  def __init__(self, cache, *, pack: bool, config: str):
    from it_study.input_pipeline.feed import Feed

    self._name = 'packed' if pack else 'unpacked'
    self._feed = Feed(
      cache, batch_size=_ROWS, lengths=feed_bench.LENGTHS, pack=pack
    )
    self._state, self._step = step_bench.training(config, self._feed.batch(0))

  def take(self, step: int) -> tuple[int, float]:
    """Useful tokens of a batch, and the seconds that its step takes."""
    import jax

    from it_study.input_pipeline.device_batches import count_tokens

    batch = self._feed.batch(step)
    before = time.perf_counter()
    self._state, _ = self._step(self._state, batch, np.uint32(step))
    jax.block_until_ready(self._state)
    seconds = time.perf_counter() - before
    tokens = count_tokens(batch)
    print(f'{self._name}: {tokens:,} tokens in {seconds:.2f} s', flush=True)
    return tokens, seconds


if __name__ == '__main__':
  main()
