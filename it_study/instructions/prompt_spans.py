"""Locates definition, examples, input and cue in a prompt."""

import bisect
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import itertools
import unicodedata

from it_study.corpus.schema import Instance
from it_study.instructions.prompts import Prompt

# The kinds of spans. Those of examples are followed by a number.
DEFINITION, EXAMPLE, NEGATIVE, INPUT, CUE, TEMPLATE = KINDS = (
  'definition',
  'example',
  'negative example',
  'input',
  'cue',
  'template',
)


@dataclasses.dataclass(frozen=True)
class Span:
  """Characters `start` to `end` (exclusive) of a prompt's text.

  `kind` is 'definition', 'example 1', 'negative example 1', 'input', 'cue' or
  'template'.
  """

  start: int
  end: int
  kind: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptInput:
  """How much of an instance's text is kept in a prompt, in characters.

  Attributes:
    length: Length of the text without white space at its ends.
    head: Number of characters kept from its start.
    tail: Number of characters kept from its end; 0 unless its middle was cut.
  """

  length: int
  head: int
  tail: int

  @property
  def share(self) -> float:
    """The share of the text that is kept, from 0 to 1; 1 for an empty text."""
    return (self.head + self.tail) / self.length if self.length else 1.0


def spans(prompt: Prompt, *, instance: Instance) -> tuple[Span, ...]:
  """Divides a prompt's text into consecutive spans.

  'Definition: ' and the line breaks after the text belong to the definition,
  headings belong to their example. In the query, the instance's own text is
  input; the text around it, including an added full stop, is cue. White space
  in a text cut by `tk_truncation`, which changes it, belongs to the span before
  it.

      Definition: Say if it is hot.      definition
      Now complete the following ...     cue
      Input: tea.                        cue, input, cue
      Output:                            cue

  Args:
    prompt: Prompt returned by `prompts.render`.
    instance: Rendered instance, as returned by `instructions.rewrite`.
  """
  parts, _ = _layout(prompt, instance)
  ends = list(itertools.accumulate(length for length, _ in parts))
  if not _is_cut(prompt):
    bounds = [(end, kind) for end, (_, kind) in zip(ends, parts, strict=True)]
    return _joined(bounds)
  places = origins(prompt.text, source=''.join(prompt.pieces))
  return _joined(
    (index + 1, parts[bisect.bisect_right(ends, place)][1])
    for index, place in enumerate(places)
  )


def framed(
  spans: Iterable[Span], *, text: str, parts: tuple[str, str, str]
) -> tuple[Span, ...]:
  """Returns spans of a prompt in the template around it.

  Args:
    spans: Spans of the prompt's text.
    text: The prompt's text.
    parts: Text before the prompt, the prompt, which may lack white space at its
      ends, and text after it.
  """
  before, kept, after = parts
  start = text.index(kept)
  end = start + len(kept)
  shift = len(before) - start
  moved = [
    Span(0, len(before), TEMPLATE),
    *(
      Span(
        max(span.start, start) + shift, min(span.end, end) + shift, span.kind
      )
      for span in spans
    ),
    Span(end + shift, end + shift + len(after), TEMPLATE),
  ]
  return tuple(span for span in moved if span.start < span.end)


def kept_input(prompt: Prompt, *, instance: Instance) -> KeptInput:
  """Returns how much of the instance's text is kept. See `spans` for arguments.

  A character that is unknown to the vocabulary counts as kept, as only the
  effect of the limit is measured.
  """
  parts, kept = _layout(prompt, instance)
  if not _is_cut(prompt):
    return kept
  # Only Tk-Instruct's prompts are cut at their end; their query comes last.
  query = len(prompt.pieces[-1])
  before, _ = prompt.template.around('input')
  start = sum(length for length, _ in parts) - query + len(before)
  head = min(max(_cut_place(prompt) - start, 0), kept.length)
  return KeptInput(length=kept.length, head=head, tail=0)


def kept_definition(prompt: Prompt, *, whole: Prompt) -> tuple[int, int]:
  """Returns the definition's number of characters, kept and in total.

  Args:
    prompt: Prompt rendered with a limit.
    whole: The same prompt rendered without a limit.
  """
  name, end = prompt.template.around('definition')
  end += _end(whole, 'definition')
  before, after = (
    piece.removeprefix(name).removesuffix(end)
    for pieces in (whole.pieces, prompt.pieces)
    for piece in prompt.template.split(pieces)['definition']
  )
  kept = _num_common(before, after)
  if _is_cut(prompt):
    kept = min(max(_cut_place(prompt) - len(name), 0), kept)
  return kept, len(before)


def example_kinds(prompt: Prompt) -> tuple[str, ...]:
  """Returns the span kind of each of `prompt.examples`."""
  return tuple(_example_kinds(prompt))


def origins(text: str, *, source: str) -> list[int]:
  """Returns the position in `source` of each character of `text`.

  `text` is `source` cut at its end, encoded and decoded, so that white space,
  unknown characters and equivalent characters may differ. Positions never
  decrease. White space and characters without a match take the position of the
  character before them.

  >>> origins('a b.', source='a  \\u2603b . c')
  [0, 0, 4, 6]
  """
  letters, owners = _folded(text)
  candidates, places = _folded(source)
  matched = [-1] * len(text)
  start = 0
  for index, owner in enumerate(owners):
    match = _match(letters, index, candidates, start)
    if match >= 0:
      matched[owner] = places[match]
      start = match + 1
  return list(itertools.accumulate(matched, max, initial=0))[1:]


