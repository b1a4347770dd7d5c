"""Measures what constraining answers to label spaces adds to decoding time.

  python benchmarks/constrained_bench.py [--batch_size 32] [--rounds 7]

Decodes greedily and with four beams: without constraints, and with 1, 10 and
1,000 label spaces of 2 to 12 labels in one batch. Weights are random. Labels
are as long as the decoding limit, so that all variants take the same number of
steps. Prints the median seconds of each variant and, in brackets, the ratio to
unconstrained decoding. Expect at most 1.15 for greedy decoding and less than 1
for beam search, which then chooses among the labels' tokens only.
"""

import argparse
from collections.abc import Callable
import functools
import time

import jax
import numpy as np

from it_study.inference import beam, label_trie, token_loop
from it_study.models import partitioning
from it_study.models.t5 import T5, T5Config

CONFIG = T5Config(
  vocab_size=32128,
  emb_dim=256,
  num_heads=4,
  head_dim=64,
  mlp_dim=512,
  num_encoder_layers=4,
  num_decoder_layers=4,
)
LENGTH, STEPS = 128, 16


def main() -> None:
  """Prints a line for greedy decoding and one for beam search."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--batch_size',
    type=int,
    default=32,
    help='prompts per batch (default: %(default)s)',
  )
  parser.add_argument(
    '--rounds',
    type=int,
    default=7,
    help='timed runs of each variant (default: %(default)s)',
  )
  options = parser.parse_args()
  generator = np.random.default_rng(0)
  model = T5(CONFIG)
  params = partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )
  prompts = generator.integers(
    2, 32000, size=(options.batch_size, LENGTH)
  ).astype(np.int32)
  variants: dict[str, dict] = {'free': {}}
  for count in (1, 10, 1000):
    spaces = [
      [
        (*map(int, generator.integers(2, 32000, size=STEPS - 1)), 1)
        for _ in range(generator.integers(2, 13))
      ]
      for _ in range(count)
    ]
    trie, roots = label_trie.build(spaces)
    rows = np.array(
      [roots[k % count] for k in range(options.batch_size)], np.int32
    )
    variants[f'{count} spaces'] = {
      'trie': jax.device_put(trie),
      'roots': rows,
    }

  beams = functools.partial(beam.beam_decode, num_beams=4)
  for name, decode in (('greedy', token_loop.decode_tokens), ('beam', beams)):
    decode = functools.partial(
      decode,
      model=model,
      params=params,
      encoder_input_tokens=prompts,
      max_decode_length=STEPS,
    )
    medians = _medians(decode, variants, rounds=options.rounds)
    summary = ', '.join(
      f'{variant} {median:.3f} s ({median / medians["free"]:.3f})'
      for variant, median in medians.items()
    )
    print(f'{name}: {summary}')


def _medians(
  decode: Callable, variants: dict[str, dict], *, rounds: int
) -> dict[str, float]:
  """Returns the median seconds of each variant, with runs interleaved."""

  def seconds(arguments: dict) -> float:
    started = time.perf_counter()
    jax.block_until_ready(decode(**arguments))
    return time.perf_counter() - started

  # Compiles.
  for arguments in variants.values():
    seconds(arguments)
  times: dict[str, list[float]] = {name: [] for name in variants}
  for _ in range(rounds):
    for name, arguments in variants.items():
      times[name].append(seconds(arguments))
  return {name: sorted(t)[len(t) // 2] for name, t in times.items()}


if __name__ == '__main__':
  main()
