"""What stands where in a prompt: definition, examples, input and cue."""

import bisect
from collections.abc import Iterator, Sequence
import dataclasses
import itertools
import re
import unicodedata

from it_study.corpus.schema import Instance
from it_study.instructions.prompts import Prompt

# The kinds of spans; those of examples have their number behind them.
DEFINITION, EXAMPLE, NEGATIVE, INPUT, CUE = KINDS = (
  'definition',
  'example',
  'negative example',
  'input',
  'cue',
)


@dataclasses.dataclass(frozen=True)
class Span:
  """Characters `start` to `end` (exclusive) of a prompt's text.

  `kind` is 'definition', 'example 1', 'negative example 1', 'input' or 'cue'.
  """

  start: int
  end: int
  kind: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptInput:
  """How much of an instance's text is left in a prompt, in characters.

  Attributes:
    length: of the text without white space at its ends.
    head: characters kept from its beginning.
    tail: characters kept from its end, 0 where nothing was cut out before.
  """

  length: int
  head: int
  tail: int

  @property
  def share(self) -> float:
    """From 0 to 1; all of a text that is empty is kept."""
    return (self.head + self.tail) / self.length if self.length else 1.0


def spans(prompt: Prompt, *, instance: Instance) -> tuple[Span, ...]:
  """Divides a prompt's text, without gap or overlap, in order.

  'Definition: ' and the line breaks after the text belong to the definition,
  as an example's headings belong to it. Of the query, the instance's own text
  is input, and what is asked around it, with a full stop that was added, is
  cue. White space in a text cut by `tk_truncation`, which does not leave it as
  it was, goes with what stands before it.

      Definition: Say if it is hot.      definition
      Now complete the following ...     cue
      Input: tea.                        cue, input, cue
      Output:                            cue

  Args:
    prompt: from `prompts.render`.
    instance: the one rendered, as `perturb.rewrite` leaves it.
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


def kept_input(prompt: Prompt, *, instance: Instance) -> KeptInput:
  """What is left of the instance's text; arguments as `spans` has them.

  A character that the vocabulary does not know counts as kept: it is the
  limit's doing that is measured.
  """
  parts, kept = _layout(prompt, instance)
  if not _is_cut(prompt):
    return kept
  query = len(prompt.pieces[-1])
  start = sum(length for length, _ in parts) - query + len(_HEAD)
  head = min(max(_cut_place(prompt) - start, 0), kept.length)
  return KeptInput(length=kept.length, head=head, tail=0)


def kept_definition(prompt: Prompt, *, whole: Prompt) -> tuple[int, int]:
  """Characters that are left of the definition, and those of all of it.

  Args:
    prompt: rendered within a limit.
    whole: the same without one.
  """
  before, after = (
    piece.removeprefix('Definition: ').removesuffix('\n\n')
    for piece in (whole.pieces[0], prompt.pieces[0])
  )
  kept = _num_common(before, after)
  if _is_cut(prompt):
    kept = min(max(_cut_place(prompt) - len('Definition: '), 0), kept)
  return kept, len(before)


def example_kinds(prompt: Prompt) -> tuple[str, ...]:
  """The kinds of the spans of `prompt.examples`, in their order."""
  return tuple(_example_kind(piece) for piece in prompt.pieces[1:-1])


def origins(text: str, *, source: str) -> list[int]:
  """The place in `source` that each character of `text` came from.

  `text` is `source` cut at its end, encoded and decoded again, so that white
  space, unknown characters and those that look alike may differ. Places never
  go down; a character that cannot be placed, and white space, goes with the
  one before it.

  >>> origins('a b.', source='a  \\u2603b . c')
  [0, 0, 4, 6]
  """
  letters, owners = _folded(text)
  candidates, places = _folded(source)
  found = [-1] * len(text)
  at = 0
  for index, owner in enumerate(owners):
    match = _match(letters, index, candidates, at)
    if match >= 0:
      found[owner] = places[match]
      at = match + 1
  return list(itertools.accumulate(found, max, initial=0))[1:]


_HEAD = 'Now complete the following example -\nInput: '
_TAIL = '\nOutput: '
_BLOCK = re.compile(r' (Positive|Negative) Example (\d+) -\n')
# How many characters have to agree, and how far ahead they are looked for,
# after one that is not where it should be. A single one is found everywhere.
_ANCHORS = ((8, None), (4, 256), (1, 32))


def _is_cut(prompt: Prompt) -> bool:
  return prompt.text != ''.join(prompt.pieces)


def _cut_place(prompt: Prompt) -> int:
  """Where the pieces, joined, were cut."""
  places = origins(prompt.text, source=''.join(prompt.pieces))
  return places[-1] + 1 if prompt.text.strip() else 0


def _layout(
  prompt: Prompt, instance: Instance
) -> tuple[list[tuple[int, str]], KeptInput]:
  """Lengths and kinds of the parts of the pieces, and what is kept."""
  definition, *blocks, query = prompt.pieces
  shown, kept = _shown(
    query.removeprefix(_HEAD).removesuffix(_TAIL), instance.input.strip()
  )
  parts = [
    (len(definition), DEFINITION),
    *((len(block), _example_kind(block)) for block in blocks),
    (len(_HEAD), CUE),
    (shown, INPUT),
    (len(query) - len(_HEAD) - shown, CUE),
  ]
  return parts, kept


def _example_kind(block: str) -> str:
  label, number = _BLOCK.match(block).groups()
  return f'{EXAMPLE if label == "Positive" else NEGATIVE} {number}'


def _shown(body: str, text: str) -> tuple[int, KeptInput]:
  """How long the instance's text is in the query, and what of it that is.

  Args:
    body: of the query, with a full stop if one was added.
    text: of the instance.

  Raises:
    ValueError: if the one does not come from the other.
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
  raise ValueError('the prompt was not made of this instance.')


