"""Judges the wording of a template's prompts, and gives them the default one.

The template is read as documented, independently of the code that renders it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import functools
import re

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure, differ
from it_study.audit.certificates.levels.definitions import (
  SEPARATOR,
  SIMPLIFIED,
)
from it_study.audit.certificates.originals import RawExample, RawTask
from it_study.audit.certificates.subject import Subject, Tokens
from it_study.conditions import PromptTemplate

_BRACES = re.compile(r'(\{\{|\}\}|\{\w+\})')
_BLOCK = re.compile(
  r' (Positive|Negative) Example ([0-9]+) -\nInput: (.*?)\n Output: (.*?)'
  r'(?:\n Explanation: (.*))?\n\n',
  re.DOTALL,
)
_KINDS = ('input', 'output', 'explanation')
# Levels whose definitions are texts of the task files.
_KNOWN = ('original', 'simplified', 'shuffled')
_ANY = '.*?'
# Label, number and example; without explanation if none is shown.
_Numbered = tuple[str, int, RawExample]


@dataclasses.dataclass(frozen=True)
class _Shown:
  """The texts that a prompt shows; `definition` is None if it has none."""

  definition: str | None
  examples: tuple[_Numbered, ...]
  input: str

  def plain_pieces(self) -> tuple[str, ...]:
    """Returns the pieces of the prompt in the default wording."""
    return (
      ''
      if self.definition is None
      else anatomy.definition_piece(self.definition),
      *(anatomy.block(*numbered, explained=True) for numbered in self.examples),
      anatomy.query(self.input),
    )

  def texts(self) -> Iterator[tuple[str, str]]:
    """Yields the kind of each text, and the text."""
    if self.definition is not None:
      yield 'definition', self.definition
    for _, _, example in self.examples:
      yield 'input', example.input
      yield 'output', example.output
      if example.explanation is not None:
        yield 'explanation', example.explanation
    yield 'input', self.input


class TemplateJudge:
  """Judges the wording of a template in the prompts of one task."""

  def __init__(
    self, template: PromptTemplate, task: RawTask, definitions: Iterable[str]
  ) -> None:
    """Makes a judge.

    Args:
      template: Template of the prompts.
      task: Task as read by `originals.read_task`.
      definitions: Definitions of all tasks.
    """
    self._template = template
    self._examples = (*task.positive, *task.negative)
    labels = task.labels or ()
    simplified = SIMPLIFIED.replace('{labels}', SEPARATOR.join(labels))
    inputs = [example.input for example in self._examples]
    inputs += [instance.input for instance in task.instances.values()]
    outputs = [*labels, *(e.output for e in self._examples)]
    explanations = [e.explanation or '' for e in self._examples]
    # By kind of text, then by what the default wording makes of it.
    self._known = {
      kind: _by_finished(texts)
      for kind, texts in {
        'definition': [*definitions, simplified],
        'input': inputs,
        'output': outputs,
        'explanation': explanations,
      }.items()
    }

  def plain(
    self, subject: Subject, tokens: Tokens | None
  ) -> tuple[Subject, Tokens | None, list[Failure]]:
    """Returns a prompt in the default wording, and tokens counted in its own.

    A prompt that does not follow the template stays as it is.
    """
    shown = self._shown(subject)
    if shown is None:
      return subject, tokens, [self._malformed(subject.text)]
    pieces, record = shown.plain_pieces(), subject.record
    # Other levels make texts of their own, and a limit may cut them. It cuts
    # the definition once nothing of the input is left.
    is_known = subject.condition.definition in _KNOWN and (
      tokens is None or shown.input not in ('', '.')
    )
    failures = [
      failure
      for kind, text in shown.texts()
      if kind != 'definition' or is_known
      for failure in self._stop_failures(kind, text)
    ]
    if record is not None:
      joined = ''.join(record.pieces)
      if joined != subject.text:
        failures.append(differ('prompt-malformed', joined, subject.text))
      record = dataclasses.replace(record, pieces=pieces)
    text = ''.join(pieces)
    if tokens is not None:
      varied = functools.partial(self._varied, (text, subject.text))
      tokens = dataclasses.replace(tokens, joined=varied)
    plain = dataclasses.replace(subject, text=text, record=record)
    return plain, tokens, failures

  def _malformed(self, text: str) -> Failure:
    template = self._template
    wording = {
      'definition': template.definition,
      'examples': template.example,
      'input': template.input,
    }
    parts = [wording[name] for name in template.order]
    expected = template.separator.join(parts) + template.cue
    return Failure('surface', expected, text[-200:])

  def _shown(self, subject: Subject) -> _Shown | None:
    """Returns what a prompt shows; None if it does not follow the template."""
    for has_definition, labels, values in self._guesses(subject):
      pattern = self._pattern(has_definition, labels, values)
      match = _compiled(pattern).fullmatch(subject.text)
      if match is None:
        continue
      examples: list[_Numbered] = []
      for index, label in enumerate(labels):
        texts = match.groupdict()
        example = RawExample(
          texts[f'input{index}'],
          texts[f'output{index}'],
          texts.get(f'explanation{index}'),
        )
        number = labels[: index + 1].count(label)
        examples.append((label, number, example))
      definition = match['definition'] if has_definition else None
      return _Shown(definition, tuple(examples), match['input'])
    return None

  def _guesses(
    self, subject: Subject
  ) -> Iterator[tuple[bool, list[str], Mapping[str, str]]]:
    """Yields whether there is a definition, labels of examples, and patterns.

    The patterns are those of the texts by name; any text has `_ANY`. What the
    renderer has recorded comes first, then what the task file holds, since a
    text may contain the wording of the template.
    """
    condition, record = subject.condition, subject.record
    if record is not None:
      number = len(record.examples)
      counts = [(n, number - n) for n in range(number, -1, -1)]
      values = {}
      for index, example in enumerate(record.examples):
        values[f'input{index}'] = self._exactly(example.input)
        values[f'output{index}'] = self._exactly(example.output)
        explanation = example.explanation if condition.explanations else None
        if explanation is not None:
          values[f'explanation{index}'] = self._exactly(explanation)
    else:
      most = min(condition.num_examples, 2 * len(self._examples))
      negative = min(condition.num_negative_examples, len(self._examples))
      counts = [
        (n, m) for n in range(most, -1, -1) for m in range(negative, -1, -1)
      ]
      known = sorted({e.input.strip() for e in self._examples}, key=len)
      pattern = '|'.join(map(self._exactly, reversed(known))) or _ANY
      values = {f'input{index}': pattern for index in range(most + negative)}
      if condition.explanations:
        values |= {
          f'explanation{index}': _ANY for index in range(most + negative)
        }
    explained = {n: _ANY for n in values if n.startswith('explanation')}
    for some in (values, explained):
      for positive, negative in counts:
        labels = ['Positive'] * positive + ['Negative'] * negative
        for has_definition in (True, False):
          yield has_definition, labels, some

  def _pattern(
    self, has_definition: bool, labels: Sequence[str], values: Mapping[str, str]
  ) -> str:
    """Returns the pattern of a whole prompt."""
    template = self._template
    blocks = []
    for index, label in enumerate(labels):
      number = labels[: index + 1].count(label)
      block = _pattern(self._wording(label), values, index, number=number)
      if f'explanation{index}' in values and template.explanation is not None:
        block += f'(?:{_pattern(template.explanation, values, index)})?'
      blocks.append(block)
    parts = {
      'definition': [_pattern(template.definition, {}, '')] * has_definition,
      'examples': blocks,
      'input': [_pattern(template.input, {}, '')],
    }
    ordered = [part for name in template.order for part in parts[name]]
    return re.escape(template.separator).join(ordered) + re.escape(template.cue)

  def _wording(self, label: str) -> str:
    template = self._template
    if label == 'Negative' and template.negative_example is not None:
      return template.negative_example
    return template.example

  def _exactly(self, text: str) -> str:
    return re.escape(self._stopped(text.strip()))

  def _stopped(self, text: str) -> str:
    return anatomy.finished(text) if self._template.full_stops else text

  def _stop_failures(self, kind: str, text: str) -> list[Failure]:
    """Judges a full stop at the end, which the default wording adds itself."""
    originals = self._known[kind].get(anatomy.finished(text), [])
    expected = [self._stopped(original) for original in originals]
    if not expected or text in expected:
      return []
    return [differ('surface', expected[0], text)]

  def _varied(self, whole: tuple[str, str], pieces: Sequence[str]) -> str:
    """Returns the text of pieces of the default wording in the template's.

    Args:
      whole: Text of the judged prompt in the default wording, and its own.
      pieces: Definition, examples, perhaps with spaces between them, query; or
        one whole text.
    """
    if ''.join(pieces) == whole[0]:
      return whole[1]
    definition, *middle, query = pieces
    template = self._template
    parts = {
      'definition': definition
      and _filled(
        template.definition,
        {
          'definition': self._original(
            'definition', definition.removeprefix('Definition: ')[:-2]
          )
        },
      )
      + template.separator,
      'examples': ''.join(map(self._varied_block, middle)),
      'input': _filled(
        template.input,
        {
          'input': self._original(
            'input', query[len(anatomy.QUERY) : -len(anatomy.CUE)]
          )
        },
      )
      + template.separator,
    }
    text = ''.join(parts[name] for name in template.order)
    return text.removesuffix(template.separator) + template.cue

  def _varied_block(self, piece: str) -> str:
    match = _BLOCK.fullmatch(piece)
    if match is None:
      return piece
    label, number, *texts = match.groups()
    template = self._template
    values = {'number': number}
    for kind, text in zip(_KINDS, texts, strict=True):
      if text is not None:
        values[kind] = self._original(kind, text)
    block = _filled(self._wording(label), values)
    if 'explanation' in values and template.explanation is not None:
      block += _filled(template.explanation, values)
    return block + template.separator

  def _original(self, kind: str, finished: str) -> str:
    """Returns a text of the default wording as the template shows it."""
    (original, *_) = self._known[kind].get(finished, [finished])
    return self._stopped(original)


def _by_finished(texts: Iterable[str]) -> dict[str, list[str]]:
  found: dict[str, list[str]] = {}
  for text in texts:
    found.setdefault(anatomy.finished(text.strip()), []).append(text.strip())
  return found


def _pattern(
  wording: str,
  values: Mapping[str, str],
  index: int | str,
  *,
  number: int | None = None,
) -> str:
  """Returns the pattern of a text of the template; groups end in the index."""
  pattern = ''
  for part in _BRACES.split(wording):
    if part in ('{{', '}}'):
      pattern += re.escape(part[0])
    elif part == '{number}':
      pattern += str(number)
    elif part.startswith('{'):
      name = f'{part[1:-1]}{index}'
      pattern += f'(?P<{name}>{values.get(name, _ANY)})'
    else:
      pattern += re.escape(part)
  return pattern


def _filled(wording: str, values: Mapping[str, str]) -> str:
  return ''.join(
    part[0]
    if part in ('{{', '}}')
    else values[part[1:-1]]
    if part.startswith('{')
    else part
    for part in _BRACES.split(wording)
  )


@functools.lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
  return re.compile(pattern, re.DOTALL)
