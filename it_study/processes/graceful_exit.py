"""Ends this process on SIGTERM and Ctrl-C, whatever it is doing."""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import sys
import threading
from typing import Any

# EX_TEMPFAIL of sysexits.h: the same command resumes.
RESUMABLE_STATUS = 75
# As shells report a program that the signal killed.
TERMINATED_STATUS = 128 + signal.SIGTERM
INTERRUPTED_STATUS = 128 + signal.SIGINT
# How long one call, such as a compilation, may keep Python from a signal.
_PATIENCE_SECONDS = 10.0
# How long cleaning up may take once the user does not want to wait.
_HURRY_SECONDS = 3.0
# Ends the process; None outside `graceful_exit`.
_end: Callable[[int], None] | None = None


class Terminated(SystemExit):
  """SIGTERM came; `code` is the exit status."""


@contextlib.contextmanager
def graceful_exit(*, status: int, message: str) -> Iterator[None]:
  """Lets SIGTERM and Ctrl-C end the block.

  SIGTERM raises `Terminated` in the main thread, as Ctrl-C does with
  `KeyboardInterrupt`. So temporary files are deleted and locks are released.

  Python handles a signal only between two instructions of the main thread. If
  one call holds that up for too long, the process ends there and then.

  Handlers that the block installs, such as those of a training, are left alone.
  So is a signal that the process ignores. Does nothing outside the main thread.

  Args:
    status: Exit status after SIGTERM.
    message: Line for standard error if the process ends inside a call.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  is_handled = threading.Event()

  def terminate(number: int, frame: Any) -> None:
    del number, frame
    # A second SIGTERM does not interrupt the cleaning up after the first.
    if not is_handled.is_set():
      is_handled.set()
      raise Terminated(status)

  def interrupt(number: int, frame: Any) -> None:
    is_handled.set()
    signal.default_int_handler(number, frame)

  def end(status: int) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(status)

  def is_ours(number: int) -> bool:
    return number in ours and signal.getsignal(number) is ours[number]

  ours: dict[int, Callable[[int, Any], None]] = {
    signal.SIGTERM: terminate,
    signal.SIGINT: interrupt,
  }
  statuses: dict[int, int] = {
    signal.SIGTERM: status,
    signal.SIGINT: INTERRUPTED_STATUS,
  }
  before = {number: signal.getsignal(number) for number in ours}

  def watch(reader: int) -> None:
    with open(reader, 'rb', buffering=0) as numbers:
      while byte := numbers.read(1):
        number = byte[0]
        if (
          is_ours(number)
          and not is_handled.wait(_PATIENCE_SECONDS)
          and is_ours(number)
        ):
          end(statuses[number])

  global _end
  end_before, _end = _end, end
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  threading.Thread(target=watch, args=(reader,), daemon=True).start()
  for number, handler in ours.items():
    if before[number] in (signal.SIG_DFL, signal.default_int_handler):
      signal.signal(number, handler)
  try:
    yield
  finally:
    _end = end_before
    for number, handler in ours.items():
      if signal.getsignal(number) is handler:
        signal.signal(number, before[number])
    signal.set_wakeup_fd(wakeup_before)
    os.close(writer)


def hurry() -> None:
  """Gives a block of `graceful_exit` a few seconds to clean up and end.

  Otherwise the process ends there and then. Does nothing outside such a block,
  as the process belongs to somebody else.
  """
  if _end is not None:
    timer = threading.Timer(_HURRY_SECONDS, _end, (INTERRUPTED_STATUS,))
    timer.daemon = True
    timer.start()
