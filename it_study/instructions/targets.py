"""Levels of the target axis: what a model is trained to answer."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools

from it_study import instructions
from it_study.conditions import TARGET_LEVELS, Condition
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.schema import Instance, LazyInstances, Task
from it_study.instructions import prompts
from it_study.seeding import stable_hash, stable_random

# Training instances by name of the task.
Instances = Mapping[str, Sequence[Instance]]


def training_target(
  *,
  task: Task,
  instance: Instance,
  condition: Condition,
  instances: Instances | None = None,
) -> str:
  """Returns the text to train on, in the words of the condition.

  Args:
    task: Task as in its file.
    instance: Training instance as in its file.
    condition: Condition to train under.
    instances: Training instances of the task, from which altered targets are
      drawn; not read for original targets.
  """
  if condition.targets != 'original':
    output = TARGET_LEVELS.get(condition.targets)(
      task=task, instance=instance, condition=condition, instances=instances
    )
    instance = dataclasses.replace(instance, outputs=(output,))
  _, seen = instructions.rewrite(
    task=task, instance=instance, condition=condition
  )
  return prompts.choose_target(instance=seen, condition=condition)


def original(*, task: Task, instance: Instance, condition: Condition) -> str:
  """Returns one of the references, drawn by seed and id."""
  del task
  return prompts.choose_target(instance=instance, condition=condition)


def swapped(
  *,
  task: Task,
  instance: Instance,
  condition: Condition,
  instances: Instances,
) -> str:
  """Returns the target of another training instance of the task.

  The task's instances exchange their targets, so that each target occurs as
  often as before. No instance has a right answer as its target if an exchange
  with another instance can avoid that: if one label has more than half of the
  instances, some keep it. All training instances of the task take part, not
  only those that the condition trains on, so the target of an instance does not
  depend on their number. With two labels, almost every target is the other one.

  Args:
    task: Task of the instance.
    instance: Training instance.
    condition: Condition that provides the seed.
    instances: Training instances by name of the task.
  """
  if not isinstance(instances, LazyInstances):
    # `_exchanged` caches by the mapping, which must be hashable.
    instances = LazyInstances([task.name], lambda name: tuple(instances[name]))
  return _exchanged(instances, task.name, condition.seed)[instance.id]


def random(
  *,
  task: Task,
  instance: Instance,
  condition: Condition,
  instances: Instances,
) -> str:
  """Returns a label drawn uniformly from the label space, perhaps a right one.

  A generation task has no label space: there, the target of a training instance
  of the task is drawn uniformly. See `swapped` for the arguments.
  """
  generator = stable_random(condition.seed, instance.id, 'random target')
  if task.label_space is not None:
    return generator.choice(task.label_space)
  donor = generator.choice(sorted(instances[task.name], key=lambda i: i.id))
  return prompts.choose_target(instance=donor, condition=condition)


# Holds up to 1,000 targets a task.
@functools.lru_cache(maxsize=1024)
def _exchanged(instances: Instances, name: str, seed: int) -> Mapping[str, str]:
  """Returns the exchanged target of each training instance of a task, by id."""
  rows = _by_hash(instances[name], seed, 'swapped to')
  condition = Condition(seed=seed)
  given = [
    prompts.choose_target(instance=donor, condition=condition)
    for donor in _by_hash(instances[name], seed, 'swapped from')
  ]
  wrong = _Wrong(rows)
  # An exchange may open another one where instances have several references.
  while _exchange_right(rows, given, wrong):
    pass
  return {row.id: target for row, target in zip(rows, given, strict=True)}


def _exchange_right(
  rows: Sequence[Instance], given: list[str], wrong: '_Wrong'
) -> bool:
  """Exchanges right targets for wrong ones; returns whether it found any."""
  hopeless = set()
  found = False
  for place, row in enumerate(rows):
    # Whoever has the same answers has the same partners.
    key = (normalize_answer(given[place]), frozenset(row.outputs))
    if wrong(place, given[place]) or key in hopeless:
      continue
    for other in (*range(place + 1, len(rows)), *range(place)):
      if wrong(place, given[other]) and wrong(other, given[place]):
        given[place], given[other] = given[other], given[place]
        found = True
        break
    else:
      hopeless.add(key)
  return found


class _Wrong:
  """Whether an output is wrong for the instance at a place."""

  def __init__(self, rows: Sequence[Instance]) -> None:
    self._right = [set(map(normalize_answer, row.outputs)) for row in rows]

  def __call__(self, place: int, output: str) -> bool:
    return normalize_answer(output) not in self._right[place]


def _by_hash(
  instances: Sequence[Instance], seed: int, purpose: str
) -> list[Instance]:
  return sorted(
    instances, key=lambda i: (stable_hash(seed, i.id, purpose), i.id)
  )
