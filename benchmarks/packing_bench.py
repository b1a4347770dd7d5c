"""Useful tokens a second on real prompts, packed against unpacked.

python benchmarks/packing_bench.py --corpus NATINST [--config S1] [--steps 6]

Definition and 2 examples, at most 1,024 input and 128 target tokens, batches of
8 rows in the order of a training; the network and the step of `step_bench`. A
useful token is one of an input or a target, not padding. Packed and unpacked
batches take turns in one process.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

import feed_bench
import numpy as np
import step_bench

_ROWS = 8
_LENGTHS = {'inputs': 1024, 'targets': 128}


def main() -> None:
  """Prints a line for unpacked and one for packed batches."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--corpus', default=os.environ.get('NATINST_DIR'))
  parser.add_argument('--config', choices=step_bench.CONFIGS, default='S1')
  parser.add_argument('--steps', type=int, default=6)
  parser.add_argument('--vocabulary', help='default: one trained on the corpus')
  parser.add_argument('--vocab_size', type=int, default=8000)
  options = parser.parse_args()
  if options.corpus is None:
    print('left out: needs --corpus or NATINST_DIR')
    return
  with tempfile.TemporaryDirectory() as folder:
    cache = feed_bench.tokenise(options, pathlib.Path(folder))
    _measure(cache, config=options.config, steps=options.steps)


def _measure(cache, *, config: str, steps: int) -> None:
  from it_study import host_memory
  from it_study.feed import Feed

  host_memory.keep_head_room()
  trainings = {
    pack: _Training(
      Feed(cache, batch_size=_ROWS, lengths=_LENGTHS, pack=pack), config=config
    )
    for pack in (False, True)
  }
  rates = {pack: [] for pack in trainings}
  tokens = {pack: [] for pack in trainings}
  for step in range(1 + steps):
    for pack, training in trainings.items():
      useful, seconds = training.take(step)
      if step:
        rates[pack].append(useful / seconds)
        tokens[pack].append(useful)
      print(f'pack {pack}: {useful:,} tokens in {seconds:.2f} s', flush=True)
  room = _ROWS * sum(_LENGTHS.values())
  for pack in trainings:
    median = statistics.median(rates[pack])
    print(
      f'{"packed" if pack else "unpacked"}: {median:,.0f} useful tokens a '
      f'second ({min(rates[pack]):,.0f} to {max(rates[pack]):,.0f}), '
      f'{statistics.mean(tokens[pack]) / room:.0%} of a batch is useful'
    )
  gain = statistics.median(
    packed / unpacked
    for unpacked, packed in zip(rates[False], rates[True], strict=True)
  )
  print(f'packed is {gain:.2f} times unpacked')


class _Training:
  """A model that learns from a feed's batches."""

  def __init__(self, feed, *, config: str):
    from it_study import optimizers, partitioning, train_step
    from it_study.models.t5 import T5, T5Config

    self._feed = feed
    model = T5(T5Config(*step_bench.CONFIGS[config]))
    optimizer = optimizers.adafactor(learning_rate=1e-3)
    mesh = partitioning.make_mesh()
    self._state = train_step.init_state(
      model=model,
      optimizer=optimizer,
      mesh=mesh,
      params=partitioning.init_params(model=model, seed=0, mesh=mesh),
    )
    self._step, _ = train_step.compile_train_step(
      model=model,
      optimizer=optimizer,
      mesh=mesh,
      batch_shapes=tuple(
        (name, array.shape, array.dtype.name)
        for name, array in feed.batch(0).items()
      ),
    )

  def take(self, step: int) -> tuple[int, float]:
    """Useful tokens of a batch, and the seconds that its step takes."""
    import jax

    batch = self._feed.batch(step)
    useful = sum(
      np.count_nonzero(batch[name])
      for name in ('encoder_input_tokens', 'decoder_target_tokens')
    )
    before = time.perf_counter()
    self._state, _ = self._step(self._state, batch, np.uint32(step))
    jax.block_until_ready(self._state)
    return useful, time.perf_counter() - before


if __name__ == '__main__':
  main()
