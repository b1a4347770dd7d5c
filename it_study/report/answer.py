"""Puts a study's outcome in words."""

from collections.abc import Sequence
import dataclasses

from it_study.evaluation.stats.intervals import Interval
from it_study.evaluation.stats.margins import MARGIN, ControlMargins
from it_study.report import controls, surfaces, truncation
from it_study.report.arms import (
  ALPHA,
  Arm,
  Comparison,
  are_untuned,
  compare,
  select,
)
from it_study.report.controls import Control
from it_study.report.curves import AMOUNTS, Curve, crossing_text
from it_study.report.results import seeds_of
from it_study.report.scores import CHANCE, CLS
from it_study.report.text import count, join, number, points

# With fewer tasks, a few of them decide how wide an interval is.
_FEW_TASKS = 30
# With fewer training seeds, the variation between seeds is only roughly known.
_FEW_SEEDS = 10
_CONTROL_MARGINS = ControlMargins()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
  """The study's outcome in words.

  Attributes:
    verdict: Outcome in a few words.
    sentence: Evidence for the verdict.
    caveats: Limits of the evidence, one sentence or two each.
    controls: Outcomes of the controls; empty if none was tested.
    warnings: Explanations of a difference other than the instructions.
  """

  verdict: str
  sentence: str
  caveats: tuple[str, ...]
  controls: tuple[Control, ...]
  warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Chance:
  """Expected exact match of a uniform guess.

  Attributes:
    expected: Expected exact match, in points.
    standard_deviation: Standard deviation of the mean of a single draw, in
      points; None if unknown.
  """

  expected: float
  standard_deviation: float | None


def chance(arms: Sequence[Arm], split: str) -> Chance | None:
  """Returns the expected score of guessing on a split's classification."""
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


def answer(
  arms: Sequence[Arm],
  *,
  margin: float = MARGIN,
  control_margins: ControlMargins = _CONTROL_MARGINS,
  curves: Sequence[Curve] = (),
) -> Answer:
  """Puts the study's outcome in words, claiming no more than was shown.

  A difference counts as shown if its p-value, adjusted for the number of
  comparisons (Holm), is below 5%. Equivalence counts as shown if, adjusted in
  the same way, both one-sided tests rule out a difference beyond the margin.
  Whatever neither test shows stays open.

  In a study with a sweep, instructions are compared at the largest amount of
  training data.

  Args:
    arms: Scored arms of the study.
    margin: Largest difference, in points, that counts as none.
    control_margins: Margins of the controls.
    curves: Curves of a sweep, which give the answer if no two instructions can
      be compared.
  """
  pairs = compare(
    arms, split='test', metric='exact_match', group=CLS, margin=margin
  )
  outcomes = controls.controls(arms, margins=control_margins)
  verdict, sentence = _verdict_and_evidence(arms, pairs, curves, outcomes)
  return Answer(
    verdict=verdict,
    sentence=sentence,
    caveats=(*controls.caveats(outcomes), *_caveats(arms, pairs)),
    controls=outcomes,
    warnings=(*truncation.warnings(arms), *surfaces.warnings(arms, pairs)),
  )


def _verdict_and_evidence(
  arms: Sequence[Arm],
  pairs: Sequence[Comparison],
  curves: Sequence[Curve],
  outcomes: Sequence[Control],
) -> tuple[str, str]:
  failed = controls.fatal(outcomes)
  if failed:
    categories = dict.fromkeys(control.group.name for control in failed)
    names = join([f'the {category.lower()}' for category in categories])
    return (
      'No answer: this study cannot be trusted.',
      f'{names[0].upper()}{names[1:]} failed, so the numbers below say nothing '
      'about instructions.',
    )
  # Instructions are compared on the real data.
  pairs = [pair for pair in pairs if pair.original.has_original_data]
  is_untuned = are_untuned(arms)
  if not pairs and curves:
    return _curve_answer(curves[0])
  if not pairs and is_untuned:
    return (
      'No answer yet.',
      'No trained model was tested on the test split, and no two conditions of '
      'the untuned one differ only in their instructions, so there is nothing '
      'to compare.',
    )
  if not pairs:
    return (
      'No answer yet.',
      'No two finished trainings tested on the test split differ only in their '
      f'instructions, so there is nothing to compare.{_missing(arms)}',
    )
  most = max(pair.original.training_amount for pair in pairs)
  pairs = [pair for pair in pairs if pair.original.training_amount == most]
  original = pairs[0].original
  scores = original.require_scores()
  estimate = scores.minus(scores, 'exact_match', CLS, other_metric=CHANCE)
  over_chance = None if estimate is None else estimate.interval()
  judge = _untuned_verdict if is_untuned else _verdict
  return (
    judge(pairs, over_chance),
    f'{_against_chance(original, over_chance)}; {_effects(pairs)}.',
  )


