"""What precedes the query of a prompt: its definition and its examples."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

from it_study.audit.certificates import anatomy, definitions, examples
from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.originals import RawInstance, RawTask
from it_study.audit.certificates.subject import Subject, Tokens
from it_study.conditions import DEFINITION_LEVELS, EXAMPLE_LEVELS, Condition
from it_study.instructions.definitions import OutputSpace

# Levels whose rule is known here; of another only the rest is judged.
DEFINITION_RULES = ('original', 'simplified', 'empty', 'shuffled', 'renamed')
EXAMPLE_RULES = ('original', 'delusive', 'empty')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
  """What precedes the query, judged.

  Attributes:
    failures: what is wrong with it.
    definition: as the prompt has it, with the empty line after it.
    whole: what it would be uncut; None where nobody knows.
    cut: whether it is cut.
    names: of a renaming, label under exact match's rules to its new name.
    blocks: the examples.
    missing: those that come next, positive and negative, if a limit left some
      out and they are known.
    delusions: of the delusive examples.
    dropped: how many a limit left out.
    fewer: how many the task does not have.
    judged: whether there was a rule to judge the examples by.
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

  The same head stands before many instances and is judged once.
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
    # By condition, and whether it is the training split's.
    self._renamings: dict[tuple[str, bool], definitions.DefinitionVerdict] = {}

  def judge(self, text: str, subject: Subject, *, may_be_cut: bool) -> Head:
    """Judges what precedes the query of a prompt.

    Args:
      text: up to the query.
      subject: the prompt.
      may_be_cut: whether a limit may have cut the definition, as it does when
        nothing of the input is left.
    """
    record = subject.record
    recorded = record.examples if record else None
    pieces = record.pieces[:-1] if record else ()
    key = (subject.condition, subject.split, text, recorded, pieces, may_be_cut)
    if key not in self._heads:
      if self._tokens is not None:
        # What is cut differs from row to row.
        self._heads.clear()
      self._heads[key] = self._judge_head(
        text, subject, recorded, pieces, may_be_cut
      )
    return self._heads[key]

  def learn_names(
    self, condition: Condition, split: str, text: str, instance: RawInstance
  ) -> None:
    """Takes a renaming from a prompt, for others whose definition is cut."""
    place = (condition.name, split == 'train')
    query = anatomy.query(instance.input)
    if (
      place in self._renamings
      or condition.definition != 'renamed'
      or not text.endswith(query)
      or query == anatomy.query('')
    ):
      return
    for definition, _ in anatomy.split_definition(text.removesuffix(query)):
      verdict = definitions.judge_renamed(definition, self._task, cut=False)
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
    judged = []
    for definition, blocks in _ways(text, pieces):
      verdict = self._definition(definition, condition, place, cut=may_be_cut)
      names = verdict.names
      if condition.definition == 'renamed' and names is None:
        names = self._renamings.get(place, verdict).names
      head = self._examples(blocks, condition, names, recorded)
      problems = [*verdict.failures, *head.failures]
      if verdict.names is not None:
        first = self._renamings.setdefault(place, verdict)
        if first.names != names:
          problems.append(
            Failure(
              code='renamed-inconsistent',
              expected=str(first.names),
              found=str(names),
            )
          )
      judged.append(
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
        return judged[-1]
    return judged[0]

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
    if level == 'renamed':
      if cut and task.labels is not None:
        return definitions.judge_cut_renaming(
          piece, task, self._renamings.get(place)
        )
      return definitions.judge_renamed(piece, task, cut=cut)
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
    names: dict[str, str] | None,
    recorded: tuple[examples.Recorded, ...] | None,
  ) -> Head:
    if blocks is None:
      return Head(
        failures=(
          Failure(
            code='prompt-malformed',
            expected='examples between definition and query',
            found='something else',
          ),
        ),
        judged=False,
      )
    if 'examples' in without_rule(condition):
      return Head(blocks=tuple(blocks), judged=False)
    renamed = condition.definition == 'renamed'
    if renamed and names is None and self._task.labels is not None:
      # The definition that tells the names has failed, or is cut.
      return Head(blocks=tuple(blocks), judged=False)
    sources = examples.Sources.of(self._task, names)
    explained = condition.explanations
    may_drop = self._tokens is not None
    positive = [b for b in blocks if b.label == 'Positive']
    negative = [b for b in blocks if b.label == 'Negative']
    wanted = sources.negative[: condition.num_negative_examples]
    failures = examples.judge_originals(
      negative,
      label='Negative',
      expected=wanted,
      explained=explained,
      may_drop=may_drop,
    )
    missing = anatomy.blocks('Negative', wanted, explained=explained)
    missing = missing[len(negative) :][:1]
    delusions: list[examples.Delusion] = []
    if condition.examples == 'delusive':
      problems, delusions = examples.judge_delusive(
        positive,
        sources=sources,
        number=condition.num_examples,
        only_source=condition.delusive_source,
        recorded=recorded,
        may_drop=may_drop,
      )
      failures += problems
      allowed = (condition.delusive_source,)
      if condition.delusive_source is None:
        allowed = examples.BY_RULE[sources.kind]
      number = min(condition.num_examples, sum(map(sources.count, allowed)))
    else:
      originals = sources.positive[: condition.num_examples]
      number = len(originals)
      failures += examples.judge_originals(
        positive,
        label='Positive',
        expected=originals,
        explained=explained,
        may_drop=may_drop,
      )
      rest = anatomy.blocks('Positive', originals, explained=explained)
      missing += rest[len(positive) :][:1]
    if recorded is not None:
      failures += examples.judge_record(
        blocks, recorded=recorded, explained=explained
      )
      if condition.examples != 'delusive':
        failures += _false_sources(blocks, recorded)
    asked = condition.num_examples + condition.num_negative_examples
    return Head(
      failures=tuple(failures),
      blocks=tuple(blocks),
      missing=tuple(missing),
      delusions=tuple(delusions),
      dropped=max(number + len(wanted) - len(blocks), 0),
      fewer=asked - number - len(wanted),
    )


def _ways(
  text: str, pieces: tuple[str, ...]
) -> Iterator[tuple[str, list[anatomy.Block] | None]]:
  """Definition and examples of a head, in every way it may be divided.

  A text may hold the headings of examples itself; who joined the pieces knows.
  """
  if pieces and ''.join(pieces) == text:
    joined = anatomy.join_pieces(pieces)
    if joined is not None:
      yield joined
  for definition, rest in anatomy.split_definition(text):
    yield definition, anatomy.split_blocks(rest)


def may_cut(tokens: Tokens | None, condition: Condition) -> bool:
  """Whether a limit shortens input and definition under a condition."""
  return tokens is not None and not condition.tk_truncation


def without_rule(condition: Condition) -> list[str]:
  """What of a condition is a user's own, with no rule to be judged by."""
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
  return unjudged


def _false_sources(
  blocks: Sequence[anatomy.Block], recorded: Sequence[examples.Recorded]
) -> list[Failure]:
  true = {'Positive': 'positive', 'Negative': 'negatives'}
  return [
    Failure(
      code='example-record', expected=true[block.label], found=example.source
    )
    for block, example in zip(blocks, recorded, strict=False)
    if example.source != true[block.label]
  ]
