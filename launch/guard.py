"""Runs a program and ends with it, or ends it when the launcher is gone.

A launcher that is killed outright cannot stop what it started. This small
process can: it stands between the two, leads a process group of its own, and
waits on a pipe that the launcher holds open for as long as it lives.

Run as a script, with nothing but the standard library: python -S guard.py
DESCRIPTOR SECONDS PROGRAM ...
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

# As shells tell of a signal.
_SIGNAL_STATUS = 128
_NOT_FOUND_STATUS = 127


def main() -> int:
  """Returns the program's status, 128 + N if signal N ended it."""
  descriptor, seconds = int(sys.argv[1]), float(sys.argv[2])
  asked = threading.Event()
  # A handler, not SIG_IGN, which the program would inherit.
  signal.signal(signal.SIGTERM, lambda *_: asked.set())
  signal.signal(signal.SIGINT, lambda *_: None)
  try:
    child = subprocess.Popen(sys.argv[3:])
  except OSError as error:
    print(f'cannot run {sys.argv[3]}: {error.strerror}', file=sys.stderr)
    return _NOT_FOUND_STATUS
  # The program alone: what it started may be needed for its checkpoint.
  signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
  if asked.is_set():
    child.send_signal(signal.SIGTERM)
  threading.Thread(
    target=_watch, args=(descriptor, seconds, child), daemon=True
  ).start()
  status = child.wait()
  return _SIGNAL_STATUS - status if status < 0 else status


def _watch(descriptor: int, seconds: float, child: subprocess.Popen) -> None:
  """Waits for the launcher's end of the pipe to close, then ends all."""
  while os.read(descriptor, 1):
    pass
  child.send_signal(signal.SIGTERM)
  with contextlib.suppress(subprocess.TimeoutExpired):
    child.wait(timeout=seconds)
  # This process too: there is nobody left to tell of it.
  os.killpg(0, signal.SIGKILL)


if __name__ == '__main__':
  sys.exit(main())