def _missing(arms: Sequence[Arm]) -> str:
  """Names the condition to add so that there is something to compare."""
  trained = [
    arm.condition
    for arm in select(arms, split='test', matched=True)
    if arm.condition is not None
  ]
  if not trained:
    return ''
  original = trained[0].with_original_instructions()
  missing = original.name
  if original in trained:
    missing = dataclasses.replace(original, definition='empty').name
  return (
    f' Unless it is still to be trained, add {missing} to the conditions '
    '(run_study.conditions or named_conditions.names) and run the study again '
    'in this folder: finished cells are kept.'
  )


def _curve_answer(curve: Curve) -> tuple[str, str]:
  """Verdict and evidence of a sweep over training data alone."""
  score = number(curve.arms[-1].value('exact_match', CLS))
  noun = AMOUNTS[curve.field].lower()
  sentence = (
    f'By {noun}, exact match on unseen classification tasks '
    f'{crossing_text(curve)}; at the largest amount, {curve.amounts[-1]:,} '
    f'{noun}, it is {score}%.'
  )
  crossing = curve.crossing
  if crossing is None or crossing.amount is None:
    return 'Tuning was not shown to beat guessing.', sentence
  return 'Tuning beats guessing once there is enough data.', sentence


def _verdict(pairs: Sequence[Comparison], over_chance: Interval | None) -> str:
  helped = [pair for pair in pairs if pair.helps]
  # Removing an instruction also removes what outputs look like. Only an
  # alteration that keeps this can tell following from guessing.
  followed = [pair for pair in helped if not pair.removes_part]
  above = over_chance is not None and over_chance.low > 0
  below = over_chance is not None and over_chance.high < 0
  if followed and above:
    return 'They followed the instructions, at least in part.'
  if followed:
    return (
      'The instructions mattered, but the models were not shown to beat '
      'guessing.'
    )
  if helped:
    return (
      'The instructions helped, but the models were not shown to follow them.'
    )
  with_format = [pair for pair in pairs if not pair.removes_part]
  if with_format and all(pair.is_equivalent for pair in with_format):
    return 'Damaged instructions work as well as the real ones.'
  if above:
    return 'Better than guessing, but not shown to follow the instructions.'
  if below:
    return 'Worse than guessing.'
  return 'Not shown to differ from guessing.'


def _untuned_verdict(
  pairs: Sequence[Comparison], over_chance: Interval | None
) -> str:
  """Says whether a model follows the definition, or only its label space."""
  helped = [pair for pair in pairs if pair.helps]
  followed = [pair for pair in helped if not pair.removes_part]
  if any(pair.alteration.examples == 'original' for pair in followed):
    if over_chance is not None and over_chance.low > 0:
      return 'This model follows the definition, at least in part.'
    return (
      'The definition matters to this model, but it was not shown to beat '
      'guessing.'
    )
  if followed:
    return (
      'The instructions matter to this model, but it was not shown to follow '
      'the definition.'
    )
  if any(
    pair.harms
    and (pair.alteration.definition, pair.alteration.examples)
    == ('simplified', 'original')
    for pair in pairs
  ):
    return (
      'This model does better with the label space alone than with the whole '
      'definition.'
    )
  if helped:
    return (
      'The instructions help this model, but it was not shown to follow the '
      'definition beyond its label space.'
    )
  return _verdict(pairs, over_chance)


def _against_chance(original: Arm, over_chance: Interval | None) -> str:
  score = original.value('exact_match', CLS)
  if original.is_untuned:
    start = (
      'Untuned, and tested with the real instructions, the model gets '
      f'{number(score)}% of classification instances exactly right '
      f'({number(original.value("format_correctness", CLS))}% in format)'
    )
  else:
    start = (
      'Trained and tested with the real instructions, the model gets '
      f'{number(score)}% of unseen classification instances exactly right'
    )
  if over_chance is None or score is None:
    return start
  guess = number(score - over_chance.mean)
  difference = f'{guess}%, a difference of {points(over_chance)}'
  if over_chance.low > 0:
    return f'{start}, more than random guessing ({difference})'
  if over_chance.high < 0:
    return f'{start}, less than random guessing ({difference})'
  return f'{start}, not shown to differ from random guessing ({difference})'


