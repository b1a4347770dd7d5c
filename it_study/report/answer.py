"""Did the models follow the instructions, or guess? Controls, then words."""

from collections.abc import Sequence
import dataclasses
import math

from it_study.evaluation.stats.comparison import MARGIN
from it_study.evaluation.stats.intervals import Interval
from it_study.report import truncation
from it_study.report.arms import Arm, Comparison, compare, select
from it_study.report.curves import AMOUNTS, Curve, crossing_text
from it_study.report.results import groups_of, seeds_of
from it_study.report.scores import CHANCE, CLS, Group
from it_study.report.text import count, join, limits, number

POSITIVE_CONTROL = Group('control', 'Positive Control')
NEGATIVE_CONTROL = Group('control', 'Negative Control')
# The original definition must beat the empty one by more than this: at chance
# the difference is 0, for a model that reads the definition about 50.
POSITIVE_MARGIN = 40.0
# Beyond this a difference is no longer near 0; twice as much is what an
# interval may leave open.
NEGATIVE_MARGIN = 10.0
# With fewer, a few tasks decide how wide an interval is.
_FEW_TASKS = 30
# Training seeds below which how much they differ is known but roughly.
_FEW_SEEDS = 10

PASSED, FAILED, UNCLEAR, ABSENT = 'passed', 'failed', 'unclear', 'absent'
_NO_CONTROLS = (
  'This corpus has no control tasks, so the study cannot show by itself that '
  'it would notice a model that follows instructions.'
)
_CONTROLS_NOT_TESTED = (
  'No control was tested: control tasks are training tasks, and this study '
  'tests on the test split alone (run_study.splits). So it cannot show by '
  'itself that it would notice a model that follows instructions.'
)


@dataclasses.dataclass(frozen=True)
class Control:
  """A control's outcome: `status` is one of the four above."""

  name: str
  status: str
  text: str


@dataclasses.dataclass(frozen=True)
class Answer:
  """The verdict in a few words, one sentence of evidence, and what limits it.

  Attributes:
    verdict: a few words.
    sentence: the evidence.
    caveats: of every study of its kind.
    warnings: what may explain a difference besides the instructions.
  """

  verdict: str
  sentence: str
  caveats: tuple[str, ...]
  warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Chance:
  """Exact match that a uniform guess is expected to score, in points.

  `standard_deviation` is that of one draw's mean; None where not known.
  """

  expected: float
  standard_deviation: float | None


def chance(arms: Sequence[Arm], split: str) -> Chance | None:
  """What guessing is expected to score on a split's classification tasks."""
  for arm in arms:
    if arm.split == split and arm.baseline == 'random':
      expected = (arm.cells[0].metrics['classification'] or {}).get('expected')
      if expected:
        return Chance(expected['exact_match'], expected['standard_deviation'])
  for arm in arms:
    if arm.split == split and arm.scores is not None:
      points = arm.scores.values[CHANCE][0, arm.scores.mask(CLS)]
      if len(points):
        return Chance(float(points.mean()), None)
  return None


def no_controls(arms: Sequence[Arm]) -> str:
  """What to say where there are no controls."""
  if any(arm.split == 'validation' for arm in arms):
    return _NO_CONTROLS
  return _CONTROLS_NOT_TESTED


def controls(arms: Sequence[Arm]) -> tuple[Control, ...]:
  """The positive and the negative control; empty if the corpus has none."""
  present = groups_of(arms, 'control', 'validation')
  outcomes = []
  for group, judge in (
    (POSITIVE_CONTROL, _judge_positive),
    (NEGATIVE_CONTROL, _judge_negative),
  ):
    if group not in present:
      continue
    pairs = [
      pair
      for pair in compare(
        arms, split='validation', metric='exact_match', group=group
      )
      if pair.altered.condition.definition == 'empty'
    ]
    if pairs:
      outcomes.append(judge(pairs[0], group))
    else:
      outcomes.append(
        Control(
          group.name,
          ABSENT,
          'It cannot be judged yet: that takes the trainings with the original '
          'and with no definition, both tested on validation.',
        )
      )
  return tuple(outcomes)


