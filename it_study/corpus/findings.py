"""Findings of corpus checks: sorting, merging and printing them."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import itertools
import json

ERROR, WARNING, NOTE = SEVERITIES = ('error', 'warning', 'note')
# Number of findings of one code that are printed; files contain all of them.
MOST_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusFinding:
  """One finding of a check.

  Attributes:
    severity: 'error' if it makes results wrong or stops a run, 'warning' if it
      should be checked before a run, 'note' otherwise.
    code: Kind of finding, in lower case with hyphens.
    task: Name of the task; None if it does not concern a single task.
    where: Field, file or pair of splits.
    message: Description in one line.
    instances: Ids of the task's instances it concerns, if any. Excluding them
      resolves it.
    count: Number of occurrences.
  """

  severity: str
  code: str
  task: str | None
  where: str
  message: str
  instances: tuple[str, ...] = ()
  count: int = 1

  def to_json(self) -> dict[str, object]:
    """Returns a JSON object."""
    return dataclasses.asdict(self)


def merge(findings: Iterable[CorpusFinding]) -> list[CorpusFinding]:
  """Merges findings that differ only in their instances, in order.

  A merged finding has the place and message of the first one, all ids, and the
  sum of the counts.
  """
  merged: dict[tuple[str | None, ...], list[CorpusFinding]] = {}
  for finding in findings:
    key = (finding.severity, finding.code, finding.task)
    # Findings about files or fields stay separate.
    place = () if finding.instances else (finding.where, finding.message)
    key = (*key, *place)
    merged.setdefault(key, []).append(finding)
  return [
    dataclasses.replace(
      same[0],
      instances=tuple(dict.fromkeys(i for f in same for i in f.instances)),
      count=sum(f.count for f in same),
    )
    for same in merged.values()
  ]


def ordered(findings: Iterable[CorpusFinding]) -> list[CorpusFinding]:
  """Sorts findings by severity, worst first, then by code, task and place."""
  return sorted(
    findings,
    key=lambda f: (
      SEVERITIES.index(f.severity),
      f.code,
      f.task or '',
      f.where,
      f.message,
    ),
  )


def at_least(
  findings: Iterable[CorpusFinding], severity: str
) -> list[CorpusFinding]:
  """Returns the findings of this severity or a worse one."""
  allowed = SEVERITIES[: SEVERITIES.index(severity) + 1]
  return [finding for finding in findings if finding.severity in allowed]


def has_errors(findings: Iterable[CorpusFinding]) -> bool:
  """Returns whether any finding is an error."""
  return any(finding.severity == ERROR for finding in findings)


def lines(
  findings: Iterable[CorpusFinding], *, most: int = MOST_SHOWN
) -> Iterator[tuple[str, str]]:
  """Yields severity and text of the lines to print, grouped by code.

  The first line of a group gives the code and the number of findings. Then
  follow at most `most` lines, one per finding, and the number that is omitted.
  """
  groups = itertools.groupby(
    ordered(findings), key=lambda f: (f.severity, f.code)
  )
  for (severity, code), group in groups:
    members = list(group)
    yield severity, f'{severity}: {code}, {plural(len(members), "finding")}'
    for finding in members[:most]:
      yield severity, f'  {_line(finding)}'
    if len(members) > most:
      yield (
        severity,
        f'  and {len(members) - most:,} more; --out F writes all of them',
      )


def summary(findings: Sequence[CorpusFinding]) -> str:
  """Returns the number of findings of each severity.

  '1 error, 2 warnings, 0 notes'
  """
  return ', '.join(
    plural(sum(f.severity == severity for f in findings), severity)
    for severity in SEVERITIES
  )


def plural(number: int, word: str) -> str:
  """Returns a number and its noun.

  >>> plural(1, 'error'), plural(2, 'task')
  ('1 error', '2 tasks')
  """
  return f'{number:,} {word}{"" if number == 1 else "s"}'


def json_lines(findings: Iterable[CorpusFinding]) -> str:
  """Returns one line of JSON per finding, worst first."""
  return ''.join(
    json.dumps(finding.to_json(), ensure_ascii=False) + '\n'
    for finding in ordered(findings)
  )


def _line(finding: CorpusFinding) -> str:
  parts = [finding.task, finding.where, finding.message]
  text = ': '.join(part for part in parts if part)
  if finding.count > 1:
    text += f' ({finding.count:,} times)'
  return text
