"""Task files read anew, and what the documented rules make of them."""

from collections.abc import Collection
import dataclasses
import functools
import json
import pathlib

from it_study.corpus.normalization import normalize_answer
from it_study.seeding import stable_hash

# As documented; the builder's own constants are what is being judged.
HELD_OUT, TESTED, MOST_LABELS, FEWEST_INSTANCES = 10, 100, 12, 25


@dataclasses.dataclass(frozen=True)
class RawExample:
  """An example as its file has it."""

  input: str
  output: str
  explanation: str | None = None


@dataclasses.dataclass(frozen=True)
class RawInstance:
  """An instance as its file has it; `position` is its index there."""

  id: str
  input: str
  outputs: tuple[str, ...]
  position: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawTask:
  """A task file.

  Attributes:
    name: the file's name without `.json`.
    is_test: which side of the split it is on.
    definition: the first.
    category: the first.
    labels: in first-seen order; None for a generation task.
    positive: examples.
    negative: examples.
    instances: by id, in the order of the file; of repeated ones the first.
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
    """The instances of a split in the order of their ranks."""
    if self.is_test != (split == 'test'):
      return []
    everything = list(self.instances.values())
    if self.is_test:
      return [i for i in everything if i.position < TESTED]
    everything.sort(key=lambda i: (stable_hash(i.id), i.id))
    if split == 'validation':
      return everything[:HELD_OUT]
    return everything[HELD_OUT:]

  @functools.cached_property
  def known_answers(self) -> dict[str, set[str]]:
    """Input, stripped, to every output that is known to be right, normalised.

    What positive examples and instances show for it.
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
  """What other tasks' definitions are compared with."""

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
    path: of the file.
    is_test: whether its kind is judged by the first 100 instances.
    override: a kind that wins over the rule.
    excluded: ids of instances that are left out.
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
) -> tuple[str, ...] | None:
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
