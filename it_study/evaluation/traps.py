"""Finds references and labels that the scoring rules treat unexpectedly."""

from collections.abc import Sequence
import dataclasses

from it_study.corpus.normalization import normalize_answer
from it_study.evaluation.metrics import has_words
from it_study.predictions import Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traps:
  """References and labels of rows that the scoring rules treat unexpectedly.

  Attributes:
    num_instances: Number of rows examined.
    merged_labels: Groups of labels that exact match cannot tell apart, by task;
      guessing among them is easier than it looks.
    nothing_left: Number of rows with a reference that normalises to nothing: an
      empty answer, or any punctuation, counts as right.
    no_words: Number of rows without an ASCII letter or digit in any reference:
      English ROUGE is 0, even for the reference itself.
    first_nothing_left: Task and id of the first row of `nothing_left`; None
      without any.
    first_no_words: Task and id of the first row of `no_words`; None without
      any.
  """

  num_instances: int
  merged_labels: dict[str, tuple[tuple[str, ...], ...]]
  nothing_left: int
  no_words: int
  first_nothing_left: '_Place | None'
  first_no_words: '_Place | None'

  def notes(self) -> list[str]:
    """Returns one sentence for each trap found."""
    notes = []
    if self.merged_labels:
      task, groups = next(iter(self.merged_labels.items()))
      labels = ' and '.join(map(repr, groups[0][:4]))
      notes.append(
        f'{_tasks(self.merged_labels)} labels that exact match cannot tell '
        f'apart ({labels} of {task}): they count as one.'
      )
    if self.first_nothing_left is not None:
      notes.append(
        f'{_rows(self.nothing_left)} a reference that exact match normalises '
        f'to nothing ({_name(self.first_nothing_left)}): an empty answer or '
        'bare punctuation counts as right.'
      )
    if self.first_no_words is not None:
      notes.append(
        f'{_rows(self.no_words)} no reference with an ASCII letter or digit '
        f'({_name(self.first_no_words)}): ROUGE is 0 for any answer.'
      )
    return notes


def find_traps(rows: Sequence[Prediction]) -> Traps:
  """Finds the traps in the rows of one split."""
  merged: dict[str, tuple[tuple[str, ...], ...]] = {}
  seen = set()
  nothing_left, no_words = [], []
  for row in rows:
    if row.label_space and (row.task, row.label_space) not in seen:
      seen.add((row.task, row.label_space))
      groups = _merged(row.label_space)
      if groups and row.task is not None:
        merged[row.task] = groups
    if not all(map(normalize_answer, row.targets)):
      nothing_left.append((row.task, row.id))
    if not any(map(has_words, row.targets)):
      no_words.append((row.task, row.id))
  return Traps(
    num_instances=len(rows),
    merged_labels=dict(sorted(merged.items())),
    nothing_left=len(nothing_left),
    no_words=len(no_words),
    first_nothing_left=nothing_left[0] if nothing_left else None,
    first_no_words=no_words[0] if no_words else None,
  )


# Task and id of a row.
_Place = tuple[str | None, str | None]


def _merged(labels: Sequence[str]) -> tuple[tuple[str, ...], ...]:
  groups: dict[str, list[str]] = {}
  for label in labels:
    groups.setdefault(normalize_answer(label), []).append(label)
  return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _tasks(tasks: dict) -> str:
  return '1 task has' if len(tasks) == 1 else f'{len(tasks):,} tasks have'


def _rows(number: int) -> str:
  return '1 row has' if number == 1 else f'{number:,} rows have'


def _name(place: _Place) -> str:
  task, instance = place
  return f'{instance or "a row without id"} of {task or "an unknown task"}'
