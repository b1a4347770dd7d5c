"""What is judged, and what is said of it: one prompt with its row."""

from collections.abc import Callable, Sequence
import dataclasses

from it_study.audit.certificates import examples
from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.originals import RawInstance
from it_study.conditions import Condition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
  """A token limit, and how to count.

  Attributes:
    most: that a prompt may have, end-of-sequence included.
    count: of a text, end-of-sequence included.
    round_trip: a text as it comes back from its tokens.
  """

  most: int
  count: Callable[[str], int]
  round_trip: Callable[[str], str]

  def fit(self, text: str) -> bool:
    return self.count(text) <= self.most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """What the renderer says of a prompt beside its text.

  Attributes:
    examples: positive ones first.
    num_dropped: examples that did not fit.
    shortened: whether definition or input was cut.
    pieces: that make the text.
  """

  examples: tuple[examples.Recorded, ...]
  num_dropped: int
  shortened: bool
  pieces: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
  """A prompt to be judged, and what goes with it.

  Attributes:
    condition: that it claims to be rendered under.
    split: of its row.
    instance: as the task file has it.
    text: the prompt.
    references: the accepted outputs that go with it.
    record: None where only the text is there.
    target: to train on, where there is one.
    label_space: that goes with it; None where it is not told.
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
  """What is to be said of a prompt.

  Attributes:
    failures: what is wrong; split, task, instance and condition filled in.
    delusions: delusive examples that it shows.
    shortened: whether definition or input is cut.
    dropped: examples that a limit left out.
    fewer: examples that the task does not have.
    unjudged: 'definition', 'examples', 'references' or 'prompt', for which no
      rule is known.
  """

  failures: tuple[Failure, ...]
  delusions: tuple[examples.Delusion, ...] = ()
  shortened: bool = False
  dropped: int = 0
  fewer: int = 0
  unjudged: tuple[str, ...] = ()
