"""Judges the head of a prompt: definition and examples, before the query."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.levels import (
  definitions,
  examples,
  renaming,
  targets,
  words,
)
from it_study.audit.certificates.originals import (
  RawExample,
  RawInstance,
  RawTask,
)
from it_study.audit.certificates.subject import Subject, Tokens
from it_study.conditions import DEFINITION_LEVELS, EXAMPLE_LEVELS, Condition
from it_study.instructions.definitions import OutputSpace

# Levels with a known rule. For others, only the rest of a prompt is judged.
DEFINITION_RULES = (
  'original',
  'simplified',
  'empty',
  'shuffled',
  *renaming.LEVELS,
  *words.LEVELS,
)
EXAMPLE_RULES = ('original', 'delusive', 'empty')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
  """The verdict on the head of a prompt.

  Attributes:
    failures: Failures of the head.
    definition: Definition as the prompt shows it, with the empty line after it.
    whole: Full definition, before any truncation; None if unknown.
    cut: Whether the definition is cut.
    names: New name of each normalised label, for a renaming.
    blocks: Examples of the prompt.
    missing: Next positive and negative example that a token limit left out, if
      known.
    delusions: Delusive examples.
    dropped: Number of examples that a token limit left out.
    fewer: Number of requested examples that the task does not have.
    judged: Whether there was a rule for the examples.
  """

  failures: tuple[Failure, ...] = ()
  definition: str = ''
  whole: str | None = None
  cut: bool = False
  names: Mapping[str, str] | None = None
  blocks: tuple[anatomy.Block, ...] = ()
  missing: tuple[str, ...] = ()
  delusions: tuple[examples.Delusion, ...] = ()
  dropped: int = 0
  fewer: int = 0
  judged: bool = True


class HeadJudge:
  """Judges the heads of one task's prompts.

  Many instances share the same head, which is judged once.
  """

  def __init__(
    self,
    task: RawTask,
    all_definitions: definitions.Definitions,
    tokens: Tokens | None,
  ):
    self._task = task
    self._definitions = all_definitions
    self._tokens = tokens
    self._heads: dict[tuple, Head] = {}
    # By condition name and whether the split is training.
    self._renamings: dict[tuple[str, bool], definitions.DefinitionVerdict] = {}

  def judge(self, text: str, subject: Subject, *, may_be_cut: bool) -> Head:
    """Judges the head of a prompt.

    Args:
      text: Text up to the query.
      subject: Prompt to judge.
      may_be_cut: Whether a token limit may have cut the definition, which
        happens once nothing of the input is left.
    """
    record = subject.record
    recorded = record.examples if record else None
    pieces = record.pieces[:-1] if record else ()
    key = (subject.condition, subject.split, text, recorded, pieces, may_be_cut)
    if key not in self._heads:
      if self._tokens is not None:
        # Cuts differ from row to row: only the last head can repeat.
        self._heads.clear()
      self._heads[key] = self._judge_head(
        text, subject, recorded, pieces, may_be_cut
      )
    return self._heads[key]

  def learn_names(
    self, condition: Condition, split: str, text: str, instance: RawInstance
  ) -> None:
    """Remembers the renaming of a prompt, to judge cut definitions."""
    place = (condition.name, split == 'train')
    query = anatomy.query(instance.input)
    if (
      place in self._renamings
      or condition.definition not in renaming.LEVELS
      or not text.endswith(query)
      or query == anatomy.query('')
    ):
      return
    for definition, _ in anatomy.split_definition(text.removesuffix(query)):
      verdict = renaming.judge(
        definition, self._task, level=condition.definition, cut=False
      )
      if verdict.names is not None:
        self._renamings[place] = verdict
        return

  def _judge_head(
    self,
    text: str,
    subject: Subject,
    recorded: tuple[examples.Recorded, ...] | None,
    pieces: tuple[str, ...],
    may_be_cut: bool,
  ) -> Head:
    condition = subject.condition
    place = (condition.name, subject.split == 'train')
    heads = []
    for definition, blocks in _splits(text, pieces):
      verdict = self._definition(definition, condition, place, cut=may_be_cut)
      names = verdict.names
      if condition.definition in renaming.LEVELS and names is None:
        names = self._renamings.get(place, verdict).names
      head = self._examples(blocks, condition, names, recorded)
      problems = [*verdict.failures, *head.failures]
      if verdict.names is not None:
        first = self._renamings.setdefault(place, verdict)
        if first.names != names:
          problems.append(
            Failure('renamed-inconsistent', str(first.names), str(names))
          )
      heads.append(
        dataclasses.replace(
          head,
          failures=tuple(problems),
          definition=definition,
          whole=verdict.whole,
          cut=verdict.cut,
          names=names,
        )
      )
      if not problems:
        return heads[-1]
    return heads[0]

  def _definition(
    self,
    piece: str,
    condition: Condition,
    place: tuple[str, bool],
    *,
    cut: bool,
  ) -> definitions.DefinitionVerdict:
    task, level = self._task, condition.definition
    if level == 'original':
      return definitions.judge_original(piece, task, cut=cut)
    if level == 'simplified':
      return definitions.judge_output_space(piece, task, cut=cut)
    if level == 'empty':
      return definitions.judge_empty(piece)
    if level == 'shuffled':
      return definitions.judge_shuffled(piece, task, self._definitions, cut=cut)
    if level in renaming.LEVELS:
      if cut and renaming.applies(level, task):
        known = self._renamings.get(place)
        return renaming.judge_cut(piece, task, known, level=level)
      return renaming.judge(piece, task, level=level, cut=cut)
    if level in words.LEVELS:
      seed = condition.seed if place[1] else 0
      return words.judge(piece, task, level=level, seed=seed, cut=cut)
    function = DEFINITION_LEVELS.get(level).function
    if isinstance(function, OutputSpace):
      return definitions.judge_output_space(
        piece,
        task,
        cut=cut,
        wording=function.template,
        separator=function.separator,
      )
    return definitions.DefinitionVerdict()

  def _examples(
    self,
    blocks: list[anatomy.Block] | None,
    condition: Condition,
    names: Mapping[str, str] | None,
    recorded: tuple[examples.Recorded, ...] | None,
  ) -> Head:
    """Judges the examples; the definition of the returned head is unset."""
    if blocks is None:
      return Head(
        failures=(
          Failure(
            'prompt-malformed',
            'only examples between definition and query',
            'other text',
          ),
        ),
        judged=False,
      )
    if 'examples' in without_rule(condition):
      return Head(blocks=tuple(blocks), judged=False)
    if names is None and renaming.applies(condition.definition, self._task):
      # The names are unknown: the definition has failed or is cut.
      return Head(blocks=tuple(blocks), judged=False)
    sources = examples.Sources.of(self._task, names)
    positive = [b for b in blocks if b.label == 'Positive']
    negative = [b for b in blocks if b.label == 'Negative']
    negatives = sources.negative[: condition.num_negative_examples]
    failures, missing = self._originals(
      negative, 'Negative', negatives, condition
    )
    delusions: list[examples.Delusion] = []
    if condition.examples == 'delusive':
      problems, delusions = examples.judge_delusive(
        positive,
        sources=sources,
        number=condition.num_examples,
        only_source=condition.delusive_source,
        recorded=recorded,
        may_drop=self._tokens is not None,
      )
      allowed = sources.allowed(condition.delusive_source)
      number = min(condition.num_examples, sum(map(sources.count, allowed)))
    else:
      originals = sources.positive[: condition.num_examples]
      number = len(originals)
      problems, rest = self._originals(
        positive, 'Positive', originals, condition
      )
      missing += rest
    failures += problems
    if recorded is not None:
      failures += examples.judge_record(
        blocks, recorded=recorded, explained=condition.explanations
      )
      if condition.examples != 'delusive':
        failures += _false_sources(blocks, recorded)
    requested = condition.num_examples + condition.num_negative_examples
    return Head(
      failures=tuple(failures),
      blocks=tuple(blocks),
      missing=tuple(missing),
      delusions=tuple(delusions),
      dropped=max(number + len(negatives) - len(blocks), 0),
      fewer=requested - number - len(negatives),
    )

  def _originals(
    self,
    blocks: Sequence[anatomy.Block],
    label: str,
    expected: Sequence[RawExample],
    condition: Condition,
  ) -> tuple[list[Failure], list[str]]:
    """Returns failures of original examples, and the next that is left out."""
    failures = examples.judge_originals(
      blocks,
      label=label,
      expected=expected,
      explained=condition.explanations,
      may_drop=self._tokens is not None,
    )
    texts = anatomy.blocks(label, expected, explained=condition.explanations)
    return failures, texts[len(blocks) :][:1]


def _splits(
  text: str, pieces: tuple[str, ...]
) -> Iterator[tuple[str, list[anatomy.Block] | None]]:
  """Yields the possible splits of a head into definition and examples.

  Texts may contain headings of examples, so recorded pieces come first.
  """
  if pieces and ''.join(pieces) == text:
    joined = anatomy.join_pieces(pieces)
    if joined is not None:
      yield joined
  for definition, rest in anatomy.split_definition(text):
    yield definition, anatomy.split_blocks(rest)


def may_cut(tokens: Tokens | None, condition: Condition) -> bool:
  """Returns whether a limit may cut input and definition."""
  return tokens is not None and not condition.tk_truncation


def without_rule(condition: Condition) -> list[str]:
  """Returns the parts of a condition with custom levels, without a rule."""
  unjudged = []
  level = DEFINITION_LEVELS.get(condition.definition)
  own_definition = condition.definition not in DEFINITION_RULES
  own_examples = condition.examples not in EXAMPLE_RULES
  if own_definition and not isinstance(level.function, OutputSpace):
    unjudged.append('definition')
  rewrites = (own_definition and level.rewrite is not None) or (
    own_examples and EXAMPLE_LEVELS.get(condition.examples).rewrite is not None
  )
  if own_examples or rewrites:
    unjudged.append('examples')
  if rewrites:
    unjudged.append('references')
  if condition.targets not in targets.LEVELS:
    unjudged.append('targets')
  return unjudged


def _false_sources(
  blocks: Sequence[anatomy.Block], recorded: Sequence[examples.Recorded]
) -> list[Failure]:
  true = {'Positive': 'positive', 'Negative': 'negatives'}
  return [
    Failure('example-record', true[block.label], example.source)
    for block, example in zip(blocks, recorded, strict=False)
    if example.source != true[block.label]
  ]
