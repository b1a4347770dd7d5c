"""The feed on real prompts: how full rows are, planning, writing, reading.

python benchmarks/feed_bench.py --corpus NATINST
  [--examples 75000] [--vocabulary F] [--vocab_size 8000]

Definition and 2 examples, at most 1,024 input and 128 target tokens. The
training tasks' prompts are tokenised once; for times they are repeated until
there are enough. Reading is compared with a flat file in memory (memmap).
"""

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import fractions
import os
import pathlib
import shutil
import statistics
import tempfile
import time

import prompt_bench

LENGTHS = {'inputs': 1024, 'targets': 128}
_CONDITION = 'natinst_def_original_ex_original2_n1000'
_BATCH = 32
_STEPS = 200
# A step as long as this is a short one for a model worth training.
_STEP_SECONDS = 0.05


def main() -> None:
  """Prints what is measured, a line each."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  add_corpus_arguments(parser)
  parser.add_argument(
    '--folder', default=tempfile.gettempdir(), help='for some 1 GB'
  )
  parser.add_argument('--examples', type=int, default=75_000)
  parser.add_argument('--repeats', type=int, default=3)
  options = parser.parse_args()
  if options.corpus is None:
    print('left out: needs --corpus or NATINST_DIR')
    return
  pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder))
  try:
    real = tokenise(options, folder)
    _tell_fullness(real)
    examples = _repeated(real, options.examples)
    caches = _tell_writing(options, folder, real, examples)
    _tell_planning(options, real, examples)
    for name, cache in caches.items():
      _tell_reading(name, cache)
  finally:
    shutil.rmtree(folder)


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
  """What `tokenise` needs."""
  parser.add_argument('--corpus', default=os.environ.get('NATINST_DIR'))
  parser.add_argument('--vocabulary', help='default: one trained on the corpus')
  parser.add_argument('--vocab_size', type=int, default=8000)


def tokenise(options: argparse.Namespace, folder: pathlib.Path):
  """The token cache of the corpus's training prompts."""
  os.environ['IT_STUDY_CACHE'] = str(folder / 'cache')
  from it_study import seqio_lib
  from it_study.data import tensorflow_setup, vocabularies
  from it_study.input_pipeline import training_tokens
  import tasks  # noqa: F401

  tensorflow_setup.import_tensorflow()
  vocabularies.set_vocabulary(
    options.vocabulary
    or str(
      prompt_bench.train_vocabulary(
        options.corpus,
        vocab_size=options.vocab_size,
        path=folder / 'trained.model',
      )
    )
  )
  seqio_lib.use_corpus(options.corpus)
  return training_tokens.training_tokens(
    mixture_or_task_name=_CONDITION,
    task_feature_lengths=LENGTHS,
    fallback_directory=folder,
  )


def _tell_fullness(cache) -> None:
  from it_study.input_pipeline.feed import Feed

  for pack in (False, True):
    rows = Feed(cache, batch_size=1, lengths=LENGTHS, pack=pack).num_rows(
      epochs=1
    )
    shares = [
      f'{name} {cache.sequence_lengths(name).sum() / rows / length:.1%}'
      for name, length in LENGTHS.items()
    ]
    print(
      f'{"packed" if pack else "unpacked"}: {len(cache):,} examples in '
      f'{rows:,} rows; not padding: {", ".join(shares)}',
      flush=True,
    )


def _repeated(cache, count: int) -> list[dict]:
  rows = cache.read(range(len(cache)))
  return [rows[index % len(rows)] for index in range(count)]


