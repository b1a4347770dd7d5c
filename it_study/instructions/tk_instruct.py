"""Tk-Instruct's mixture of encodings, one of which each instance is given."""

import dataclasses
import functools

from it_study.conditions import INSTANCES_PER_TASK, Condition
from it_study.errors import InputError
from it_study.seeding import stable_hash

# Definition; 2 examples; both; the same and 2 negative ones; the same and
# explanations: `all_valid_encodings` of Tk-Instruct's collator, in its order,
# and cut as there.
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
  """Five encodings of the instructions, in equal parts, as Tk-Instruct trains.

  Wang et al. 2022, section 5, and `tk_instruct` of their collator, which draws
  one of the encodings whenever it sees an instance. Here an instance has one,
  chosen by a stable hash of seed and id, so that every epoch, host and run sees
  the same. Prompts that are too long are cut as theirs are.

  >>> TkInstruct(instances_per_task=10).name
  'natinst_tk_instruct_n10'

  Attributes:
    instances_per_task: training instances of a task, as in a `Condition`.
    num_tasks: training tasks, likewise.
    seed: of the choice of instances, tasks and encodings.
  """

  instances_per_task: int = INSTANCES_PER_TASK
  num_tasks: int | None = None
  seed: int = 0

  def __post_init__(self):
    self._as_condition()

  @property
  def name(self) -> str:
    """The name of the SeqIO task, suffixes as a condition's."""
    return _NAME + self._as_condition().name.removeprefix(Condition().name)

  @classmethod
  def from_name(cls, name: str) -> 'TkInstruct':
    """Parses a name as `name` writes it. Raises `InputError`."""
    try:
      condition = Condition.from_name(
        Condition().name + name.removeprefix(_NAME)
      )
      found = cls(
        **{
          field.name: getattr(condition, field.name)
          for field in dataclasses.fields(cls)
        }
      )
    except InputError:
      found = None
    if found is None or found.name != name:
      raise InputError(
        f'{name!r} is no name of the mixture of encodings. It reads {_NAME}, '
        'then, in this order and only where not at the default, _n, _t, _s '
        'with their values.'
      )
    return found

  @property
  def encodings(self) -> tuple[Condition, ...]:
    """The five, each with the same choice of instances."""
    return _encodings(self)

  def of_instance(self, instance_id: str) -> Condition:
    """The encoding of an instance."""
    encodings = self.encodings
    index = stable_hash(self.seed, instance_id, 'encoding') % len(encodings)
    return encodings[index]

  def for_test(self) -> 'TkInstruct':
    """What of it shows on the test split, which ignores n, t and s."""
    return TkInstruct()

  def _as_condition(self) -> Condition:
    return Condition(**dataclasses.asdict(self))


def from_name(name: str) -> Condition | TkInstruct:
  """What a SeqIO task of this project is made of.

  Raises:
    InputError: if no such name is well-formed.
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
