"""A function of each task file of a corpus, in worker processes."""

import collections
from collections.abc import Callable, Generator, Iterator, Sequence
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import sys
import threading
from typing import TypeVar

from it_study.corpus import natinst
from it_study.errors import InputError

Result = TypeVar('Result')
Function = Callable[[natinst.Corpus, str], Result]

# Below this a corpus is read before the workers have started.
_SMALL_BYTES = 16 << 20
# Submitted ahead for each worker, so that none waits; what is in flight bounds
# the memory.
_AHEAD = 2


def map_tasks(
  function: Callable[[natinst.Corpus, str], Result],
  *,
  corpus: natinst.Corpus,
  names: Sequence[str],
  num_workers: int | None = None,
) -> Generator[tuple[str, Result], None, None]:
  """Yields each task's name with `function(corpus, name)`, in order.

  The function runs in worker processes, which import what it needs and nothing
  else: they begin afresh and do not run the caller's script again. They end
  with the iteration, with an error in any of them, with an interrupt, and with
  the caller however it dies. Results should be small; what is large goes to
  disk.

  Args:
    function: importable by name, or a `functools.partial` of such.
    corpus: handed to each worker once.
    names: of its tasks.
    num_workers: None takes one for each processor, or none at all for a small
      corpus; 0 runs in this process.

  Raises:
    InputError: what the function raises for the first of the tasks that cannot
      be used; or if a worker dies.
  """
  if num_workers is None:
    size = sum(_size(corpus, name) for name in names)
    num_workers = 0 if size < _SMALL_BYTES else _processors()
  if multiprocessing.current_process().daemon:
    # Such a process may have no children.
    num_workers = 0
  if num_workers == 0:
    for name in names:
      yield name, function(corpus, name)
    return
  pool = concurrent.futures.ProcessPoolExecutor(
    min(num_workers, len(names)) or 1,
    mp_context=_Context(),
    initializer=_start_worker,
    initargs=(function, corpus),
  )
  try:
    yield from _in_order(pool, names, _AHEAD * num_workers)
  except concurrent.futures.process.BrokenProcessPool:
    raise InputError(
      f'corpus {corpus.directory}: a process that read its files was killed, '
      'perhaps for want of memory. Free some, or ask for fewer workers.'
    ) from None
  finally:
    # Waits for the files being read at this moment, no longer.
    pool.shutdown(cancel_futures=True)


def _in_order(
  pool: concurrent.futures.Executor, names: Sequence[str], ahead: int
) -> Iterator[tuple[str, Result]]:
  pending: collections.deque = collections.deque()
  for name in names:
    pending.append((name, pool.submit(_call, name)))
    if len(pending) > ahead:
      name, future = pending.popleft()
      yield name, future.result()
  while pending:
    name, future = pending.popleft()
    yield name, future.result()


def _processors() -> int:
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:
    # Linux alone says how many of them are ours.
    return os.cpu_count() or 1


def _size(corpus: natinst.Corpus, name: str) -> int:
  try:
    return (corpus.directory / 'tasks' / f'{name}.json').stat().st_size
  except OSError:
    # Reading it will say why.
    return 0


class _Process(multiprocessing.context.SpawnProcess):
  """A new process that does not run the caller's script to begin with.

  Python would, so that what the script defines can be unpickled: without a
  guard it would build again in each worker, and it imports TensorFlow as like
  as not.
  """

  def start(self) -> None:
    main = sys.modules['__main__']
    names = ('__spec__', '__file__')
    hidden = {n: getattr(main, n) for n in names if hasattr(main, n)}
    # An interrupt reaches the whole group; the caller alone acts on it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
      main.__dict__.update(dict.fromkeys(hidden))
      super().start()
    finally:
      main.__dict__.update(hidden)
      signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Context(multiprocessing.context.SpawnContext):
  Process = _Process


# In a worker: the function and its corpus.
_work: tuple[Function, natinst.Corpus] | None = None


def _start_worker(function: Function, corpus: natinst.Corpus) -> None:
  global _work
  _work = function, corpus
  threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
  sentinel = multiprocessing.parent_process().sentinel
  multiprocessing.connection.wait([sentinel])
  os._exit(1)


def _call(name: str) -> Result:
  function, corpus = _work
  try:
    return function(corpus, name)
  finally:
    # The last files read would stay, in every worker.
    natinst._load.cache_clear()
