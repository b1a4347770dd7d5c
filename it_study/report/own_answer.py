"""Puts in words how models do on users' own tasks."""

from collections.abc import Callable, Sequence
import dataclasses

from it_study.evaluation.stats import intervals
from it_study.evaluation.stats.intervals import Estimate
from it_study.report import truncation
from it_study.report.answer import Answer
from it_study.report.arms import ALPHA, Arm, select
from it_study.report.results import Results, seeds_of
from it_study.report.scores import CHANCE, CLS, GEN, OVERALL, Group
from it_study.report.text import count


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
  """A score minus that of a guess or of the untuned model.

  Attributes:
    estimate: Estimate of the difference, in points.
    p_value: Holm-adjusted p-value of the hypothesis of no difference.
  """

  estimate: Estimate
  p_value: float

  @property
  def is_better(self) -> bool:
    """Whether the score is shown to be higher."""
    return self.p_value < ALPHA and self.estimate.mean > 0

  @property
  def is_worse(self) -> bool:
    """Whether the score is shown to be lower."""
    return self.p_value < ALPHA and self.estimate.mean < 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
  """How a model does on a test.

  Attributes:
    results: Results on the test.
    arm: The model's arm.
    group: Instances that are judged.
    metric: Metric that they are judged by.
    over_guess: Difference to a uniform guess; None where there are no labels.
    over_untuned: Difference to the untuned model; None for that model, or
      without it.
  """

  results: Results
  arm: Arm
  group: Group
  metric: str
  over_guess: Difference | None = None
  over_untuned: Difference | None = None


def outcomes(tests: Sequence[Results]) -> list[Outcome]:
  """Compares every model with a guess, and with the untuned model.

  Classification is judged by exact match, generation by ROUGE-L, and a test
  whose kind nobody declared by exact match.
  """
  found = []
  for results in tests:
    arms = results.arms
    models = select(arms, split='test', matched=True, untuned=True)
    models = [arm for arm in models if arm.scores is not None]
    kinds = [
      (group, metric)
      for group, metric in ((CLS, 'exact_match'), (GEN, 'rouge_l'))
      if any(arm.value(metric, group) is not None for arm in models)
    ]
    for group, metric in kinds or [(OVERALL, 'exact_match')]:
      found += [
        Outcome(results=results, arm=arm, group=group, metric=metric)
        for arm in models
      ]
  guesses = _adjusted(found, _minus_guess)
  gains = _adjusted(found, _minus_untuned)
  return [
    dataclasses.replace(one, over_guess=guess, over_untuned=gain)
    for one, guess, gain in zip(found, guesses, gains, strict=True)
  ]


def answer(tests: Sequence[Results]) -> Answer:
  """Puts the outcomes in words, claiming no more than was shown."""
  found = outcomes(tests)
  gains = [o.over_untuned for o in found if o.over_untuned is not None]
  guesses = [o.over_guess for o in found if o.over_guess is not None]
  sentences = []
  if gains:
    sentences.append(
      f'Training was shown to help in {sum(g.is_better for g in gains)} of '
      f'{count(len(gains), "comparison")} with the untuned model'
      f'{_harm(gains)}.'
    )
  if guesses:
    better = sum(guess.is_better for guess in guesses)
    worse = sum(guess.is_worse for guess in guesses)
    sentences.append(
      f'Of {count(len(guesses), "score")} on classification, {better} '
      f'{"is" if better == 1 else "are"} shown to be better than guessing'
      f'{f", {worse} worse" if worse else ""}.'
    )
  if not sentences:
    sentences = [
      'Nothing to compare yet.',
      'A trained model is compared with the untuned one, and classification '
      'with guessing.',
    ]
  return Answer(
    verdict=sentences[0],
    sentence=' '.join(sentences[1:]),
    caveats=_caveats(tests, len(gains), len(guesses)),
    controls=(),
    warnings=warnings(tests),
  )


def warnings(tests: Sequence[Results]) -> tuple[str, ...]:
  """Returns a warning for each test with many targets that are cut."""
  return tuple(
    dict.fromkeys(
      warning
      for results in tests
      for warning in truncation.cut_targets(
        results.arms, {'test': str(results.arms[0].test_task)}
      )
    )
  )


def _harm(gains: Sequence[Difference]) -> str:
  """Says in how many comparisons training was shown to harm."""
  worse = sum(gain.is_worse for gain in gains)
  return f', and to harm in {worse}' if worse else ''


def _caveats(
  tests: Sequence[Results], num_gains: int, num_guesses: int
) -> tuple[str, ...]:
  families = [
    f'{count(number, "comparison")} with {what}'
    for number, what in (
      (num_gains, 'the untuned model'),
      (num_guesses, 'guessing'),
    )
    if number
  ]
  caveats = [
    'Square brackets are 95% intervals over tasks like these, or over '
    'instances like these where a test has a single task.'
  ]
  if families:
    caveats.append(
      f'A difference counts as shown only if p is below {ALPHA:.0%} after '
      f'adjusting (Holm) for {" and, separately, for ".join(families)}.'
    )
  seeds = seeds_of([c for r in tests for arm in r.arms for c in arm.cells])
  if len(seeds) == 1:
    caveats.append(
      'There is only one training seed: the variation between seeds is unknown.'
    )
  return tuple(caveats)


def _adjusted(
  found: Sequence[Outcome], compare: Callable[[Outcome], Estimate | None]
) -> list[Difference | None]:
  """Returns the differences of one family, with adjusted p-values."""
  estimates = [compare(outcome) for outcome in found]
  known = [estimate for estimate in estimates if estimate is not None]
  adjusted = iter(intervals.adjust([e.p_value() for e in known]))
  return [
    None
    if estimate is None
    else Difference(estimate=estimate, p_value=next(adjusted))
    for estimate in estimates
  ]


def _minus_guess(outcome: Outcome) -> Estimate | None:
  if outcome.group != CLS:
    return None
  scores = outcome.arm.require_scores()
  return scores.minus(scores, outcome.metric, CLS, other_metric=CHANCE)


def _minus_untuned(outcome: Outcome) -> Estimate | None:
  untuned = [arm for arm in outcome.results.arms if arm.is_untuned]
  if not outcome.arm.is_trained or not untuned or untuned[0].scores is None:
    return None
  return outcome.arm.require_scores().minus(
    untuned[0].scores, outcome.metric, outcome.group
  )
