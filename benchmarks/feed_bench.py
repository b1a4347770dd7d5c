"""Measures the input pipeline on real prompts: packing, token cache, reading.

  python benchmarks/feed_bench.py --corpus NATINST [--examples 75000]
    [--vocabulary FILE] [--vocab_size 8000]

Prompts have a definition and two examples; limits are 1,024 input and 128
target tokens. The prompts of the training tasks are tokenised once, then
repeated up to the number of examples to time. Prints the share of tokens that
are not padding, and the time to write a token cache, to plan an epoch and to
read batches, from ArrayRecord and from a memory-mapped flat file.

Expect packing to raise the share of input tokens from about 40% to 95%, and
training to wait less than 1 ms for a batch from any of the files.
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
# Simulated time of a training step; short for a model of practical size.
_STEP_SECONDS = 0.05


def main() -> None:
  """Prints a line for each measurement."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add_corpus_arguments(parser)
  parser.add_argument(
    '--folder',
    default=tempfile.gettempdir(),
    help='where to write about 1 GB of temporary files (default: %(default)s)',
  )
  parser.add_argument(
    '--examples',
    type=int,
    default=75_000,
    help='examples to write and plan (default: %(default)s)',
  )
  parser.add_argument(
    '--repeats',
    type=int,
    default=3,
    help='timed runs, the median of which is printed (default: %(default)s)',
  )
  options = parser.parse_args()
  if options.corpus is None:
    print('Skipped: set --corpus or NATINST_DIR.')
    return
  pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder))
  try:
    real = tokenise(options, folder)
    _print_padding(real)
    examples = _repeated(real, options.examples)
    caches = _time_writing(options, folder, real, examples)
    _time_planning(options, real, examples)
    for name, cache in caches.items():
      _time_reading(name, cache)
  finally:
    shutil.rmtree(folder)


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments that `tokenise` reads."""
  parser.add_argument(
    '--corpus',
    default=os.environ.get('NATINST_DIR'),
    help='checkout of natural-instructions (default: $NATINST_DIR)',
  )
  parser.add_argument(
    '--vocabulary',
    metavar='FILE',
    help='SentencePiece model (default: trains one on the corpus)',
  )
  parser.add_argument(
    '--vocab_size',
    type=int,
    default=8000,
    help='size of the vocabulary to train (default: %(default)s)',
  )


def tokenise(options: argparse.Namespace, folder: pathlib.Path):
  """Returns the token cache of the corpus's training prompts."""
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


def _print_padding(cache) -> None:
  """Prints the share of non-padding tokens, with and without packing."""
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
      f'{rows:,} rows; tokens that are not padding: {", ".join(shares)}',
      flush=True,
    )


def _repeated(cache, count: int) -> list[dict]:
  """Returns `count` examples, cycling through the cache."""
  rows = cache.read(range(len(cache)))
  return [rows[index % len(rows)] for index in range(count)]


def _time_writing(
  options: argparse.Namespace,
  folder: pathlib.Path,
  real,
  examples: Sequence[dict],
) -> dict:
  """Times writing the examples to each kind of file.

  Returns:
    A token cache for each kind of file, by name.
  """
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
    records_source = (
      _FlatFile(np.memmap(path, np.uint8, 'r'), ends)
      if write is flat
      else grain.sources.ArrayRecordDataSource(
        path, reader_options={'max_parallelism': '0'}
      )
    )
    caches[name] = dataclasses.replace(ours, records=records_source)
  seconds = _seconds(
    lambda: token_cache.write_token_cache(folder / 'again', examples),
    options.repeats,
  )
  print(f'write token cache: {seconds:.2f} s')
  seconds = _seconds(
    lambda: token_cache.open_token_cache(folder / 'ours'), options.repeats
  )
  print(f'open and verify token cache: {seconds:.2f} s')
  return caches


@dataclasses.dataclass(frozen=True)
class _FlatFile:
  """Grain data source over the records of a memory-mapped flat file."""

  data: memoryview
  ends: Sequence[int]

  def __getitems__(self, keys: Sequence[int]) -> list[memoryview]:
    return [
      self.data[self.ends[k - 1] if k else 0 : self.ends[k]] for k in keys
    ]


def _time_planning(
  options: argparse.Namespace, real, examples: Sequence[dict]
) -> None:
  """Times planning an epoch: shuffling, packing and mixing."""
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
    print(f'plan mixture of three, rates {rates}: {seconds:.2f} s', flush=True)


def _time_reading(name: str, cache) -> None:
  """Times reading single batches, and the wait of a simulated training loop."""
  import grain

  from it_study.input_pipeline.feed import Feed

  feed = Feed(cache, batch_size=_BATCH, lengths=LENGTHS)
  feed.batch(0)
  cpu_start = time.process_time()
  times = [
    _seconds(lambda: feed.batch(step), 1)  # noqa: B023
    for step in range(1, _STEPS)
  ]
  cpu_seconds = (time.process_time() - cpu_start) / len(times)
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
    f'read {name}: {1e3 * statistics.median(times):.2f} ms per batch of '
    f'{_BATCH} rows ({1e3 * cpu_seconds:.2f} ms of CPU time), training waits '
    f'{1e3 * statistics.median(waits):.2f} ms (at most {1e3 * max(waits):.2f})',
    flush=True,
  )


def _seconds(do: Callable[[], object], repeats: int) -> float:
  """Returns the median seconds of a call."""
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    do()
    times.append(time.perf_counter() - start)
  return statistics.median(times)


if __name__ == '__main__':
  main()
