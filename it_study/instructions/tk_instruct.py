"""Tk-Instruct's mixture of prompt encodings, one for each instance."""

import dataclasses
import functools

from it_study.conditions import INSTANCES_PER_TASK, Condition
from it_study.errors import InputError
from it_study.seeding import stable_hash

# `all_valid_encodings` of Tk-Instruct's collator, in its order and with its
# truncation: definition; 2 examples; both; both and 2 negative examples; both
# and explanations.
ENCODINGS = (
  Condition(examples='empty', num_examples=0, tk_truncation=True),
  Condition(definition='empty', tk_truncation=True),
  Condition(tk_truncation=True),
  Condition(num_negative_examples=2, tk_truncation=True),
  Condition(explanations=True, tk_truncation=True),
)

_NAME = 'natinst_tk_instruct'


@dataclasses.dataclass(frozen=True, kw_only=True)
class TkInstruct:
  """Five encodings of the instructions in equal parts, as in Tk-Instruct.

  Wang et al. 2022, section 5, and `tk_instruct` of their collator, which draws
  an encoding each time it sees an instance. Here an instance has one encoding,
  chosen by a stable hash of seed and id, so that it is the same in every epoch,
  host and run. Prompts that are too long are truncated as in Tk-Instruct.

  >>> TkInstruct(instances_per_task=10).name
  'natinst_tk_instruct_n10'

  Attributes:
    instances_per_task: Number of training instances per task.
    num_tasks: Number of training tasks; None for all.
    seed: Seed for the choice of instances, tasks and encodings.
  """

  instances_per_task: int = INSTANCES_PER_TASK
  num_tasks: int | None = None
  seed: int = 0

  def __post_init__(self) -> None:
    self._as_condition()

  @property
  def name(self) -> str:
    """The name of the SeqIO task, with the suffixes of a condition."""
    return _NAME + self._as_condition().name.removeprefix(Condition().name)

  @classmethod
  def from_name(cls, name: str) -> 'TkInstruct':
    """Parses a name; the inverse of `name`. Raises `InputError`."""
    try:
      condition = Condition.from_name(
        Condition().name + name.removeprefix(_NAME)
      )
      parsed = cls(
        **{
          field.name: getattr(condition, field.name)
          for field in dataclasses.fields(cls)
        }
      )
    except InputError:
      parsed = None
    if parsed is None or parsed.name != name:
      raise InputError(
        f'{name!r} is not a mixture of encodings. A name reads {_NAME}, '
        'followed by suffixes that are not at their default, in this order: '
        '_n, _t, _s.'
      )
    return parsed

  @property
  def encodings(self) -> tuple[Condition, ...]:
    """The five encodings, all with the same choice of instances."""
    return _encodings(self)

  def of_instance(self, instance_id: str) -> Condition:
    """Returns the encoding of an instance."""
    encodings = self.encodings
    index = stable_hash(self.seed, instance_id, 'encoding') % len(encodings)
    return encodings[index]

  def for_test(self) -> 'TkInstruct':
    """Returns the mixture on the test split, which ignores n, t and s."""
    return TkInstruct()

  def _as_condition(self) -> Condition:
    return Condition(**dataclasses.asdict(self))


def from_name(name: str) -> Condition | TkInstruct:
  """Parses the name of a SeqIO task of this project.

  Raises:
    InputError: If the name is malformed.
  """
  if name.startswith(_NAME):
    return TkInstruct.from_name(name)
  return Condition.from_name(name)


@functools.lru_cache(maxsize=64)
def _encodings(choice: TkInstruct) -> tuple[Condition, ...]:
  return tuple(
    dataclasses.replace(encoding, **dataclasses.asdict(choice))
    for encoding in ENCODINGS
  )