def answer(
  arms: Sequence[Arm],
  *,
  margin: float = MARGIN,
  curves: Sequence[Curve] = (),
) -> Answer:
  """Puts the study's outcome in words, by rules that claim no more than shown.

  A difference counts as shown when its p-value, adjusted for the number of
  comparisons (Holm), is below 5%; equivalence likewise, when both one-sided
  tests rule out a difference beyond the margin. What neither shows stays open.

  Args:
    arms: of the study, scored.
    margin: largest difference, in points, that counts as none.
    curves: of a sweep; they answer where no two instructions are compared. A
      comparison is told at the most training data.
  """
  pairs = compare(
    arms, split='test', metric='exact_match', group=CLS, margin=margin
  )
  failed = [c for c in controls(arms) if c.status == FAILED]
  if failed:
    names = join([f'the {control.name.lower()}' for control in failed])
    return Answer(
      'No answer: this study cannot be trusted.',
      f'{names[0].upper()}{names[1:]} failed, so the numbers '
      'below say nothing about instructions.',
      _caveats(arms, pairs),
      truncation.warnings(arms),
    )
  if not pairs and curves:
    return Answer(
      *_curve_answer(curves[0]),
      _caveats(arms, pairs),
      truncation.warnings(arms),
    )
  if not pairs:
    return Answer(
      'No answer yet.',
      'No two finished trainings on the test split differ in their '
      'instructions alone, so nothing can be compared.',
      _caveats(arms, pairs),
      truncation.warnings(arms),
    )
  every, pairs = pairs, _most_data(pairs)
  original = pairs[0].original
  over_chance = original.scores.minus(
    original.scores, 'exact_match', CLS, other_metric=CHANCE
  ).interval()
  verdict = _verdict(pairs, over_chance)
  sentence = f'{_against_chance(original, over_chance)}; {_effects(pairs)}.'
  return Answer(
    verdict, sentence, _caveats(arms, every), truncation.warnings(arms)
  )


def _most_data(pairs: Sequence[Comparison]) -> tuple[Comparison, ...]:
  """The comparisons of the models that were trained on most."""

  def amount(pair: Comparison) -> tuple[float, int]:
    condition = pair.original.condition
    tasks = condition.num_tasks
    return (math.inf if tasks is None else tasks, condition.instances_per_task)

  most = max(map(amount, pairs))
  return tuple(pair for pair in pairs if amount(pair) == most)


def _curve_answer(curve: Curve) -> tuple[str, str]:
  """Verdict and evidence of a sweep over training data alone."""
  best = curve.arms[-1]
  score = number(best.value('exact_match', CLS))
  amount = f'{curve.amounts[-1]:,} {AMOUNTS[curve.field].lower()}'
  sentence = (
    f'By {AMOUNTS[curve.field].lower()}, exact match on unseen classification '
    f'{crossing_text(curve)}; with the most, {amount}, it is {score}%.'
  )
  crossing = curve.crossing
  if crossing is None or crossing.amount is None:
    return 'Tuning was not shown to beat guessing.', sentence
  return 'Tuning beats guessing once there is enough data.', sentence


def _judge_positive(pair: Comparison, group: Group) -> Control:
  passed = pair.interval.mean > POSITIVE_MARGIN
  evidence = _control_evidence(pair, group)
  if passed:
    text = f'{evidence} More than {POSITIVE_MARGIN:.0f} were asked for.'
  else:
    text = (
      f'{evidence} More than {POSITIVE_MARGIN:.0f} are needed: these tasks '
      'cannot be solved without reading the definition, so this model has not '
      'learned to read it, or this study cannot see that it has.'
    )
  return Control(group.name, PASSED if passed else FAILED, text)


def _judge_negative(pair: Comparison, group: Group) -> Control:
  interval = pair.interval
  evidence = _control_evidence(pair, group)
  is_off = abs(interval.mean) > NEGATIVE_MARGIN
  if is_off and (interval.low > 0 or interval.high < 0):
    text = (
      f'{evidence} It should be near 0: on these tasks the definition says '
      'nothing that helps, so this study sees differences that are not there.'
    )
    return Control(group.name, FAILED, text)
  if is_off or pair.largest > 2 * NEGATIVE_MARGIN:
    text = f'{evidence} It should be near 0; the interval is too wide to tell.'
    return Control(group.name, UNCLEAR, text)
  text = (
    f'{evidence} It should be near 0; up to {NEGATIVE_MARGIN:.0f} points '
    'either way count as that.'
  )
  return Control(group.name, PASSED, text)


def _control_evidence(pair: Comparison, group: Group) -> str:
  scores = [
    number(arm.value('exact_match', group))
    for arm in (pair.original, pair.altered)
  ]
  return (
    f'Exact match {scores[0]} with the original definition, {scores[1]} '
    f'without: a difference of {_points(pair.interval)}.'
  )


def _verdict(pairs: Sequence[Comparison], over_chance: Interval | None) -> str:
  helped = [pair for pair in pairs if pair.helps]
  # Taking an instruction away also takes away what outputs look like; only an
  # alteration that leaves that in place tells following from guessing.
  followed = [pair for pair in helped if not _takes_away(pair.altered)]
  above = over_chance is not None and over_chance.low > 0
  below = over_chance is not None and over_chance.high < 0
  if followed and above:
    return 'They followed the instructions, at least in part.'
  if followed:
    return 'The instructions mattered, but guessing was not shown to be beaten.'
  if helped:
    return 'The instructions helped, but following them was not shown.'
  kept_format = [pair for pair in pairs if not _takes_away(pair.altered)]
  if kept_format and all(pair.is_equivalent for pair in kept_format):
    return 'Damaged instructions do as well as the real ones.'
  if above:
    return 'Better than guessing, but not shown to follow the instructions.'
  if below:
    return 'Worse than guessing.'
  return 'Not shown to do anything but guess.'


