"""A prompt taken apart by its documented format."""

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
    """What follows the heading, without the empty line at the end."""
    return self.text.partition('\n')[2].removesuffix('\n\n')


def finished(piece: str) -> str:
  """A piece with a full stop, unless it ends in ASCII punctuation."""
  return piece if piece.endswith(tuple(string.punctuation)) else f'{piece}.'


def definition_piece(text: str) -> str:
  """The definition as a prompt has it, with the empty line after it."""
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
  """An example as a prompt has it, with the empty line after it."""
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
  """Where the query may begin; a text may have its words elsewhere."""
  found = [
    match.start()
    for match in re.finditer(re.escape(QUERY), text)
    if match.start() == 0 or text[: match.start()].endswith('\n\n')
  ]
  return found[::-1]


def split_definition(head: str) -> list[tuple[str, str]]:
  """Ways to divide what precedes the query into definition and examples.

  The first example's heading ends the definition; where a definition holds such
  a heading itself there are several ways, the shortest first.
  """
  if not head.startswith('Definition: '):
    return [('', head)]
  ways = [
    (head[: match.start()], head[match.start() :])
    for match in _HEADER.finditer(head)
    if int(match[2]) == 1
  ]
  return [*ways, (head, '')]


def split_blocks(text: str) -> list[Block] | None:
  """Examples of a prompt; None if the text is not a row of them.

  Headings count on from 1, positive ones first; one that does not is part of
  the example's text.
  """
  wanted = {('Positive', 1), ('Negative', 1)}
  starts: list[tuple[int, str, int]] = []
  for match in _HEADER.finditer(text):
    label, number = match[1], int(match[2])
    if (label, number) in wanted:
      starts.append((match.start(), label, number))
      wanted = {(label, number + 1)}
      if label == 'Positive':
        wanted.add(('Negative', 1))
  if not starts:
    return None if text else []
  ends = [start for start, _, _ in starts[1:]] + [len(text)]
  found = [
    Block(label, number, text[start:end])
    for (start, label, number), end in zip(starts, ends, strict=True)
  ]
  if starts[0][0] != 0 or not all(b.text.endswith('\n\n') for b in found):
    return None
  return found


def join_pieces(pieces: Sequence[str]) -> tuple[str, list[Block]] | None:
  """Definition and examples, as who joined them divides them.

  None if an example's piece is not headed as it should be.
  """
  found: list[Block] = []
  wanted = {('Positive', 1), ('Negative', 1)}
  for piece in pieces[1:]:
    match = _HEADER.match(piece)
    if match is None or not piece.endswith('\n\n'):
      return None
    label, number = match[1], int(match[2])
    if (label, number) not in wanted:
      return None
    wanted = {(label, number + 1)}
    if label == 'Positive':
      wanted.add(('Negative', 1))
    found.append(Block(label, number, piece))
  return pieces[0], found


def is_cut_text(shown: str, original: str) -> bool:
  """Whether a text is the head and the tail of another, a space between.

  >>> is_cut_text('one ree.', 'one two three')
  True

  Args:
    shown: as a prompt has it, with a full stop where one belongs.
    original: the whole text.
  """
  original = original.strip()
  # Between the ends stands one space for whatever white space they had there.
  return any(
    input_line(_head_and_tail(original, kept))[7:] == shown
    for kept in range(max(len(shown) - 2, 0), len(original))
  )


def is_cut_definition(piece: str, original: str) -> bool:
  """Whether a definition in a prompt is the beginning of another."""
  if not piece.startswith('Definition: ') or not piece.endswith('\n\n'):
    return not piece
  shown, original = piece[12:-2], original.strip()
  return any(
    original.startswith(start) and definition_piece(start) == piece
    for start in (shown, shown.removesuffix('.'))
  )


def _head_and_tail(text: str, kept: int) -> str:
  tail = text[-(kept // 2) :] if kept > 1 else ''
  head = text[: kept - len(tail)]
  return ' '.join(filter(None, (head.rstrip(), tail.lstrip())))
