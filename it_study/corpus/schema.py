"""What a task file holds: examples, instances, the task itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses

from it_study.corpus.findings import CorpusFinding

TEST_INSTANCES = 100
NO_CATEGORY = 'Uncategorized'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """A worked example.

  Attributes:
    input: the text, as it is.
    output: the text, as it is, or as an alteration made it.
    explanation: None where the file has none.
    source: 'positive' or 'negatives', or the alteration: 'swap', 'repair'.
  """

  input: str
  output: str
  explanation: str | None = None
  source: str = 'positive'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
  """An input with its accepted outputs, in the order of its file.

  Attributes:
    id: as the file has it, unique in a corpus.
    input: the text, as it is.
    outputs: accepted references, at least one.
    position: index in the file's `Instances`.
  """

  id: str
  input: str
  outputs: tuple[str, ...]
  position: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """What the instances of a task share.

  Attributes:
    name: the file's name without `.json`.
    definition: the first of the definitions.
    categories: at least one; the first counts.
    kind: 'classification' or 'generation'.
    label_space: the outputs of a classification task in first-seen order,
      None for generation.
    negative_examples: wrong outputs, or right ones that are badly explained.
  """

  name: str
  definition: str
  categories: tuple[str, ...]
  kind: str
  label_space: tuple[str, ...] | None
  positive_examples: tuple[Example, ...]
  negative_examples: tuple[Example, ...]

  @property
  def category(self) -> str:
    return self.categories[0]

  def to_json(self) -> dict:
    """A JSON object from which `from_json` makes the same task."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, fields: Mapping) -> 'Task':
    label_space = fields['label_space']
    return cls(
      name=fields['name'],
      definition=fields['definition'],
      categories=tuple(fields['categories']),
      kind=fields['kind'],
      label_space=None if label_space is None else tuple(label_space),
      positive_examples=tuple(
        Example(**example) for example in fields['positive_examples']
      ),
      negative_examples=tuple(
        Example(**example) for example in fields['negative_examples']
      ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskFile:
  """One parsed file.

  Attributes:
    task: what the instances share.
    instances: those that are not left out.
    warnings: what is odd but harmless.
    sources: names of the data sets that the task was made from, as the file
      has them; none where it does not tell.
  """

  task: Task
  instances: tuple[Instance, ...]
  warnings: tuple[CorpusFinding, ...]
  sources: tuple[str, ...] = ()


class LazyTasks(Mapping[str, Task]):
  """Tasks by name, loaded when first asked for and kept.

  Two tables are never equal, so that what is worked out over a whole table can
  be remembered for it.

  >>> table = LazyTasks(['task1_a'], load)
  >>> table['task1_a'].name
  'task1_a'
  """

  def __init__(self, names: Sequence[str], load: Callable[[str], Task]):
    self._names = dict.fromkeys(sorted(names))
    self._load = load
    self._loaded: dict[str, Task] = {}

  def __getitem__(self, name: str) -> Task:
    if name not in self._names:
      raise KeyError(name)
    if name not in self._loaded:
      self._loaded[name] = self._load(name)
    return self._loaded[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._names)

  def __len__(self) -> int:
    return len(self._names)

  def __eq__(self, other: object) -> bool:
    return self is other

  def __hash__(self) -> int:
    return id(self)