def _takes_away(arm: Arm) -> bool:
  return 'empty' in (arm.condition.definition, arm.condition.examples)


def _against_chance(original: Arm, over_chance: Interval | None) -> str:
  score = number(original.value('exact_match', CLS))
  start = (
    'Trained and tested on the real instructions, the model answers '
    f'{score}% of unseen classification instances exactly right'
  )
  if over_chance is None:
    return start
  expected = over_chance.mean
  guess = number(original.value('exact_match', CLS) - expected)
  difference = f'{guess}%, a difference of {_points(over_chance)}'
  if over_chance.low > 0:
    return f'{start}, more than random guessing ({difference})'
  if over_chance.high < 0:
    return f'{start}, less than random guessing ({difference})'
  return f'{start}, not shown to differ from random guessing ({difference})'


def _effects(pairs: Sequence[Comparison]) -> str:
  same = [pair for pair in pairs if pair.is_equivalent]
  shown = [pair for pair in pairs if pair not in same]
  helped = [pair for pair in shown if pair.helps]
  harmed = [pair for pair in shown if pair.harms]
  rest = [pair for pair in shown if not (pair.helps or pair.harms)]
  parts = []
  if helped:
    parts.append(f'altering the instructions costs {_listed(helped)}')
  if harmed:
    parts.append(f'altering them gains {_listed(harmed, sign=-1)}')
  if same:
    margin = number(same[0].equivalence.margin)
    parts.append(
      f'more than {margin} points either way are ruled out for '
      f'{_whom(same, pairs)}'
    )
  if rest:
    open_ = [pair.largest for pair in rest if not pair.is_degenerate]
    # Where nothing varies, resampling cannot tell what else is possible.
    possible = (
      f'up to {number(max(open_))} points either way remain possible'
      if open_
      else 'no score differs, which leaves nothing to judge by'
    )
    parts.append(
      f'no difference in this could be shown for {_whom(rest, pairs)} '
      f'({possible})'
    )
  return join(parts)


def _whom(some: Sequence[Comparison], pairs: Sequence[Comparison]) -> str:
  if len(some) == len(pairs) > 2:
    return f'any of the {len(some)} altered instructions'
  return join([_name(pair.altered) for pair in some])


def _listed(pairs: Sequence[Comparison], *, sign: int = 1) -> str:
  return join(
    [
      f'{number(sign * pair.interval.mean)} points ({_name(pair.altered)})'
      for pair in pairs
    ]
  )


def _name(arm: Arm) -> str:
  """What was altered, in a few words."""
  condition, parts = arm.condition, []
  if condition.definition != 'original':
    level = 'no' if condition.definition == 'empty' else condition.definition
    parts.append(f'{level} definition')
  if condition.examples != 'original':
    level = 'no' if condition.examples == 'empty' else condition.examples
    parts.append(f'{level} examples')
  return ' and '.join(parts)


def _points(interval: Interval) -> str:
  return (
    f'{number(interval.mean, signed=True)} points '
    f'{limits(interval, signed=True)}'
  )


def _caveats(
  arms: Sequence[Arm], pairs: Sequence[Comparison]
) -> tuple[str, ...]:
  caveats = []
  if pairs:
    caveats.append(
      'Square brackets are 95% intervals for tasks like these. Of the '
      f'{count(len(pairs), "comparison")} of instructions, a difference counts '
      'as shown, and one beyond '
      f'{number(pairs[0].equivalence.margin)} points as ruled out, only if '
      'that holds after p-values are adjusted for their number (Holm).'
    )
    tasks = pairs[0].interval.num_tasks
    if tasks < _FEW_TASKS:
      caveats.append(
        f'Only {count(tasks, "classification task")} in the test split: '
        'intervals from so few are wide and rough.'
      )
  cells = [cell for arm in arms for cell in arm.cells]
  seeds = seeds_of(cells)
  if len(seeds) == 1:
    caveats.append('One training seed: how much seeds differ is not known.')
  elif seeds:
    few = ', roughly, as they are so few' if len(seeds) < _FEW_SEEDS else ''
    caveats.append(
      f'Means over {count(len(seeds), "training seed")}; the intervals cover '
      f'how much seeds differ{few}.'
    )
  if not select(arms, split='test', untuned=True):
    caveats.append('The untuned model has not been tested.')
  return tuple(caveats)
