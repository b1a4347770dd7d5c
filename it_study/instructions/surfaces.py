"""The surface of prompts: casing of field names, and separators."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import itertools

from it_study.seeding import stable_hash

CASINGS: Mapping[str, Callable[[str], str]] = {
  'as written': str,
  'lower': str.lower,
  'upper': str.upper,
}
# After the name of a field, and after the heading of an example.
SEPARATORS = (': ', ' - ', ' = ', ' :: ', '> ', ':\n')
HEADING_ENDS = (' -\n', ':\n', '\n')


@dataclasses.dataclass(frozen=True)
class Surface:
  """The fixed texts of a prompt, which carry no instruction.

  The default is that of Tk-Instruct.

  >>> Surface(casing='upper', separator=' = ').field('Input')
  'INPUT = '

  Attributes:
    casing: Casing of the names of fields, a key of `CASINGS`.
    separator: Text after the name of a field.
    heading_end: Text after a heading.
  """

  casing: str = 'as written'
  separator: str = SEPARATORS[0]
  heading_end: str = HEADING_ENDS[0]

  def field(self, name: str) -> str:
    """Returns the text before the value of a field."""
    return CASINGS[self.casing](name) + self.separator

  def example_heading(self, label: str, number: int | str) -> str:
    """Returns the heading of an example; it begins with a space."""
    name = CASINGS[self.casing](f'{label} Example')
    return f' {name} {number}{self.heading_end}'

  @property
  def query_heading(self) -> str:
    return f'Now complete the following example{self.heading_end}'


DEFAULT = Surface()


@functools.cache
def variants() -> tuple[Surface, ...]:
  """Returns every surface: the default, then the others in a random order."""
  others = [
    Surface(*choices)
    for choices in itertools.product(CASINGS, SEPARATORS, HEADING_ENDS)
    if Surface(*choices) != DEFAULT
  ]
  others.sort(
    key=lambda s: stable_hash('surface', s.casing, s.separator, s.heading_end)
  )
  return (DEFAULT, *others)
