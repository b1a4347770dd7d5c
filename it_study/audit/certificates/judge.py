"""Judges the prompts of one task against its file."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure, differ, differ_in_list
from it_study.audit.certificates.heads import (
  Head,
  HeadJudge,
  may_cut,
  without_rule,
)
from it_study.audit.certificates.levels import (
  definitions,
  examples,
  renaming,
  surfaces,
  targets,
  templates,
)
from it_study.audit.certificates.originals import RawInstance, RawTask
from it_study.audit.certificates.subject import Subject, Tokens, Verdict
from it_study.conditions import PROMPT_TEMPLATES, Condition
from it_study.corpus.normalization import normalize_answer


class TaskJudge:
  """Judges the prompts of one task."""

  def __init__(
    self,
    task: RawTask,
    all_definitions: definitions.Definitions,
    *,
    tokens: Tokens | None = None,
    max_instances_per_task: int = 0,
  ):
    """Makes a judge.

    Args:
      task: Task as read by `originals.read_task`.
      all_definitions: Definitions of the corpus.
      tokens: Token limit; None for whole prompts.
      max_instances_per_task: Maximum number of stored training instances of a
        task; needed for altered targets only.
    """
    self._task = task
    self._tokens = tokens
    self._definitions = all_definitions
    # By prefix of the condition.
    self._templates: dict[str, templates.TemplateJudge | None] = {}
    self._heads = HeadJudge(task, all_definitions, tokens)
    # Name of the first condition of a matched budget and its query, by split,
    # id and surface.
    self._budget: dict[tuple[str, str, int], tuple[str, str]] = {}
    self._most = max_instances_per_task
    # By name of the condition.
    self._exchanges: dict[str, targets.Exchange] = {}

  def judge(self, subject: Subject) -> Verdict:
    """Judges one prompt."""
    condition, record = subject.condition, subject.record
    if condition.input_empty:
      # What is left is the prompt of an empty instance.
      instance = dataclasses.replace(subject.instance, input='')
      subject = dataclasses.replace(subject, instance=instance)
    failures: list[Failure] = []
    tokens = self._tokens
    if condition.surface:
      subject, tokens, failures = surfaces.plain(subject, tokens)
    elif (template := self._template(condition)) is not None:
      subject, tokens, failures = template.plain(subject, tokens)
    record = subject.record
    unjudged = without_rule(condition)
    text = subject.text
    end_limit = tokens if condition.tk_truncation else None
    if end_limit and record is None and not text.endswith(anatomy.CUE):
      unjudged.append('prompt')
      return Verdict(failures=(), unjudged=tuple(unjudged))
    if end_limit and record is not None and record.shortened:
      # The cut and decoded text cannot be split; its pieces can.
      text = ''.join(record.pieces)
      failures += _cut_end(subject.text, text, end_limit)
    elif record is not None and ''.join(record.pieces) != text:
      failures.append(differ('prompt-malformed', ''.join(record.pieces), text))
    elif tokens is not None and not tokens.fit(text):
      failures.append(
        Failure(
          'limit-exceeded',
          f'at most {tokens.most} tokens',
          f'{tokens.size(text)}',
        )
      )
    at, cut, problem = self._query(
      text, subject.instance, cut_allowed=may_cut(tokens, condition)
    )
    if problem is not None:
      if condition.input_empty and problem.code == 'instance-text':
        problem = dataclasses.replace(problem, code='input-not-empty')
      failures.append(problem)
      if at is None:
        self._exchange(subject).is_complete = False
        return Verdict(
          failures=self._placed(failures, subject), unjudged=tuple(unjudged)
        )
    head = self._heads.judge(
      text[:at],
      subject,
      may_be_cut=may_cut(tokens, condition) and text[at:] == anatomy.query(''),
    )
    failures += head.failures
    failures += self._outputs(subject, head, unjudged)
    if tokens is not None:
      failures += self._limit(subject, head, text[at:], cut, tokens)
    if problem is None:
      failures += _record(subject, head, cut)
    return Verdict(
      failures=self._placed(failures, subject),
      delusions=head.delusions,
      shortened=cut or head.cut or (record is not None and record.shortened),
      dropped=head.dropped,
      fewer=head.fewer,
      unjudged=tuple(unjudged),
    )

  def learn_names(self, subject: Subject) -> None:
    """Remembers the renaming of a whole prompt, to judge cut ones."""
    condition = subject.condition
    text = surfaces.plain_text(subject.text, condition.surface)
    if (template := self._template(condition)) is not None:
      text = template.plain(subject, None)[0].text
    self._heads.learn_names(condition, subject.split, text, subject.instance)

  def finish(self, condition: Condition) -> tuple[list[Failure], int]:
    """Judges all training targets of a condition together.

    Returns:
      Failures, and the number of swapped targets that are right.
    """
    exchange = self._exchanges.pop(condition.name, None)
    if exchange is None or not exchange.is_complete:
      return [], 0
    failures = [
      dataclasses.replace(
        failure,
        condition=condition.name,
        split='train',
        task=self._task.name,
        instance=instance or None,
      )
      for instance, failure in exchange.failures()
    ]
    return failures, exchange.num_right()

  def _template(self, condition: Condition) -> templates.TemplateJudge | None:
    """Returns the judge of a template's wording; None for Tk-Instruct's."""
    prefix = condition.prefix
    if prefix not in self._templates:
      template = PROMPT_TEMPLATES.get(prefix)
      self._templates[prefix] = (
        None
        if template is None
        else templates.TemplateJudge(
          template, self._task, self._definitions.texts()
        )
      )
    return self._templates[prefix]

  def _placed(
    self, failures: Iterable[Failure], subject: Subject
  ) -> tuple[Failure, ...]:
    return tuple(
      dataclasses.replace(
        failure,
        condition=subject.condition.name,
        split=subject.split,
        task=self._task.name,
        instance=subject.instance.id,
      )
      for failure in failures
    )

  def _query(
    self, text: str, instance: RawInstance, *, cut_allowed: bool
  ) -> tuple[int | None, bool, Failure | None]:
    """Returns the start of the query, whether its input is cut, a failure."""
    whole = anatomy.query(instance.input)
    if text.endswith(whole):
      return len(text) - len(whole), False, None
    if not text.endswith(anatomy.CUE):
      return (
        None,
        False,
        Failure('cue-missing', anatomy.CUE, text[-len(whole) :]),
      )
    places = anatomy.find_query(text)
    if not places:
      end = text[-len(whole) :]
      return None, False, differ('prompt-malformed', whole, end)
    if cut_allowed:
      for at in places:
        shown = text[at + len(anatomy.QUERY) : -len(anatomy.CUE)]
        if anatomy.is_cut_text(shown, instance.input):
          return at, True, None
    code = 'cut-instance' if cut_allowed else 'instance-text'
    at = places[0]
    return at, False, differ(code, whole, text[at:])

  def _outputs(
    self, subject: Subject, head: Head, unjudged: list[str]
  ) -> list[Failure]:
    """Judges references, target and label space."""
    expected, labels = subject.instance.outputs, self._task.labels
    code = 'references'
    if 'references' in unjudged:
      return []
    level = subject.condition.definition
    if renaming.applies(level, self._task) and labels is not None:
      if head.names is None:
        # The definition has failed, or too little of it is left.
        unjudged.append('references')
        self._exchange(subject).is_complete = False
        return []
      expected = tuple(examples.image(o, head.names) for o in expected)
      labels = tuple(
        dict.fromkeys(examples.image(x, head.names) for x in labels)
      )
      code = 'renamed-reference'
      inverse = {name: label for label, name in head.names.items()}
      back = [inverse.get(o) for o in subject.references]
      if back != list(map(normalize_answer, subject.instance.outputs)):
        return [differ_in_list(code, expected, list(subject.references))]
    failures = []
    if tuple(subject.references) != tuple(expected):
      failures.append(differ_in_list(code, expected, list(subject.references)))
    failures += self._target(subject, expected, head.names or {})
    if subject.label_space is not None and tuple(subject.label_space) != tuple(
      labels or ()
    ):
      failures.append(
        differ_in_list('label-space', labels or (), list(subject.label_space))
      )
    return failures

  def _exchange(
    self, subject: Subject, names: Mapping[str, str] | None = None
  ) -> targets.Exchange:
    """Returns the targets of the subject's condition that are judged later."""
    condition = subject.condition
    return self._exchanges.setdefault(
      condition.name, targets.Exchange(seed=condition.seed, names=names or {})
    )

  def _target(
    self, subject: Subject, expected: Sequence[str], names: Mapping[str, str]
  ) -> list[Failure]:
    """Judges the target; a swapped one only once all are known."""
    condition, target = subject.condition, subject.target
    level = condition.targets if subject.split == 'train' else 'original'
    if target is None or level not in targets.LEVELS:
      return []
    if level == 'swapped':
      self._exchange(subject, names).targets.append((subject.instance, target))
      return []
    if level == 'random':
      drawn = targets.random_target(
        self._task, subject.instance, seed=condition.seed, most=self._most
      )
      drawn = examples.image(drawn, names)
      return [] if target == drawn else [Failure('target-draw', drawn, target)]
    if target in expected:
      return []
    return [Failure('target', ' or '.join(expected), target)]

  def _limit(
    self, subject: Subject, head: Head, query: str, cut: bool, tokens: Tokens
  ) -> list[Failure]:
    """Checks that everything that fits is shown, and nothing cut too early."""
    failures = []
    instance, condition = subject.instance, subject.condition
    if condition.matched_budget:
      first = self._budget.setdefault(
        (subject.split, instance.id, condition.surface),
        (condition.name, query),
      )
      if first[1] != query:
        failures.append(differ('budget-instance', first[1], query))
    elif (
      (cut or head.cut)
      and head.whole is not None
      and tokens.fit(head.whole, anatomy.query(instance.input))
    ):
      failures.append(
        Failure(
          'cut-needlessly',
          f'{len(instance.input.strip())} characters of input',
          f'{len(query) - len(anatomy.query(""))}',
        )
      )
    failures += [
      Failure('dropped-needlessly', block[:80], '')
      for block in head.missing
      if head.dropped and _had_room(head, block, query, tokens)
    ]
    return failures


