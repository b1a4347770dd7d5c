"""Measures time and peak memory of building a large corpus, and of reading it.

  python benchmarks/build_bench.py --folder /tmp/bench [--tasks 900]
    [--instances 3000] [--keep]

Generates a corpus (1.6 GB by default), builds its rows without any cache, and
reads a few rows and the whole training split. Expect about 140,000 instances
parsed per second on two cores, and a peak of less than 1 GB of memory, most of
which TensorFlow takes before the build.
"""

import argparse
from collections.abc import Callable
import contextlib
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import corpus_generator
import numpy as np
import psutil

_MIB = 1 << 20
# Instances per task in the small read.
_SUBSET = 10


def main() -> None:
  """Generates a corpus, builds it with empty caches, and prints a table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--folder',
    default=tempfile.gettempdir(),
    help='where to write about 4 GB of temporary files (default: %(default)s)',
  )
  parser.add_argument(
    '--tasks', type=int, default=900, help='tasks (default: %(default)s)'
  )
  parser.add_argument(
    '--instances',
    type=int,
    default=3000,
    help='instances per task (default: %(default)s)',
  )
  parser.add_argument(
    '--workers',
    type=int,
    default=None,
    help='worker processes (default: one per CPU)',
  )
  parser.add_argument(
    '--keep',
    action='store_true',
    help='do not delete the temporary files, corpus included',
  )
  options = parser.parse_args()
  pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder))
  # An empty cache: nothing from earlier runs is reused.
  os.environ['IT_STUDY_CACHE'] = str(folder / 'cache')
  try:
    size, seconds = _timed(lambda: _generate(folder / 'corpus', options))
    _print_row('generated', f'{size / 1e6:,.0f} MB in {seconds:.1f} s')
    _measure(folder, size, options)
  finally:
    if not options.keep:
      shutil.rmtree(folder)


def _generate(directory: pathlib.Path, options: argparse.Namespace) -> int:
  """Writes the corpus in a subprocess, so that its memory is not counted.

  Returns:
    Size of the task files in bytes.
  """
  subprocess.run(
    [
      sys.executable,
      corpus_generator.__file__,
      directory,
      f'--tasks={options.tasks}',
      f'--instances={options.instances}',
    ],
    check=True,
    stdout=subprocess.DEVNULL,
  )
  return sum(p.stat().st_size for p in (directory / 'tasks').iterdir())


def _measure(
  folder: pathlib.Path, size: int, options: argparse.Namespace
) -> None:
  """Fingerprints, builds and reads the corpus, and prints each measurement."""
  from it_study.corpus import natinst

  corpus = natinst.open_corpus(folder / 'corpus')
  _print_row('CPUs', str(os.cpu_count()))
  # Hashes of files younger than two seconds are not cached.
  time.sleep(2.1)
  _, cold = _timed(corpus.fingerprint)
  _, warm = _timed(corpus.fingerprint)
  _print_row(
    'fingerprint, cold', f'{cold:.2f} s, {size / 1e6 / cold:,.0f} MB/s'
  )
  _print_row('fingerprint, warm', f'{warm * 1000:.0f} ms')
  shutil.rmtree(folder / 'cache')
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.data import tfds_builder

  end_times = {}

  def record_end(phase: str, done: int, total: int) -> None:
    if done == total:
      end_times[phase] = time.perf_counter()

  before = _resident(psutil.Process())
  with _peak_memory() as peak:
    start, cpu_start = time.perf_counter(), _cpu_seconds()
    tfds_builder.build_rows(
      corpus=corpus,
      data_dir=folder / 'rows',
      num_workers=options.workers,
      on_progress=record_end,
    )
    seconds = time.perf_counter() - start
    cpu_seconds = _cpu_seconds() - cpu_start
  info = _builder(folder).info
  num_rows = sum(split.num_examples for split in info.splits.values())
  num_parsed = options.tasks * options.instances
  _print_row('build', f'{seconds:.1f} s, {size / 1e6 / seconds:,.1f} MB/s')
  _print_row('  hash and parse', f'{end_times["parse"] - start:.1f} s')
  _print_row('  write', f'{end_times["write"] - end_times["parse"]:.1f} s')
  # Unlike wall time, CPU time hardly depends on other load on the machine.
  _print_row(
    'CPU time',
    f'{cpu_seconds:.1f} s, '
    f'{cpu_seconds / num_parsed * 1e6:.1f} µs per instance parsed',
  )
  _print_row(
    'instances parsed',
    f'{num_parsed:,}, {num_parsed / seconds:,.0f} per second',
  )
  _print_row(
    'rows written', f'{num_rows:,}, {num_rows / seconds:,.0f} per second'
  )
  _print_row(
    'training split',
    f'{info.splits["train"].num_bytes / 1e6:,.0f} MB in '
    f'{info.splits["train"].num_shards} files',
  )
  for name, value in (('memory before the build', before), *peak.items()):
    _print_row(name, f'{value / _MIB:,.0f} MiB')
  _read(folder)


def _read(folder: pathlib.Path) -> None:
  """Times reading a subset of the training split, then all of it."""
  counts = _builder(folder).info.metadata['num_train_instances']
  subset = sum(min(count, _SUBSET) for count in counts.values())
  for split in (f'train[:{subset}]', 'train'):
    builder, opening = _timed(lambda: _builder(folder))
    _, first = _timed(lambda b=builder, s=split: _first_row(b, s))
    number, whole = _timed(lambda b=builder, s=split: _count(b, s))
    _print_row(
      f'read {split}',
      f'opened in {opening:.2f} s, first row after {first:.2f} s, '
      f'all {number:,} rows after {whole:.2f} s',
    )


def _first_row(builder, split: str) -> dict:
  return next(iter(builder.as_dataset(split).as_numpy_iterator()))


def _count(builder, split: str) -> int:
  """Counts the rows by reading and parsing every one."""
  rows = builder.as_dataset(split)
  return int(rows.reduce(np.int64(0), lambda number, row: number + 1))


def _builder(folder: pathlib.Path):
  import tensorflow_datasets as tfds

  from it_study.data import tfds_builder

  return tfds.builder_from_directory(
    folder / 'rows' / tfds_builder.NAME / tfds_builder.VERSION
  )


@contextlib.contextmanager
def _peak_memory():
  """Yields peak resident memory in bytes, with and without child processes.

  A thread samples it every 50 ms until the context ends.
  """
  peak = {'peak memory, this process': 0, 'peak memory, with workers': 0}
  finished = threading.Event()
  process = psutil.Process()

  def sample() -> None:
    while not finished.wait(0.05):
      own = _resident(process)
      total = own + sum(map(_resident, process.children(recursive=True)))
      for name, value in zip(peak, (own, total), strict=True):
        peak[name] = max(peak[name], value)

  thread = threading.Thread(target=sample, daemon=True)
  thread.start()
  try:
    yield peak
  finally:
    finished.set()
    thread.join()


def _cpu_seconds() -> float:
  """Returns CPU seconds of this process and of its finished children."""
  usages = map(
    resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  )
  return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _resident(process: psutil.Process) -> int:
  try:
    return process.memory_info().rss
  except psutil.Error:
    # The process has just ended.
    return 0


def _timed(function: Callable) -> tuple:
  start = time.perf_counter()
  result = function()
  return result, time.perf_counter() - start


def _print_row(name: str, value: str) -> None:
  print(f'{name:<32}{value}')
  sys.stdout.flush()


if __name__ == '__main__':
  main()
