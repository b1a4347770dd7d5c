"""Templates of prompts, by the prefix of their conditions' names."""

from collections.abc import Sequence
import dataclasses
import functools
import re
import string

from it_study.errors import InputError, nearest, shown

DEFAULT_PREFIX = 'natinst'
# The names of the parts of a prompt; examples are those of the instance's task.
DEFINITION, EXAMPLES, INPUT = 'definition', 'examples', 'input'
_ORDERS = (
  (DEFINITION, EXAMPLES, INPUT),
  (EXAMPLES, DEFINITION, INPUT),
  (EXAMPLES, INPUT, DEFINITION),
)
# Names in braces that each text must hold, and those that it may hold.
_FIELDS = {
  'definition': (('definition',), ()),
  'example': (('input', 'output'), ('number',)),
  'negative_example': (('input', 'output'), ('number',)),
  'explanation': (('explanation',), ()),
  'input': (('input',), ()),
  'cue': ((), ()),
  'separator': ((), ()),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptTemplate:
  r"""The wording and the order of what a prompt shows.

  Names in braces are replaced by texts of the task and the instance, without
  white space at their ends; '{{' is a brace.

  >>> template = PromptTemplate(
  ...   definition='Task: {definition}',
  ...   example='Q: {input}\nA: {output}',
  ...   input='Q: {input}',
  ...   cue='\nA: ',
  ... )
  >>> template.pieces(
  ...   definition='Add.', blocks=[template.block(number=1, input='1 1',
  ...   output='2')], text_input='2 3')
  ('Task: Add.\n\n', 'Q: 1 1\nA: 2\n\n', 'Q: 2 3\nA: ')

  Attributes:
    definition: Text with '{definition}'; left out of a prompt without one.
    example: Text with '{input}' and '{output}', perhaps '{number}'.
    input: Text with '{input}', that of the instance.
    cue: End of the prompt, which the answer follows.
    negative_example: Text of a negative example, like `example`; None if
      prompts have none.
    explanation: Text with '{explanation}' that follows an example's; None if
      prompts have none.
    separator: Text between two parts.
    order: Order of 'definition', 'examples' and 'input'; examples come before
      the input.
    full_stops: Whether a full stop is added to what replaces a name in braces,
      unless that ends in ASCII punctuation, as Tk-Instruct does.
  """

  definition: str
  example: str
  input: str
  cue: str
  negative_example: str | None = None
  explanation: str | None = None
  separator: str = '\n\n'
  order: tuple[str, ...] = (DEFINITION, EXAMPLES, INPUT)
  full_stops: bool = False

  def __post_init__(self) -> None:
    for name, (needed, optional) in _FIELDS.items():
      text = getattr(self, name)
      if text is None and name in ('negative_example', 'explanation'):
        continue
      _check_text(name, text, needed, (*needed, *optional))
    if tuple(self.order) not in _ORDERS:
      raise InputError(
        f'prompt template: order is {shown(self.order)}; expected one of '
        f'{", ".join(map(str, _ORDERS))}.'
      )
    if not self.separator.endswith('\n'):
      # Tokens of a prompt are counted part by part.
      raise InputError(
        f'prompt template: separator is {shown(self.separator)}; it must end '
        'in a line break.'
      )
    # A list cannot be hashed.
    object.__setattr__(self, 'order', tuple(self.order))

  def block(
    self,
    *,
    number: int,
    input: str,
    output: str,
    explanation: str | None = None,
    is_negative: bool = False,
  ) -> str:
    """Returns the text of an example, without a separator.

    Args:
      number: Number of the example among those of its kind, from 1.
      input: Input of the example.
      output: Output of the example.
      explanation: Explanation to show; None for none.
      is_negative: Whether the example is a negative one.
    """
    text = self.negative_example if is_negative else self.example
    assert text is not None, 'Conditions check it.'
    block = self._fill(
      text, {'number': str(number), 'input': input, 'output': output}
    )
    if explanation is not None:
      assert self.explanation is not None, 'Conditions check it.'
      block += self._fill(self.explanation, {'explanation': explanation})
    return block

  def pieces(
    self, *, definition: str | None, blocks: Sequence[str], text_input: str
  ) -> tuple[str, ...]:
    """Returns the parts of a prompt in their order; joined, they are its text.

    Args:
      definition: Wording of the definition; None for none, an empty piece.
      blocks: Texts of the examples, each a piece.
      text_input: Input of the instance.
    """
    parts: dict[str, list[str | None]] = {
      DEFINITION: [
        None
        if definition is None
        else self._fill(self.definition, {'definition': definition})
      ],
      EXAMPLES: list(blocks),
      INPUT: [self._fill(self.input, {'input': text_input})],
    }
    ordered = [text for name in self.order for text in parts[name]]
    last = max(i for i, text in enumerate(ordered) if text is not None)
    return tuple(
      ''
      if text is None
      else text + (self.cue if index == last else self.separator)
      for index, text in enumerate(ordered)
    )

  def split(self, pieces: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the pieces of each part, in order; the inverse of `pieces`."""
    start, parts = 0, {}
    for name in self.order:
      count = len(pieces) - 2 if name == EXAMPLES else 1
      parts[name] = tuple(pieces[start : start + count])
      start += count
    return parts

  def around(self, name: str) -> tuple[str, str]:
    """Returns the fixed text before and after the only name in a text.

    Args:
      name: Name of an attribute, such as 'definition'.
    """
    parts = _parsed(getattr(self, name))
    first = next(i for i, (_, field) in enumerate(parts) if field is not None)
    literals = [literal for literal, _ in parts]
    return ''.join(literals[: first + 1]), ''.join(literals[first + 1 :])

  def _fill(self, text: str, values: dict[str, str]) -> str:
    filled = []
    for literal, name in _parsed(text):
      filled.append(literal)
      if name is not None:
        value = values[name].strip()
        ends = value != '' and value[-1] in string.punctuation
        stop = self.full_stops and name != 'number' and not ends
        filled.append(f'{value}.' if stop else value)
    return ''.join(filled)


class TemplateRegistry:
  """Prompt templates by prefix; None for that of Tk-Instruct."""

  def __init__(self) -> None:
    self._templates: dict[str, PromptTemplate | None] = {DEFAULT_PREFIX: None}

  def register(
    self, prefix: str, template: PromptTemplate | None = None
  ) -> None:
    """Makes every condition available as `PREFIX_def_…`.

    Args:
      prefix: Letters a to z and digits, a letter first.
      template: Template of its prompts; None for that of Tk-Instruct.

    Raises:
      InputError: If the prefix has other characters, or another template.
    """
    if not re.fullmatch('[a-z][a-z0-9]*', prefix):
      raise InputError(
        f'prompt prefix {prefix!r}: use letters a to z and digits, a letter '
        'first.'
      )
    if not isinstance(template, PromptTemplate | None):
      raise InputError(
        f'prompt prefix {prefix!r} is {shown(template)}; expected a '
        'PromptTemplate.'
      )
    if self._templates.setdefault(prefix, template) != template:
      raise InputError(
        f'prompt prefix {prefix!r} is already registered with another template.'
      )

  def unregister(self, prefix: str) -> None:
    """Removes a prefix. Conditions that use it become invalid."""
    self.get(prefix)
    del self._templates[prefix]

  def names(self) -> tuple[str, ...]:
    """Returns all prefixes, in the order of registration."""
    return tuple(self._templates)

  def get(self, prefix: str) -> PromptTemplate | None:
    """Returns a template. Raises `InputError` for an unknown prefix."""
    if prefix not in self._templates:
      hint = nearest(prefix, self._templates) or (
        ' Name the module that registers it: --module or '
        'MIXTURE_OR_TASK_MODULE.'
      )
      raise InputError(
        f'prompt prefix {prefix!r} is unknown; available: '
        f'{", ".join(self._templates)}.{hint}'
      )
    return self._templates[prefix]


PROMPT_TEMPLATES = TemplateRegistry()


def _check_text(
  name: str, text: object, needed: Sequence[str], allowed: Sequence[str]
) -> None:
  """Raises `InputError` unless a text holds the names that it needs, once."""
  where = f'prompt template: {name}'
  if not isinstance(text, str):
    raise InputError(f'{where} is {shown(text)}; expected a text.')
  try:
    fields = [field for _, field in _parsed(text) if field is not None]
  except ValueError as error:
    raise InputError(
      f'{where} is {shown(text)}: {error}. Write {{{{ for a brace.'
    ) from None
  for field in fields:
    if field not in allowed:
      names = ' and '.join(f'{{{a}}}' for a in allowed) or 'no name in braces'
      raise InputError(
        f'{where} reads {{{field}}}; it has {names}.{nearest(field, allowed)}'
      )
  for field in (*needed, *fields):
    if fields.count(field) != 1:
      raise InputError(
        f'{where} is {shown(text)}; it must hold {{{field}}} once.'
      )


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[tuple[str, str | None], ...]:
  """Returns pairs of a literal text and the name in braces after it, or None.

  Raises:
    ValueError: If braces do not match.
  """
  parts = []
  for literal, name, spec, conversion in string.Formatter().parse(text):
    if spec or conversion:
      raise ValueError('only names may be in braces')
    parts.append((literal, name))
  return tuple(parts)
