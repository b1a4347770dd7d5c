"""Applies a function to each task file of a corpus in worker processes."""

import collections
from collections.abc import Callable, Generator, Sequence
import concurrent.futures
import multiprocessing
from typing import Any, TypeVar

from it_study.corpus import natinst
from it_study.errors import InputError
from it_study.processes import spawning

Result = TypeVar('Result')
Function = Callable[[natinst.Corpus, str], Result]

# A smaller corpus is read faster than workers start.
_SMALL_BYTES = 16 << 20
# Tasks in flight per worker: enough to keep it busy, few enough to bound
# memory.
_AHEAD = 2


def map_tasks(
  function: Callable[[natinst.Corpus, str], Result],
  *,
  corpus: natinst.Corpus,
  names: Sequence[str],
  num_workers: int | None = None,
) -> Generator[tuple[str, Result], None, None]:
  """Yields each task's name and `function(corpus, name)`, in order.

  Workers are new processes that import only what the function needs and do not
  run the caller's script again. They end with the iteration, on an error in any
  of them, on an interrupt, and when the caller dies. Results should be small;
  write large ones to disk.

  Args:
    function: Function that can be imported by name, or a `functools.partial`
      of one.
    corpus: Corpus, sent to each worker once.
    names: Names of the tasks.
    num_workers: Number of workers; 0 to run in this process, None for one per
      processor, or 0 for a small corpus.

  Raises:
    InputError: As raised by the function for the first task that fails, or if a
      worker dies.
  """
  if num_workers is None:
    size = sum(_size(corpus, name) for name in names)
    num_workers = 0 if size < _SMALL_BYTES else spawning.processors()
  if multiprocessing.current_process().daemon:
    # A daemonic process cannot have children.
    num_workers = 0
  if num_workers == 0:
    for name in names:
      yield name, function(corpus, name)
    return
  pool = concurrent.futures.ProcessPoolExecutor(
    min(num_workers, len(names)) or 1,
    mp_context=spawning.Context(),
    initializer=_start_worker,
    initargs=(function, corpus),
  )
  try:
    yield from _in_order(pool, names, _AHEAD * num_workers)
  except concurrent.futures.process.BrokenProcessPool:
    raise InputError(
      f'corpus {corpus.directory}: a worker process was killed, perhaps for '
      'lack of memory. Free some memory, or use fewer workers.'
    ) from None
  finally:
    # Waits only for the files that are being read.
    pool.shutdown(cancel_futures=True)


def _in_order(
  pool: concurrent.futures.Executor, names: Sequence[str], ahead: int
) -> Generator[tuple[str, Result], None, None]:
  pending: collections.deque = collections.deque()
  for name in names:
    pending.append((name, pool.submit(_call, name)))
    if len(pending) > ahead:
      name, future = pending.popleft()
      yield name, future.result()
  while pending:
    name, future = pending.popleft()
    yield name, future.result()


def _size(corpus: natinst.Corpus, name: str) -> int:
  try:
    return (corpus.directory / 'tasks' / f'{name}.json').stat().st_size
  except OSError:
    # Reading it raises the proper error.
    return 0


# The function and its corpus, in a worker.
_work: tuple[Function, natinst.Corpus] | None = None


def _start_worker(function: Function, corpus: natinst.Corpus) -> None:
  global _work
  _work = function, corpus
  spawning.end_with_caller()


def _call(name: str) -> Any:
  assert _work is not None, 'Set by `_start_worker`.'
  function, corpus = _work
  try:
    return function(corpus, name)
  finally:
    # Otherwise each worker would keep the last files.
    natinst._load.cache_clear()
