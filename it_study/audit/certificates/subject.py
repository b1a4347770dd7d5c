"""The subject of a judgement, one prompt with its row, and the verdict."""

from collections.abc import Callable, Sequence
import dataclasses

from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.levels import examples
from it_study.audit.certificates.originals import RawInstance
from it_study.conditions import Condition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
  """A token limit and its vocabulary.

  Attributes:
    most: Maximum prompt length in tokens, end of sequence included.
    count: Function that returns the number of tokens of a text, end of sequence
      included.
    round_trip: Function that encodes a text and decodes it again.
    joined: Function from pieces in the default wording to the text that is
      counted.
  """

  most: int
  count: Callable[[str], int]
  round_trip: Callable[[str], str]
  joined: Callable[[Sequence[str]], str] = ''.join

  def size(self, *pieces: str) -> int:
    """Returns the number of tokens of a text, or of the pieces of one."""
    return self.count(self.joined(pieces))

  def fit(self, *pieces: str) -> bool:
    """Returns whether a text, or the pieces of one, are within the limit."""
    return self.size(*pieces) <= self.most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """What the renderer records of a prompt besides its text.

  Attributes:
    examples: Examples shown, positive ones first.
    num_dropped: Number of examples that did not fit.
    shortened: Whether the definition or input was cut.
    pieces: Pieces that were joined to the text.
  """

  examples: tuple[examples.Recorded, ...]
  num_dropped: int
  shortened: bool
  pieces: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
  """A prompt to judge, with its row.

  Attributes:
    condition: Condition that the prompt claims.
    split: Split of the row.
    instance: Instance as in the task file.
    text: Text of the prompt.
    references: Accepted outputs of the row.
    record: Record of the renderer; None if only the text is known.
    target: Training target; None if there is none.
    label_space: Label space of the row; None if unknown.
  """

  condition: Condition
  split: str
  instance: RawInstance
  text: str
  references: Sequence[str]
  record: Record | None = None
  target: str | None = None
  label_space: Sequence[str] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
  """The verdict on a prompt.

  Attributes:
    failures: Failures, with split, task, instance and condition filled in.
    delusions: Delusive examples that the prompt shows.
    shortened: Whether the definition or input is cut.
    dropped: Number of examples that the token limit left out.
    fewer: Number of requested examples that the task does not have.
    unjudged: Parts without a known rule: 'definition', 'examples',
      'references', 'targets' or 'prompt'.
  """

  failures: tuple[Failure, ...]
  delusions: tuple[examples.Delusion, ...] = ()
  shortened: bool = False
  dropped: int = 0
  fewer: int = 0
  unjudged: tuple[str, ...] = ()
