"""Margins of comparisons and controls, in points."""

import dataclasses

from it_study.errors import InputError

# Apart from the statistics: reading a configuration loads no SciPy.
MARGIN = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlMargins:
  """Margins of the controls, in points.

  Attributes:
    positive: Difference that the positive control must exceed. At chance it is
      0, for a model that reads the definition about 50.
    negative: Largest difference that counts as none in the negative control.

  Raises:
    InputError: If a margin is not a number between 0 and 100.
  """

  positive: float = 40.0
  negative: float = 10.0

  def __post_init__(self) -> None:
    check_margin(self.positive, setting='POSITIVE_CONTROL_MARGIN')
    check_margin(self.negative, setting='NEGATIVE_CONTROL_MARGIN')


def check_margin(margin: object, *, setting: str = 'margin') -> None:
  """Raises `InputError` unless `margin` is a number between 0 and 100."""
  if (
    not isinstance(margin, int | float)
    or isinstance(margin, bool)
    or not 0 < margin < 100
  ):
    raise InputError(
      f'{setting}: expected a number of points above 0 and below 100, such as '
      f'{MARGIN:g}, got {margin!r}.'
    )
