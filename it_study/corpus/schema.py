"""The contents of a task file: examples, instances, the task itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any, TypeVar

from it_study.corpus.findings import CorpusFinding

TEST_INSTANCES = 100
NO_CATEGORY = 'Uncategorized'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
  """A worked example.

  Attributes:
    input: Unmodified text.
    output: Text, unmodified or altered.
    explanation: Explanation; None if the file has none.
    source: Field of the file ('positive' or 'negatives') or alteration ('swap'
      or 'repair') that the example comes from.
  """

  input: str
  output: str
  explanation: str | None = None
  source: str = 'positive'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instance:
  """An input with its accepted outputs, in the order of its file.

  Attributes:
    id: Id in the file, unique in a corpus.
    input: Unmodified text.
    outputs: Accepted references, at least one.
    position: Index in the file's `Instances`.
    has_own_id: Whether the data has the id; otherwise it follows from the
      position.
  """

  id: str
  input: str
  outputs: tuple[str, ...]
  position: int
  has_own_id: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """A task without its instances.

  Attributes:
    name: Name of the file without `.json`.
    definition: First definition of the file.
    categories: Categories, at least one; only the first is used.
    kind: Either 'classification' or 'generation'.
    label_space: Outputs of a classification task in first-seen order; None for
      generation.
    positive_examples: Examples with right outputs.
    negative_examples: Examples with wrong outputs, or right ones with bad
      explanations.
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
    """The first category."""
    return self.categories[0]

  def to_json(self) -> dict[str, object]:
    """Returns a JSON object, which `from_json` reads."""
    return dataclasses.asdict(self)

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> 'Task':
    """Makes a task from a JSON object; the inverse of `to_json`."""
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
  """A parsed task file.

  Attributes:
    task: The task.
    instances: Instances that are not excluded.
    warnings: Harmless irregularities of the file.
    sources: Names of the data sets that the task was made from, if the file
      states them.
  """

  task: Task
  instances: tuple[Instance, ...]
  warnings: tuple[CorpusFinding, ...]
  sources: tuple[str, ...] = ()


_Value = TypeVar('_Value')


class _Lazy(Mapping[str, _Value]):
  """A mapping from name of a task that loads and caches values on first use.

  It is hashed and compared by identity, so that results over all tasks can be
  cached.
  """

  def __init__(
    self, names: Sequence[str], load: Callable[[str], _Value]
  ) -> None:
    self._names = dict.fromkeys(sorted(names))
    self._load = load
    self._loaded: dict[str, _Value] = {}

  def __getitem__(self, name: str) -> _Value:
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


class LazyTasks(_Lazy[Task]):
  """A mapping from name to task; see `_Lazy`.

  >>> tasks = LazyTasks(['task1_a'], load)
  >>> tasks['task1_a'].name
  'task1_a'
  """


class LazyInstances(_Lazy[tuple[Instance, ...]]):
  """A mapping from name of a task to its training instances; see `_Lazy`."""
