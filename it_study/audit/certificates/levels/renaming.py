"""Judges definitions that rename labels."""

from collections.abc import Mapping
import dataclasses
import re

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure, differ
from it_study.audit.certificates.levels.definitions import (
  DefinitionVerdict,
  failed,
  judge_original,
)
from it_study.audit.certificates.originals import RawTask
from it_study.corpus.normalization import normalize_answer

# The documented fixed wording, and names by level. Labels of a flipped task are
# names of each other.
RENAMED = 'Rename the outputs: '
BECOMES = ' becomes '
_NAMES = {
  'renamed': r'[^\W\d_]+',
  'renamedletters': '[A-Z]+',
  'renameddigits': '[0-9]+',
  'renamedsymbols': '[¢£¥§©®°±¶×÷€•]+',
}
LEVELS = (*_NAMES, 'flipped')


def applies(level: str, task: RawTask) -> bool:
  """Returns whether a level gives the labels of a task other names."""
  if task.labels is None or level not in LEVELS:
    return False
  return level != 'flipped' or len(set(map(normalize_answer, task.labels))) > 1


def judge(
  piece: str, task: RawTask, *, level: str, cut: bool
) -> DefinitionVerdict:
  """Judges one of `LEVELS`: the original and a new name for each label."""
  if not applies(level, task):
    return judge_original(piece, task, cut=cut)
  definition = task.definition.strip()
  shown = f'{anatomy.finished(definition)} ' if definition else ''
  before = f'Definition: {shown}{RENAMED}'
  if not piece.startswith(before):
    if cut and anatomy.is_cut_definition(piece, before.partition(': ')[2]):
      return DefinitionVerdict(cut=True)
    return failed(differ('renamed-definition', before, piece))
  assert task.labels is not None, '`applies` has checked it'
  names: dict[str, str] = {}
  rest = piece[len(before) :]
  for index, label in enumerate(task.labels):
    last = index == len(task.labels) - 1
    end = '.\n\n' if last else ', '
    name = _name(rest[len(label) + len(BECOMES) :], end, level, task)
    entry = f'{label}{BECOMES}{name or "NAME"}{end}'
    if not rest.startswith(entry):
      if cut and rest.endswith('\n\n'):
        return DefinitionVerdict(cut=True)
      return failed(differ('renamed-map', entry, rest))
    if names.setdefault(normalize_answer(label), name) != name:
      return failed(
        Failure(
          'renamed-map',
          f'the same name for {label!r} as for equal labels',
          name,
        )
      )
    rest = rest[len(entry) :]
  if rest:
    return failed(differ('renamed-map', '', rest))
  problem = (_flip if level == 'flipped' else _distinct)(names, task)
  if problem is not None:
    return failed(problem)
  return DefinitionVerdict(whole=piece, names=names)


def judge_cut(
  piece: str, task: RawTask, known: DefinitionVerdict | None, *, level: str
) -> DefinitionVerdict:
  """Judges a cut renaming, given the verdict on a whole one.

  Without a whole one, no names are returned: a cut name may look like a shorter
  one.
  """
  if known is None:
    verdict = judge(piece, task, level=level, cut=True)
    return dataclasses.replace(verdict, names=None, whole=None)
  assert known.whole is not None, 'only whole renamings are remembered'
  if piece == known.whole:
    return known
  text = known.whole.removeprefix('Definition: ')
  if anatomy.is_cut_definition(piece, text):
    return dataclasses.replace(known, cut=True)
  return failed(differ('renamed-definition', known.whole, piece))


def _name(rest: str, end: str, level: str, task: RawTask) -> str:
  """Returns the name that a text begins with; empty if there is none."""
  if level != 'flipped':
    match = re.match(_NAMES[level], rest)
    return match[0] if match else ''
  labels = [x for x in task.labels or () if rest.startswith(f'{x}{end}')]
  return max(labels, key=len, default='')


def _distinct(names: Mapping[str, str], task: RawTask) -> Failure | None:
  """Checks that names are new, and differ from each other."""
  texts = (task.definition, *(task.labels or ()))
  taken = set(re.findall(r'\w+', ' '.join(texts).lower()))
  for name in names.values():
    if list(names.values()).count(name) > 1 or name.lower() in taken:
      return Failure(
        'renamed-map',
        'names that differ from each other and from all words',
        name,
      )
  return None


def _flip(names: Mapping[str, str], task: RawTask) -> Failure | None:
  """Checks that labels exchange their names, and none keeps its own."""
  given = {label: normalize_answer(name) for label, name in names.items()}
  for label, name in given.items():
    if label == name or list(given.values()).count(name) > 1:
      return Failure(
        'flipped-map', 'labels that exchange all their names', names[label]
      )
  return None
