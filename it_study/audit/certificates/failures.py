"""Failures of a certificate: codes, and texts around their difference."""

from collections.abc import Sequence
import dataclasses

# Number of characters shown on either side of the first difference.
_CONTEXT = 40

# Codes of all failures, with their meaning.
CODES = {
  'record-damaged': 'a stored record cannot be read',
  'row-unknown': 'a row is of no instance of the corpus',
  'row-missing': 'an instance has no row',
  'task-missing': 'a task of the split has no row',
  'row-twice': 'an instance has more than one row',
  'row-split': 'a row is in the wrong split',
  'row-task': 'a row names the wrong task',
  'row-position': "a row's position is not the instance's",
  'row-rank': "a row's rank is not that of its stable hash",
  'row-order': 'rows are not stored in the documented order',
  'row-input': "a row's input is not the instance's",
  'row-references': "a row's outputs are not the instance's",
  'stored-task': 'the stored texts of a task are not those of its file',
  'stored-count': 'the stored count of training instances is wrong',
  'target': 'the training target is not one of the references',
  'target-marginals': 'swapped targets are not those of the same rows',
  'target-right': 'a swapped target is right and could be exchanged',
  'target-draw': 'a random target is not the one that its seed draws',
  'references': "the references are not the instance's",
  'label-space': 'the label space is not that of the outputs',
  'cue-missing': 'a prompt does not end in the cue',
  'instance-text': "the instance's text in a prompt is not the original",
  'input-not-empty': 'a prompt shows an instance and should show none',
  'prompt-malformed': 'a prompt does not follow the documented format',
  'surface': 'a fixed text of a prompt is not that of its surface or template',
  'definition-text': 'the definition is not the original',
  'definition-not-empty': 'a prompt has a definition and should have none',
  'simplified-wording': 'a simplified definition lacks its fixed wording',
  'simplified-label-missing': 'a simplified definition lacks a label',
  'simplified-label-order': 'a simplified definition has labels out of order',
  'simplified-extra-text': 'a simplified definition has more than the labels',
  'shuffled-own': "a shuffled definition is the task's own",
  'shuffled-other-side': 'a shuffled definition is from the other split',
  'shuffled-other-kind': 'a shuffled definition is of another kind of task',
  'shuffled-same-category': 'a shuffled definition is of the same category',
  'shuffled-unknown': 'a shuffled definition is of no task',
  'nolabels-label': 'a definition without its output space names a label',
  'nolabels-text': 'sentences without a label are missing or changed',
  'kept-count': 'a definition of kept words has too many or too few',
  'kept-order': 'kept words are not in their original order',
  'kept-choice': 'kept words are not those of the lowest rank',
  'wordshuffled-words': 'a definition in random order has other words',
  'wordshuffled-order': 'words in random order are not in that of their ranks',
  'renamed-definition': 'a renamed definition differs from the original',
  'renamed-map': 'a renaming is not a one-to-one map of all labels',
  'flipped-map': 'flipped labels do not exchange all their names',
  'renamed-inconsistent': 'a renaming differs within a task',
  'renamed-reference': 'a renamed reference does not follow the renaming',
  'example-text': 'an example is not the original',
  'example-order': 'the examples are not in their original order',
  'example-count': 'there are too many or too few examples',
  'example-record': 'the recorded examples are not those in the prompt',
  'explanation-shown': 'a delusive example shows an explanation',
  'delusive-input': "a delusive example's input is of no example",
  'delusive-outside-labels': "a delusive example's output is no label",
  'delusive-right': 'a delusive example is right',
  'delusive-output': "a delusive example's output is from no known source",
  'delusive-source': "a delusive example's recorded source is wrong",
  'delusive-order': 'a source was used before an earlier one was exhausted',
  'limit-exceeded': 'a prompt has more tokens than allowed',
  'cut-instance': 'a cut input is not the head and tail of the original',
  'cut-end': 'a prompt cut at its end is not the start of the whole',
  'cut-needlessly': 'a prompt was cut although it fitted',
  'dropped-needlessly': 'an example was dropped although it fitted',
  'cut-record': 'the record of cut or dropped parts is wrong',
  'budget-instance': 'conditions of a matched budget show different instances',
  'condition-name': 'a prediction names another condition',
}


@dataclasses.dataclass(frozen=True)
class Failure:
  """One deviation from what is claimed.

  Attributes:
    code: One of `CODES`.
    expected: Text that follows from the task files; of a long text, the part
      around the first difference.
    found: Text found instead.
    at: Index of the first different character; None if no texts are compared.
    split: Split; None if no single split is concerned.
    task: Name of the task; None if no single task is concerned.
    instance: Id of the instance; None if no single instance is concerned.
    condition: Name of the condition; None for stored rows.
  """

  code: str
  expected: str
  found: str
  _: dataclasses.KW_ONLY
  at: int | None = None
  split: str | None = None
  task: str | None = None
  instance: str | None = None
  condition: str | None = None

  def to_json(self) -> dict:
    return dataclasses.asdict(self)

  def line(self) -> str:
    """Returns a readable line."""
    where = ' '.join(
      filter(None, (self.condition, self.split, self.task, self.instance))
    )
    at = '' if self.at is None else f' at character {self.at}'
    return f'{where}: expected {self.expected!r}, found {self.found!r}{at}'


def differ(code: str, expected: str, found: str) -> Failure:
  """Makes a failure of a text to equal the expected one.

  >>> differ('row-input', 'a red hat', 'a rod hat').at
  3
  """
  at = first_difference(expected, found)
  return Failure(code, _around(expected, at), _around(found, at), at=at)


def differ_in_list(
  code: str, expected: Sequence[str], found: Sequence[str]
) -> Failure:
  """Makes a failure of a list of texts to equal the expected one."""
  for one, other in zip(expected, found, strict=False):
    if one != other:
      return differ(code, one, other)
  return Failure(
    code,
    f'{len(expected)} texts, {_around(str(list(expected)), 0)}',
    f'{len(found)} texts, {_around(str(list(found)), 0)}',
  )


def first_difference(one: str, other: str) -> int:
  """Returns the index of the first difference, or the shorter length."""
  shorter = min(len(one), len(other))
  if one[:shorter] == other[:shorter]:
    return shorter
  return next(i for i in range(shorter) if one[i] != other[i])


def _around(text: str, at: int) -> str:
  start, stop = max(at - _CONTEXT, 0), at + _CONTEXT
  before = '…' if start else ''
  after = '…' if stop < len(text) else ''
  return f'{before}{text[start:stop]}{after}'
