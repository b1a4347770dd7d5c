"""Reads task files independently of the parser, by the documented rules."""

from collections.abc import Collection
import dataclasses
import functools
import json
import pathlib

from it_study.corpus.normalization import normalize_answer
from it_study.seeding import stable_hash

# Documented values, not the builder's constants, which are under test.
HELD_OUT, TESTED, MOST_LABELS, FEWEST_INSTANCES = 10, 100, 12, 25


@dataclasses.dataclass(frozen=True)
class RawExample:
  """An example as in the task file."""

  input: str
  output: str
  explanation: str | None = None


@dataclasses.dataclass(frozen=True)
class RawInstance:
  """An instance as in the task file; `position` is its index there."""

  id: str
  input: str
  outputs: tuple[str, ...]
  position: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawTask:
  """A task file.

  Attributes:
    name: Name of the file without `.json`.
    is_test: Whether it is a test task.
    definition: First definition.
    category: First category.
    labels: Labels in order of first occurrence; None for a generation task.
    positive: Positive examples.
    negative: Negative examples.
    instances: Instances by id in file order; the first of repeated ids.
  """

  name: str
  is_test: bool
  definition: str
  category: str
  labels: tuple[str, ...] | None
  positive: tuple[RawExample, ...]
  negative: tuple[RawExample, ...]
  instances: dict[str, RawInstance]

  @property
  def kind(self) -> str:
    return 'generation' if self.labels is None else 'classification'

  def rows(self, split: str) -> list[RawInstance]:
    """Returns the instances of a split in the order of their ranks."""
    if self.is_test != (split == 'test'):
      return []
    instances = list(self.instances.values())
    if self.is_test:
      return [i for i in instances if i.position < TESTED]
    instances.sort(key=lambda i: (stable_hash(i.id), i.id))
    if split == 'validation':
      return instances[:HELD_OUT]
    return instances[HELD_OUT:]

  @functools.cached_property
  def known_answers(self) -> dict[str, set[str]]:
    """Known right outputs, normalised, by stripped input.

    Taken from the positive examples and the instances.
    """
    answers: dict[str, set[str]] = {}
    for example in self.positive:
      answers.setdefault(example.input.strip(), set()).add(
        normalize_answer(example.output)
      )
    for instance in self.instances.values():
      answers.setdefault(instance.input.strip(), set()).update(
        map(normalize_answer, instance.outputs)
      )
    return answers


@dataclasses.dataclass(frozen=True)
class Outline:
  """The parts of a task that other tasks' definitions are compared with."""

  name: str
  is_test: bool
  kind: str
  category: str
  definition: str


def read_task(
  path: str | pathlib.Path,
  *,
  is_test: bool,
  override: str | None = None,
  excluded: Collection[str] = (),
) -> RawTask:
  """Reads a task file that the parser has accepted.

  Args:
    path: Path of the file.
    is_test: Whether it is a test task, whose kind depends only on the first 100
      instances.
    override: Kind that overrides the rule; None applies the rule.
    excluded: Ids of instances to leave out.
  """
  path = pathlib.Path(path)
  raw = json.loads(path.read_bytes().decode('utf-8-sig'))
  instances: dict[str, RawInstance] = {}
  for position, instance in enumerate(raw['Instances']):
    if instance.get('id') in excluded:
      continue
    instances.setdefault(
      instance['id'],
      RawInstance(
        instance['id'],
        instance['input'],
        tuple(_listed(instance['output'])),
        position,
      ),
    )
  positive = _examples(raw, 'Positive Examples')
  return RawTask(
    name=path.name.removesuffix('.json'),
    is_test=is_test,
    definition=_listed(raw['Definition'])[0],
    category=(_listed(raw.get('Categories') or '')[0] or 'Uncategorized'),
    labels=_labels(
      [i for i in instances.values() if not is_test or i.position < TESTED],
      positive,
      override,
      raw.get('Label Space'),
    ),
    positive=positive,
    negative=_examples(raw, 'Negative Examples'),
    instances=instances,
  )


def outline(task: RawTask) -> Outline:
  return Outline(
    task.name, task.is_test, task.kind, task.category, task.definition
  )


def _examples(raw: dict, field: str) -> tuple[RawExample, ...]:
  return tuple(
    RawExample(
      example['input'],
      _listed(example['output'])[0],
      example.get('explanation'),
    )
    for example in raw.get(field, ())
  )


def _labels(
  judged: list[RawInstance],
  positive: tuple[RawExample, ...],
  override: str | None,
  listed: str | list[str] | None,
) -> tuple[str, ...] | None:
  if listed is not None and override != 'generation':
    return tuple(_listed(listed))
  labels: list[str] = []
  seen: set[str] = set()
  outputs = [output for instance in judged for output in instance.outputs]
  for output in (*outputs, *(example.output for example in positive)):
    if output not in seen:
      seen.add(output)
      labels.append(output)
  if override is not None:
    closed = override == 'classification'
  else:
    closed = len(labels) <= MOST_LABELS and len(judged) >= FEWEST_INSTANCES
  return tuple(labels) if closed else None


def _listed(value: str | list[str]) -> list[str]:
  return [value] if isinstance(value, str) else value
