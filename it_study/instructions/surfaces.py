"""The surface of prompts: casing of field names, and separators."""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import itertools

from it_study.conditions import PROMPT_TEMPLATES, Condition, PromptTemplate
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

  >>> Surface(casing='upper', separator=' = ').template.definition
  'DEFINITION = {definition}'

  Attributes:
    casing: Casing of the names of fields, a key of `CASINGS`.
    separator: Text after the name of a field.
    heading_end: Text after a heading.
  """

  casing: str = 'as written'
  separator: str = SEPARATORS[0]
  heading_end: str = HEADING_ENDS[0]

  @functools.cached_property
  def template(self) -> PromptTemplate:
    """The template of Tk-Instruct's prompts with these texts."""
    cased, end = CASINGS[self.casing], self.heading_end
    definition, shown, output, explanation = (
      cased(name) + self.separator
      for name in ('Definition', 'Input', 'Output', 'Explanation')
    )
    positive, negative = (
      f' {cased(f"{label} Example")} {{number}}{end}'
      f'{shown}{{input}}\n {output}{{output}}'
      for label in ('Positive', 'Negative')
    )
    return PromptTemplate(
      definition=f'{definition}{{definition}}',
      example=positive,
      negative_example=negative,
      explanation=f'\n {explanation}{{explanation}}',
      input=f'Now complete the following example{end}{shown}{{input}}',
      cue=f'\n{output}',
      full_stops=True,
    )


def template_of(condition: Condition) -> PromptTemplate:
  """Returns the template of a condition's prompts."""
  template = PROMPT_TEMPLATES.get(condition.prefix)
  if template is not None:
    return template
  return variants()[condition.surface].template


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
