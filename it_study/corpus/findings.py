"""What a check has found: how bad, what kind, where, and what to read of it."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import itertools
import json

ERROR, WARNING, NOTE = SEVERITIES = ('error', 'warning', 'note')
# Of one kind, on a terminal; a file has them all.
MOST_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusFinding:
  """One thing that a check has to say.

  Attributes:
    severity: 'error' makes numbers wrong or stops a run, 'warning' is worth a
      look before a run, 'note' is worth knowing.
    code: kind of finding, lower case with hyphens.
    task: name; None where it is about no single task.
    where: field, file or pair of splits.
    message: one line.
    instances: ids of what it is about, if it is about instances of the task;
      leaving them out would end it.
    count: how many times it was found.
  """

  severity: str
  code: str
  task: str | None
  where: str
  message: str
  instances: tuple[str, ...] = ()
  count: int = 1

  def to_json(self) -> dict:
    return dataclasses.asdict(self)


def merge(findings: Iterable[CorpusFinding]) -> list[CorpusFinding]:
  """Makes one of those that differ in their instance alone, in order.

  The first one's place and message stay; ids and counts are added up.
  """
  merged: dict[tuple, list[CorpusFinding]] = {}
  for finding in findings:
    key = (finding.severity, finding.code, finding.task)
    # What is about a file or a field is one of its kind.
    if not finding.instances:
      key += (finding.where, finding.message)
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
  """Sorts: worst first, then by code, task and place."""
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
  """Keeps those as bad as `severity`, or worse."""
  allowed = SEVERITIES[: SEVERITIES.index(severity) + 1]
  return [finding for finding in findings if finding.severity in allowed]


def has_errors(findings: Iterable[CorpusFinding]) -> bool:
  return any(finding.severity == ERROR for finding in findings)


def lines(
  findings: Iterable[CorpusFinding], *, most: int = MOST_SHOWN
) -> Iterator[tuple[str, str]]:
  """Yields severity and text of what a person reads, one kind after another.

  A line names the kind and how often it is there, then comes a line a finding,
  at most `most`, and what is left out is counted.
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
        f'  and {len(members) - most:,} more; --out F has them all',
      )


def summary(findings: Sequence[CorpusFinding]) -> str:
  """Returns how many there are of each severity.

  '1 error, 2 warnings, 0 notes'
  """
  return ', '.join(
    plural(sum(f.severity == severity for f in findings), severity)
    for severity in SEVERITIES
  )


def plural(number: int, word: str) -> str:
  """Returns a number with its noun.

  >>> plural(1, 'error'), plural(2, 'task')
  ('1 error', '2 tasks')
  """
  return f'{number:,} {word}{"" if number == 1 else "s"}'


def json_lines(findings: Iterable[CorpusFinding]) -> str:
  """One JSON object a line, of all findings, worst first."""
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
