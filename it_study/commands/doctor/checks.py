"""All checks, in the order in which they are told."""

from collections.abc import Callable
from concurrent import futures

from it_study.commands.doctor import machine, packages, probes
from it_study.commands.doctor.finding import BROKEN, DoctorCheck


def examine(*, seconds: float = 60.0) -> list[DoctorCheck]:
  """Looks at all that a run depends on. Takes `seconds` and little more.

  Args:
    seconds: that what may hang is given.
  """
  with futures.ThreadPoolExecutor() as pool:
    # They wait for other processes, so they can wait together.
    devices, vocabulary, t5x = (
      pool.submit(_guarded, name, check, seconds)
      for name, check in (
        ('devices', probes.check_devices),
        ('vocabulary', probes.check_vocabulary),
        ('T5X', probes.check_t5x),
      )
    )
    found = [*packages.check_packages(), machine.check_tasks()]
    here = [
      machine.check_memory(),
      *machine.check_cache(),
    ]
    return [
      *found,
      devices.result(),
      *here,
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
      f'cannot be looked at: {error}',
      'see to it that Python runs',
    )
