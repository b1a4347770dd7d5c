"""Worker processes that start afresh, and end with their caller."""

import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import sys
import threading


def processors() -> int:
  """Returns the number of processors that this thread may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:
    # Only Linux reports the processors of a thread.
    return os.cpu_count() or 1


def end_with_caller() -> None:
  """Ends this process, a worker, as soon as the one that started it is gone."""
  threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
  parent = multiprocessing.parent_process()
  assert parent is not None, 'Runs in workers only.'
  multiprocessing.connection.wait([parent.sentinel])
  os._exit(1)


class _Process(multiprocessing.context.SpawnProcess):
  """A spawned process that does not run the caller's script first.

  By default Python does, so that objects of the script can be unpickled. An
  unguarded script would start over in each worker, and often import TensorFlow.
  """

  def start(self) -> None:
    main = sys.modules['__main__']
    names = ('__spec__', '__file__')
    hidden = {n: getattr(main, n) for n in names if hasattr(main, n)}
    # An interrupt reaches the process group; only the caller handles it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
      main.__dict__.update(dict.fromkeys(hidden))
      super().start()
    finally:
      main.__dict__.update(hidden)
      signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Context(multiprocessing.context.SpawnContext):
  """Starts workers that import only what they need."""

  Process = _Process
