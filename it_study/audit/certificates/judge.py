"""One task's prompts against its file, condition by condition."""

import dataclasses

from it_study.audit.certificates import anatomy, definitions, examples
from it_study.audit.certificates.failures import Failure, differ, differ_in_list
from it_study.audit.certificates.heads import (
  Head,
  HeadJudge,
  may_cut,
  without_rule,
)
from it_study.audit.certificates.originals import RawInstance, RawTask
from it_study.audit.certificates.subject import Subject, Tokens, Verdict
from it_study.conditions import Condition
from it_study.corpus.normalization import normalize_answer


class TaskJudge:
  """Judges the prompts of one task."""

  def __init__(
    self,
    task: RawTask,
    all_definitions: definitions.Definitions,
    *,
    tokens: Tokens | None = None,
  ):
    """Makes a judge.

    Args:
      task: read anew from its file.
      all_definitions: of the corpus.
      tokens: the limit; None for whole prompts.
    """
    self._task = task
    self._tokens = tokens
    self._heads = HeadJudge(task, all_definitions, tokens)
    # By split and id: the first condition of a matched budget, and its query.
    self._budget: dict[tuple[str, str], tuple[str, str]] = {}

  def judge(self, subject: Subject) -> Verdict:
    """Judges one prompt."""
    condition, record = subject.condition, subject.record
    failures: list[Failure] = []
    unjudged = without_rule(condition)
    text = subject.text
    cuts_end = condition.tk_truncation and self._tokens is not None
    if cuts_end and record is None and not text.endswith(anatomy.CUE):
      unjudged.append('prompt')
      return self._verdict(subject, failures, unjudged=unjudged)
    if cuts_end and record is not None and record.shortened:
      # What is decoded again after the cut cannot be taken apart.
      text = ''.join(record.pieces)
      failures += self._cut_end(subject.text, text)
    elif record is not None and ''.join(record.pieces) != text:
      failures.append(differ('prompt-malformed', ''.join(record.pieces), text))
    elif self._tokens is not None and not self._tokens.fit(text):
      failures.append(
        Failure(
          code='limit-exceeded',
          expected=f'at most {self._tokens.most} tokens',
          found=f'{self._tokens.count(text)}',
        )
      )
    at, cut, problem = self._query(
      text, subject.instance, cut_allowed=may_cut(self._tokens, condition)
    )
    if problem is not None:
      failures.append(problem)
      if at is None:
        return self._verdict(subject, failures, unjudged=unjudged)
    head = self._heads.judge(
      text[:at],
      subject,
      may_be_cut=may_cut(self._tokens, condition)
      and text[at:] == anatomy.query(''),
    )
    failures += head.failures
    failures += self._outputs(subject, head, unjudged)
    if self._tokens is not None:
      failures += self._limit(subject, head, text[at:], cut)
    if problem is None:
      failures += _record(subject, head, cut)
    return self._verdict(
      subject,
      failures,
      delusions=head.delusions,
      shortened=cut or head.cut or (record is not None and record.shortened),
      dropped=head.dropped,
      fewer=head.fewer,
      unjudged=unjudged,
    )

  def learn_names(
    self, condition: Condition, split: str, text: str, instance: RawInstance
  ) -> None:
    """Takes a renaming from a whole prompt, for those whose end is cut."""
    self._heads.learn_names(condition, split, text, instance)

  def _verdict(
    self,
    subject: Subject,
    failures: list[Failure],
    *,
    unjudged: list[str],
    **fields,
  ) -> Verdict:
    return Verdict(
      failures=tuple(
        dataclasses.replace(
          failure,
          condition=subject.condition.name,
          split=subject.split,
          task=self._task.name,
          instance=subject.instance.id,
        )
        for failure in failures
      ),
      unjudged=tuple(unjudged),
      **fields,
    )

  def _query(
    self, text: str, instance: RawInstance, *, cut_allowed: bool
  ) -> tuple[int | None, bool, Failure | None]:
    """Where the query begins, whether its input is cut, what is wrong."""
    whole = anatomy.query(instance.input)
    if text.endswith(whole):
      return len(text) - len(whole), False, None
    if not text.endswith(anatomy.CUE):
      return (
        None,
        False,
        Failure(
          code='cue-missing', expected=anatomy.CUE, found=text[-len(whole) :]
        ),
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
    """References, target and label space."""
    expected, labels = subject.instance.outputs, self._task.labels
    code = 'references'
    if 'references' in unjudged:
      return []
    if subject.condition.definition == 'renamed' and labels is not None:
      if head.names is None:
        # Its own definition failed, or too little of it is left.
        unjudged.append('references')
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
    if subject.target is not None and subject.target not in expected:
      failures.append(
        Failure(
          code='target', expected=' or '.join(expected), found=subject.target
        )
      )
    if subject.label_space is not None and tuple(subject.label_space) != tuple(
      labels or ()
    ):
      failures.append(
        differ_in_list('label-space', labels or (), list(subject.label_space))
      )
    return failures

  def _limit(
    self, subject: Subject, head: Head, query: str, cut: bool
  ) -> list[Failure]:
    """Nothing is left out that had room, nor cut before its turn."""
    failures = []
    instance, condition = subject.instance, subject.condition
    if condition.matched_budget:
      first = self._budget.setdefault(
        (subject.split, instance.id), (condition.name, query)
      )
      if first[1] != query:
        failures.append(differ('budget-instance', first[1], query))
    elif (
      (cut or head.cut)
      and head.whole is not None
      and self._tokens.fit(head.whole + anatomy.query(instance.input))
    ):
      failures.append(
        Failure(
          code='cut-needlessly',
          expected=f'{len(instance.input.strip())} characters of input',
          found=f'{len(query) - len(anatomy.query(""))}',
        )
      )
    failures += [
      Failure(code='dropped-needlessly', expected=block[:80], found='')
      for block in head.missing
      if head.dropped and self._had_room(head, block, query)
    ]
    return failures

  def _cut_end(self, shown: str, whole: str) -> list[Failure]:
    """A prompt cut at its end is the beginning of the whole, up to spaces."""
    if self._tokens.fit(whole):
      return [Failure(code='cut-needlessly', expected=whole[-80:], found='')]
    expected = ''.join(self._tokens.round_trip(whole).split())
    found = ''.join(shown.split())
    # The last character may have lost some of its bytes.
    if expected.startswith(found[:-1]) and found:
      return []
    return [differ('cut-end', expected, found)]

  def _had_room(self, head: Head, block: str, query: str) -> bool:
    """Whether another example fitted, both as it is counted and as it is."""
    kept = {
      label: [b.text for b in head.blocks if b.label == label]
      for label in ('Positive', 'Negative')
    }
    before = kept['Positive']
    if block.startswith(' Negative'):
      counted = ' '.join(before) + ' '.join(kept['Negative'])
      before = [*before, *kept['Negative']]
    else:
      counted = ' '.join(before)
    fit = self._tokens.fit
    return fit(head.definition + counted + block + query) and fit(
      head.definition + ''.join(before) + block + query
    )


def _record(subject: Subject, head: Head, cut: bool) -> list[Failure]:
  """What is recorded as cut or dropped is what was."""
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
    # A full stop of which nothing was left looks as before.
    return []
  return [
    Failure(
      code='cut-record',
      expected=f'{head.dropped} dropped, shortened {shortened}',
      found=f'{found[0]} dropped, shortened {found[1]}',
    )
  ]
