"""What a certificate can fail on: named, with both texts where they part."""

from collections.abc import Sequence
import dataclasses

# Characters shown on either side of the first that differs.
_CONTEXT = 40

# Code: what is wrong. Every failure has one of these.
CODES = {
  'record-damaged': 'a stored record cannot be read',
  'row-unknown': 'a row of no instance of the corpus',
  'row-missing': 'an instance has no row',
  'task-missing': 'a task of the split has no row',
  'row-twice': 'an instance has more than one row',
  'row-split': 'a row is in the wrong split',
  'row-task': 'a row names the wrong task',
  'row-position': "a row's position is not the instance's",
  'row-rank': "a row's rank is not that of its stable hash",
  'row-order': 'rows are not stored in their documented order',
  'row-input': "a row's input is not the instance's",
  'row-references': "a row's outputs are not the instance's",
  'stored-task': 'a task is stored with other texts than its file has',
  'stored-count': 'the stored count of training instances is wrong',
  'target': 'the training target is none of the references',
  'references': "the references are not the instance's",
  'label-space': 'the label space is not that of the outputs',
  'cue-missing': 'a prompt does not end in the cue',
  'instance-text': "the instance's text in a prompt is not the original",
  'prompt-malformed': 'a prompt is not of the documented format',
  'definition-text': 'the definition is not the original',
  'definition-not-empty': 'there is a definition where there should be none',
  'simplified-wording': 'a simplified definition lacks its fixed wording',
  'simplified-label-missing': 'a simplified definition lacks a label',
  'simplified-label-order': 'a simplified definition has labels out of order',
  'simplified-extra-text': 'a simplified definition says more than the labels',
  'shuffled-own': "a shuffled definition is the task's own",
  'shuffled-other-side': 'a shuffled definition is from across the split',
  'shuffled-other-kind': 'a shuffled definition is of another kind of task',
  'shuffled-same-category': 'a shuffled definition is of the same category',
  'shuffled-unknown': "a shuffled definition is no task's",
  'renamed-definition': 'a renaming definition has changed the original',
  'renamed-map': 'a renaming is no one-to-one map of every label',
  'renamed-inconsistent': 'a renaming differs within a task',
  'renamed-reference': 'a renamed reference is not what the map makes of it',
  'example-text': 'an example is not the original',
  'example-order': 'the examples are not in their original order',
  'example-count': 'there are more or fewer examples than there should be',
  'example-record': 'the recorded examples are not those in the prompt',
  'explanation-shown': 'a delusive example shows an explanation',
  'delusive-input': "a delusive example's input is no example's",
  'delusive-outside-labels': "a delusive example's output is no label",
  'delusive-right': 'a delusive example is right',
  'delusive-output': "a delusive example's output comes from nowhere",
  'delusive-source': "a delusive example's recorded source is false",
  'delusive-order': 'a later source was taken before an earlier was used up',
  'limit-exceeded': 'a prompt has more tokens than allowed',
  'cut-instance': 'a cut input is not the head and tail of the original',
  'cut-end': 'a prompt cut at its end is not the beginning of the whole',
  'cut-needlessly': 'a prompt was cut although it fitted',
  'dropped-needlessly': 'an example was dropped although it fitted',
  'cut-record': 'what is recorded as cut or dropped is not what was',
  'budget-instance': 'conditions of a matched budget show different instances',
  'condition-name': 'a prediction names another condition',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
  """One thing that is not as claimed.

  Attributes:
    code: one of `CODES`.
    expected: what the task files make it; of a long text, around the first
      character that differs.
    found: what stands in its place.
    at: index of that character; None where no texts are compared.
    split: None where it is about no single split.
    task: name; None where it is about no single task.
    instance: id; None where it is about no single instance.
    condition: name; None where it is about stored rows.
  """

  code: str
  expected: str
  found: str
  at: int | None = None
  split: str | None = None
  task: str | None = None
  instance: str | None = None
  condition: str | None = None

  def to_json(self) -> dict:
    return dataclasses.asdict(self)

  def line(self) -> str:
    """One line for a person."""
    where = ' '.join(
      filter(None, (self.condition, self.split, self.task, self.instance))
    )
    at = '' if self.at is None else f' at character {self.at}'
    return f'{where}: expected {self.expected!r}, found {self.found!r}{at}'


def differ(code: str, expected: str, found: str, **fields) -> Failure:
  """A failure of one text to be another.

  >>> differ('row-input', 'a red hat', 'a rod hat').at
  3
  """
  at = first_difference(expected, found)
  return Failure(
    code=code,
    expected=_around(expected, at),
    found=_around(found, at),
    at=at,
    **fields,
  )


def differ_in_list(
  code: str, expected: Sequence[str], found: Sequence[str], **fields
) -> Failure:
  """A failure of one list of texts to be another."""
  for one, other in zip(expected, found, strict=False):
    if one != other:
      return differ(code, one, other, **fields)
  return Failure(
    code=code,
    expected=f'{len(expected)} texts, {_around(str(list(expected)), 0)}',
    found=f'{len(found)} texts, {_around(str(list(found)), 0)}',
    **fields,
  )


def first_difference(one: str, other: str) -> int:
  """Index of the first character that differs, or where the shorter ends."""
  shorter = min(len(one), len(other))
  if one[:shorter] == other[:shorter]:
    return shorter
  return next(i for i in range(shorter) if one[i] != other[i])


def _around(text: str, at: int) -> str:
  start, stop = max(at - _CONTEXT, 0), at + _CONTEXT
  before = '…' if start else ''
  after = '…' if stop < len(text) else ''
  return f'{before}{text[start:stop]}{after}'
