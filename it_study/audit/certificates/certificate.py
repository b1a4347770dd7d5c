"""The result of a certification: counts, failures and a readable report."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
import dataclasses

from it_study.audit.certificates.failures import CODES, Failure
from it_study.audit.certificates.subject import Verdict
from it_study.corpus.findings import plural

# Number of failures of each code in the certificate; a file lists them all.
MOST_SHOWN = 3


@dataclasses.dataclass
class Tally:
  """Counts of a certification; the tallies of parts can be merged.

  Attributes:
    rows: Number of stored rows judged, by split.
    prompts: Counts by (condition, split, what), where what is 'prompts',
      'shortened', 'dropped', 'fewer', 'refused', 'right targets', which are
      swapped targets that no exchange makes wrong, or 'unjudged ...'.
    delusive: Counts by (condition, split, kind, source, what), where what is
      'shown', 'known' or 'right'.
    refusals: Reason why a prompt was refused, by (condition, split).
    failures: Number of failures, by code.
    first: First failures, by code.
  """

  rows: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  prompts: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  delusive: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  refusals: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
  failures: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  first: dict[str, list[Failure]] = dataclasses.field(default_factory=dict)

  def add_verdict(
    self, verdict: Verdict, *, condition: str, split: str, kind: str
  ) -> None:
    place = (condition, split)
    self.prompts[*place, 'prompts'] += 1
    self.prompts[*place, 'shortened'] += verdict.shortened
    self.prompts[*place, 'dropped'] += verdict.dropped
    self.prompts[*place, 'fewer'] += verdict.fewer
    for what in verdict.unjudged:
      self.prompts[*place, f'unjudged {what}'] += 1
    for delusion in verdict.delusions:
      key = (*place, kind, delusion.source)
      self.delusive[*key, 'shown'] += 1
      self.delusive[*key, 'known'] += delusion.known
      self.delusive[*key, 'right'] += delusion.right

  def refuse(self, *, condition: str, split: str, reason: str) -> None:
    """Counts a prompt that cannot be rendered."""
    self.prompts[condition, split, 'refused'] += 1
    self.refusals.setdefault((condition, split), reason)

  def fail(
    self,
    failures: Iterable[Failure],
    on_failure: Callable[[Failure], None] | None = None,
  ) -> None:
    """Counts failures, and passes each to `on_failure`."""
    for failure in failures:
      self.failures[failure.code] += 1
      shown = self.first.setdefault(failure.code, [])
      if len(shown) < MOST_SHOWN:
        shown.append(failure)
      if on_failure is not None:
        on_failure(failure)

  def merge(self, other: 'Tally') -> None:
    """Adds the counts of another tally, but not its failures."""
    self.rows.update(other.rows)
    self.prompts.update(other.prompts)
    self.delusive.update(other.delusive)
    for place, reason in other.refusals.items():
      self.refusals.setdefault(place, reason)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
  """How much of a split the prompts of a file cover.

  Attributes:
    tasks: Number of tasks with a prompt.
    all_tasks: Number of tasks with an instance in the split.
    instances: Number of instances with a prompt.
    all_instances: Number of instances in the split.
  """

  tasks: int
  all_tasks: int
  instances: int
  all_instances: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
  """What was judged, and the result.

  Attributes:
    fingerprint: Fingerprint of the corpus.
    conditions: Names of the conditions, in the order they were judged.
    max_tokens: Maximum prompt length in tokens; None for no limit.
    tally: Counts and failures.
    partial: Whether part of a split was accepted.
    seen: Coverage of each split by the prompts of a file.
    overlap: Counts of test instances in training or validation from the
      metadata of the rows; None for prompts in a file.
  """

  fingerprint: str
  conditions: tuple[str, ...]
  max_tokens: int | None
  tally: Tally
  partial: bool = False
  seen: Mapping[str, Seen] = dataclasses.field(default_factory=dict)
  overlap: Mapping[str, int | bool] | None = None

  @property
  def is_clean(self) -> bool:
    return not self.tally.failures

  @property
  def num_prompts(self) -> int:
    return self._total('prompts')

  def verdict(self) -> str:
    """Returns one line that is the same for the same certification."""
    rows, failed = self.tally.rows.total(), self.tally.failures.total()
    limit = '' if self.max_tokens is None else f', {self.max_tokens} tokens'
    judged = (
      f'corpus {self.fingerprint[:12]}{limit}: {rows:,} rows, '
      f'{self.num_prompts:,} prompts under {len(self.conditions)} '
      f'condition{"" if len(self.conditions) == 1 else "s"}'
    )
    for split, seen in self.seen.items() if self.partial else ():
      judged += (
        f', {seen.tasks:,} of {seen.all_tasks:,} tasks and '
        f'{seen.instances:,} of {seen.all_instances:,} instances of {split}'
      )
    if self.is_clean:
      return f'certified: {judged}, no failure'
    return (
      f'NOT certified: {judged}, {failed:,} '
      f'failure{"" if failed == 1 else "s"} of {len(self.tally.failures)} '
      f'kind{"" if len(self.tally.failures) == 1 else "s"}'
    )

  def delusive(self) -> list[dict]:
    """Returns delusive examples by condition, split, kind and source.

    Shares and rates are percentages. The rate is over the examples whose right
    answer is known, None without any.
    """
    names = ('condition', 'split', 'kind', 'source')
    return [
      dict(zip(names, key, strict=True)) | row
      for key, row in _delusive_rows(self.tally.delusive)
    ]

  def to_json(self) -> dict:
    """Returns a JSON object."""
    return {
      'verdict': self.verdict(),
      'certified': self.is_clean,
      'fingerprint': self.fingerprint,
      'max_input_length': self.max_tokens,
      'rows': dict(self.tally.rows),
      'partial': self.partial,
      'seen': {
        split: dataclasses.asdict(seen) for split, seen in self.seen.items()
      },
      'overlap': self.overlap and dict(self.overlap),
      'prompts': self.num_prompts,
      'conditions': {
        condition: {
          split: {
            what: number
            for (_, other, what), number in self._of(condition)
            if other == split
          }
          for split in dict.fromkeys(s for (_, s, _), _ in self._of(condition))
        }
        for condition in self.conditions
      },
      'refusals': [
        {'condition': condition, 'split': split, 'reason': reason}
        for (condition, split), reason in self.tally.refusals.items()
      ],
      'delusive': self.delusive(),
      'failures': {
        code: {
          'meaning': CODES[code],
          'count': self.tally.failures[code],
          'first': [f.to_json() for f in self.tally.first[code]],
        }
        for code in sorted(self.tally.failures)
      },
    }

  def lines(self) -> Iterator[str]:
    """Yields the lines of the readable report."""
    yield (
      f'{"condition":<46} {"prompts":>9} {"shortened":>9} {"dropped":>8} fewer'
    )
    for condition in self.conditions:
      numbers: collections.Counter[str] = collections.Counter()
      for (_, _, what), number in self._of(condition):
        numbers[what] += number
      notes = [
        f'{number:,} {what}'
        for what, number in sorted(numbers.items())
        if what.startswith(('refused', 'unjudged', 'right')) and number
      ]
      yield (
        f'{condition:<46} {numbers["prompts"]:>9,} {numbers["shortened"]:>9,} '
        f'{numbers["dropped"]:>8,} {numbers["fewer"]:>5,}'
        f'{"  " if notes else ""}{", ".join(notes)}'
      )
    yield from self._delusive_lines()
    for (condition, split), reason in self.tally.refusals.items():
      yield f'refused: {condition}, {split}: {reason}'
    for code in sorted(self.tally.failures):
      number = self.tally.failures[code]
      yield f'failure: {code}: {CODES[code]}, {number:,} times'
      for failure in self.tally.first[code]:
        yield f'  {failure.line()}'
      if number > len(self.tally.first[code]):
        yield f'  and {number - len(self.tally.first[code]):,} more'
    if self.overlap and self.overlap['test_instances']:
      yield (
        f'overlap: {plural(self.overlap["test_instances"], "test instance")} '
        f'of {plural(self.overlap["pairs_of_tasks"], "pair")} of tasks are '
        'also in training or validation, with an output'
      )
    yield self.verdict()

  def _delusive_lines(self) -> Iterator[str]:
    summed: collections.Counter = collections.Counter()
    for (_, _, kind, source, what), number in self.tally.delusive.items():
      summed[kind, source, what] += number
    if not summed:
      return
    yield ''
    yield (
      f'{"delusive examples":<15} {"source":<10} {"shown":>9} {"share":>7} '
      f'{"gold known":>11} {"unknown":>9} {"right":>6} {"rate":>7}'
    )
    for (kind, source), row in _delusive_rows(summed):
      rate = row['accidentally_right_rate']
      yield (
        f'{kind:<17} {source:<10} {row["shown"]:>9,} {row["share"]:>5.1f} % '
        f'{row["gold_known"]:>11,} {row["gold_unknown"]:>9,} '
        f'{row["accidentally_right"]:>6,} '
        f'{"-" if rate is None else f"{rate:.2f} %":>7}'
      )
    yield ''

  def _of(self, condition: str) -> list[tuple[tuple[str, str, str], int]]:
    return [
      item for item in self.tally.prompts.items() if item[0][0] == condition
    ]

  def _total(self, what: str) -> int:
    return sum(n for key, n in self.tally.prompts.items() if key[2] == what)


def _delusive_rows(
  counts: collections.Counter,
) -> Iterator[tuple[tuple[str, ...], dict]]:
  """Yields counts, shares and rates by key, of counts by (*key, what)."""
  for key in sorted({key[:-1] for key in counts}):
    shown, known, right = (
      counts[*key, what] for what in ('shown', 'known', 'right')
    )
    total = sum(
      number
      for other, number in counts.items()
      if other[:-2] == key[:-1] and other[-1] == 'shown'
    )
    yield (
      key,
      {
        'shown': shown,
        'share': 100 * shown / total,
        'gold_known': known,
        'gold_unknown': shown - known,
        'accidentally_right': right,
        'accidentally_right_rate': 100 * right / known if known else None,
      },
    )
