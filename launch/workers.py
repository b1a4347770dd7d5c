"""Runs programs together: one fails, all are stopped, and none is left."""

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

# EX_TEMPFAIL of sysexits.h: stopped with a checkpoint, goes on when started
# again.
PREEMPTED_STATUS = 75
_GUARD = pathlib.Path(__file__).with_name('guard.py')
_CLEAN = (0, PREEMPTED_STATUS)
# When one has failed, the others wait for it in vain and write no checkpoint.
_SECONDS_AFTER_FAILURE = 10.0
# What is left in a pipe when its program has ended is read quickly, unless a
# stranger holds it open.
_DRAIN_SECONDS = 5.0
_LAST_LINES = 10
# The last one comes when the terminal is closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worker:
  """A program to run.

  Attributes:
    name: that messages call it by.
    words: the program and its arguments.
    environment: in place of this process's own; None is the same.
    is_shown: whether its output is passed on as it is; of the others only the
      errors are, each line behind their name.
    ends_with_input: whether it is asked to stop by the end of its input, not by
      SIGTERM: so a program elsewhere learns of it behind any connection, and
      also when this process is gone.
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
    statuses: of each, 128 + N if signal N ended it.
    asked: the signal by which all were asked to stop, None if there was none.
    failed: which of them failed first, None if none did.
    last_lines: that each of them wrote.
  """

  statuses: Sequence[int]
  asked: int | None
  failed: int | None
  last_lines: Sequence[Sequence[str]]

  @property
  def status(self) -> int:
    """One exit status for all.

    75 where all stopped with a checkpoint, the first failure's where one
    failed, 128 + N where signal N stopped them without a checkpoint.
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
  """Runs programs to their end; returns when none of them is left.

  SIGINT, SIGTERM and SIGHUP ask all of them to stop; a second one ends them at
  once. If one fails, the others are stopped. If this process is killed, `guard`
  stops them.

  Args:
    workers: all start at once.
    say: is called with a line whenever something happens.
    warn: is called in its place when a program fails; None is the same.
    grace_seconds: from being asked to stop to being ended.

  Raises:
    OSError: if a program cannot be started; those that were are ended.
  """
  return _Run(workers, say, warn or say, grace_seconds).run()


@contextlib.contextmanager
def handled(handler: Callable) -> Iterator[None]:
  """Handles the signals that ask to stop, those apart that are ignored.

  Only in the main thread, which alone has signals.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {
    number: signal.signal(number, handler)
    for number in _SIGNALS
    # As by nohup.
    if signal.getsignal(number) is not signal.SIG_IGN
  }
  try:
    yield
  finally:
    for number, former in before.items():
      signal.signal(number, former)


def describe_status(status: int) -> str:
  """An exit status in words.

  >>> describe_status(3), describe_status(137)
  ('status 3', 'signal SIGKILL')
  """
  with contextlib.suppress(ValueError):
    if status > 128:
      return f'signal {signal.Signals(status - 128).name}'
  return f'status {status}'


class _Run:
  """One run of several programs."""

  def __init__(self, workers, say, warn, grace_seconds):
    self._workers = workers
    self._say = say
    self._warn = warn
    self._grace_seconds = grace_seconds
    self._events: queue.SimpleQueue = queue.SimpleQueue()
    self._processes: list[subprocess.Popen] = []
    self._statuses: dict[int, int] = {}
    self._lines = [collections.deque(maxlen=_LAST_LINES) for _ in workers]
    self._asked: int | None = None
    self._failed: int | None = None
    # When to ask, and when to end, what has not ended by then.
    self._ask_at = self._end_at = float('inf')

  def run(self) -> Outcome:
    read_end, write_end = os.pipe()
    # The queue may be used from within a handler.
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

  def _follow(self, index: int, worker: Worker, process) -> None:
    """Reads what a program writes, waits for its end, and tells of it."""
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
    # Not reaped yet, so that the number of its group is not another's.
    _kill_group(process)
    status = process.wait()
    for reader in readers:
      reader.join(_DRAIN_SECONDS)
    self._events.put(('ended', index, 128 - status if status < 0 else status))

  def _read(self, index: int, pipe, stream, prefix: bytes) -> None:
    with pipe:
      for line in pipe:
        self._lines[index].append(line.decode('utf-8', 'replace').rstrip())
        if stream is not None:
          # Nobody may be reading any more, which is no reason to stop.
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
      self._be_asked(event[1])
    else:
      self._be_told(*event[1:])

  def _be_asked(self, number: int) -> None:
    if self._asked is not None:
      self._say('ending all processes at once')
      self._end_all()
      return
    self._asked = number
    self._say(
      f'{signal.Signals(number).name}: stopping {self._left()}, which may '
      f'write a checkpoint within {self._grace_seconds:g} s; a second one ends '
      'them at once'
    )
    self._ask(self._grace_seconds)

  def _be_told(self, index: int, status: int) -> None:
    self._statuses[index] = status
    name = self._workers[index].name
    left = len(self._workers) - len(self._statuses)
    if status in _CLEAN:
      is_first = self._asked is None and self._failed is None
      if status == PREEMPTED_STATUS and is_first:
        # They stop at the same step. A signal now might meet one that is about
        # to exit and takes no more notice of it.
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
        # The guard alone, which hands it on. Not by `send_signal`, which would
        # take away the status that `_follow` waits for.
        with contextlib.suppress(ProcessLookupError):
          os.kill(process.pid, signal.SIGTERM)

  def _end_all(self) -> None:
    for index, process in enumerate(self._processes):
      if index not in self._statuses and process.returncode is None:
        _kill_group(process)


def _write(stream, line: bytes) -> None:
  if hasattr(stream, 'buffer'):
    stream.buffer.write(line)
  else:
    # Somebody reads it as text.
    stream.write(line.decode('utf-8', 'replace'))
  stream.flush()


def _kill_group(process: subprocess.Popen) -> None:
  with contextlib.suppress(ProcessLookupError, PermissionError):
    os.killpg(process.pid, signal.SIGKILL)
