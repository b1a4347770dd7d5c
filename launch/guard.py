"""Runs a program, and kills it when the launcher has died.

A launcher that is killed with SIGKILL cannot stop the processes it started.
This small process can: it sits between the two, leads its own process group,
and waits on a pipe that the launcher holds open as long as it lives.

A script that only needs the standard library:
python -S guard.py DESCRIPTOR SECONDS PROGRAM ...
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

# Added to the number of a signal, as in shells.
_SIGNAL_STATUS = 128
_NOT_FOUND_STATUS = 127


def main() -> int:
  """Returns the program's exit status, 128 + N if signal N killed it."""
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
  # Only to the program: it may need its own children for its checkpoint.
  signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
  if asked.is_set():
    child.send_signal(signal.SIGTERM)
  threading.Thread(
    target=_watch, args=(descriptor, seconds, child), daemon=True
  ).start()
  status = child.wait()
  return _SIGNAL_STATUS - status if status < 0 else status


def _watch(descriptor: int, seconds: float, child: subprocess.Popen) -> None:
  """Waits for the launcher's end of the pipe to close, then kills all."""
  while os.read(descriptor, 1):
    pass
  child.send_signal(signal.SIGTERM)
  with contextlib.suppress(subprocess.TimeoutExpired):
    child.wait(timeout=seconds)
  # Including this process: nobody is left to read its status.
  os.killpg(0, signal.SIGKILL)


if __name__ == '__main__':
  sys.exit(main())
