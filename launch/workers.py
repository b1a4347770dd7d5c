"""Runs programs together: if one fails, all are stopped; none is left over."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Any, TextIO

# EX_TEMPFAIL of sysexits.h: stopped by a signal; resumes when run again.
PREEMPTED_STATUS = 75
_GUARD = pathlib.Path(__file__).with_name('guard.py')
_CLEAN = (0, PREEMPTED_STATUS)
# After a failure the others can only wait for it; they write no checkpoint.
_SECONDS_AFTER_FAILURE = 10.0
# Limit for reading a pipe after the end of its program, in case another process
# holds it open.
_DRAIN_SECONDS = 5.0
_LAST_LINES = 10
# SIGHUP comes when the terminal is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worker:
  """A program to run.

  Attributes:
    name: Name for messages.
    words: Program and arguments.
    environment: Environment of the program; None for that of this process.
    is_shown: Whether to print its output unchanged. Of other programs only
      standard error is printed, each line after the name.
    ends_with_input: Whether the end of standard input, not SIGTERM, asks the
      program to stop. This also reaches a program on another machine, and
      works when this process is gone.
  """

  name: str
  words: Sequence[str]
  environment: Mapping[str, str] | None = None
  is_shown: bool = False
  ends_with_input: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """How the programs ended.

  Attributes:
    statuses: Exit status of each program; 128 + N if signal N killed it.
    asked: Signal by which this process was asked to stop, None for none.
    failed: Index of the program that failed first, None for none.
    last_lines: Last lines of output of each program.
  """

  statuses: Sequence[int]
  asked: int | None
  failed: int | None
  last_lines: Sequence[Sequence[str]]

  @property
  def status(self) -> int:
    """One exit status for all programs.

    That of the first failure; 75 if all stopped and can resume; 128 + N if
    signal N stopped them without one.
    """
    if self.failed is not None:
      return self.statuses[self.failed]
    if all(status in _CLEAN for status in self.statuses):
      return max(self.statuses, default=0)
    return 128 + (self.asked or signal.SIGTERM)


def run(
  workers: Sequence[Worker],
  *,
  say: Callable[[str], None],
  warn: Callable[[str], None] | None = None,
  grace_seconds: float = 60.0,
) -> Outcome:
  """Runs programs to their end; returns when none is left.

  SIGINT, SIGTERM and SIGHUP ask all programs to stop; a second signal kills
  them. If one fails, the others are stopped. If this process is killed, `guard`
  stops them.

  Args:
    workers: Programs, started at the same time.
    say: Receives a line about each event.
    warn: Receives a line about each failure; None for `say`.
    grace_seconds: Seconds from a request to stop to SIGKILL.

  Raises:
    OSError: If a program cannot be started; those already started are killed.
  """
  return _Run(workers, say, warn or say, grace_seconds).run()


@contextlib.contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
  """Handles the signals that ask to stop, unless they are ignored.

  Does nothing outside the main thread, where Python allows no handlers.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {
    number: signal.signal(number, handler)
    for number in _SIGNALS
    # nohup ignores SIGHUP.
    if signal.getsignal(number) is not signal.SIG_IGN
  }
  try:
    yield
  finally:
    for number, former in before.items():
      signal.signal(number, former)


def describe_status(status: int) -> str:
  """Describes an exit status.

  >>> describe_status(3), describe_status(137)
  ('status 3', 'signal SIGKILL')
  """
  with contextlib.suppress(ValueError):
    if status > 128:
      return f'signal {signal.Signals(status - 128).name}'
  return f'status {status}'


