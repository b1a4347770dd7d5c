"""Time and memory of building a large corpus's rows, and of reading a few.

python benchmarks/build_bench.py --folder /tmp/bench [--tasks 900]
  [--instances 3000] [--keep]
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
_FEW = 10


def main() -> None:
  """Generates a corpus, builds it cold, and prints a table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    '--folder', default=tempfile.gettempdir(), help='for some 4 GB'
  )
  parser.add_argument('--tasks', type=int, default=900)
  parser.add_argument('--instances', type=int, default=3000)
  parser.add_argument(
    '--workers', type=int, default=None, help='default: one a processor'
  )
  parser.add_argument('--keep', action='store_true', help='keep the corpus')
  options = parser.parse_args()
  pathlib.Path(options.folder).mkdir(parents=True, exist_ok=True)
  folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder))
  # Nothing that was built or hashed before is of use.
  os.environ['IT_STUDY_CACHE'] = str(folder / 'cache')
  try:
    size, seconds = _timed(lambda: _generate(folder / 'corpus', options))
    _tell('generated', f'{size / 1e6:,.0f} MB in {seconds:.1f} s')
    _measure(folder, size, options)
  finally:
    if not options.keep:
      shutil.rmtree(folder)


def _generate(directory: pathlib.Path, options: argparse.Namespace) -> int:
  """In another process, whose memory is not counted."""
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
  from it_study.corpus import natinst

  corpus = natinst.open_corpus(folder / 'corpus')
  _tell('processors', str(os.cpu_count()))
  # Freshly written files are not trusted yet.
  time.sleep(2.1)
  _, cold = _timed(corpus.fingerprint)
  _, warm = _timed(corpus.fingerprint)
  _tell('fingerprint cold', f'{cold:.2f} s, {size / 1e6 / cold:,.0f} MB/s')
  _tell('fingerprint warm', f'{warm * 1000:.0f} ms')
  shutil.rmtree(folder / 'cache')
  from it_study.data import tensorflow_setup

  tensorflow_setup.import_tensorflow()
  from it_study.data import tfds_builder

  marks = {}

  def mark(phase: str, done: int, total: int) -> None:
    if done == total:
      marks[phase] = time.perf_counter()

  before = _resident(psutil.Process())
  with _peak_memory() as peak:
    start, busy = time.perf_counter(), _processor_seconds()
    tfds_builder.build_rows(
      corpus=corpus,
      data_dir=folder / 'rows',
      num_workers=options.workers,
      on_progress=mark,
    )
    seconds = time.perf_counter() - start
    busy = _processor_seconds() - busy
  info = _builder(folder).info
  num_rows = sum(split.num_examples for split in info.splits.values())
  num_parsed = options.tasks * options.instances
  _tell('build', f'{seconds:.1f} s, {size / 1e6 / seconds:,.1f} MB/s')
  _tell('  hash and parse', f'{marks["parse"] - start:.1f} s')
  _tell('  write', f'{marks["write"] - marks["parse"]:.1f} s')
  # What others do on the machine lengthens the build, not this.
  _tell(
    'processor time',
    f'{busy:.1f} s, {busy / num_parsed * 1e6:.1f} us an instance parsed',
  )
  _tell(
    'instances parsed', f'{num_parsed:,}, {num_parsed / seconds:,.0f} a second'
  )
  _tell('rows written', f'{num_rows:,}, {num_rows / seconds:,.0f} a second')
  _tell(
    'train',
    f'{info.splits["train"].num_bytes / 1e6:,.0f} MB in '
    f'{info.splits["train"].num_shards} files',
  )
  for name, value in (('before', before), *peak.items()):
    _tell(f'memory, {name}', f'{value / _MIB:,.0f} MiB')
  _read(folder)


def _read(folder: pathlib.Path) -> None:
  counts = _builder(folder).info.metadata['num_train_instances']
  few = sum(min(count, _FEW) for count in counts.values())
  for split in (f'train[:{few}]', 'train'):
    builder, opening = _timed(lambda: _builder(folder))
    _, first = _timed(lambda b=builder, s=split: _first_row(b, s))
    number, whole = _timed(lambda b=builder, s=split: _count(b, s))
    _tell(
      f'read {split}',
      f'opened in {opening:.2f} s, first row after {first:.2f} s, '
      f'all {number:,} in {whole:.2f} s',
    )


def _first_row(builder, split: str) -> dict:
  return next(iter(builder.as_dataset(split).as_numpy_iterator()))


def _count(builder, split: str) -> int:
  """By reading and parsing every row."""
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
  """Samples resident memory, of this process and of all its children."""
  peak = {'this process at most': 0, 'with its workers at most': 0}
  finished = threading.Event()
  process = psutil.Process()

  def sample() -> None:
    while not finished.wait(0.05):
      own = _resident(process)
      both = own + sum(map(_resident, process.children(recursive=True)))
      for name, value in zip(peak, (own, both), strict=True):
        peak[name] = max(peak[name], value)

  thread = threading.Thread(target=sample, daemon=True)
  thread.start()
  try:
    yield peak
  finally:
    finished.set()
    thread.join()


def _processor_seconds() -> float:
  """Of this process and of its children that have ended."""
  usages = map(
    resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  )
  return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _resident(process: psutil.Process) -> int:
  try:
    return process.memory_info().rss
  except psutil.Error:
    # It has just ended.
    return 0


def _timed(function: Callable) -> tuple:
  start = time.perf_counter()
  result = function()
  return result, time.perf_counter() - start


def _tell(name: str, value: str) -> None:
  print(f'{name:<32}{value}')
  sys.stdout.flush()


if __name__ == '__main__':
  main()
