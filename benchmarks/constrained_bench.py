"""What keeping answers to label spaces costs, against free decoding.

Random weights; labels are as long as the limit, so that both take as many
steps; 1, 10 and 1,000 label spaces of 2 to 12 labels in one batch; in turn.
Once taking the likeliest token, once with four beams.
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
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--batch_size', type=int, default=32)
  parser.add_argument('--rounds', type=int, default=7)
  options = parser.parse_args()
  generator = np.random.default_rng(0)
  model = T5(CONFIG)
  params = partitioning.init_params(
    model=model, seed=0, mesh=partitioning.make_mesh()
  )
  prompts = generator.integers(
    2, 32000, size=(options.batch_size, LENGTH)
  ).astype(np.int32)
  ways: dict[str, dict] = {'free': {}}
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
    ways[f'{count} spaces'] = {'trie': jax.device_put(trie), 'roots': rows}

  beams = functools.partial(beam.beam_decode, num_beams=4)
  for name, decode in (('greedy', token_loop.decode_tokens), ('beam', beams)):
    decode = functools.partial(
      decode,
      model=model,
      params=params,
      encoder_input_tokens=prompts,
      max_decode_length=STEPS,
    )
    medians = _medians(decode, ways, rounds=options.rounds)
    shown = ', '.join(
      f'{way} {median:.3f} s ({median / medians["free"]:.3f})'
      for way, median in medians.items()
    )
    print(f'{name}: {shown}')


def _medians(
  decode: Callable, ways: dict[str, dict], *, rounds: int
) -> dict[str, float]:
  """Seconds of each way, which take turns."""

  def seconds(extra: dict) -> float:
    started = time.perf_counter()
    jax.block_until_ready(decode(**extra))
    return time.perf_counter() - started

  for extra in ways.values():
    seconds(extra)
  times: dict[str, list[float]] = {name: [] for name in ways}
  for _ in range(rounds):
    for name, extra in ways.items():
      times[name].append(seconds(extra))
  return {name: sorted(t)[len(t) // 2] for name, t in times.items()}


if __name__ == '__main__':
  main()
