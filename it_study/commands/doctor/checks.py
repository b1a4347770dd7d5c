"""All checks, in the order of the output."""

from collections.abc import Callable
from concurrent import futures

from it_study.commands.doctor import machine, packages, probes
from it_study.commands.doctor.doctor_check import BROKEN, DoctorCheck


def examine(*, seconds: float = 60.0) -> list[DoctorCheck]:
  """Checks everything that a run depends on; takes little more than `seconds`.

  Args:
    seconds: Time limit of each check that may hang, in seconds.
  """
  with futures.ThreadPoolExecutor() as pool:
    # These wait for other processes, so they run in parallel.
    devices, vocabulary, t5x = (
      pool.submit(_guarded, name, check, seconds)
      for name, check in (
        ('devices', probes.check_devices),
        ('vocabulary', probes.check_vocabulary),
        ('T5X', probes.check_t5x),
      )
    )
    local = [*packages.check_packages(), machine.check_tasks()]
    resources = [
      machine.check_memory(),
      *machine.check_cache(),
      machine.check_locks(),
    ]
    return [
      *local,
      devices.result(),
      *resources,
      vocabulary.result(),
      t5x.result(),
      *machine.check_tools(),
    ]


def _guarded(
  name: str, check: Callable[..., DoctorCheck], seconds: float
) -> DoctorCheck:
  try:
    return check(seconds=seconds)
  except OSError as error:
    return DoctorCheck(
      name,
      BROKEN,
      f'cannot be checked: {error}',
      'make sure that Python can start processes',
    )
