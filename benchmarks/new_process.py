"""Runs one measurement of a benchmark in a process of its own."""

from collections.abc import Mapping
import json
import os
import subprocess
import sys
import time


def measure(
  script: str, *arguments: str, environment: Mapping[str, str]
) -> tuple[dict[str, float] | str, float]:
  """Returns what a script printed as JSON, in its last line, and the seconds.

  If it failed, the reason takes the result's place: the line that says that
  memory was exhausted, or else the end of what it wrote.
  """
  started = time.time()
  process = subprocess.run(
    [sys.executable, script, *arguments],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    check=False,
  )
  seconds = time.time() - started
  if not process.returncode:
    return json.loads(process.stdout.splitlines()[-1]), seconds
  exhausted = [
    line for line in process.stderr.splitlines() if 'RESOURCE_EXHAUSTED' in line
  ]
  return exhausted[-1] if exhausted else process.stderr[-2000:], seconds
