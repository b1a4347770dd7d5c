"""The result of one check of the doctor."""

import dataclasses

OK = 'ok'
# Absent, and only some commands need it.
OPTIONAL = 'optional'
# Works only in part, or not as it should.
WARNING = 'warning'
# Every command needs it, and it does not work.
BROKEN = 'broken'


@dataclasses.dataclass(frozen=True)
class DoctorCheck:
  """The result of one check.

  Attributes:
    name: Name of what was checked.
    status: OK, OPTIONAL, WARNING or BROKEN.
    found: Version, path or problem, in a few words.
    advice: Fix for the problem; empty if there is none.
  """

  name: str
  status: str
  found: str
  advice: str = ''
