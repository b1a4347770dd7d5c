"""Exact match taken apart: knowing the form of an answer, and the answer."""

from collections.abc import Sequence
import dataclasses
import math

from it_study.corpus.natinst import CONTROL_CATEGORIES
from it_study.evaluation import metrics
from it_study.evaluation.chance import skill, uniform_chance
from it_study.predictions import Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decomposition:
  """Exact match of the instances with a label space, taken apart.

  exact_match = in_format * right_in_format + right_out_of_format. The last is 0
  wherever every reference is in its label space; then exact match is the
  product that the study speaks of.

  Attributes:
    num_instances: instances.
    exact_match: share that is right, from 0 to 1, as all others.
    in_format: share of answers that are a label of their task.
    right_in_format: share of those that are right; None if there are none.
    right_out_of_format: share of all answers that are right and no label.
    guess: share that a uniform guess is expected to have right.
    skill: exact match beyond chance (see `chance.skill`); None where a guess is
      always right.
    guess_in_format: share that a uniform guess is expected to have right on the
      instances whose answer is in format; None if there are none.
    skill_in_format: right_in_format beyond guess_in_format, likewise; None as
      well where there are none.
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
  """Takes the exact match of rows apart; None if none has a label space."""
  rows = [row for row in rows if row.label_space]
  scores = [metrics.score_row(row) for row in rows]
  return decompose_scores(
    [score.exact_match for score in scores],
    [float(bool(score.in_format)) for score in scores],
    [uniform_chance(row.label_space, row.targets) for row in rows],
  )


def decompose_scores(
  exact_match: Sequence[float],
  in_format: Sequence[float],
  guess: Sequence[float],
) -> Decomposition | None:
  """Takes exact match apart, of scores by instance.

  Args:
    exact_match: 1 for a right answer, else 0; one an instance, as all others.
    in_format: 1 for an answer that is a label, else 0.
    guess: share of uniform guesses that are right.

  Returns:
    None without instances.
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
  """Of all, of each category, control and task that has label spaces.

  Returns:
    ('headline', 'classification'), ('category', name), ('control', category)
    and ('task', name) to the decomposition there. Control tasks enter the last
    two only.
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
  found = {key: decompose(several) for key, several in groups.items()}
  return {key: value for key, value in found.items() if value is not None}


def sentence(parts: Decomposition) -> str:
  """A decomposition in words, in percent.

  >>> sentence(Decomposition(
  ...   num_instances=4, exact_match=0.25, in_format=0.5, right_in_format=0.5,
  ...   right_out_of_format=0.0, guess=0.5, skill=-0.5, guess_in_format=0.5,
  ...   skill_in_format=0.0))
  'Exact match 25.0% = 50.0% in format x 50.0% right of those; a guess 50.0%, \
skill -50.0%; of those in format a guess 50.0%, skill 0.0%.'
  """

  def percent(value: float | None) -> str:
    return 'undefined' if value is None else f'{100 * value:.1f}%'

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
