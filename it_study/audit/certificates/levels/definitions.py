"""Judges the definition of a prompt, level by level."""

from collections.abc import Mapping, Sequence
import dataclasses

from it_study.audit.certificates import anatomy
from it_study.audit.certificates.failures import Failure, differ
from it_study.audit.certificates.originals import Outline, RawTask

# The documented fixed wordings.
SIMPLIFIED, SEPARATOR = 'Possible outputs: {labels}', ', '


@dataclasses.dataclass(frozen=True)
class DefinitionVerdict:
  """The verdict on a definition.

  Attributes:
    failures: Failures of the definition.
    whole: Whole definition as a prompt would show it uncut; None if unknown.
    cut: Whether the prompt shows only the start of the whole.
    names: New name of each normalised label, for a renaming.
  """

  failures: tuple[Failure, ...] = ()
  whole: str | None = None
  cut: bool = False
  names: Mapping[str, str] | None = None


class Definitions:
  """All definitions of a corpus, indexed by text."""

  def __init__(self, outlines: Sequence[Outline]):
    self._outlines = tuple(outlines)
    self._by_piece: dict[str, list[Outline]] = {}
    for outline in outlines:
      piece = anatomy.definition_piece(outline.definition)
      self._by_piece.setdefault(piece, []).append(outline)

  def texts(self) -> list[str]:
    """Returns the definitions of all tasks."""
    return [outline.definition for outline in self._outlines]

  def owners(self, piece: str, *, cut: bool) -> list[Outline]:
    """Returns the tasks that a definition may belong to."""
    owners = self._by_piece.get(piece, [])
    if owners or not cut or not piece:
      return owners
    return [
      outline
      for outline in self._outlines
      if anatomy.is_cut_definition(piece, outline.definition)
    ]

  def elsewhere(self, task: RawTask) -> bool:
    """Returns whether a task of another category could lend a definition."""
    return any(
      outline.category != task.category and _may_lend(outline, task)
      for outline in self._outlines
    )


def judge_original(
  piece: str, task: RawTask, *, cut: bool
) -> DefinitionVerdict:
  """Judges the level 'original': the human-written definition."""
  whole = anatomy.definition_piece(task.definition)
  return compared('definition-text', piece, whole, task.definition, cut=cut)


def judge_empty(piece: str) -> DefinitionVerdict:
  """Judges the level 'empty': no definition."""
  if not piece:
    return DefinitionVerdict(whole='')
  return failed(differ('definition-not-empty', '', piece))


def judge_output_space(
  piece: str,
  task: RawTask,
  *,
  cut: bool,
  wording: str = SIMPLIFIED,
  separator: str = SEPARATOR,
) -> DefinitionVerdict:
  """Judges an output-space level: the labels in a fixed wording.

  A generation task has no definition.
  """
  if task.labels is None:
    return judge_empty(piece)
  text = wording.replace('{labels}', separator.join(task.labels))
  whole = anatomy.definition_piece(text)
  code = 'simplified-extra-text'
  missing = [label for label in task.labels if label not in piece]
  before, _, after = wording.partition('{labels}')
  if not piece.startswith(f'Definition: {before.lstrip()}'):
    code = 'simplified-wording'
  elif missing or _labels_in(piece, before, after, separator) < set(
    task.labels
  ):
    code = 'simplified-label-missing'
  elif sorted(piece) == sorted(whole):
    code = 'simplified-label-order'
  return compared(code, piece, whole, text, cut=cut)


def judge_shuffled(
  piece: str, task: RawTask, definitions: Definitions, *, cut: bool
) -> DefinitionVerdict:
  """Judges the level 'shuffled': the definition of another task.

  That task must be of the same kind and side of the split, with another text,
  and if possible of another category.
  """
  if cut and not piece:
    return DefinitionVerdict(cut=True)
  owners = definitions.owners(piece, cut=cut)
  lenders = [owner for owner in owners if _may_lend(owner, task)]
  if lenders:
    lender = lenders[0]
    whole = anatomy.definition_piece(lender.definition)
    if all(owner.category == task.category for owner in lenders) and (
      definitions.elsewhere(task)
    ):
      return failed(
        Failure(
          'shuffled-same-category',
          f'a definition outside {task.category}',
          f'that of {lender.name}',
        )
      )
    return DefinitionVerdict(whole=whole, cut=piece != whole)
  if piece == anatomy.definition_piece(task.definition) or any(
    _same_text(owner, task) for owner in owners
  ):
    return failed(
      Failure('shuffled-own', 'the definition of another task', piece[:80])
    )
  for owner in owners:
    across = owner.is_test != task.is_test
    return failed(
      Failure(
        'shuffled-other-side' if across else 'shuffled-other-kind',
        f'a {_side(task.is_test)} {task.kind} task',
        f'{owner.name}, a {_side(owner.is_test)} {owner.kind} task',
      )
    )
  return failed(
    Failure('shuffled-unknown', "another task's definition", piece[:80])
  )


def compared(
  code: str, piece: str, whole: str, text: str, *, cut: bool
) -> DefinitionVerdict:
  """Judges a definition that must be a known text.

  Args:
    code: Code of the failure.
    piece: Definition in the prompt.
    whole: Expected definition as a prompt shows it.
    text: Expected definition.
    cut: Whether a token limit may have cut it.
  """
  if piece == whole:
    return DefinitionVerdict(whole=whole)
  if cut and anatomy.is_cut_definition(piece, text):
    return DefinitionVerdict(whole=whole, cut=True)
  return failed(differ(code, whole, piece))


def failed(failure: Failure) -> DefinitionVerdict:
  """Returns the verdict with one failure."""
  return DefinitionVerdict(failures=(failure,))


def _labels_in(piece: str, before: str, after: str, separator: str) -> set[str]:
  """Returns the labels listed in a wording, as far as they can be split."""
  listed = piece.removeprefix('Definition: ').removesuffix('\n\n')
  listed = listed.removeprefix(before.lstrip()).removesuffix(after.rstrip())
  return {*listed.split(separator), *listed.removesuffix('.').split(separator)}


def _may_lend(outline: Outline, task: RawTask) -> bool:
  return (
    outline.name != task.name
    and outline.kind == task.kind
    and outline.is_test == task.is_test
    and bool(_plain(outline.definition))
    and not _same_text(outline, task)
  )


def _same_text(outline: Outline, task: RawTask) -> bool:
  return _plain(outline.definition) == _plain(task.definition)


def _plain(text: str) -> str:
  return ' '.join(text.lower().split())


def _side(is_test: bool) -> str:
  return 'test' if is_test else 'training'
