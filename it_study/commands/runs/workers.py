"""Worker processes that share a study on the processors of one machine."""

import argparse
from collections.abc import Callable, Iterator, Mapping
import contextlib
import logging
import multiprocessing.connection
import multiprocessing.process
import os

from it_study.commands.progress import say
from it_study.errors import InputError
from it_study.processes import graceful_exit, spawning

_PLATFORMS = 'JAX_PLATFORMS'
# XLA reads the number of its threads from it when JAX starts. Sums depend on it
# in their last bits; with two, a study is the same as on two processors.
_THREADS = {'PJRT_NPROC': '2'}
# How long a worker may take to see that all is done, or to save a checkpoint
# when told to stop.
_END_SECONDS = 30.0
_FORMAT = '%(levelname)s: worker %(process)d: %(message)s'


@contextlib.contextmanager
def workers(
  options: argparse.Namespace,
  work: Callable[[argparse.Namespace], None],
) -> Iterator[None]:
  """Lets worker processes do the same work beside the block.

  Small models leave processors idle, as one step has little to compute at once.
  Of N > 1 workers, this process among them, each computes with two threads, so
  that results depend neither on N nor on the number of processors. They divide
  the work by the locks of the study's folder. The others show no progress; what
  stops one is said at the end, as this process finishes the work without it.

  Does nothing for one worker. To be entered before JAX starts.

  Args:
    options: Options of the command. `workers` is the number of workers.
    work: Function of the options that does all work that nobody else is doing,
      importable by name.

  Raises:
    InputError: If there are fewer processors than workers, or JAX_PLATFORMS
      names something other than the CPU.
  """
  _check(options.workers)
  if options.workers == 1:
    yield
    return
  with _environment({_PLATFORMS: 'cpu', **_THREADS}):
    context = spawning.Context()
    others = []
    try:
      for _ in range(options.workers - 1):
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(
          target=_run, args=(work, _for_worker(options), writer)
        )
        others.append((process, reader))
        process.start()
        writer.close()
      yield
      for process, reader in others:
        # It ends once it has seen that all is done, after its last write.
        process.join(_END_SECONDS)
        if process.exitcode:
          say(options, _early_end(process, reader))
    finally:
      started = [process for process, _ in others if process.pid is not None]
      for process in started:
        process.terminate()
      for process in started:
        process.join(_END_SECONDS)
        process.kill()


def _early_end(
  process: multiprocessing.process.BaseProcess,
  reader: multiprocessing.connection.Connection,
) -> str:
  """Returns a sentence on a worker that failed, or that something killed."""
  problem = f'it ended with status {process.exitcode}.'
  with contextlib.suppress(EOFError):
    problem = reader.recv()
  return (
    f'it-study: note: worker {process.pid} stopped early: {problem} The others '
    'did its work.'
  )


def _check(number: int) -> None:
  """Raises `InputError` unless that many workers can run here."""
  if number < 1:
    raise InputError(f'--workers is {number}; it must be at least 1.')
  if number == 1:
    return
  platforms = os.environ.get(_PLATFORMS) or 'cpu'
  if platforms != 'cpu':
    raise InputError(
      f'--workers is {number}, and {_PLATFORMS} is {platforms!r}: workers '
      'compute on the CPU. Unset the variable, or leave out --workers.'
    )
  processors = spawning.processors()
  if number > processors:
    raise InputError(
      f'--workers is {number}, and this process may use {processors} '
      f'processor{"s" if processors > 1 else ""}; give at most as many workers.'
    )


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
  """Sets variables for this process and those that it starts."""
  before = {name: os.environ.get(name) for name in variables}
  os.environ.update(variables)
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value


def _for_worker(options: argparse.Namespace) -> argparse.Namespace:
  """Returns the options of another worker: plain values, and no display."""
  values = {
    name: value
    for name, value in vars(options).items()
    if isinstance(value, str | int | list | None)
  }
  return argparse.Namespace(**{**values, 'quiet': True, 'workers': 1})


def _run(
  work: Callable[[argparse.Namespace], None],
  options: argparse.Namespace,
  writer: multiprocessing.connection.Connection,
) -> None:
  """Does work in a process of its own; exits with 1 if that fails."""
  spawning.end_with_caller()
  logging.basicConfig(level=logging.WARNING, format=_FORMAT)
  logging.getLogger('absl').setLevel(logging.ERROR)
  try:
    with graceful_exit.graceful_exit(
      status=graceful_exit.RESUMABLE_STATUS,
      message=f'it-study: worker {os.getpid()} stopped.',
    ):
      work(options)
  except Exception as error:
    writer.send(f'{error or type(error).__name__}')
    raise SystemExit(1) from None
