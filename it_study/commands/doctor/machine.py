"""Checks of memory, disks, folders and tools of this machine."""

import contextlib
import importlib.util
import os
import pathlib
import shutil
import tempfile

from it_study.commands.doctor.doctor_check import (
  BROKEN,
  OK,
  OPTIONAL,
  WARNING,
  DoctorCheck,
)
from it_study.storage import file_locks, leases, local_folders

_GIB = 2**30
# The miniature study peaks below this.
_LEAST_MEMORY = 4 * _GIB
# Size of the public collection and its rows.
_LEAST_DISK = 10 * _GIB
_TOOLS = (
  ('git', 'corpus fetch and launch'),
  ('gcloud', 'launch tpu_vm'),
  ('ssh', 'launch ssh'),
  ('sbatch', 'launch slurm'),
)


def check_memory(
  *, root: str | os.PathLike = '/', least: int = _LEAST_MEMORY
) -> DoctorCheck:
  """Checks the memory of the host, or the container's limit.

  Args:
    root: Folder that holds proc and sys.
    least: Memory that should be free, in bytes.
  """
  root = pathlib.Path(root)
  try:
    lines = (root / 'proc/meminfo').read_text().splitlines()
  except OSError:
    return DoctorCheck('memory', OPTIONAL, 'unknown on this system')
  fields = dict(line.split(':', 1) for line in lines if ':' in line)
  total = int(fields['MemTotal'].split()[0]) * 1024
  available = int(fields.get('MemAvailable', '0').split()[0]) * 1024
  limit = _container_limit(root)
  if limit is not None and limit < total:
    total, available = limit, min(available, limit)
  found = f'{total / _GIB:.0f} GiB, {available / _GIB:.1f} GiB free'
  if available >= least:
    return DoctorCheck('memory', OK, found)
  return DoctorCheck(
    'memory',
    WARNING,
    found,
    f'the miniature study needs {least / _GIB:.0f} GiB; close other programs',
  )


def check_cache(*, least: int = _LEAST_DISK) -> list[DoctorCheck]:
  """Checks that the cache folder is writable and has free space."""
  folder = local_folders.cache_directory()
  findings = []
  for name, path in (('cache', folder), ('compiled programs', folder / 'xla')):
    try:
      path.mkdir(parents=True, exist_ok=True)
      with tempfile.TemporaryFile(dir=path):
        pass
    except OSError as error:
      findings.append(
        DoctorCheck(
          name,
          BROKEN,
          f'{path} is not writable: {error.strerror or error}',
          'set IT_STUDY_CACHE to a writable folder',
        )
      )
      # Its subfolder is not writable either.
      return findings
    findings.append(DoctorCheck(name, OK, os.fspath(path)))
  free = shutil.disk_usage(folder).free
  findings.append(
    DoctorCheck('disk', OK, f'{free / _GIB:.0f} GiB free for the cache')
    if free >= least
    else DoctorCheck(
      'disk',
      WARNING,
      f'{free / _GIB:.1f} GiB free at {folder}',
      f'the public collection and its rows take {least / _GIB:.0f} GiB; set '
      'IT_STUDY_CACHE to a folder on a larger disk',
    )
  )
  return findings


def check_locks() -> DoctorCheck:
  """Checks for file locks in the cache and in the working folder."""
  without = []
  for folder in (local_folders.cache_directory(), pathlib.Path.cwd()):
    # `check_cache` reports a folder that is not writable.
    with contextlib.suppress(OSError):
      if not file_locks.are_supported(folder):
        without.append(os.fspath(folder))
  if not without:
    return DoctorCheck('file locks', OK, 'in the cache and the working folder')
  return DoctorCheck(
    'file locks',
    WARNING,
    f'not supported by the file system of {" and ".join(without)}; a killed '
    f'run keeps its folder for {leases.LEASE_SECONDS:.0f} s',
    'use a folder on another disk (IT_STUDY_CACHE for the cache), or mount '
    'this one with locks, such as Lustre with -o flock',
  )


def check_tools() -> list[DoctorCheck]:
  """Checks for external programs that some commands run."""
  findings = []
  for name, purpose in _TOOLS:
    path = shutil.which(name)
    findings.append(
      DoctorCheck(name, OK, path)
      if path
      else DoctorCheck(name, OPTIONAL, f'not on PATH; {purpose} needs it')
    )
  return findings


def check_tasks() -> DoctorCheck:
  """Checks that `import tasks` finds this project's package."""
  ours = pathlib.Path(__file__).resolve().parents[3] / 'tasks'
  advice = (
    'remove its folder from PYTHONPATH, leave it if it is the working '
    'directory, or rename it: SeqIO and T5X import our tasks by this name'
  )
  try:
    spec = importlib.util.find_spec('tasks')
  except (ImportError, ValueError):
    spec = None
  if spec is None:
    return DoctorCheck(
      'tasks', BROKEN, 'package not found', 'reinstall the project'
    )
  if spec.origin is not None:
    found = pathlib.Path(spec.origin).resolve().parent
  else:
    # A namespace package has a search path in place of an origin.
    found = pathlib.Path(next(iter(spec.submodule_search_locations or ())))
  if found != ours:
    return DoctorCheck(
      'tasks', BROKEN, f'{spec.origin or found} shadows ours', advice
    )
  here = pathlib.Path.cwd()
  for path in (here / 'tasks.py', here / 'tasks'):
    if path.exists() and path.resolve() != ours:
      return DoctorCheck(
        'tasks',
        WARNING,
        f'python -m would import {path} instead of ours',
        advice,
      )
  return DoctorCheck('tasks', OK, os.fspath(found))


def _container_limit(root: pathlib.Path) -> int | None:
  """Returns the control group's memory limit in bytes, None if unlimited."""
  for name in ('memory.max', 'memory/memory.limit_in_bytes'):
    try:
      text = (root / 'sys/fs/cgroup' / name).read_text().strip()
    except OSError:
      continue
    if text.isdecimal():
      return int(text)
  return None
