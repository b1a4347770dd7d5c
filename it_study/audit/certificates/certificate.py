"""The outcome of a certification: counts, failures, what a person reads."""

import collections
from collections.abc import Iterable, Iterator, Mapping
import dataclasses

from it_study.audit.certificates.failures import CODES, Failure
from it_study.audit.certificates.subject import Verdict
from it_study.corpus.findings import plural

# Of each code, in the certificate; a file has them all.
MOST_SHOWN = 3


@dataclasses.dataclass
class Tally:
  """What was counted while judging; tallies of parts add up.

  Attributes:
    rows: split to stored rows judged.
    prompts: (condition, split, what) to a number, where what is 'prompts',
      'shortened', 'dropped', 'fewer', 'refused', or 'unjudged ...'.
    delusive: (condition, split, kind, source, what) to a number, where what is
      'shown', 'known' or 'right'.
    refusals: (condition, split) to why a prompt was refused.
    failures: code to number.
    first: code to the first failures.
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
    """Counts a prompt that the renderer refuses to make."""
    self.prompts[condition, split, 'refused'] += 1
    self.refusals.setdefault((condition, split), reason)

  def fail(self, failures: Iterable[Failure]) -> None:
    for failure in failures:
      self.failures[failure.code] += 1
      shown = self.first.setdefault(failure.code, [])
      if len(shown) < MOST_SHOWN:
        shown.append(failure)

  def merge(self, other: 'Tally') -> None:
    """Adds the counts of another part, but not its failures."""
    self.rows.update(other.rows)
    self.prompts.update(other.prompts)
    self.delusive.update(other.delusive)
    for place, reason in other.refusals.items():
      self.refusals.setdefault(place, reason)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
  """How much of a split prompts in a file are.

  Attributes:
    tasks: with a prompt.
    all_tasks: with an instance in the split.
    instances: with a prompt.
    all_instances: in the split.
  """

  tasks: int
  all_tasks: int
  instances: int
  all_instances: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
  """What was judged and what came of it.

  Attributes:
    fingerprint: of the corpus.
    conditions: names, in the order they were judged.
    max_tokens: of a prompt; None for whole prompts.
    tally: the counts.
    partial: whether a part of a split was enough.
    seen: split to how much of it there was, of prompts in a file.
    overlap: what the rows' metadata says of test instances in training or
      validation, as `audit.overlap.gate` counts them; None of prompts in a
      file.
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
    """One line that is the same whenever the same is certified."""
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
    """Delusive examples by condition, split, kind and source.

    Shares and rates are percentages; the rate is of those whose right answer is
    known, None where there are none.
    """
    keys = dict.fromkeys(key[:4] for key in self.tally.delusive)
    return [self._delusive_row(*key) for key in sorted(keys)]

  def to_json(self) -> dict:
    """A JSON object."""
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
    """What a person reads."""
    yield (
      f'{"condition":<46} {"prompts":>9} {"shortened":>9} {"dropped":>8} fewer'
    )
    for condition in self.conditions:
      numbers = collections.Counter()
      for (_, _, what), number in self._of(condition):
        numbers[what] += number
      notes = [
        f'{number:,} {what}'
        for what, number in sorted(numbers.items())
        if what.startswith(('refused', 'unjudged')) and number
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
        f'of {plural(self.overlap["pairs_of_tasks"], "pair")} of tasks, with '
        'an output, in training or validation too'
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
    for kind, source in sorted({key[:2] for key in summed}):
      shown, known, right = (
        summed[kind, source, what] for what in ('shown', 'known', 'right')
      )
      every = sum(
        number
        for (other, _, what), number in summed.items()
        if other == kind and what == 'shown'
      )
      rate = f'{100 * right / known:.2f} %' if known else '-'
      yield (
        f'{kind:<17} {source:<10} {shown:>9,} {100 * shown / every:>5.1f} % '
        f'{known:>11,} {shown - known:>9,} {right:>6,} {rate:>7}'
      )
    yield ''

  def _delusive_row(
    self, condition: str, split: str, kind: str, source: str
  ) -> dict:
    counts = self.tally.delusive
    key = (condition, split, kind, source)
    shown, known, right = (
      counts[*key, what] for what in ('shown', 'known', 'right')
    )
    every = sum(
      number
      for other, number in counts.items()
      if other[:3] == key[:3] and other[4] == 'shown'
    )
    return {
      'condition': condition,
      'split': split,
      'kind': kind,
      'source': source,
      'shown': shown,
      'share': 100 * shown / every,
      'gold_known': known,
      'gold_unknown': shown - known,
      'accidentally_right': right,
      'accidentally_right_rate': 100 * right / known if known else None,
    }

  def _of(self, condition: str) -> list[tuple[tuple[str, str, str], int]]:
    return [
      item for item in self.tally.prompts.items() if item[0][0] == condition
    ]

  def _total(self, what: str) -> int:
    return sum(n for key, n in self.tally.prompts.items() if key[2] == what)
