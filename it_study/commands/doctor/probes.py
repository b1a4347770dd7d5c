"""Checks that load a library, each in a separate process."""

import importlib.util
import os
import pathlib
import shutil
import sys
from typing import Any

from it_study.commands.doctor.doctor_check import (
  BROKEN,
  OK,
  OPTIONAL,
  WARNING,
  DoctorCheck,
)
from it_study.errors import InputError
from it_study.processes import timed_process
from it_study.storage import text_files

_GIB = 2**30
_ROOT = pathlib.Path(__file__).resolve().parents[3]
_BYTE = 'byte'
_VARIABLE = 'IT_STUDY_VOCABULARY'
# Our library describes it; T5's own needs a network.
_VOCABULARY = """
from it_study.data import tensorflow_setup
tensorflow_setup.import_tensorflow()
from it_study.data import vocabularies
from it_study.errors import InputError
import json
try:
  print(json.dumps({'found': vocabularies.describe()}))
except InputError as error:
  print(json.dumps({'error': str(error)}))
"""
_DEVICES = """
import json
import jax
print(json.dumps([
  [d.platform, d.device_kind, (d.memory_stats() or {}).get('bytes_limit')]
  for d in jax.local_devices()
]))
"""
_T5X = """
import json
import t5x.models, t5x.train, t5x.infer
print(json.dumps(t5x.__path__[0]))
"""


def check_devices(*, seconds: float) -> DoctorCheck:
  """Checks which devices JAX finds, and their memory."""
  done = _python(_DEVICES, seconds=seconds)
  if done.status is None:
    return DoctorCheck(
      'devices',
      BROKEN,
      f'JAX did not start within {seconds:g} s',
      'another process may hold the accelerator: stop it, or set '
      'JAX_PLATFORMS=cpu to run without',
    )
  devices = _answer(done)
  if devices is None:
    return DoctorCheck(
      'devices',
      BROKEN,
      f'JAX cannot start: {done.last_line}',
      'fix the packages above first'
      if 'ModuleNotFoundError' in done.last_line
      else 'set JAX_PLATFORMS=cpu to run without an accelerator',
    )
  counts: dict[tuple, int] = {}
  for device in devices:
    counts[tuple(device)] = counts.get(tuple(device), 0) + 1
  found = '; '.join(
    f'{count} x {kind}' + (f', {size / _GIB:.0f} GiB each' if size else '')
    for (_, kind, size), count in counts.items()
  )
  if {platform for platform, _, _ in devices} == {'cpu'}:
    unused = _unused_accelerator()
    if unused:
      return DoctorCheck('devices', WARNING, f'{found}; {unused[0]}', unused[1])
  return DoctorCheck('devices', OK, found)


def check_vocabulary(*, seconds: float) -> DoctorCheck:
  """Checks that the default vocabulary can be read."""
  name = os.environ.get(_VARIABLE)
  if name == _BYTE:
    return DoctorCheck('vocabulary', OK, f'bytes (from {_VARIABLE})')
  done = _python(_VOCABULARY, seconds=seconds)
  answer = _answer(done) or {}
  if 'found' in answer:
    return DoctorCheck('vocabulary', OK, answer['found'])
  if name and not name.startswith('gs://'):
    reason = answer.get('error') or _how_it_ended(done, seconds)
    return DoctorCheck(
      'vocabulary', WARNING, reason, f'set {_VARIABLE} to another file'
    )
  if done.status not in (0, None):
    # The cause is not the network but the libraries that would read it.
    return DoctorCheck(
      'vocabulary',
      BROKEN,
      f'cannot be checked: {done.last_line}',
      'fix the packages above first',
    )
  source = name or (
    'gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model'
  )
  return DoctorCheck(
    'vocabulary',
    WARNING,
    f'{source} cannot be reached; only the miniature runs without it',
    f'with network access, run gcloud storage cp {source} . and set '
    f"{_VARIABLE} to the copy; or set it to 'byte'",
  )


def check_t5x(*, seconds: float) -> DoctorCheck:
  """Checks that T5X can be imported, if it is installed."""
  if importlib.util.find_spec('t5x') is None:
    return DoctorCheck(
      'T5X',
      OPTIONAL,
      'not installed; only --engine t5x needs it, see docs/t5x.md',
    )
  done = _python(_T5X, seconds=seconds)
  folder = _answer(done)
  if folder is not None:
    return DoctorCheck('T5X', OK, folder)
  return DoctorCheck(
    'T5X',
    WARNING,
    f'installed, but cannot be imported: {_how_it_ended(done, seconds)}',
    'reinstall it with its dependencies, see docs/t5x.md',
  )


def _python(code: str, *, seconds: float) -> timed_process.Finished:
  paths = [os.fspath(_ROOT), os.environ.get('PYTHONPATH', '')]
  return timed_process.run(
    # -P: without the working directory, like the installed command.
    [sys.executable, '-P', '-c', code],
    seconds=seconds,
    environment={
      **os.environ,
      'PYTHONPATH': os.pathsep.join(path for path in paths if path),
      'TF_CPP_MIN_LOG_LEVEL': '3',
    },
  )


def _answer(done: timed_process.Finished) -> Any:
  """Returns the JSON that a probe printed last, None if it failed."""
  if done.status != 0 or not done.output.strip():
    return None
  try:
    return text_files.parse_json(done.output.splitlines()[-1], where='probe')
  except InputError:
    return None


def _how_it_ended(done: timed_process.Finished, seconds: float) -> str:
  if done.status is None:
    return f'timed out after {seconds:g} s'
  return done.last_line or f'exit status {done.status}'


def _unused_accelerator() -> tuple[str, str] | None:
  """Returns an accelerator that JAX does not use, and how to change that."""
  if os.environ.get('JAX_PLATFORMS') == 'cpu':
    return None
  if shutil.which('nvidia-smi'):
    return 'JAX does not see the NVIDIA GPU', "pip install 'it_study[gpu]'"
  if any(pathlib.Path('/dev').glob('accel[0-9]*')):
    return 'JAX does not see the TPU', "pip install 'it_study[tpu]'"
  return None
