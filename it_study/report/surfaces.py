"""How much scores vary with the surface of prompts alone."""

from collections.abc import Iterable, Sequence
import dataclasses

from it_study.conditions import Condition
from it_study.report.arms import (
  Arm,
  Comparison,
  condition_label,
  parse_condition,
)
from it_study.report.scores import CLS
from it_study.report.text import count, number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
  """Exact match on classification over the surfaces of one prompt.

  Attributes:
    train_condition: Training condition in the default surface; None if untuned.
    test_condition: Test condition in the default surface.
    num_surfaces: Number of pairs of a training and a test surface.
    lowest: Lowest score, in points.
    highest: Highest score, in points.
  """

  train_condition: Condition | None
  test_condition: Condition
  num_surfaces: int
  lowest: float
  highest: float

  @property
  def width(self) -> float:
    return self.highest - self.lowest


def spreads(arms: Iterable[Arm]) -> tuple[Spread, ...]:
  """Returns the spread of each prompt tested with several surfaces.

  Models of one training condition count together, whatever the surface they
  were trained with.
  """
  scores: dict[tuple[Condition | None, Condition], list[float]] = {}
  for arm in arms:
    tested = parse_condition(arm.test_condition)
    score = arm.value('exact_match', CLS)
    is_unknown = arm.train_condition is not None and arm.condition is None
    if arm.split != 'test' or arm.baseline is not None or is_unknown:
      continue
    if tested is not None and score is not None:
      scores.setdefault(_key(arm.condition, tested), []).append(score)
  return tuple(
    Spread(
      train_condition=trained,
      test_condition=tested,
      num_surfaces=len(values),
      lowest=min(values),
      highest=max(values),
    )
    for (trained, tested), values in scores.items()
    if len(values) > 1
  )


def warnings(
  arms: Iterable[Arm], pairs: Sequence[Comparison]
) -> tuple[str, ...]:
  """Returns a warning if effects are no larger than a spread.

  Args:
    arms: Arms of a study.
    pairs: Comparisons of exact match on classification.
  """
  widths = {
    (spread.train_condition, spread.test_condition): spread
    for spread in spreads(arms)
  }
  within = []
  for pair in pairs:
    found = [
      widths[key]
      for arm in (pair.original, pair.altered)
      if (key := _key_of(arm)) in widths
    ]
    widest = max(found, key=lambda spread: spread.width, default=None)
    if widest is None or widest.width == 0:
      continue
    if abs(pair.interval.mean) <= widest.width:
      within.append((pair, widest))
  if not within:
    return ()
  pair, widest = max(within, key=lambda item: abs(item[0].interval.mean))
  return (
    f'{count(len(within), "effect")} of altered instructions, at most '
    f'{number(abs(pair.interval.mean))} points '
    f'({condition_label(pair.alteration.name)}), '
    f'{"is" if len(within) == 1 else "are"} within the spread over surfaces of '
    f'the same prompt ({number(widest.width)} points over '
    f'{widest.num_surfaces}): other separators and casings of field names '
    'change as much.',
  )


def _key_of(arm: Arm) -> tuple[Condition | None, Condition] | None:
  tested = parse_condition(arm.test_condition)
  return None if tested is None else _key(arm.condition, tested)


def _key(
  trained: Condition | None, tested: Condition
) -> tuple[Condition | None, Condition]:
  return (
    trained and dataclasses.replace(trained, surface=0),
    dataclasses.replace(tested, surface=0),
  )
