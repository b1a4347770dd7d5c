"""What one check found."""

import dataclasses

OK = 'ok'
# Not here, and only some need it.
OPTIONAL = 'optional'
# Works, but not as it should, or not everything.
WARNING = 'warning'
# Nothing works, or not for long.
BROKEN = 'broken'


@dataclasses.dataclass(frozen=True)
class DoctorCheck:
  """What one check found.

  Attributes:
    name: of what was looked at.
    status: OK, OPTIONAL, WARNING or BROKEN.
    found: in a few words.
    advice: what to do about it, empty if nothing.
  """

  name: str
  status: str
  found: str
  advice: str = ''
