"""Accuracy of a uniform guess, and skill beyond it."""

from collections.abc import Sequence
import functools

from it_study.corpus.normalization import merge_labels, normalize_answer


def uniform_chance(
  label_space: Sequence[str] | None, targets: Sequence[str]
) -> float | None:
  """Returns the probability, 0 to 1, that a uniformly drawn label is right.

  Labels that exact match cannot tell apart count as one. None without labels.

  >>> uniform_chance(('He', 'he', 'she'), ('he',))
  0.5
  """
  if not label_space:
    return None
  return _uniform_chance(tuple(label_space), tuple(targets))


def skill(exact_match: float, guess: float) -> float | None:
  """Returns exact match corrected for chance; at most 1.

  (EM - guess) / (1 - guess), Cohen's (1960) correction with a guesser as the
  second judge: 0 for guessing, 1 for all right, below 0 for worse than
  guessing. None if guessing is always right.

  Args:
    exact_match: Share of correct answers, from 0 to 1.
    guess: Expected share of correct guesses, from 0 to 1.
  """
  if guess >= 1:
    return None
  return (exact_match - guess) / (1 - guess)


@functools.lru_cache(maxsize=1 << 16)
def _uniform_chance(
  label_space: tuple[str, ...], targets: tuple[str, ...]
) -> float:
  labels = merge_labels(label_space)
  accepted = {normalize_answer(target) for target in targets}
  return sum(normalize_answer(label) in accepted for label in labels) / len(
    labels
  )