class _Run:
  """One run of several programs."""

  def __init__(
    self,
    workers: Sequence[Worker],
    say: Callable[[str], None],
    warn: Callable[[str], None],
    grace_seconds: float,
  ):
    self._workers = workers
    self._say = say
    self._warn = warn
    self._grace_seconds = grace_seconds
    self._events: queue.SimpleQueue = queue.SimpleQueue()
    self._processes: list[subprocess.Popen] = []
    self._statuses: dict[int, int] = {}
    self._lines: list[collections.deque[str]] = [
      collections.deque(maxlen=_LAST_LINES) for _ in workers
    ]
    self._asked: int | None = None
    self._failed: int | None = None
    # When to ask the remaining programs to stop, and when to kill them.
    self._ask_at = self._end_at = float('inf')

  def run(self) -> Outcome:
    read_end, write_end = os.pipe()
    # SimpleQueue is safe to use in a signal handler.
    with handled(lambda number, _: self._events.put(('asked', number))):
      try:
        for index, worker in enumerate(self._workers):
          self._start(index, worker, read_end)
        while len(self._statuses) < len(self._workers):
          self._step()
      except BaseException:
        self._end_all()
        raise
      finally:
        os.close(read_end)
        os.close(write_end)
    return Outcome(
      statuses=[self._statuses[k] for k in range(len(self._workers))],
      asked=self._asked,
      failed=self._failed,
      last_lines=[list(lines) for lines in self._lines],
    )

  def _start(self, index: int, worker: Worker, read_end: int) -> None:
    process = subprocess.Popen(
      [
        *(sys.executable, '-S', '-E', os.fspath(_GUARD), str(read_end)),
        *(str(self._grace_seconds), *worker.words),
      ],
      stdin=subprocess.PIPE if worker.ends_with_input else subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env=worker.environment,
      pass_fds=(read_end,),
      start_new_session=True,
    )
    self._processes.append(process)
    threading.Thread(
      target=self._follow, args=(index, worker, process), daemon=True
    ).start()

  def _follow(
    self, index: int, worker: Worker, process: subprocess.Popen
  ) -> None:
    """Reads the output of a program, waits for its end, and reports it."""
    readers = [
      threading.Thread(target=self._read, args=(index, *arguments), daemon=True)
      for arguments in (
        (process.stdout, sys.stdout if worker.is_shown else None, b''),
        (
          process.stderr,
          sys.stderr,
          b'' if worker.is_shown else f'[{worker.name}] '.encode(),
        ),
      )
    ]
    for reader in readers:
      reader.start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # Before the process is reaped, after which its group id could be reused.
    _kill_group(process)
    status = process.wait()
    for reader in readers:
      reader.join(_DRAIN_SECONDS)
    self._events.put(('ended', index, 128 - status if status < 0 else status))

  def _read(
    self, index: int, pipe: IO[bytes], stream: TextIO | None, prefix: bytes
  ) -> None:
    with pipe:
      for line in pipe:
        self._lines[index].append(line.decode('utf-8', 'replace').rstrip())
        if stream is not None:
          # The terminal may be gone, which is no reason to stop.
          with contextlib.suppress(OSError, ValueError):
            _write(stream, prefix + line)

  def _step(self) -> None:
    now = time.monotonic()
    timeout = min(self._ask_at, self._end_at) - now
    try:
      event = self._events.get(
        timeout=None if timeout == float('inf') else max(timeout, 0.0)
      )
    except queue.Empty:
      if time.monotonic() >= self._end_at:
        self._end_all()
        self._end_at = float('inf')
      if time.monotonic() >= self._ask_at:
        self._ask(self._grace_seconds)
      return
    if event[0] == 'asked':
      self._on_signal(event[1])
    else:
      self._on_end(*event[1:])

  def _on_signal(self, number: int) -> None:
    if self._asked is not None:
      self._say('killing all processes')
      self._end_all()
      return
    self._asked = number
    self._say(
      f'{signal.Signals(number).name}: stopping {self._left()}, with '
      f'{self._grace_seconds:g} s to write a checkpoint; a second signal kills '
      'them'
    )
    self._ask(self._grace_seconds)

  def _on_end(self, index: int, status: int) -> None:
    self._statuses[index] = status
    name = self._workers[index].name
    left = len(self._workers) - len(self._statuses)
    if status in _CLEAN:
      is_first = self._asked is None and self._failed is None
      if status == PREEMPTED_STATUS and is_first:
        # All stop at the same step. A signal now might reach a process that is
        # exiting and no longer handles it.
        self._ask_at = time.monotonic() + self._grace_seconds
    elif self._failed is None and self._asked is None:
      self._failed = index
      self._warn(
        f'process {name} ended with {describe_status(status)}'
        + (f'; stopping {self._left()}' if left else '')
      )
      if not self._workers[index].is_shown:
        for line in self._lines[index]:
          self._warn(f'  {name}: {line}')
      self._ask(min(self._grace_seconds, _SECONDS_AFTER_FAILURE))

  def _left(self) -> str:
    left = len(self._workers) - len(self._statuses)
    return f'{left} process' + ('' if left == 1 else 'es')

  def _ask(self, grace_seconds: float) -> None:
    self._ask_at = float('inf')
    self._end_at = time.monotonic() + grace_seconds
    for index, process in enumerate(self._processes):
      if index in self._statuses or process.returncode is not None:
        continue
      if process.stdin is not None:
        process.stdin.close()
      else:
        # To the guard only, which forwards it. `send_signal` would consume the
        # exit status that `_follow` waits for.
        with contextlib.suppress(ProcessLookupError):
          os.kill(process.pid, signal.SIGTERM)

  def _end_all(self) -> None:
    for index, process in enumerate(self._processes):
      if index not in self._statuses and process.returncode is None:
        _kill_group(process)


def _write(stream: TextIO, line: bytes) -> None:
  if hasattr(stream, 'buffer'):
    stream.buffer.write(line)
  else:
    # A text stream without bytes below it, as in tests.
    stream.write(line.decode('utf-8', 'replace'))
  stream.flush()


def _kill_group(process: subprocess.Popen) -> None:
  with contextlib.suppress(ProcessLookupError, PermissionError):
    os.killpg(process.pid, signal.SIGKILL)
