"""Splits a prompt by its documented format."""

from collections.abc import Sequence
import dataclasses
import re
import string

from it_study.audit.certificates.originals import RawExample

CUE = '\nOutput: '
QUERY = 'Now complete the following example -\nInput: '
_HEADER = re.compile(
  r'(?:^|(?<=\n\n)) (Positive|Negative) Example (\d+) -\n(?=Input: )'
)


@dataclasses.dataclass(frozen=True)
class Block:
  """An example in a prompt: 'Positive' or 'Negative', number, whole text."""

  label: str
  number: int
  text: str

  @property
  def body(self) -> str:
    """Text after the heading, without the final empty line."""
    return self.text.partition('\n')[2].removesuffix('\n\n')


def finished(text: str) -> str:
  """Adds a full stop, unless a text ends in ASCII punctuation."""
  return text if text.endswith(tuple(string.punctuation)) else f'{text}.'


def definition_piece(text: str) -> str:
  """Formats a definition as in a prompt, with the empty line after it."""
  return finished(f'Definition: {text.strip()}') + '\n\n'


def query(text_input: str) -> str:
  return QUERY + finished(f'Input: {text_input.strip()}')[7:] + CUE


def input_line(text_input: str) -> str:
  return finished(f'Input: {text_input.strip()}')


def output_line(output: str) -> str:
  return finished(f' Output: {output.strip()}')


def block(
  label: str, number: int, example: RawExample, *, explained: bool
) -> str:
  """Formats an example as in a prompt, with the empty line after it."""
  lines = [f' {label} Example {number} -', input_line(example.input)]
  lines.append(output_line(example.output))
  if explained and example.explanation is not None:
    lines.append(finished(f' Explanation: {example.explanation.strip()}'))
  return '\n'.join(lines) + '\n\n'


def blocks(
  label: str, examples: Sequence[RawExample], *, explained: bool
) -> list[str]:
  return [
    block(label, number, example, explained=explained)
    for number, example in enumerate(examples, start=1)
  ]


def find_query(text: str) -> list[int]:
  """Returns possible starts of the query, last first.

  Other texts of the prompt may contain its wording too.
  """
  starts = [
    match.start()
    for match in re.finditer(re.escape(QUERY), text)
    if match.start() == 0 or text[: match.start()].endswith('\n\n')
  ]
  return starts[::-1]


def split_definition(head: str) -> list[tuple[str, str]]:
  """Returns possible splits of the head into definition and examples.

  The heading of the first example ends the definition. If the definition itself
  contains such a heading there are several splits, the shortest definition
  first.
  """
  if not head.startswith('Definition: '):
    return [('', head)]
  splits = [
    (head[: match.start()], head[match.start() :])
    for match in _HEADER.finditer(head)
    if int(match[2]) == 1
  ]
  return [*splits, (head, '')]


def split_blocks(text: str) -> list[Block] | None:
  """Splits the examples of a prompt; None if the text is no list of examples.

  Headings count from 1, positive ones first; any other heading belongs to the
  text of an example.
  """
  expected = {('Positive', 1), ('Negative', 1)}
  starts: list[tuple[int, str, int]] = []
  for match in _HEADER.finditer(text):
    label, number = match[1], int(match[2])
    if (label, number) in expected:
      starts.append((match.start(), label, number))
      expected = _next_headings(label, number)
  if not starts:
    return None if text else []
  ends = [start for start, _, _ in starts[1:]] + [len(text)]
  result = [
    Block(label, number, text[start:end])
    for (start, label, number), end in zip(starts, ends, strict=True)
  ]
  if starts[0][0] != 0 or not all(b.text.endswith('\n\n') for b in result):
    return None
  return result


def join_pieces(pieces: Sequence[str]) -> tuple[str, list[Block]] | None:
  """Returns definition and examples, given the pieces of a prompt.

  None if the heading of an example is not the expected one.
  """
  result: list[Block] = []
  expected = {('Positive', 1), ('Negative', 1)}
  for piece in pieces[1:]:
    match = _HEADER.match(piece)
    if match is None or not piece.endswith('\n\n'):
      return None
    label, number = match[1], int(match[2])
    if (label, number) not in expected:
      return None
    expected = _next_headings(label, number)
    result.append(Block(label, number, piece))
  return pieces[0], result


def is_cut_text(shown: str, original: str) -> bool:
  """Returns whether a text is the head and tail of another, joined by a space.

  >>> is_cut_text('one ree.', 'one two three')
  True

  Args:
    shown: Text as the prompt shows it, with a full stop added if needed.
    original: Whole text.
  """
  original = original.strip()
  # White space at the cut is replaced by one space.
  return any(
    input_line(_head_and_tail(original, length))[7:] == shown
    for length in range(max(len(shown) - 2, 0), len(original))
  )


def is_cut_definition(piece: str, original: str) -> bool:
  """Returns whether the definition in a prompt is the start of another."""
  if not piece.startswith('Definition: ') or not piece.endswith('\n\n'):
    return not piece
  shown, original = piece[12:-2], original.strip()
  return any(
    original.startswith(start) and definition_piece(start) == piece
    for start in (shown, shown.removesuffix('.'))
  )


def _next_headings(label: str, number: int) -> set[tuple[str, int]]:
  headings = {(label, number + 1)}
  return headings | {('Negative', 1)} if label == 'Positive' else headings


def _head_and_tail(text: str, length: int) -> str:
  tail = text[-(length // 2) :] if length > 1 else ''
  head = text[: length - len(tail)]
  return ' '.join(filter(None, (head.rstrip(), tail.lstrip())))
