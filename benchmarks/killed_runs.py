"""Runs of `it-study` for benchmarks to kill, each of one process or more."""

from collections.abc import Sequence
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import own_tasks

from launch import local

# Between the first and the second process of a run that is killed.
_MOST_SECONDS_BETWEEN = 1.0


class KilledRun:
  """A run of `it-study`, started by making this.

  Attributes:
    processes: The processes that share it.
  """

  def __init__(self, words: Sequence[str], *, processes: int, devices: int):
    """Starts it.

    Args:
      words: Arguments of `it-study`.
      processes: Number of processes.
      devices: Number of virtual CPU devices of each process.
    """
    planned = local.plan(
      [sys.executable, '-m', 'it_study.cli', *words],
      processes=processes,
      devices=devices,
      environment=own_tasks.environment(),
    )
    # Files, since a process that fills a pipe waits for its reader.
    self._folder = tempfile.TemporaryDirectory()
    self.processes: list[subprocess.Popen] = []
    for index, worker in enumerate(planned):
      with self._errors(index).open('w') as errors:
        self.processes.append(
          subprocess.Popen(
            worker.words,
            env=worker.environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
          )
        )

  def is_running(self) -> bool:
    """Returns whether no process has ended."""
    return all(process.poll() is None for process in self.processes)

  def kill(self, generator: random.Random) -> None:
    """Kills one of the processes, then the others, as a launcher does."""
    for index, process in enumerate(
      generator.sample(self.processes, len(self.processes))
    ):
      if index:
        time.sleep(generator.uniform(0, _MOST_SECONDS_BETWEEN))
      process.kill()

  def wait(self) -> list[int]:
    """Waits for the end, and returns the exit statuses."""
    return [process.wait() for process in self.processes]

  def finish(self) -> None:
    """Waits for the end, and raises `RuntimeError` if a process fails."""
    for index, status in enumerate(self.wait()):
      if status:
        errors = self._errors(index).read_text()
        raise RuntimeError(f'Exit status {status}: {errors[-2000:]}')

  def _errors(self, index: int) -> pathlib.Path:
    """Returns the file of a process's messages."""
    return pathlib.Path(self._folder.name) / f'{index}.txt'