def _join(shown: str, text: str) -> int | None:
  """Where `shown` has the space that stands for what was cut from `text`."""
  head = _num_common(shown, text)
  tail = _num_common(shown[::-1], text[::-1])
  places = [
    place
    for place in range(max(len(shown) - tail - 1, 0), min(head + 1, len(shown)))
    if shown[place] == ' '
  ]
  # Half of what is kept comes from either end.
  return min(places, key=lambda p: abs(2 * p - len(shown)), default=None)


def _num_common(left: str, right: str) -> int:
  """How many characters two texts have in common at their beginning."""
  pairs = itertools.takewhile(
    lambda p: p[0] == p[1], zip(left, right, strict=False)
  )
  return sum(1 for _ in pairs)


def _joined(bounds: Iterator[tuple[int, str]]) -> tuple[Span, ...]:
  """Spans from their ends and kinds; neighbours of a kind become one."""
  found: list[Span] = []
  start = 0
  for kind, group in itertools.groupby(bounds, key=lambda bound: bound[1]):
    end = max(end for end, _ in group)
    if end == start:
      continue
    if found and found[-1].kind == kind:
      found[-1] = Span(found[-1].start, end, kind)
    else:
      found.append(Span(start, end, kind))
    start = end
  return tuple(found)


def _folded(text: str) -> tuple[str, Sequence[int]]:
  """Characters taken apart, without white space, and whose part each is."""
  letters, owners = [], []
  for owner, character in enumerate(text):
    for letter in unicodedata.normalize('NFKD', character):
      if not letter.isspace():
        letters.append(letter)
        owners.append(owner)
  return ''.join(letters), owners


def _match(letters: str, index: int, candidates: str, at: int) -> int:
  """Where in `candidates`, from `at` on, a letter is; -1 if nowhere."""
  if candidates.startswith(letters[index], at):
    return at
  for length, reach in _ANCHORS:
    end = len(candidates) if reach is None else at + reach
    match = candidates.find(letters[index : index + length], at, end)
    if match >= 0:
      return match
  return -1
