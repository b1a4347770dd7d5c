"""SIGTERM, by which a training is told to stop soon."""

from collections.abc import Callable, Iterator
import contextlib
import signal
import threading

import jax

from it_study import distributed

# EX_TEMPFAIL of sysexits.h: start it again and it goes on.
PREEMPTED_STATUS = 75


@contextlib.contextmanager
def preemption() -> Iterator[Callable[[int], bool]]:
  """Tells after which step to stop, and exits once the block is done.

  Yields:
    Whether SIGTERM came, given the step that is done; to be called at each.
  """
  told = threading.Event()
  if jax.process_count() > 1:

    def is_over(step):
      if distributed.is_preempted(step):
        told.set()
      return told.is_set()

    yield is_over
  elif threading.current_thread() is not threading.main_thread():
    yield lambda _: False
  else:
    previous = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
      yield lambda _: told.is_set()
    finally:
      signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
  if told.is_set():
    raise SystemExit(PREEMPTED_STATUS)
