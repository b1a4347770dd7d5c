"""Warns of token limits that cut targets, or compared prompts differently."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from it_study.report.arms import Arm, pair_up
from it_study.report.text import count, number

# Beyond these margins two conditions do not show the same instances: points of
# the mean share of an instance's text that is kept, and of the share of prompts
# that are shortened. A matched budget keeps both at 0.
KEPT_MARGIN = 1.0
SHORTENED_MARGIN = 2.0
# Share of targets, in percent, that may exceed the limit without a warning.
TARGET_MARGIN = 1.0

_SPLITS = {'test': 'unseen tasks', 'validation': 'held-out instances'}


def warnings(arms: Iterable[Arm]) -> tuple[str, ...]:
  """Returns a warning if compared conditions differ, and one of cut targets.

  Studies of older versions do not record how much text is kept; for them only
  the shares of shortened prompts are compared. They do not record targets.
  """
  arms = tuple(arms)
  return (*_unlike_prompts(arms), *cut_targets(arms, _SPLITS))


def _unlike_prompts(arms: Sequence[Arm]) -> tuple[str, ...]:
  facts, worst_pairs = [], []
  for split, description in _SPLITS.items():
    pairs = pair_up(arms, split=split)
    unlike = [pair for pair in pairs if _is_unlike(*pair)]
    if unlike:
      original, altered = max(unlike, key=_size)
      worst_pairs.append((original, altered))
      facts.append(
        f'On {description} ({len(unlike)} of '
        f'{count(len(pairs), "comparison")}), {_describe(original)}, while '
        f'{_describe(altered)}.'
      )
  if not facts:
    return ()
  if all(
    arm.compared_condition is not None and arm.compared_condition.matched_budget
    for pair in worst_pairs
    for arm in pair
  ):
    advice = (
      'Their budgets are matched, so some definition exceeds the limit by '
      "itself: raise TASK_FEATURE_LENGTHS['inputs']."
    )
  else:
    advice = (
      'Conditions with _budget in their name shorten each instance as its '
      'longest definition requires, and so keep the same text under every '
      "definition; a higher TASK_FEATURE_LENGTHS['inputs'] shortens fewer "
      'prompts.'
    )
  return (
    'The token limit truncates the compared conditions differently. '
    f'{" ".join(facts)} Differences between them may come from how much of the '
    f'question the model sees rather than from the instructions. {advice}',
  )


def cut_targets(
  arms: Sequence[Arm], places: Mapping[str, str]
) -> tuple[str, ...]:
  """Returns a warning if many references or training targets are too long.

  Args:
    arms: Arms of a study.
    places: Descriptions of the instances, by split.
  """
  facts = []
  for split, description in places.items():
    share = _largest(
      _percentage(cell.num_unreachable, cell.metrics.get('num_instances'))
      for arm in arms
      for cell in arm.cells
      if arm.split == split
    )
    if share > TARGET_MARGIN:
      facts.append(
        f'On {description}, {number(share)}% of the instances have no '
        'reference that fits, so no answer to them can be right.'
      )
  share = _largest(
    _percentage(cell.num_cut_targets, cell.num_train_examples)
    for arm in arms
    for cell in arm.cells
  )
  if share > TARGET_MARGIN:
    facts.append(f'In training, {number(share)}% of the targets were cut.')
  if not facts:
    return ()
  return (
    f"TASK_FEATURE_LENGTHS['targets'] is short. {' '.join(facts)} A higher "
    'limit cuts fewer.',
  )


def _largest(shares: Iterable[float | None]) -> float:
  return max((share for share in shares if share is not None), default=0.0)


def kept(arm: Arm) -> float | None:
  """Returns the percentage of the instances' text kept; None if unknown."""
  return _mean([_percentage(cell.input_kept, 1) for cell in arm.cells])


def shortened(arm: Arm) -> float | None:
  """Returns the percentage of prompts that are shortened; None if unknown."""
  return _mean(
    [
      _percentage(cell.num_shortened, cell.metrics.get('num_instances'))
      for cell in arm.cells
    ]
  )


def _is_unlike(original: Arm, altered: Arm) -> bool:
  return (
    _difference(kept, original, altered) > KEPT_MARGIN
    or _difference(shortened, original, altered) > SHORTENED_MARGIN
  )


def _difference(
  measure: Callable[[Arm], float | None], original: Arm, altered: Arm
) -> float:
  first, second = measure(original), measure(altered)
  return 0.0 if first is None or second is None else abs(first - second)


def _size(pair: tuple[Arm, Arm]) -> tuple[float, float]:
  return _difference(kept, *pair), _difference(shortened, *pair)


def _describe(arm: Arm) -> str:
  parts = []
  if kept(arm) is not None:
    parts.append(f"keeps {number(kept(arm))}% of an instance's text")
  if shortened(arm) is not None:
    parts.append(f'shortens {number(shortened(arm))}% of its prompts')
  return f'“{arm.label}” {" and ".join(parts)}'


def _percentage(part: float | None, whole: float | None) -> float | None:
  return None if part is None or not whole else 100 * part / whole


def _mean(values: Sequence[float | None]) -> float | None:
  known = [value for value in values if value is not None]
  return sum(known) / len(known) if len(known) == len(values) else None
