"""Whether the token limit leaves conditions the same of their instances."""

from collections.abc import Iterable, Sequence

from it_study.report.arms import Arm, pair_up
from it_study.report.text import count, number

# Beyond these two conditions do not show the same instances: points of the mean
# share of an instance's text that is left, and of the share of prompts that are
# shortened. A matched budget keeps both at 0.
KEPT_MARGIN = 1.0
SHORTENED_MARGIN = 2.0

_SPLITS = {'test': 'unseen tasks', 'validation': 'held-out instances'}


def warnings(arms: Iterable[Arm]) -> tuple[str, ...]:
  """One warning if compared conditions differ on a split, none otherwise.

  Studies of an older version do not tell how much is left; there the shares of
  shortened prompts alone are looked at.
  """
  arms = tuple(arms)
  facts, worst = [], []
  for split, shown in _SPLITS.items():
    pairs = pair_up(arms, split=split)
    unlike = [pair for pair in pairs if _is_unlike(*pair)]
    if unlike:
      worst.append(max(unlike, key=_size))
      facts.append(
        f'On {shown} ({len(unlike)} of {count(len(pairs), "comparison")}) '
        f'{", ".join(map(_told, worst[-1]))}.'
      )
  if not facts:
    return ()
  if all(arm.condition.matched_budget for pair in worst for arm in pair):
    advice = (
      'Their budgets are matched, so some definition is beyond the limit by '
      "itself: raise TASK_FEATURE_LENGTHS['inputs']."
    )
  else:
    advice = (
      'Conditions with _budget in their name shorten every instance as its '
      'longest definition demands, and so show the same of it; a higher '
      "TASK_FEATURE_LENGTHS['inputs'] shortens fewer."
    )
  return (
    'The token limit cuts compared conditions differently. '
    f'{" ".join(facts)} A difference between them may come from what could be '
    f'read of the question, not from the instructions. {advice}',
  )


def kept(arm: Arm) -> float | None:
  """Percentage of the instances' text that is left; None where not known."""
  return _mean([_percentage(cell.input_kept, 1) for cell in arm.cells])


def shortened(arm: Arm) -> float | None:
  """Percentage of prompts that are shortened; None where not known."""
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


def _difference(measure, original: Arm, altered: Arm) -> float:
  values = measure(original), measure(altered)
  return 0.0 if None in values else abs(values[0] - values[1])


def _size(pair: tuple[Arm, Arm]) -> tuple[float, float]:
  return _difference(kept, *pair), _difference(shortened, *pair)


def _told(arm: Arm) -> str:
  parts = []
  if kept(arm) is not None:
    parts.append(f"keeps {number(kept(arm))}% of an instance's text")
  if shortened(arm) is not None:
    parts.append(f'shortens {number(shortened(arm))}% of its prompts')
  return f'“{arm.label}” {" and ".join(parts)}'


def _percentage(part: float | None, whole: float | None) -> float | None:
  return None if part is None or not whole else 100 * part / whole


def _mean(values: Sequence[float | None]) -> float | None:
  return None if None in values else sum(values) / len(values)
