"""The tasks on one side of the split, looked up by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from it_study.corpus.parsing import Task


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
