"""Judges the surface of a prompt, and gives it the default one."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import itertools
import re

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure, differ
from it_study.audit.certificates.levels.examples import Recorded
from it_study.audit.certificates.originals import RawExample
from it_study.audit.certificates.subject import Subject, Tokens
from it_study.seeding import stable_hash

# The documented choices; the first of each make the default surface.
_CASINGS: dict[str, Callable[[str], str]] = {
  'as written': str,
  'lower': str.lower,
  'upper': str.upper,
}
_SEPARATORS = (': ', ' - ', ' = ', ' :: ', '> ', ':\n')
_HEADING_ENDS = (' -\n', ':\n', '\n')
_QUERY = 'Now complete the following example'


def plain(
  subject: Subject, tokens: Tokens | None
) -> tuple[Subject, Tokens | None, list[Failure]]:
  """Returns a prompt with the default surface, and tokens counted without it.

  Args:
    subject: Prompt of the surface of its condition.
    tokens: Token limit of that surface.

  Returns:
    The prompt; a limit that takes texts of the default surface; failures of
    the fixed texts.
  """
  texts = _Fixed(subject.condition.surface)
  record = subject.record
  failures: list[Failure] = []
  text = texts.plain_text(subject.text)
  if record is not None:
    pieces, failures = texts.plain_pieces(record.pieces, record.examples)
    is_joined = ''.join(record.pieces) == subject.text
    text = ''.join(pieces) if is_joined else text
    record = dataclasses.replace(record, pieces=pieces)
  elif not subject.text.endswith(texts.cue):
    failures = [Failure('surface', texts.cue, subject.text[-40:])]
  if tokens is not None:
    tokens = dataclasses.replace(
      tokens,
      count=functools.partial(_count, tokens, texts, {text: subject.text}),
    )
  return (
    dataclasses.replace(subject, text=text, record=record),
    tokens,
    failures,
  )


def plain_text(text: str, number: int) -> str:
  """Returns a text with the fixed texts of the default surface."""
  return _Fixed(number).plain_text(text) if number else text


def _count(
  tokens: Tokens, texts: '_Fixed', known: dict[str, str], text: str
) -> int:
  return tokens.count(known.get(text) or texts.varied_text(text))


class _Fixed:
  """The fixed texts of a surface."""

  def __init__(self, number: int) -> None:
    casing, separator, self._end = _variants()[number]
    self._cased = _CASINGS[casing]
    self._separator = separator
    self.query = f'{_QUERY}{self._end}{self._field("Input")}'
    self.cue = '\n' + self._field('Output')

  def plain_text(self, text: str) -> str:
    """Replaces fixed texts where a line begins with one."""
    return _replaced(text, self, _Fixed(0))

  def varied_text(self, text: str) -> str:
    """The reverse of `plain_text`."""
    return _replaced(text, _Fixed(0), self)

  def plain_pieces(
    self, pieces: Sequence[str], examples: Sequence[Recorded]
  ) -> tuple[tuple[str, ...], list[Failure]]:
    """Replaces the fixed texts of recorded pieces by their places alone."""
    definition, *blocks, query = pieces
    start = self._field('Definition')
    failures = []
    if definition and not definition.startswith(start):
      failures.append(differ('surface', start, definition[:40]))
    if not query.startswith(self.query) or not query.endswith(self.cue):
      failures.append(differ('surface', self.query, query[:60]))
    shown = [definition and 'Definition: ' + definition.removeprefix(start)]
    for block, example in itertools.zip_longest(blocks, examples):
      if block is not None and example is not None:
        block, failure = self._plain_block(block, example)
        failures += failure
      shown.append(block or '')
    middle = query.removeprefix(self.query).removesuffix(self.cue)
    shown.append(anatomy.QUERY + middle + anatomy.CUE)
    return tuple(shown), failures

  def patterns(self) -> dict[str, str]:
    """Returns a pattern of each kind of fixed text at the start of a line."""
    field = {name: re.escape(self._field(name)) for name in _FIELDS}
    end = re.escape(self._end)
    return {
      'Definition': rf'\A{field["Definition"]}',
      **{
        label: f'^ {re.escape(self._cased(f"{label} Example"))} '
        f'(?P<{label}_number>[0-9]+){end}'
        for label in _LABELS
      },
      'Query': f'^{re.escape(_QUERY)}{end}',
      'Input': f'^{field["Input"]}',
      'Output': f'^ {field["Output"]}',
      'Explanation': f'^ {field["Explanation"]}',
      'Cue': rf'^{field["Output"]}\Z',
    }

  def fixed(self, kind: str, number: str | None) -> str:
    """Returns a fixed text of a kind of `patterns`."""
    if kind in _LABELS:
      return f' {self._cased(f"{kind} Example")} {number}{self._end}'
    if kind == 'Query':
      return f'{_QUERY}{self._end}'
    space = ' ' if kind in ('Output', 'Explanation') else ''
    return space + self._field('Output' if kind == 'Cue' else kind)

  def _field(self, name: str) -> str:
    return self._cased(name) + self._separator

  def _plain_block(
    self, block: str, example: Recorded
  ) -> tuple[str, list[Failure]]:
    """Replaces the fixed texts of a block around the recorded texts."""
    heading = re.match(r' (\w+) example ([0-9]+)', block, re.IGNORECASE)
    if heading is None:
      return block, [Failure('surface', 'a heading of an example', block[:60])]
    label, number = heading[1].capitalize(), heading[2]
    raw = RawExample(example.input, example.output, example.explanation)
    varied = self.fixed(label, number)
    for kind, text in (
      ('Input', example.input),
      ('Output', example.output),
      ('Explanation', example.explanation),
    ):
      # The record may hold an explanation that is not shown.
      if text is None or block == f'{varied}\n':
        break
      varied += f'{anatomy.finished(self.fixed(kind, None) + text.strip())}\n'
      is_explained = kind == 'Explanation'
    if block != f'{varied}\n':
      return self.plain_text(block), [differ('surface', f'{varied}\n', block)]
    return anatomy.block(label, int(number), raw, explained=is_explained), []


_FIELDS = ('Definition', 'Input', 'Output', 'Explanation')
_LABELS = ('Positive', 'Negative')


def _replaced(text: str, old: _Fixed, new: _Fixed) -> str:
  pattern = '|'.join(
    f'(?P<{kind}>{pattern})' for kind, pattern in old.patterns().items()
  )

  def fixed(match: re.Match) -> str:
    # The last group to close is the outer one.
    kind = str(match.lastgroup)
    is_example = kind in _LABELS
    return new.fixed(kind, match[f'{kind}_number'] if is_example else None)

  return re.sub(pattern, fixed, text, flags=re.MULTILINE)


@functools.cache
def _variants() -> tuple[tuple[str, str, str], ...]:
  """Returns the documented choices of each surface, in order."""
  default, *others = itertools.product(_CASINGS, _SEPARATORS, _HEADING_ENDS)
  others.sort(key=lambda choices: stable_hash('surface', *choices))
  return (default, *others)