# After a mismatch: how many characters must agree, and how far ahead to search
# for them. Short matches are frequent by chance.
_ANCHORS = ((8, None), (4, 256), (1, 32))


def _is_cut(prompt: Prompt) -> bool:
  return prompt.text != ''.join(prompt.pieces)


def _cut_place(prompt: Prompt) -> int:
  """Returns the position where the joined pieces were cut."""
  places = origins(prompt.text, source=''.join(prompt.pieces))
  return places[-1] + 1 if prompt.text.strip() else 0


def _layout(
  prompt: Prompt, instance: Instance
) -> tuple[list[tuple[int, str]], KeptInput]:
  """Returns length and kind of each part of the pieces, and what is kept."""
  pieces = prompt.template.split(prompt.pieces)
  (definition,), (query,) = pieces['definition'], pieces['input']
  head, tail = prompt.template.around('input')
  tail += _end(prompt, 'input')
  shown, kept = _shown(
    query.removeprefix(head).removesuffix(tail), instance.input.strip()
  )
  cue = len(prompt.template.cue) if _last(prompt) == 'definition' else 0
  parts = {
    'definition': [(len(definition) - cue, DEFINITION), (cue, CUE)],
    'examples': list(
      zip(map(len, pieces['examples']), _example_kinds(prompt), strict=True)
    ),
    'input': [
      (len(head), CUE),
      (shown, INPUT),
      (len(query) - len(head) - shown, CUE),
    ],
  }
  return [part for name in prompt.template.order for part in parts[name]], kept


def _end(prompt: Prompt, name: str) -> str:
  """Returns what follows the text of the definition or the input."""
  template = prompt.template
  return template.cue if _last(prompt) == name else template.separator


def _last(prompt: Prompt) -> str:
  """Returns the part before the cue: the definition, if it is there, or input.

  Examples are never last.
  """
  name = prompt.template.order[-1]
  return name if any(prompt.template.split(prompt.pieces)[name]) else 'input'


def _example_kinds(prompt: Prompt) -> Iterator[str]:
  num_positive = len(prompt.examples) - prompt.num_negative_examples
  for index in range(len(prompt.examples)):
    if index < num_positive:
      yield f'{EXAMPLE} {index + 1}'
    else:
      yield f'{NEGATIVE} {index + 1 - num_positive}'


def _shown(body: str, text: str) -> tuple[int, KeptInput]:
  """Returns the length of the instance's text in the query, and what it keeps.

  Args:
    body: Input part of the query, with a full stop if one was added.
    text: Text of the instance.

  Raises:
    ValueError: If the body was not made from the text.
  """
  if body in (text, f'{text}.'):
    return len(text), KeptInput(length=len(text), head=len(text), tail=0)
  for shown in (body, body.removesuffix('.')):
    if len(shown) < 2 and text.startswith(shown):
      return len(shown), KeptInput(length=len(text), head=len(shown), tail=0)
    join = _join(shown, text)
    if join is not None:
      kept = KeptInput(length=len(text), head=join, tail=len(shown) - join - 1)
      return len(shown), kept
  raise ValueError('the prompt was not made from this instance.')


def _join(shown: str, text: str) -> int | None:
  """Returns where `shown` has the space that replaced a part of `text`."""
  head = _num_common(shown, text)
  tail = _num_common(shown[::-1], text[::-1])
  places = [
    place
    for place in range(max(len(shown) - tail - 1, 0), min(head + 1, len(shown)))
    if shown[place] == ' '
  ]
  # Half of the kept text comes from each end.
  return min(places, key=lambda p: abs(2 * p - len(shown)), default=None)


def _num_common(left: str, right: str) -> int:
  """Returns the length of the longest common prefix."""
  pairs = itertools.takewhile(
    lambda p: p[0] == p[1], zip(left, right, strict=False)
  )
  return sum(1 for _ in pairs)


def _joined(bounds: Iterable[tuple[int, str]]) -> tuple[Span, ...]:
  """Makes spans from ends and kinds; joins neighbours of the same kind."""
  joined: list[Span] = []
  start = 0
  for kind, group in itertools.groupby(bounds, key=lambda bound: bound[1]):
    end = max(end for end, _ in group)
    if end == start:
      continue
    if joined and joined[-1].kind == kind:
      joined[-1] = Span(joined[-1].start, end, kind)
    else:
      joined.append(Span(start, end, kind))
    start = end
  return tuple(joined)


def _folded(text: str) -> tuple[str, Sequence[int]]:
  """Returns decomposed characters without white space, and their origins."""
  letters, owners = [], []
  for owner, character in enumerate(text):
    for letter in unicodedata.normalize('NFKD', character):
      if not letter.isspace():
        letters.append(letter)
        owners.append(owner)
  return ''.join(letters), owners


def _match(letters: str, index: int, candidates: str, start: int) -> int:
  """Returns where in `candidates[start:]` a letter matches, or -1."""
  if candidates.startswith(letters[index], start):
    return start
  for length, reach in _ANCHORS:
    end = len(candidates) if reach is None else start + reach
    match = candidates.find(letters[index : index + length], start, end)
    if match >= 0:
      return match
  return -1
