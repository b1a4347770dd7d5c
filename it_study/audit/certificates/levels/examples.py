"""Judges the examples of a prompt, original and delusive."""

from collections.abc import Mapping, Sequence
import dataclasses

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure, differ
from it_study.audit.certificates.originals import RawExample, RawTask
from it_study.corpus.normalization import normalize_answer

# Sources of delusive examples, in the order in which they are exhausted.
BY_RULE = {
  'classification': ('negatives', 'swap'),
  'generation': ('negatives', 'repair'),
}


@dataclasses.dataclass(frozen=True)
class Recorded:
  """An example as recorded by the renderer."""

  input: str
  output: str
  explanation: str | None
  source: str


@dataclasses.dataclass(frozen=True)
class Delusion:
  """A delusive example of a prompt.

  Attributes:
    source: 'negatives', 'swap' or 'repair'.
    known: Whether a right answer to its input is known.
    right: Whether its output is a right answer.
  """

  source: str
  known: bool
  right: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
  """The texts that the examples of a task are made of, renamed if need be.

  Attributes:
    positive: Positive examples with renamed outputs.
    negative: Negative examples with renamed outputs.
    labels: Renamed labels; None for generation.
    answers: Known right outputs, normalised, by stripped input.
  """

  positive: tuple[RawExample, ...]
  negative: tuple[RawExample, ...]
  labels: tuple[str, ...] | None
  answers: Mapping[str, set[str]]

  @classmethod
  def of(cls, task: RawTask, names: Mapping[str, str] | None) -> 'Sources':
    if names is None or task.labels is None:
      return cls(
        positive=task.positive,
        negative=task.negative,
        labels=task.labels,
        answers=task.known_answers,
      )

    def renamed(examples: Sequence[RawExample]) -> tuple[RawExample, ...]:
      # Explanations mention the old labels and are dropped.
      return tuple(
        RawExample(e.input, image(e.output, names)) for e in examples
      )

    return cls(
      positive=renamed(task.positive),
      negative=renamed(task.negative),
      labels=tuple(dict.fromkeys(image(x, names) for x in task.labels)),
      answers={
        text: {names.get(answer, answer) for answer in answers}
        for text, answers in task.known_answers.items()
      },
    )

  @property
  def kind(self) -> str:
    return 'generation' if self.labels is None else 'classification'

  def allowed(self, only_source: str | None) -> tuple[str, ...]:
    """Returns the sources that a condition allows, in order of use."""
    return BY_RULE[self.kind] if only_source is None else (only_source,)

  def shown_answers(self, text_input: str) -> set[str]:
    """Returns the right outputs for an input in the positive examples."""
    return {
      normalize_answer(e.output)
      for e in self.positive
      if e.input.strip() == text_input.strip()
    }

  def count(self, source: str) -> int:
    """Returns how many delusive examples a source can provide."""
    if source == 'negatives':
      labels = {normalize_answer(label) for label in self.labels or ()}
      answers = [(e, normalize_answer(e.output)) for e in self.negative]
      return sum(
        (bool(answer) if self.labels is None else answer in labels)
        and answer not in self.shown_answers(example.input)
        for example, answer in answers
      )
    outputs = self.outputs(source)
    return sum(
      bool(outputs - self.shown_answers(example.input))
      for example in self.positive
    )

  def outputs(self, source: str) -> set[str]:
    """Returns the outputs that a swap or re-pairing may use, normalised."""
    if source == 'swap':
      return set(map(normalize_answer, self.labels or ()))
    return {normalize_answer(e.output) for e in self.positive}


def image(output: str, names: Mapping[str, str]) -> str:
  """Returns an output under a renaming."""
  return names.get(normalize_answer(output), output)


def judge_originals(
  found: Sequence[anatomy.Block],
  *,
  label: str,
  expected: Sequence[RawExample],
  explained: bool,
  may_drop: bool,
) -> list[Failure]:
  """Checks that examples are the first of the task, byte for byte."""
  blocks = anatomy.blocks(label, expected, explained=explained)
  shown = [block.text for block in found]
  if shown == blocks or (may_drop and shown == blocks[: len(shown)]):
    return []
  if len(shown) > len(blocks) or (len(shown) < len(blocks) and not may_drop):
    return [_count(label, len(blocks), len(shown))]
  bodies = [text.partition('\n')[2] for text in shown]
  originals = [text.partition('\n')[2] for text in blocks]
  if set(bodies) <= set(originals):
    return [differ('example-order', ''.join(originals), ''.join(bodies))]
  return [
    differ('example-text', one, other)
    for one, other in zip(blocks, shown, strict=False)
    if one != other
  ]


