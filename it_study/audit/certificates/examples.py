"""What the examples of a prompt have to be: originals, and delusive ones."""

from collections.abc import Mapping, Sequence
import dataclasses

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure, differ
from it_study.audit.certificates.originals import RawExample, RawTask
from it_study.corpus.normalization import normalize_answer

# Where a delusive example may come from, in the order they are used up.
BY_RULE = {
  'classification': ('negatives', 'swap'),
  'generation': ('negatives', 'repair'),
}


@dataclasses.dataclass(frozen=True)
class Recorded:
  """An example as the renderer records it."""

  input: str
  output: str
  explanation: str | None
  source: str


@dataclasses.dataclass(frozen=True)
class Delusion:
  """One delusive example that a prompt shows.

  Attributes:
    source: 'negatives', 'swap' or 'repair'.
    known: whether a right answer to its input is known.
    right: whether its output is one.
  """

  source: str
  known: bool
  right: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
  """What the examples of a task are made of, under a renaming or none.

  Attributes:
    positive: examples, outputs as they are called now.
    negative: likewise.
    labels: likewise; None for generation.
    answers: input, stripped, to what is known to be right, normalised.
  """

  positive: tuple[RawExample, ...]
  negative: tuple[RawExample, ...]
  labels: tuple[str, ...] | None
  answers: Mapping[str, set[str]]

  @classmethod
  def of(cls, task: RawTask, names: Mapping[str, str] | None) -> 'Sources':
    if names is None:
      return cls(
        positive=task.positive,
        negative=task.negative,
        labels=task.labels,
        answers=task.known_answers,
      )

    def renamed(examples: Sequence[RawExample]) -> tuple[RawExample, ...]:
      # An explanation speaks of the old labels.
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

  def shown_answers(self, text_input: str) -> set[str]:
    """What the positive examples show to be right for an input."""
    return {
      normalize_answer(e.output)
      for e in self.positive
      if e.input.strip() == text_input.strip()
    }

  def count(self, source: str) -> int:
    """How many delusive examples a source has."""
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
    """What a swap or a re-pairing may put in a place, normalised."""
    if source == 'swap':
      return set(map(normalize_answer, self.labels or ()))
    return {normalize_answer(e.output) for e in self.positive}


def image(output: str, names: Mapping[str, str]) -> str:
  """What an output is called under a renaming."""
  return names.get(normalize_answer(output), output)


def judge_originals(
  found: Sequence[anatomy.Block],
  *,
  label: str,
  expected: Sequence[RawExample],
  explained: bool,
  may_drop: bool,
) -> list[Failure]:
  """Examples of a label must be the first of the task's, byte for byte."""
  blocks = anatomy.blocks(label, expected, explained=explained)
  shown = [block.text for block in found]
  if shown == blocks or (may_drop and shown == blocks[: len(shown)]):
    return []
  if len(shown) > len(blocks) or (len(shown) < len(blocks) and not may_drop):
    return [_count(label, len(blocks), len(shown))]
  bodies = [text.partition('\n')[2] for text in shown]
  wanted = [text.partition('\n')[2] for text in blocks]
  if set(bodies) <= set(wanted):
    return [differ('example-order', ''.join(wanted), ''.join(bodies))]
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
  """Delusive examples: valid inputs, valid outputs, wrongly paired.

  Args:
    found: positive examples of the prompt.
    sources: what they may be made of.
    number: asked for.
    only_source: that the condition allows; None goes by rule.
    recorded: what the renderer says of them, where it was asked.
    may_drop: whether a token limit may have dropped some.
  """
  allowed = (only_source,) if only_source else BY_RULE[sources.kind]
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
    due = order[index] if index < len(order) else None
    problems, delusion = _judge_one(block, sources, allowed, claimed, due)
    failures += problems
    if delusion is not None:
      delusions.append(delusion)
  shown = [delusion.source for delusion in delusions]
  if len(shown) == len(found) and shown != order[: len(shown)]:
    failures.append(
      Failure(
        code='delusive-order',
        expected=', '.join(order[: len(shown)]),
        found=', '.join(shown),
      )
    )
  return failures, delusions


def judge_record(
  found: Sequence[anatomy.Block],
  *,
  recorded: Sequence[Recorded],
  explained: bool,
) -> list[Failure]:
  """What the renderer records must be what the prompt shows."""
  blocks = []
  for block, example in zip(found, recorded, strict=False):
    raw = RawExample(example.input, example.output, example.explanation)
    blocks.append(
      anatomy.block(block.label, block.number, raw, explained=explained)
    )
  if len(recorded) != len(found):
    return [
      Failure(
        code='example-record',
        expected=f'{len(found)} recorded examples',
        found=f'{len(recorded)}',
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
  due: str | None,
) -> tuple[list[Failure], Delusion | None]:
  inputs = _inputs_of(block, sources)
  # Of inputs that a prompt shows alike, the recorded one.
  if claimed is not None and inputs:
    inputs = [text for text in inputs if text == claimed.input]
  if not inputs:
    known = [anatomy.input_line(e.input) for e in sources.positive]
    return [differ('delusive-input', ' or '.join(known), block.body)], None
  rest = block.body[len(anatomy.input_line(inputs[0])) + 1 :]
  failures: list[Failure] = []
  if '\n Explanation: ' in rest and not _is_output(rest, sources):
    rest, _, told = rest.partition('\n Explanation: ')
    failures.append(
      Failure(code='explanation-shown', expected='', found=told[:80])
    )
  output = rest.removeprefix(' Output: ')
  answer = normalize_answer(output)
  if sources.labels is not None:
    labels = set(map(normalize_answer, sources.labels))
    if answer not in labels:
      failures.append(
        Failure(
          code='delusive-outside-labels',
          expected=' or '.join(sources.labels),
          found=output[:80],
        )
      )
  known = [sources.answers.get(text.strip(), set()) for text in inputs]
  right = all(answer in answers for answers in known)
  if right:
    failures.append(
      Failure(
        code='delusive-right',
        expected='a wrong answer',
        found=output[:80],
      )
    )
  possible = _possible_sources(inputs, rest, sources, allowed)
  if not possible and not failures:
    failures.append(
      Failure(
        code='delusive-output',
        expected=f'an output from {" or ".join(allowed)}',
        found=output[:80],
      )
    )
  source = None if claimed is None else claimed.source
  if source is not None and possible and source not in possible:
    failures.append(
      Failure(
        code='delusive-source', expected=' or '.join(possible), found=source
      )
    )
  # One pair of input and output may be had from two sources.
  if source not in possible:
    source = due if due in possible else next(iter(possible), None)
  if source is None:
    return failures, None
  return failures, Delusion(source=source, known=any(known), right=right)


def _possible_sources(
  inputs: Sequence[str], line: str, sources: Sources, allowed: Sequence[str]
) -> list[str]:
  """Sources that give this output for such an input, in their order."""
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
  """Inputs of examples that a block may show: the longest that fit."""
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
  """Whether a text with an explanation's heading in it is an output itself."""
  return any(
    line == anatomy.output_line(output)
    for output in (
      *(e.output for e in (*sources.positive, *sources.negative)),
      *(sources.labels or ()),
    )
  )


def _count(label: str, expected: int, found: int) -> Failure:
  return Failure(
    code='example-count',
    expected=f'{expected} {label.lower()} examples',
    found=f'{found}',
  )
