"""Tasks and instances that a study leaves out, as a list in a text file."""

from collections.abc import Iterable, Iterator
import dataclasses
import functools
import pathlib
import re

from it_study import errors
from it_study.corpus.findings import ERROR, CorpusFinding
from it_study.errors import InputError, nearest_path

# What begins a comment: at the start of a line, or after white space.
_COMMENT = re.compile(r'(^|\s+)#.*')


@dataclasses.dataclass(frozen=True)
class Exclusions:
  """What is left out of a corpus.

  Iterating gives pairs of a task and an instance id, which is None where the
  whole task is left out.

  Attributes:
    entries: sorted, each one once.
    path: of the file they came from, for messages.
  """

  entries: tuple[tuple[str, str | None], ...] = ()
  path: str = dataclasses.field(default='exclusions', compare=False)

  def __iter__(self) -> Iterator[tuple[str, str | None]]:
    return iter(self.entries)

  def __len__(self) -> int:
    return len(self.entries)

  @functools.cached_property
  def tasks(self) -> frozenset[str]:
    """Tasks that are left out whole."""
    return frozenset(task for task, id_ in self.entries if id_ is None)

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """Every task that is named, in alphabetical order."""
    return tuple(sorted({task for task, _ in self.entries}))

  def instances_of(self, task: str) -> frozenset[str]:
    """Ids of a task's instances that are left out."""
    return self._instances.get(task, frozenset())

  @functools.cached_property
  def _instances(self) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for task, id_ in self.entries:
      if id_ is not None:
        found.setdefault(task, set()).add(id_)
    return {task: frozenset(ids) for task, ids in found.items()}


NO_EXCLUSIONS = Exclusions()


def make(
  entries: Iterable[tuple[str, str | None]], *, path: str = 'exclusions'
) -> Exclusions:
  """Returns exclusions, sorted; a whole task needs none of its instances."""
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

  A line is `TASK`, or `TASK`, a tab and an instance id; what follows a `#` at
  the start of a line or after white space is a comment.

  Raises:
    InputError: if the file cannot be read, or a line is neither.
  """
  path = pathlib.Path(path)
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
  # Not splitlines, which takes more characters for the end of a line.
  for number, line in enumerate(text.split('\n'), start=1):
    content = _COMMENT.sub('', line.rstrip('\r')).rstrip()
    if not content:
      continue
    parts = content.split('\t')
    if len(parts) > 2 or not all(parts) or re.search(r'\s', parts[0]):
      raise InputError(
        f'exclusion list {path}, line {number}: found '
        f'{errors.shown(content)}, allowed is TASK, or TASK, one tab and an '
        'instance id.'
      )
    entries.append((parts[0], parts[1] if len(parts) == 2 else None))
  return make(entries, path=str(path))


def from_findings(findings: Iterable[CorpusFinding]) -> Exclusions:
  """What to leave out so that no error is left.

  The instances that an error is about, else its task. Errors about no task, as
  in a split file, stay.
  """
  entries: list[tuple[str, str | None]] = []
  for finding in findings:
    if finding.severity != ERROR or finding.task is None:
      continue
    if finding.instances and all(map(_fits, finding.instances)):
      entries += [(finding.task, id_) for id_ in finding.instances]
    else:
      entries.append((finding.task, None))
  return make(entries)


def to_text(
  exclusions: Exclusions, *, findings: Iterable[CorpusFinding] = ()
) -> str:
  """The text of an exclusion list; errors give the reasons."""
  reasons: dict[str, dict[str, None]] = {}
  for finding in findings:
    if finding.severity == ERROR and finding.task is not None:
      reasons.setdefault(finding.task, {})[finding.code] = None
  parts = ['# TASK, or TASK, a tab and an instance id, a line.\n']
  last = None
  for task, id_ in exclusions:
    if task != last and task in reasons:
      parts.append(f'# {task}: {", ".join(reasons[task])}\n')
    last = task
    parts.append(f'{task}\n' if id_ is None else f'{task}\t{id_}\n')
  return ''.join(parts)


def _fits(id_: str) -> bool:
  """Whether an id comes back from a line as it is."""
  return (
    id_ == id_.strip()
    and not re.search('[\t\r\n]', id_)
    and not _COMMENT.search(id_)
  )