def judge_delusive(
  found: Sequence[anatomy.Block],
  *,
  sources: Sources,
  number: int,
  only_source: str | None,
  recorded: Sequence[Recorded] | None,
  may_drop: bool,
) -> tuple[list[Failure], list[Delusion]]:
  """Checks that delusive examples pair valid inputs with wrong valid outputs.

  Args:
    found: Positive examples of the prompt.
    sources: Texts that the examples may be made of.
    number: Number of examples that the condition requests.
    only_source: Only source that the condition allows; None for those of
      `BY_RULE`.
    recorded: Examples as recorded by the renderer; None if unknown.
    may_drop: Whether a token limit may have dropped examples.

  Returns:
    Failures, and the delusive examples.
  """
  allowed = sources.allowed(only_source)
  counts = {source: sources.count(source) for source in allowed}
  most = min(number, sum(counts.values()))
  failures: list[Failure] = []
  if len(found) > most or (len(found) < most and not may_drop):
    failures.append(_count('Positive', most, len(found)))
  delusions: list[Delusion] = []
  order = [source for source in allowed for _ in range(counts[source])]
  for index, block in enumerate(found):
    claimed = None
    if recorded is not None and index < len(recorded):
      claimed = recorded[index]
    expected = order[index] if index < len(order) else None
    problems, delusion = _judge_one(block, sources, allowed, claimed, expected)
    failures += problems
    if delusion is not None:
      delusions.append(delusion)
  shown = [delusion.source for delusion in delusions]
  if len(shown) == len(found) and shown != order[: len(shown)]:
    failures.append(
      Failure(
        'delusive-order', ', '.join(order[: len(shown)]), ', '.join(shown)
      )
    )
  return failures, delusions


def judge_record(
  found: Sequence[anatomy.Block],
  *,
  recorded: Sequence[Recorded],
  explained: bool,
) -> list[Failure]:
  """Checks that the recorded examples are those in the prompt."""
  blocks = []
  for block, example in zip(found, recorded, strict=False):
    raw = RawExample(example.input, example.output, example.explanation)
    blocks.append(
      anatomy.block(block.label, block.number, raw, explained=explained)
    )
  if len(recorded) != len(found):
    return [
      Failure(
        'example-record', f'{len(found)} recorded examples', f'{len(recorded)}'
      )
    ]
  return [
    differ('example-record', block.text, text)
    for block, text in zip(found, blocks, strict=True)
    if block.text != text
  ]


def _judge_one(
  block: anatomy.Block,
  sources: Sources,
  allowed: Sequence[str],
  claimed: Recorded | None,
  expected: str | None,
) -> tuple[list[Failure], Delusion | None]:
  inputs = _inputs_of(block, sources)
  # Of inputs that look the same in a prompt, take the recorded one.
  if claimed is not None and inputs:
    inputs = [text for text in inputs if text == claimed.input]
  if not inputs:
    lines = [anatomy.input_line(e.input) for e in sources.positive]
    return [differ('delusive-input', ' or '.join(lines), block.body)], None
  rest = block.body[len(anatomy.input_line(inputs[0])) + 1 :]
  failures: list[Failure] = []
  if '\n Explanation: ' in rest and not _is_output(rest, sources):
    rest, _, explanation = rest.partition('\n Explanation: ')
    failures.append(Failure('explanation-shown', '', explanation[:80]))
  output = rest.removeprefix(' Output: ')
  answer = normalize_answer(output)
  if sources.labels is not None:
    labels = set(map(normalize_answer, sources.labels))
    if answer not in labels:
      failures.append(
        Failure(
          'delusive-outside-labels', ' or '.join(sources.labels), output[:80]
        )
      )
  known = [sources.answers.get(text.strip(), set()) for text in inputs]
  right = all(answer in answers for answers in known)
  if right:
    failures.append(Failure('delusive-right', 'a wrong answer', output[:80]))
  possible = _possible_sources(inputs, rest, sources, allowed)
  if not possible and not failures:
    failures.append(
      Failure(
        'delusive-output', f'an output from {" or ".join(allowed)}', output[:80]
      )
    )
  source = None if claimed is None else claimed.source
  if source is not None and possible and source not in possible:
    failures.append(Failure('delusive-source', ' or '.join(possible), source))
  # Two sources may give the same pair of input and output.
  if source not in possible:
    source = expected if expected in possible else next(iter(possible), None)
  if source is None:
    return failures, None
  return failures, Delusion(source=source, known=any(known), right=right)


def _possible_sources(
  inputs: Sequence[str], line: str, sources: Sources, allowed: Sequence[str]
) -> list[str]:
  """Returns the allowed sources that give this output for these inputs."""
  lines = {
    'negatives': {
      anatomy.output_line(e.output)
      for e in sources.negative
      if e.input in inputs
    },
    'swap': set(map(anatomy.output_line, sources.labels or ())),
    'repair': {anatomy.output_line(e.output) for e in sources.positive},
  }
  is_positive = any(e.input in inputs for e in sources.positive)
  return [
    source
    for source in allowed
    if line in lines[source] and (source == 'negatives' or is_positive)
  ]


def _inputs_of(block: anatomy.Block, sources: Sources) -> list[str]:
  """Returns the longest example inputs that a block may show."""
  lines = {
    e.input: anatomy.input_line(e.input)
    for e in (*sources.positive, *sources.negative)
  }
  fitting = {
    text: len(line)
    for text, line in lines.items()
    if block.body.startswith(f'{line}\n Output: ')
  }
  most = max(fitting.values(), default=0)
  return [text for text, length in fitting.items() if length == most]


def _is_output(line: str, sources: Sources) -> bool:
  """Returns whether a text with an explanation's heading is an output."""
  return any(
    line == anatomy.output_line(output)
    for output in (
      *(e.output for e in (*sources.positive, *sources.negative)),
      *(sources.labels or ()),
    )
  )


def _count(label: str, expected: int, found: int) -> Failure:
  return Failure(
    'example-count', f'{expected} {label.lower()} examples', f'{found}'
  )
