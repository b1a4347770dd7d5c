"""Decomposes exact match into knowing the format and knowing the answer."""

from collections.abc import Sequence
import dataclasses
import math

from it_study.corpus.natinst import CONTROL_CATEGORIES
from it_study.evaluation import metrics
from it_study.evaluation.chance import skill, uniform_chance
from it_study.predictions import Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decomposition:
  """Decomposed exact match of the instances with a label space.

  exact_match = in_format * right_in_format + right_out_of_format. The last term
  is 0 if every reference is in its label space; exact match is then the product
  that the study reports. All shares are from 0 to 1.

  Attributes:
    num_instances: Number of instances.
    exact_match: Share of answers that are right.
    in_format: Share of answers that are a label of their task.
    right_in_format: Share of answers in format that are right; None without
      any.
    right_out_of_format: Share of all answers that are right but no label.
    guess: Expected share of right answers of a uniform guess.
    skill: Exact match corrected for chance (see `chance.skill`); None if a
      guess is always right.
    guess_in_format: Expected share of right answers of a uniform guess, over
      the instances whose answer is in format; None without any.
    skill_in_format: `right_in_format` corrected for `guess_in_format`; None
      without any answer in format or if such a guess is always right.
  """

  num_instances: int
  exact_match: float
  in_format: float
  right_in_format: float | None
  right_out_of_format: float
  guess: float
  skill: float | None
  guess_in_format: float | None
  skill_in_format: float | None


def decompose(rows: Sequence[Prediction]) -> Decomposition | None:
  """Decomposes the exact match of rows; None if no row has a label space."""
  scores, chances = [], []
  for row in rows:
    chance = uniform_chance(row.label_space, row.targets)
    # Without a label space there is no chance, and no format to keep.
    if chance is not None:
      scores.append(metrics.score_row(row))
      chances.append(chance)
  return decompose_scores(
    [score.exact_match for score in scores],
    [float(bool(score.in_format)) for score in scores],
    chances,
  )


def decompose_scores(
  exact_match: Sequence[float],
  in_format: Sequence[float],
  guess: Sequence[float],
) -> Decomposition | None:
  """Decomposes exact match given the scores of each instance.

  Args:
    exact_match: 1 for each right answer, else 0; [instances].
    in_format: 1 for each answer that is a label, else 0; [instances].
    guess: Probability that a uniform guess is right, from 0 to 1; [instances].

  Returns:
    The decomposition; None without instances.
  """
  count = len(exact_match)
  if not count:
    return None
  right, inside = math.fsum(exact_match), math.fsum(in_format)
  both = math.fsum(
    score * is_label
    for score, is_label in zip(exact_match, in_format, strict=True)
  )
  chance = math.fsum(guess) / count
  guess_in_format = skill_in_format = None
  if inside:
    guess_in_format = (
      math.fsum(
        share * is_label
        for share, is_label in zip(guess, in_format, strict=True)
      )
      / inside
    )
    skill_in_format = skill(both / inside, guess_in_format)
  return Decomposition(
    num_instances=count,
    exact_match=right / count,
    in_format=inside / count,
    right_in_format=both / inside if inside else None,
    right_out_of_format=(right - both) / count,
    guess=chance,
    skill=skill(right / count, chance),
    guess_in_format=guess_in_format,
    skill_in_format=skill_in_format,
  )


def decompositions(
  rows: Sequence[Prediction],
) -> dict[tuple[str, str], Decomposition]:
  """Decomposes the headline and each category, control and task.

  Returns:
    Decompositions by ('headline', 'classification'), ('category', name),
    ('control', category) and ('task', name), where there are label spaces.
    Control tasks count only in the last two.
  """
  groups: dict[tuple[str, str], list[Prediction]] = {}
  for row in rows:
    is_control = row.category in CONTROL_CATEGORIES
    if not is_control and row.label_space:
      groups.setdefault(('headline', 'classification'), []).append(row)
    if row.category is not None:
      kind = 'control' if is_control else 'category'
      groups.setdefault((kind, row.category), []).append(row)
    if row.task is not None:
      groups.setdefault(('task', row.task), []).append(row)
  return {
    key: parts
    for key, group in groups.items()
    if (parts := decompose(group)) is not None
  }


def sentence(parts: Decomposition) -> str:
  """Describes a decomposition in one sentence, in percent.

  >>> sentence(Decomposition(
  ...   num_instances=4, exact_match=0.25, in_format=0.5, right_in_format=0.5,
  ...   right_out_of_format=0.0, guess=0.5, skill=-0.5, guess_in_format=0.5,
  ...   skill_in_format=0.0))
  'Exact match 25.0% = 50.0% in format x 50.0% right of those; a guess 50.0%, \
skill -50.0%; of those in format a guess 50.0%, skill 0.0%.'
  """

  def percent(value: float | None) -> str:
    return 'not defined' if value is None else f'{100 * value:.1f}%'

  outside = (
    f' + {percent(parts.right_out_of_format)} right out of format'
    if parts.right_out_of_format
    else ''
  )
  return (
    f'Exact match {percent(parts.exact_match)} = {percent(parts.in_format)} in '
    f'format x {percent(parts.right_in_format)} right of those{outside}; a '
    f'guess {percent(parts.guess)}, skill {percent(parts.skill)}; of those in '
    f'format a guess {percent(parts.guess_in_format)}, skill '
    f'{percent(parts.skill_in_format)}.'
  )