def _effects(pairs: Sequence[Comparison]) -> str:
  """What altering the instructions does, as clauses of a sentence."""
  equivalent = [pair for pair in pairs if pair.is_equivalent]
  other = [pair for pair in pairs if not pair.is_equivalent]
  helped = [pair for pair in other if pair.helps]
  harmed = [pair for pair in other if pair.harms]
  unclear = [pair for pair in other if not (pair.helps or pair.harms)]
  parts = []
  if helped:
    parts.append(f'altering the instructions costs {_listed(helped)}')
  if harmed:
    them = 'them' if helped else 'the instructions'
    parts.append(f'altering {them} gains {_listed(harmed, sign=-1)}')
  if equivalent:
    margin = number(equivalent[0].equivalence.margin)
    parts.append(
      f'differences of more than {margin} points either way are ruled out for '
      f'{_names(equivalent, pairs, "all")}'
    )
  if unclear:
    largest = number(max(pair.largest for pair in unclear))
    possible = f'up to {largest} points either way remain possible'
    if not any(pair.estimate.varies or pair.estimate.mean for pair in unclear):
      possible = (
        f'no score differs, which leaves little to judge by: {possible}'
      )
    parts.append(
      f'no difference was shown for {_names(unclear, pairs, "any of the")} '
      f'({possible})'
    )
  return join(parts)


def _names(
  some: Sequence[Comparison], pairs: Sequence[Comparison], quantifier: str
) -> str:
  """Names the alterations of some pairs, or counts them if it is all pairs."""
  if len(some) == len(pairs) > 2:
    return f'{quantifier} {len(some)} altered instructions'
  return join([_name(pair) for pair in some])


def _listed(pairs: Sequence[Comparison], *, sign: int = 1) -> str:
  return join(
    [
      f'{number(sign * pair.interval.mean)} points ({_name(pair)})'
      for pair in pairs
    ]
  )


def _name(pair: Comparison) -> str:
  """What was altered, in a few words."""
  condition, parts = pair.alteration, []
  if condition.definition != 'original':
    level = 'no' if condition.definition == 'empty' else condition.definition
    parts.append(f'{level} definition')
  if condition.examples != 'original':
    level = 'no' if condition.examples == 'empty' else condition.examples
    parts.append(f'{level} examples')
  return ' and '.join(parts)


def _caveats(
  arms: Sequence[Arm], pairs: Sequence[Comparison]
) -> tuple[str, ...]:
  caveats = []
  if pairs:
    margin = number(pairs[0].equivalence.margin)
    caveats.append(
      'Square brackets are 95% intervals over tasks like these. A difference '
      f'between instructions counts as shown, and one of more than {margin} '
      f'points as ruled out, only if p is below {ALPHA:.0%} after adjusting '
      'for multiple comparisons (Holm, '
      f'{count(len(pairs), "comparison")}).'
    )
    tasks = pairs[0].interval.num_tasks
    if tasks < _FEW_TASKS:
      caveats.append(
        f'The test split has only {count(tasks, "classification task")}: '
        'intervals over so few are wide and approximate.'
      )
  if are_untuned(arms):
    caveats.append(
      'No trained model was tested: this says how one model uses instructions, '
      'and nothing about what instruction tuning teaches. “Unseen” tasks are '
      'those of the test split; whether the model knew them is not known.'
    )
  cells = [cell for arm in arms for cell in arm.cells]
  seeds = seeds_of(cells)
  if len(seeds) == 1:
    caveats.append(
      'There is only one training seed: the variation between seeds is unknown.'
    )
  elif seeds:
    few = (
      ', which is only roughly known with so few'
      if len(seeds) < _FEW_SEEDS
      else ''
    )
    caveats.append(
      f'Scores are means over {count(len(seeds), "training seed")}; the '
      f'intervals include the variation between seeds{few}.'
    )
  if not select(arms, split='test', untuned=True):
    caveats.append('The untuned model was not tested.')
  return tuple(caveats)