def _tell_writing(
  options: argparse.Namespace,
  folder: pathlib.Path,
  real,
  examples: Sequence[dict],
) -> dict:
  """Writes the examples in every way; returns the caches."""
  from array_record.python import array_record_module
  import grain
  import numpy as np

  from it_study.input_pipeline import token_cache

  ours = token_cache.write_token_cache(folder / 'ours', examples)
  records = [
    np.concatenate([row['inputs'], row['targets']]).tobytes()
    for row in examples
  ]
  caches = {}

  def flat(path: str) -> None:
    with open(path, 'wb') as file:
      for record in records:
        file.write(record)

  def array_record(path: str, writer_options: str) -> None:
    writer = array_record_module.ArrayRecordWriter(path, writer_options)
    for record in records:
      writer.write(record)
    writer.close()

  ends = np.cumsum([len(record) for record in records])
  for name, write in {
    'flat file': flat,
    'ArrayRecord, uncompressed': lambda path: array_record(
      path, 'group_size:1,uncompressed'
    ),
    'ArrayRecord, zstd:1': lambda path: array_record(
      path, 'group_size:1,zstd:1'
    ),
  }.items():
    path = str(folder / name.replace(' ', '_'))
    seconds = _seconds(lambda: write(path), options.repeats)  # noqa: B023
    size = os.path.getsize(path) / 1e6
    print(f'write {name}: {seconds:.2f} s, {size:.0f} MB', flush=True)
    found = (
      _Flat(np.memmap(path, np.uint8, 'r'), ends)
      if write is flat
      else grain.sources.ArrayRecordDataSource(
        path, reader_options={'max_parallelism': '0'}
      )
    )
    caches[name] = dataclasses.replace(ours, records=found)
  seconds = _seconds(
    lambda: token_cache.write_token_cache(folder / 'again', examples),
    options.repeats,
  )
  print(f'write_token_cache: {seconds:.2f} s')
  seconds = _seconds(
    lambda: token_cache.open_token_cache(folder / 'ours'), options.repeats
  )
  print(f'open_token_cache, hashes checked: {seconds:.2f} s')
  return caches


@dataclasses.dataclass(frozen=True)
class _Flat:
  """Records of a flat file in memory, as a data source has them."""

  data: memoryview
  ends: Sequence[int]

  def __getitems__(self, keys: Sequence[int]) -> list[memoryview]:
    return [
      self.data[self.ends[k - 1] if k else 0 : self.ends[k]] for k in keys
    ]


def _tell_planning(
  options: argparse.Namespace, real, examples: Sequence[dict]
) -> None:
  import numpy as np

  from it_study.input_pipeline import packing, token_cache, token_mixture

  for count in (len(examples), 1_000_000):
    lengths = {
      name: np.resize(real.sequence_lengths(name), count) for name in LENGTHS
    }
    order = token_cache.shuffled(count, 0, 0)
    seconds = [
      _seconds(do, options.repeats)
      for do in (
        lambda: token_cache.shuffled(count, 0, 0),  # noqa: B023
        lambda: packing.plan_rows(
          order,  # noqa: B023
          lengths=lengths,  # noqa: B023
          row_lengths=LENGTHS,
        ),
      )
    ]
    print(
      f'plan {count:,} examples: shuffle {seconds[0]:.3f} s, '
      f'pack {seconds[1]:.2f} s',
      flush=True,
    )
  parts = {
    str(number): dataclasses.replace(
      real, lengths=np.resize(real.lengths, (len(examples) // 3, 2))
    )
    for number in range(3)
  }
  for rates in ((1, 1, 1), (5, 3, 1)):
    mixture = token_mixture.TokenMixture(
      parts,
      rates=dict(zip(parts, map(fractions.Fraction, rates), strict=True)),
    )
    seconds = _seconds(
      lambda: mixture.epoch_order(seed=0, epoch=0),  # noqa: B023
      options.repeats,
    )
    print(f'order of a mixture of three, {rates}: {seconds:.2f} s', flush=True)


def _tell_reading(name: str, cache) -> None:
  """How long a batch takes by itself, and how long training waits for one."""
  import grain

  from it_study.input_pipeline.feed import Feed

  feed = Feed(cache, batch_size=_BATCH, lengths=LENGTHS)
  feed.batch(0)
  spent = time.process_time()
  times = [
    _seconds(lambda: feed.batch(step), 1)  # noqa: B023
    for step in range(1, _STEPS)
  ]
  spent = (time.process_time() - spent) / len(times)
  feed.batch(_STEPS)
  waits = []
  steps = grain.MapDataset.range(_STEPS, 2 * _STEPS).map(
    lambda step: feed.batch(int(step))
  )
  prefetched = iter(
    steps.to_iter_dataset(
      grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    )
  )
  next(prefetched)
  for _ in range(_STEPS // 2):
    time.sleep(_STEP_SECONDS)
    waits.append(_seconds(lambda: next(prefetched), 1))
  print(
    f'read {name}: {1e3 * statistics.median(times):.2f} ms a batch of {_BATCH} '
    f'rows ({1e3 * spent:.2f} ms of processor time), training waits '
    f'{1e3 * statistics.median(waits):.2f} ms (at most {1e3 * max(waits):.2f})',
    flush=True,
  )


def _seconds(do: Callable[[], object], repeats: int) -> float:
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    do()
    times.append(time.perf_counter() - start)
  return statistics.median(times)


if __name__ == '__main__':
  main()
