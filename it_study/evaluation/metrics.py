"""Exact match, ROUGE and format correctness, by instance and by group."""

from collections.abc import Callable, Collection, Iterable, Sequence
import functools
import math
from typing import NamedTuple, Protocol

from it_study.corpus.natinst import CONTROL_CATEGORIES
from it_study.corpus.normalization import normalize_answer
from it_study.corpus.task_kinds import CLASSIFICATION, GENERATION
from it_study.evaluation.rouge import Rouge
from it_study.predictions import Prediction

GROUPS = ('overall', CLASSIFICATION, GENERATION)


class InstanceScore(NamedTuple):
  """The scores of one prediction, each from 0 to 1.

  `in_format` is None for an instance without a label space.
  """

  exact_match: float
  rouge_1: float
  rouge_l: float
  in_format: bool | None


def exact_match(prediction: str, references: Iterable[str]) -> bool:
  """Whether a prediction equals a reference after `normalize_answer`.

  >>> exact_match('yes', ('Yes.', 'Yeah'))
  True
  """
  answer = _normalize(prediction)
  return any(answer == _normalize(text) for text in references)


def rouge(
  prediction: str, references: Iterable[str], *, scorer: Rouge | None = None
) -> tuple[float, float]:
  """ROUGE-1 and ROUGE-L F-measure, each best over the references, from 0 to 1.

  Super-NaturalInstructions' rule (Wang et al. 2022): words are stemmed, and
  the best reference may differ between the two. `scorer` splits words in
  another way, as the cross-lingual track does.

  >>> rouge('the cats sat', ('a dog', 'cat sat the'))
  (1.0, 0.6666666666666666)
  """
  scorer = scorer or _english()
  scores = [scorer.score(prediction, reference) for reference in references]
  return max(one for one, _ in scores), max(long for _, long in scores)


def has_words(text: str) -> bool:
  """Whether ROUGE on the English track sees anything in a text."""
  return _english().has_words(text)


def is_in_format(prediction: str, label_space: Iterable[str]) -> bool:
  """Whether a prediction is a label under exact match's normalisation."""
  return exact_match(prediction, label_space)


def score_instance(
  prediction: str,
  references: Collection[str],
  *,
  label_space: Iterable[str] | None = None,
  scorer: Rouge | None = None,
) -> InstanceScore:
  """Scores one prediction against its references, of which it needs one."""
  rouge_1, rouge_l = rouge(prediction, references, scorer=scorer)
  return InstanceScore(
    exact_match=float(exact_match(prediction, references)),
    rouge_1=rouge_1,
    rouge_l=rouge_l,
    in_format=None
    if label_space is None
    else is_in_format(prediction, label_space),
  )


def score_row(row: Prediction, *, scorer: Rouge | None = None) -> InstanceScore:
  """Scores a row of predictions.jsonl."""
  return score_instance(
    row.prediction, row.targets, label_space=row.label_space, scorer=scorer
  )


class Kinded(Protocol):
  """What has a category and a kind, as a row of predictions has."""

  category: str | None
  kind: str | None


def in_group(row: Kinded, group: str) -> bool:
  """Whether a row counts in a headline group, one of `GROUPS`."""
  return not _is_control(row) and group in ('overall', row.kind)


def compute_metrics(
  rows: Sequence[Prediction],
  *,
  generation_is_answered: bool = True,
  scorer: Rouge | None = None,
) -> dict:
  """The contents of metrics.json: percentages, means over instances.

  Top level: `num_instances` counts every row, controls included; `overall`,
  `classification` and `generation` are over what is no control, and None where
  there is nothing; `by_category`, `by_task` and `controls` (by control
  category) are name to group. Control tasks are in the last two only. A row
  without a kind (of another system, scored without a corpus) leaves
  `classification` and `generation` None; one without task or category is in no
  group by that name.

  A group is `{'num_tasks', 'num_instances', 'exact_match', 'rouge_1',
  'rouge_l', 'format_correctness'}`, percentages from 0 to 100, not rounded.
  `format_correctness` is over the instances with a label space, None without
  any; `num_tasks` is None where a row does not name its task.

  Args:
    rows: any order; the result does not depend on it.
    generation_is_answered: False for a baseline that has no answer to
      generation. `overall` and `generation` are then None, and a group by name
      that holds generation is left out.
    scorer: splits words for ROUGE in another way than the English track.
  """
  scored = [(row, score_row(row, scorer=scorer)) for row in rows]
  headline = [pair for pair in scored if not _is_control(pair[0])]
  kinds_are_known = all(row.kind is not None for row, _ in headline)

  def named(pairs: Sequence[_Scored], key: Callable[[Prediction], str | None]):
    groups: dict[str, list[_Scored]] = {}
    for row, score in pairs:
      if key(row) is not None:
        groups.setdefault(key(row), []).append((row, score))
    return {
      name: _group(groups[name])
      for name in sorted(groups)
      if generation_is_answered
      or all(row.kind == CLASSIFICATION for row, _ in groups[name])
    }

  def of_kind(kind: str):
    if not kinds_are_known:
      return None
    return _group([pair for pair in headline if pair[0].kind == kind])

  return {
    'num_instances': len(scored),
    'overall': _group(headline) if generation_is_answered else None,
    'classification': of_kind(CLASSIFICATION),
    'generation': of_kind(GENERATION) if generation_is_answered else None,
    'by_category': named(headline, lambda row: row.category),
    'by_task': named(scored, lambda row: row.task),
    'controls': named(
      [pair for pair in scored if _is_control(pair[0])],
      lambda row: row.category,
    ),
  }


_Scored = tuple[Prediction, InstanceScore]


def _is_control(row: Kinded) -> bool:
  return row.category in CONTROL_CATEGORIES


def _group(pairs: Sequence[_Scored]) -> dict | None:
  if not pairs:
    return None
  tasks = {row.task for row, _ in pairs}
  scores = [score for _, score in pairs]
  judged = [score.in_format for score in scores if score.in_format is not None]
  return {
    'num_tasks': None if None in tasks else len(tasks),
    'num_instances': len(scores),
    'exact_match': _percent([score.exact_match for score in scores]),
    'rouge_1': _percent([score.rouge_1 for score in scores]),
    'rouge_l': _percent([score.rouge_l for score in scores]),
    'format_correctness': _percent(judged) if judged else None,
  }


def _percent(values: Sequence[float]) -> float:
  # `fsum` is exact, so that the order of the rows cannot show.
  return 100.0 * math.fsum(values) / len(values)


def _normalize(text: str) -> str:
  return _kept_normalize(text) if len(text) < 1024 else normalize_answer(text)


# Labels and references come up again and again.
_kept_normalize = functools.lru_cache(maxsize=1 << 16)(normalize_answer)


@functools.cache
def _english() -> Rouge:
  return Rouge()
