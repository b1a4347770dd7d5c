"""Graceful shutdown on SIGTERM."""

from collections.abc import Callable, Iterator
import contextlib
import signal
import threading

import jax

from it_study import distributed

# EX_TEMPFAIL of sysexits.h: the same command resumes the training.
PREEMPTED_STATUS = 75


@contextlib.contextmanager
def preemption() -> Iterator[Callable[[int], bool]]:
  """Watches for SIGTERM, and exits after the block if one came.

  Only in the main thread, where signals can be handled; with several processes,
  JAX watches the signal.

  Yields:
    A function to call after every step. Given the step, it returns whether to
    stop.

  Raises:
    SystemExit: With `PREEMPTED_STATUS`, after the block, if SIGTERM came.
  """
  preempted = threading.Event()
  if jax.process_count() > 1:

    def is_preempted(step: int) -> bool:
      if distributed.is_preempted(step):
        preempted.set()
      return preempted.is_set()

    yield is_preempted
  elif threading.current_thread() is not threading.main_thread():
    yield lambda _: False
  else:
    previous = signal.signal(signal.SIGTERM, lambda *_: preempted.set())
    try:
      yield lambda _: preempted.is_set()
    finally:
      signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
  if preempted.is_set():
    raise SystemExit(PREEMPTED_STATUS)
