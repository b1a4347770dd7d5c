"""Prompts on a terminal or in a pipe, with their parts marked."""

from collections.abc import Iterable, Sequence
import itertools

from rich import rule, table
from rich.console import Console, Group, RenderableType
from rich.text import Text

from it_study.corpus.instance_search import Found
from it_study.errors import visible
from it_study.instructions.explanation import Explanation, Token
from it_study.instructions.prompt_spans import (
  CUE,
  DEFINITION,
  EXAMPLE,
  INPUT,
  KINDS,
  NEGATIVE,
  TEMPLATE,
  Span,
)

# Minimum columns of a condition, for conditions to be shown side by side.
_COLUMN_WIDTH = 60
_MARGIN_WIDTH = len('negative example 1')
_STYLES = {
  DEFINITION: 'cyan',
  EXAMPLE: 'green',
  NEGATIVE: 'magenta',
  INPUT: 'bold yellow',
  CUE: 'dim',
  TEMPLATE: 'dim italic',
}
# For every other example, to set neighbours apart.
_SECOND_STYLES = {EXAMPLE: 'bright_blue', NEGATIVE: 'red'}


class Display:
  """Shows prompts: coloured on a terminal, with labels in the margin elsewhere.

  A terminal that is wide enough shows conditions side by side.
  """

  def __init__(self, console: Console | None = None):
    self._console = console or Console(highlight=False)

  @property
  def has_colour(self) -> bool:
    """Whether the console shows colours."""
    console = self._console
    return (
      console.is_terminal
      and not console.no_color
      and console.color_system is not None
    )

  def show_prompt(self, text: str, spans: Sequence[Span]) -> None:
    """Shows a prompt in colour, or as plain text without colour support."""
    if self.has_colour:
      self._console.print(_coloured(text, spans))
    else:
      self.say(text)

  def say(self, line: str) -> None:
    """Prints a line without wrapping it."""
    print(visible(line), file=self._console.file)

  def show(
    self,
    found: Found,
    explanations: Sequence[Explanation],
    *,
    with_tokens: bool = False,
  ) -> None:
    """Shows an instance, and its prompt under each condition."""
    task, instance = found.task, found.instance
    self.say(
      f'{instance.id}: {found.split}, {task.name}, {task.category}, {task.kind}'
    )
    self.say(f'accepted: {" | ".join(instance.outputs)}')
    if task.label_space is not None:
      self.say(f'label space: {", ".join(task.label_space)}')
    if self.has_colour:
      self._console.print(_legend(explanations))
    self.say('')
    if not self._console.is_terminal:
      for explanation in explanations:
        self._say_all(found, explanation, with_tokens=with_tokens)
      return
    cells = [
      self._cell(found, explanation, with_tokens=with_tokens)
      for explanation in explanations
    ]
    width = max(self._console.width // _COLUMN_WIDTH, 1)
    for start in range(0, len(cells), width):
      grid = table.Table.grid(expand=True, padding=(0, 2))
      for _ in range(width):
        grid.add_column(ratio=1, overflow='fold')
      grid.add_row(*cells[start : start + width])
      self._console.print(grid)

  def _say_all(
    self, found: Found, explanation: Explanation, *, with_tokens: bool
  ) -> None:
    self.say(f'=== {explanation.condition.name}')
    for margin, line in _lines(explanation.text, explanation.spans):
      self.say(f'{margin:>{_MARGIN_WIDTH}} | {line}')
    if with_tokens and explanation.tokens is not None:
      self.say('--- tokens')
      for kind, line in _token_lines(explanation.tokens):
        self.say(f'{kind:>{_MARGIN_WIDTH}} | {line}')
    for note in notes(explanation, found):
      self.say(f'--- {note}')
    self.say('')

  def _cell(
    self, found: Found, explanation: Explanation, *, with_tokens: bool
  ) -> Group:
    name, text = explanation.condition.name, explanation.text
    parts: list[RenderableType] = [rule.Rule(Text(name, 'bold'), align='left')]
    if self.has_colour:
      parts.append(_coloured(text, explanation.spans))
    else:
      parts.append(_margined(_lines(text, explanation.spans)))
    if with_tokens and explanation.tokens is not None:
      parts.append(Text('\ntokens with their ids', 'bold'))
      lines = _token_lines(explanation.tokens)
      if self.has_colour:
        parts += [Text(visible(line), _style(kind)) for kind, line in lines]
      else:
        parts.append(_margined(lines))
    parts.append(Text())
    parts += [
      Text(f'• {visible(note)}', 'italic') for note in notes(explanation, found)
    ]
    parts.append(Text())
    return Group(*parts)


def notes(explanation: Explanation, found: Found) -> list[str]:
  """Returns facts about a prompt besides its text, one per line."""
  condition = explanation.condition
  size = f'{len(explanation.text):,} characters'
  tokens = explanation.tokens
  if tokens is not None:
    has_end = tokens[-1:] and tokens[-1].kind == 'end'
    including = ' including end of sequence' if has_end else ''
    size = f'{len(tokens):,} tokens{including}, {size}'
  if explanation.max_tokens is not None:
    size += f'; limit {explanation.max_tokens:,} tokens'
  lines = [size]
  num_kept, length = explanation.kept_definition
  if num_kept < length:
    lines.append(
      f'definition truncated to the first {num_kept:,} of {length:,} characters'
    )
  if explanation.dropped:
    names = ', '.join(kind for kind, _ in explanation.dropped)
    lines.append(f'dropped to fit the limit: {names}')
  requested = condition.num_examples + condition.num_negative_examples
  available = len(explanation.examples) + len(explanation.dropped)
  if available < requested:
    lines.append(f'{available} of {requested} examples: the task has no more')
  lines += _input_notes(explanation)
  lines += [
    f'source of {kind}: {_SOURCES.get(example.source, example.source)}'
    for kind, example in explanation.examples
    if kind.startswith(EXAMPLE) and example.source != 'positive'
  ]
  if explanation.references != found.instance.outputs:
    lines.append(
      f'accepted under this condition: {" | ".join(explanation.references)}'
    )
  label_space = explanation.label_space
  if label_space is not None and label_space != found.task.label_space:
    lines.append(f'label space under this condition: {", ".join(label_space)}')
  return lines


_SOURCES = {
  'negatives': "the task's negative examples (negatives)",
  'swap': 'a positive example, its label changed (swap)',
  'repair': "a positive example with another example's output (repair)",
}


def _input_notes(explanation: Explanation) -> list[str]:
  kept, lines = explanation.kept_input, []
  if kept.share < 1:
    ends = f'the first {kept.head:,}' if kept.head else 'none'
    if kept.tail:
      ends += f' and the last {kept.tail:,}'
    lines.append(
      f'input truncated: {ends} of {kept.length:,} characters remain '
      f'({100 * kept.share:.1f}%)'
    )
  condition = explanation.condition
  if condition.tk_truncation and explanation.prompt.shortened:
    lines.append('truncated at the end as in Tk-Instruct, cue included')
  if explanation.num_lost_tokens:
    lines.append(
      f'tokens replaced by end of sequence: {explanation.num_lost_tokens}'
    )
  return lines


def _kind(kind: str) -> str:
  """Returns a kind without its number."""
  return kind.rstrip('0123456789').rstrip()


def _style(kind: str) -> str:
  name = _kind(kind)
  if name == kind:
    return _STYLES.get(kind, 'dim')
  is_odd = int(kind.removeprefix(name)) % 2
  return (_STYLES if is_odd else _SECOND_STYLES)[name]


def _legend(explanations: Sequence[Explanation]) -> Text:
  """Returns the kinds that occur, each in its style."""
  kinds = {span.kind for e in explanations for span in e.spans}
  ordered = sorted(kinds, key=lambda kind: (KINDS.index(_kind(kind)), kind))
  return Text('  ').join(Text(f'■ {kind}', _style(kind)) for kind in ordered)


def _coloured(text: str, spans: Sequence[Span]) -> Text:
  # Text, since data may look like rich's markup. `visible` replaces characters
  # one by one, so offsets stay valid.
  shown = Text(visible(text))
  for span in spans:
    shown.stylize(_style(span.kind), span.start, span.end)
  return shown


def _margined(lines: Iterable[tuple[str, str]]) -> table.Table:
  grid = table.Table.grid(padding=(0, 1))
  grid.add_column(justify='right', style='dim', no_wrap=True)
  grid.add_column(overflow='fold')
  for margin, line in lines:
    grid.add_row(Text(f'{margin} │'), Text(visible(line)))
  return grid


def _lines(text: str, spans: Sequence[Span]) -> list[tuple[str, str]]:
  """Returns (margin, line) for each line of a text.

  The margin names the kinds of the line's spans; it is empty where they are
  those of the line before. A line of several kinds, other than input and cue,
  is broken between them.
  """
  lines, start, before = [], 0, ''
  for line in text.split('\n'):
    end = start + len(line) + 1
    here = [s for s in spans if s.start < end and s.end > start]
    kinds = {span.kind for span in here}
    pieces = [(start, end, '+'.join(dict.fromkeys(s.kind for s in here)))]
    if len(kinds) > 1 and not kinds <= {CUE, INPUT}:
      pieces = [(max(s.start, start), min(s.end, end), s.kind) for s in here]
    for first, last, margin in pieces:
      shown = text[first : min(last, end - 1)]
      lines.append(('' if margin == before else margin, shown))
      before = margin
    start = end
  return lines


def _token_lines(tokens: Sequence[Token]) -> list[tuple[str, str]]:
  return [
    (kind, ' '.join(f'{token.piece}/{token.id}' for token in group))
    for kind, group in itertools.groupby(tokens, key=lambda token: token.kind)
  ]
