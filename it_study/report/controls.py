"""Judges a study's controls by their intervals."""

from collections.abc import Sequence
import dataclasses

from it_study.evaluation.stats import controls as stats
from it_study.evaluation.stats.controls import (
  FAILED,
  PASSED,
  UNCLEAR,
  Decision,
)
from it_study.evaluation.stats.margins import ControlMargins
from it_study.report.arms import Arm, Comparison, are_untuned, compare
from it_study.report.results import groups_of
from it_study.report.scores import Group
from it_study.report.text import count, number, points

POSITIVE_CONTROL = Group('control', 'Positive Control')
NEGATIVE_CONTROL = Group('control', 'Negative Control')
ABSENT = 'absent'
_OUTCOMES = {ABSENT: 'not tested', UNCLEAR: 'cannot tell'}
# Instances that a control has in each split.
_PLACES = {'test': 'unseen tasks', 'validation': 'training tasks'}
_NO_CONTROLS = (
  'This corpus has no control tasks, so this study alone cannot show that it '
  'would detect a model that follows instructions.'
)
_CONTROLS_NOT_TESTED = (
  'No control was tested: the test split has no control tasks, and this study '
  'does not cover the validation split (run_study.splits). This study alone '
  'therefore cannot show that it would detect a model that follows '
  'instructions.'
)
_UNREAD = (
  'these tasks cannot be solved without reading the definition, so either this '
  'model has not learned to read it or this study cannot detect that it has.'
)
_UNREAD_UNTUNED = (
  'these tasks cannot be solved without reading the definition, and this model '
  'was shown to gain less from it.'
)
_NONEXISTENT = (
  'the definitions of these tasks carry no useful information, so this study '
  'detects differences that do not exist.'
)
_DEFAULT_MARGINS = ControlMargins()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Control:
  """The outcome of a control.

  Attributes:
    group: Control tasks, `POSITIVE_CONTROL` or `NEGATIVE_CONTROL`.
    split: Split that it was judged on, 'test' or 'validation'.
    status: One of `PASSED`, `FAILED`, `UNCLEAR` and `ABSENT`.
    text: Evidence for the status, a few sentences.
    is_untuned: Whether an untuned model was judged. Its failure in a positive
      control is a finding about that model.
  """

  group: Group
  split: str
  status: str
  text: str
  is_untuned: bool = False

  @property
  def name(self) -> str:
    """Control category and what its tasks are."""
    return f'{self.group.name}, {_PLACES[self.split]}'

  @property
  def outcome(self) -> str:
    """The status in words."""
    return _OUTCOMES.get(self.status, self.status)

  @property
  def is_positive(self) -> bool:
    return self.group == POSITIVE_CONTROL


def no_controls(arms: Sequence[Arm]) -> str:
  """Explains why a study has no controls."""
  if any(arm.split == 'validation' for arm in arms):
    return _NO_CONTROLS
  return _CONTROLS_NOT_TESTED


def controls(
  arms: Sequence[Arm], *, margins: ControlMargins = _DEFAULT_MARGINS
) -> tuple[Control, ...]:
  """Judges the controls that the corpus has, those on unseen tasks first.

  Each compares the original definition with none. In a study with a sweep, it
  does so at the largest amount of training data.

  Args:
    arms: Scored arms of the study.
    margins: Margins of the controls.
  """
  outcomes = []
  is_untuned = are_untuned(arms)
  for split in _PLACES:
    for group in groups_of(arms, 'control', split):
      pair = _find_pair(arms, split, group)
      if pair is None:
        status, text = ABSENT, _missing(split, is_untuned)
      else:
        status, text = _judge(pair, group, margins)
      outcomes.append(
        Control(
          group=group,
          split=split,
          status=status,
          text=text,
          is_untuned=is_untuned,
        )
      )
  return tuple(outcomes)


def fatal(outcomes: Sequence[Control]) -> tuple[Control, ...]:
  """Returns the failed controls that leave a study without an answer.

  A positive control that fails does not if the other passes: the study can then
  detect a model that reads definitions, and where it found none. Neither does
  it where an untuned model was judged, which no training made read definitions.
  """
  is_sensitive = any(c.is_positive and c.status == PASSED for c in outcomes)
  return tuple(
    control
    for control in outcomes
    if control.status == FAILED
    and not (control.is_positive and (is_sensitive or control.is_untuned))
  )


