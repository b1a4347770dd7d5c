"""Memory, disks, folders and tools of this machine."""

import importlib.util
import os
import pathlib
import shutil
import tempfile

from it_study.commands.doctor.finding import (
  BROKEN,
  OK,
  OPTIONAL,
  WARNING,
  DoctorCheck,
)
from it_study.storage import local_folders

_GIB = 2**30
# A study of the miniature peaks below it.
_LEAST_MEMORY = 4 * _GIB
# The public collection and its rows.
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
  """Memory of the host, or what a container may have of it.

  Args:
    root: where proc and sys are.
    least: bytes.
  """
  root = pathlib.Path(root)
  try:
    lines = (root / 'proc/meminfo').read_text().splitlines()
  except OSError:
    return DoctorCheck('memory', OPTIONAL, 'not known on this system')
  fields = dict(line.split(':', 1) for line in lines if ':' in line)
  total = int(fields['MemTotal'].split()[0]) * 1024
  available = int(fields.get('MemAvailable', '0').split()[0]) * 1024
  limit = _container_limit(root)
  if limit is not None and limit < total:
    total, available = limit, min(available, limit)
  found = f'{total / _GIB:.0f} GiB, {available / _GIB:.1f} GiB of it free'
  if available >= least:
    return DoctorCheck('memory', OK, found)
  return DoctorCheck(
    'memory',
    WARNING,
    found,
    f'the miniature wants {least / _GIB:.0f} GiB; end other programs',
  )


def check_cache(*, least: int = _LEAST_DISK) -> list[DoctorCheck]:
  """The cache's folder: whether it can be written, and what is free there."""
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
          f'{path} cannot be written: {error.strerror or error}',
          'name a folder that can, by IT_STUDY_CACHE',
        )
      )
      # What is below it cannot be written either.
      return findings
    findings.append(DoctorCheck(name, OK, os.fspath(path)))
  free = shutil.disk_usage(folder).free
  findings.append(
    DoctorCheck('disk', OK, f'{free / _GIB:.0f} GiB free at the cache')
    if free >= least
    else DoctorCheck(
      'disk',
      WARNING,
      f'{free / _GIB:.1f} GiB free at {folder}',
      'the public collection and its rows take some '
      f'{least / _GIB:.0f} GiB; name a larger disk by IT_STUDY_CACHE',
    )
  )
  return findings


def check_tools() -> list[DoctorCheck]:
  """Programs of others that some commands run."""
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
  """Whether the package `tasks` is this project's."""
  ours = pathlib.Path(__file__).resolve().parents[3] / 'tasks'
  advice = (
    'take that folder off PYTHONPATH and the working directory, or give it '
    'another name: SeqIO and T5X find our tasks by this one'
  )
  try:
    spec = importlib.util.find_spec('tasks')
  except (ImportError, ValueError):
    spec = None
  if spec is None:
    return DoctorCheck(
      'tasks', BROKEN, 'no package of this name', 'install the project again'
    )
  if spec.origin is not None:
    found = pathlib.Path(spec.origin).resolve().parent
  else:
    found = pathlib.Path(next(iter(spec.submodule_search_locations)))
  if found != ours:
    return DoctorCheck(
      'tasks', BROKEN, f'{spec.origin or found} hides ours', advice
    )
  here = pathlib.Path.cwd()
  for path in (here / 'tasks.py', here / 'tasks'):
    if path.exists() and path.resolve() != ours:
      return DoctorCheck(
        'tasks',
        WARNING,
        f'python -m would find {path} in place of ours',
        advice,
      )
  return DoctorCheck('tasks', OK, os.fspath(found))


def _container_limit(root: pathlib.Path) -> int | None:
  """What control groups leave of the memory, None if all."""
  for name in ('memory.max', 'memory/memory.limit_in_bytes'):
    try:
      text = (root / 'sys/fs/cgroup' / name).read_text().strip()
    except OSError:
      continue
    if text.isdecimal():
      return int(text)
  return None
