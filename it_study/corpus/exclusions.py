"""Exclusion lists: tasks and instances that a study leaves out."""

from collections.abc import Iterable, Iterator
import dataclasses
import functools
import pathlib
import re

from it_study import errors
from it_study.corpus import files
from it_study.corpus.findings import ERROR, CorpusFinding
from it_study.errors import InputError, nearest_path
from it_study.storage.storage_path import expanded

# A comment starts at the start of a line or after white space.
_COMMENT = re.compile(r'(^|\s+)#.*')


@dataclasses.dataclass(frozen=True)
class Exclusions:
  """Tasks and instances that are left out of a corpus.

  Iterating yields pairs of a task and an instance id, or None for the whole
  task.

  Attributes:
    entries: Sorted, unique pairs of a task and an instance id or None.
    path: Path of the exclusion list, for messages.
  """

  entries: tuple[tuple[str, str | None], ...] = ()
  path: str = dataclasses.field(default='exclusions', compare=False)

  def __iter__(self) -> Iterator[tuple[str, str | None]]:
    return iter(self.entries)

  def __len__(self) -> int:
    return len(self.entries)

  @functools.cached_property
  def tasks(self) -> frozenset[str]:
    """Names of tasks that are left out entirely."""
    return frozenset(task for task, id_ in self.entries if id_ is None)

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """Sorted names of all tasks in the list."""
    return tuple(sorted({task for task, _ in self.entries}))

  def instances_of(self, task: str) -> frozenset[str]:
    """Returns the ids of a task's instances that are left out."""
    return self._instances.get(task, frozenset())

  @functools.cached_property
  def _instances(self) -> dict[str, frozenset[str]]:
    instances: dict[str, set[str]] = {}
    for task, id_ in self.entries:
      if id_ is not None:
        instances.setdefault(task, set()).add(id_)
    return {task: frozenset(ids) for task, ids in instances.items()}


NO_EXCLUSIONS = Exclusions()


def make(
  entries: Iterable[tuple[str, str | None]], *, path: str = 'exclusions'
) -> Exclusions:
  """Sorts entries and drops instances of tasks that are left out entirely."""
  unique = set(entries)
  whole = {task for task, id_ in unique if id_ is None}
  return Exclusions(
    tuple(
      sorted(
        (e for e in unique if e[1] is None or e[0] not in whole),
        key=lambda entry: (entry[0], entry[1] or ''),
      )
    ),
    path,
  )


def read(path: str | pathlib.Path) -> Exclusions:
  """Reads an exclusion list.

  A line is `TASK`, or `TASK`, a tab and an instance id. A comment starts with
  `#` at the start of a line or after white space.

  Raises:
    InputError: If the file cannot be read or a line is malformed.
  """
  path = pathlib.Path(expanded(path))
  try:
    text = path.read_bytes().decode('utf-8-sig')
  except OSError as error:
    raise InputError(
      f'exclusion list {path}: cannot be read: {error.strerror or error}.'
      f'{nearest_path(path)}'
    ) from None
  except UnicodeDecodeError as error:
    raise InputError(
      f'exclusion list {path}: not UTF-8 at byte {error.start}.'
    ) from None
  entries = []
  # Not splitlines, which splits at more characters than line breaks.
  for number, line in enumerate(text.split('\n'), start=1):
    content = _COMMENT.sub('', line.rstrip('\r')).rstrip()
    if not content:
      continue
    parts = content.split('\t')
    if len(parts) > 2 or not all(parts) or re.search(r'\s', parts[0]):
      raise InputError(
        f'exclusion list {path}, line {number}: expected TASK, or TASK, a tab '
        f'and an instance id, got {errors.shown(content)}.'
      )
    files.check_task_name(
      parts[0], where=f'exclusion list {path}, line {number}'
    )
    entries.append((parts[0], parts[1] if len(parts) == 2 else None))
  return make(entries, path=str(path))


def from_findings(findings: Iterable[CorpusFinding]) -> Exclusions:
  """Returns what to leave out to resolve all errors.

  These are the instances that an error names, or else its task. An error that
  names no task, for example in a split file, remains.
  """
  entries: list[tuple[str, str | None]] = []
  for finding in findings:
    if finding.severity != ERROR or finding.task is None:
      continue
    if finding.instances and all(map(_can_be_listed, finding.instances)):
      entries += [(finding.task, id_) for id_ in finding.instances]
    else:
      entries.append((finding.task, None))
  return make(entries)


def to_text(
  exclusions: Exclusions, *, findings: Iterable[CorpusFinding] = ()
) -> str:
  """Returns the text of an exclusion list, with errors as reasons."""
  reasons: dict[str, dict[str, None]] = {}
  for finding in findings:
    if finding.severity == ERROR and finding.task is not None:
      reasons.setdefault(finding.task, {})[finding.code] = None
  parts = ['# One per line: TASK, or TASK, a tab and an instance id.\n']
  last = None
  for task, id_ in exclusions:
    if task != last and task in reasons:
      parts.append(f'# {task}: {", ".join(reasons[task])}\n')
    last = task
    parts.append(f'{task}\n' if id_ is None else f'{task}\t{id_}\n')
  return ''.join(parts)


def _can_be_listed(id_: str) -> bool:
  """Returns whether an id can be read back from a line."""
  return (
    id_ == id_.strip()
    and not re.search('[\t\r\n]', id_)
    and not _COMMENT.search(id_)
  )