def caveats(outcomes: Sequence[Control]) -> list[str]:
  """Says what controls that did not pass leave open, one sentence or two each.

  Nothing is said of controls that leave the study without an answer.
  """
  sentences = []
  positive = [c for c in outcomes if c.is_positive]
  if any(c.status == PASSED for c in positive):
    sentences += [
      f'On {_PLACES[c.split]}, this model was shown not to read the definition '
      'even where nothing else helps (positive control): instructions without '
      'effect there may say more about the model than about the instructions.'
      for c in positive
      if c.status == FAILED
    ]
  elif any(c.status == UNCLEAR for c in positive) and not fatal(positive):
    sentences.append(
      'No positive control has passed: it is not shown that this study would '
      'detect a model that follows instructions.'
    )
  if any(not c.is_positive and c.status == UNCLEAR for c in outcomes):
    sentences.append(
      'The negative control does not rule out that this study detects '
      'differences that do not exist.'
    )
  return sentences


def _find_pair(
  arms: Sequence[Arm], split: str, group: Group
) -> Comparison | None:
  """Returns original against no definition, if there are both."""
  pairs = compare(arms, split=split, metric='exact_match', group=group)
  return max(
    (
      pair
      for pair in pairs
      if pair.alteration.definition == 'empty'
      and pair.original.has_original_data
    ),
    key=lambda pair: (
      pair.alteration.examples == 'original',
      pair.original.training_amount,
    ),
    default=None,
  )


def _missing(split: str, is_untuned: bool) -> str:
  if is_untuned:
    return (
      'This needs the test conditions (TEST_CONDITIONS) with the original and '
      f'with no definition, both tested on the {split} split.'
    )
  return (
    'This needs the trainings with the original and with no definition, both '
    f'tested on the {split} split.'
  )


def _judge(
  pair: Comparison, group: Group, margins: ControlMargins
) -> tuple[str, str]:
  """Returns the status of a control, and the evidence."""
  if group == POSITIVE_CONTROL:
    decision = stats.above(pair.estimate, margins.positive)
    required = f'above {number(margins.positive)}'
    failure = _UNREAD_UNTUNED if pair.original.is_untuned else _UNREAD
  else:
    decision = stats.within(pair.estimate, margins.negative)
    required, failure = f'within ±{number(margins.negative)}', _NONEXISTENT
  ends = {
    PASSED: '.',
    FAILED: f': {failure}',
    UNCLEAR: f'.{_settled_by(decision, pair)}',
  }
  return decision.outcome, (
    f'{_evidence(pair, group)} The control requires an interval {required}'
    f'{ends[decision.outcome]}'
  )


def _evidence(pair: Comparison, group: Group) -> str:
  original, altered = (
    number(arm.value('exact_match', group))
    for arm in (pair.original, pair.altered)
  )
  return (
    f'Exact match is {original} with the original definition and {altered} '
    f'without one, a difference of {points(pair.interval)}.'
  )


def _settled_by(decision: Decision, pair: Comparison) -> str:
  """Says which numbers of tasks or of seeds would decide."""
  now = pair.interval
  parts = []
  if decision.num_tasks is not None:
    parts.append(
      f'{count(decision.num_tasks, "task")} like these instead of '
      f'{now.num_tasks:,}'
    )
  if decision.num_seeds is not None:
    parts.append(
      f'{count(decision.num_seeds, "training seed")} instead of '
      f'{now.num_seeds:,}'
    )
  if not parts and pair.original.is_untuned:
    return (
      ' The difference is too close to the margin for more tasks to decide.'
    )
  if not parts:
    return (
      ' The difference is too close to the margin for more tasks alone, or '
      'more training seeds alone, to decide.'
    )
  if len(parts) > 1:
    parts[-1] += ','
  return (
    f' About {", or ".join(parts)} would decide with a probability of 80% if '
    'the difference is as measured.'
  )
