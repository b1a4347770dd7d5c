"""Judges the training targets of a task's rows."""

import collections
from collections.abc import Iterator, Mapping
import dataclasses

from it_study.audit.certificates.failures import Failure
from it_study.audit.certificates.levels.examples import image
from it_study.audit.certificates.originals import RawInstance, RawTask
from it_study.corpus.normalization import normalize_answer
from it_study.seeding import stable_random

LEVELS = ('original', 'swapped', 'random')


@dataclasses.dataclass
class Exchange:
  """The swapped targets of a task's training rows, judged together.

  Attributes:
    seed: Seed of the condition.
    names: New name of each normalised label; empty without a renaming.
    targets: Target of each instance.
    is_complete: Whether every row's target is known; else none is judged.
  """

  seed: int
  names: Mapping[str, str]
  targets: list[tuple[RawInstance, str]] = dataclasses.field(
    default_factory=list
  )
  is_complete: bool = True

  def num_right(self) -> int:
    """Returns how many targets are a right answer to their own instance."""
    return sum(
      normalize_answer(target) in self._right(instance)
      for instance, target in self.targets
    )

  def failures(self) -> Iterator[tuple[str, Failure]]:
    """Yields failures with the instance each is about.

    The targets must be the drawn references of the same rows, each as often as
    there, and two of them must not be exchangeable such that both become wrong
    where one was right.
    """
    drawn = collections.Counter(
      image(draw(instance, self.seed), self.names)
      for instance, _ in self.targets
    )
    found = collections.Counter(target for _, target in self.targets)
    for text in sorted({*drawn, *found}):
      if drawn[text] != found[text]:
        first = next((i for i, t in self.targets if t == text), None)
        yield (
          '' if first is None else first.id,
          Failure(
            'target-marginals',
            f'{text[:60]!r} {drawn[text]:,} times',
            f'{found[text]:,} times',
          ),
        )
    rows = [
      (i, normalize_answer(target), self._right(i))
      for i, target in self.targets
    ]
    tried = set()
    for instance, target, right in rows:
      key = (target, frozenset(right))
      if target not in right or key in tried:
        continue
      tried.add(key)
      for other, theirs, their_right in rows:
        if theirs not in right and target not in their_right:
          yield (
            instance.id,
            Failure(
              'target-right',
              f'a wrong answer, such as that of {other.id}',
              target[:80],
            ),
          )
          break

  def _right(self, instance: RawInstance) -> set[str]:
    return {
      normalize_answer(image(output, self.names)) for output in instance.outputs
    }


def draw(instance: RawInstance, seed: int) -> str:
  """Returns the reference that the documented rule draws."""
  return stable_random(seed, instance.id, 'target').choice(instance.outputs)


def random_target(
  task: RawTask, instance: RawInstance, *, seed: int, most: int
) -> str:
  """Returns the random target that the documented rule draws.

  Args:
    task: Task of the instance.
    instance: Training instance.
    seed: Seed of the condition.
    most: Maximum number of stored training instances of the task.
  """
  generator = stable_random(seed, instance.id, 'random target')
  if task.labels is not None:
    return generator.choice(task.labels)
  donors = sorted(task.rows('train')[:most], key=lambda i: i.id)
  return draw(generator.choice(donors), seed)
