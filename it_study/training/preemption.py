"""Graceful shutdown of a training on SIGTERM and Ctrl-C."""

from collections.abc import Callable, Iterator
import contextlib
import logging
import os
import signal
import threading
from typing import Any

import jax

from it_study import distributed
from it_study.processes import graceful_exit
from it_study.processes.graceful_exit import RESUMABLE_STATUS

# The same command resumes the training.
PREEMPTED_STATUS = RESUMABLE_STATUS
_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def preemption() -> Iterator[Callable[[int], bool]]:
  """Watches for SIGTERM and Ctrl-C, and exits after the block if one came.

  A second Ctrl-C raises `KeyboardInterrupt`, and our command line then ends
  within seconds, whatever is being saved. Only in the main thread,
  where signals can be handled; with several processes, JAX watches SIGTERM.

  Yields:
    A function to call after every step. Given the step, it returns whether to
    stop.

  Raises:
    SystemExit: With `PREEMPTED_STATUS`, after the block, if a signal came.
  """
  preempted = threading.Event()
  if jax.process_count() > 1:

    def is_preempted(step: int) -> bool:
      if distributed.is_preempted(step):
        preempted.set()
      return preempted.is_set()

    # The other processes must stop after the same step.
    with _interrupts(lambda: os.kill(os.getpid(), signal.SIGTERM)):
      yield is_preempted
  elif threading.current_thread() is not threading.main_thread():
    yield lambda _: False
  else:
    previous = signal.signal(signal.SIGTERM, lambda *_: preempted.set())
    try:
      with _interrupts(preempted.set):
        yield lambda _: preempted.is_set()
    finally:
      signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
  if preempted.is_set():
    raise SystemExit(PREEMPTED_STATUS)


@contextlib.contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
  """Lets the first Ctrl-C call a function, and the second interrupt."""
  previous = signal.getsignal(signal.SIGINT)
  is_asked = False

  def handle(number: int, frame: Any) -> None:
    nonlocal is_asked
    if is_asked:
      graceful_exit.hurry()
      signal.default_int_handler(number, frame)
    is_asked = True
    _logger.warning(
      'Ctrl-C: stopping after this step, with a checkpoint. Press it again to '
      'stop at once, without one.'
    )
    stop()

  # A process in the background of a script ignores Ctrl-C, and a caller may
  # have a handler of its own.
  if previous is signal.SIG_IGN or not callable(previous):
    yield
    return
  signal.signal(signal.SIGINT, handle)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, previous)