def _cut_end(shown: str, whole: str, tokens: Tokens) -> list[Failure]:
  """Checks that a cut prompt is the start of the whole, up to white space."""
  if tokens.fit(whole):
    return [Failure('cut-needlessly', whole[-80:], '')]
  expected = ''.join(tokens.round_trip(whole).split())
  found = ''.join(shown.split())
  # The last character may have lost some of its bytes.
  if expected.startswith(found[:-1]) and found:
    return []
  return [differ('cut-end', expected, found)]


def _had_room(head: Head, block: str, query: str, tokens: Tokens) -> bool:
  """Returns whether another example fitted, as counted and as shown."""
  texts = {
    label: [b.text for b in head.blocks if b.label == label]
    for label in ('Positive', 'Negative')
  }
  before = texts['Positive']
  counted = _spaced(before)
  if block.startswith(' Negative'):
    counted += _spaced(texts['Negative'])
    before = [*before, *texts['Negative']]
  return tokens.fit(head.definition, *counted, block, query) and tokens.fit(
    head.definition, *before, block, query
  )


def _spaced(blocks: Sequence[str]) -> list[str]:
  """Returns blocks with the spaces between them that count for the limit."""
  return [piece for block in blocks for piece in (' ', block)][1:]


def _record(subject: Subject, head: Head, cut: bool) -> list[Failure]:
  """Checks the record of cut and dropped parts."""
  record = subject.record
  if record is None or without_rule(subject.condition) or not head.judged:
    return []
  shortened = cut or head.cut
  if subject.condition.tk_truncation:
    shortened = record.shortened
  found = (record.num_dropped, record.shortened)
  if found == (head.dropped, shortened) or head.failures:
    return []
  looks_empty = anatomy.query(subject.instance.input) == anatomy.query('')
  if found == (head.dropped, True) and looks_empty:
    # An input of a full stop looks the same when it is cut to nothing.
    return []
  return [
    Failure(
      'cut-record',
      f'{head.dropped} dropped, shortened {shortened}',
      f'{found[0]} dropped, shortened {found[1]}',
    )
  ]
