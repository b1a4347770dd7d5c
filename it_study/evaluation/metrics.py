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

  `in_format` and `strict_in_format` are None for an instance without a label
  space. The strict scores are those of the first author's results notebook:
  nothing is normalised, and only the match with references strips white space.
  """

  exact_match: float
  rouge_1: float
  rouge_l: float
  in_format: bool | None
  strict_exact_match: float
  strict_in_format: bool | None


def exact_match(prediction: str, references: Iterable[str]) -> bool:
  """Returns whether a prediction equals a reference after normalisation.

  >>> exact_match('yes', ('Yes.', 'Yeah'))
  True
  """
  answer = _normalize(prediction)
  return any(answer == _normalize(text) for text in references)


def rouge(
  prediction: str, references: Iterable[str], *, scorer: Rouge | None = None
) -> tuple[float, float]:
  """Returns the best ROUGE-1 and ROUGE-L F-measure over references, 0 to 1.

  The rule of Super-NaturalInstructions (Wang et al. 2022): words are stemmed,
  and the two scores may come from different references. The cross-lingual track
  passes a `scorer` with another tokenizer; None is the English track.

  >>> rouge('the cats sat', ('a dog', 'cat sat the'))
  (1.0, 0.6666666666666666)
  """
  scorer = scorer or _english()
  scores = [scorer.score(prediction, reference) for reference in references]
  return max(one for one, _ in scores), max(long for _, long in scores)


def has_words(text: str) -> bool:
  """Returns whether English-track ROUGE finds any words in a text."""
  return _english().has_words(text)


def is_in_format(prediction: str, label_space: Iterable[str]) -> bool:
  """Returns whether a prediction equals a label after normalisation."""
  return exact_match(prediction, label_space)


def score_instance(
  prediction: str,
  references: Collection[str],
  *,
  label_space: Iterable[str] | None = None,
  scorer: Rouge | None = None,
) -> InstanceScore:
  """Scores one prediction against its references, at least one."""
  rouge_1, rouge_l = rouge(prediction, references, scorer=scorer)
  in_format = strict_in_format = None
  if label_space is not None:
    labels = tuple(label_space)
    in_format = is_in_format(prediction, labels)
    strict_in_format = prediction in labels
  stripped = prediction.strip()
  return InstanceScore(
    exact_match=float(exact_match(prediction, references)),
    rouge_1=rouge_1,
    rouge_l=rouge_l,
    in_format=in_format,
    strict_exact_match=float(
      any(stripped == text.strip() for text in references)
    ),
    strict_in_format=strict_in_format,
  )


def score_row(row: Prediction, *, scorer: Rouge | None = None) -> InstanceScore:
  """Scores a row of predictions.jsonl."""
  return score_instance(
    row.prediction, row.targets, label_space=row.label_space, scorer=scorer
  )


class Kinded(Protocol):
  """Anything with a category and a kind, such as a row of predictions."""

  @property
  def category(self) -> str | None: ...

  @property
  def kind(self) -> str | None: ...


def in_group(row: Kinded, group: str) -> bool:
  """Returns whether a row counts in a headline group, one of `GROUPS`."""
  return not _is_control(row) and group in ('overall', row.kind)


def compute_metrics(
  rows: Sequence[Prediction],
  *,
  generation_is_answered: bool = True,
  scorer: Rouge | None = None,
) -> dict:
  """Computes the contents of metrics.json: percentages, means over instances.

  Top level: `num_instances` counts all rows, controls included. `overall`,
  `classification` and `generation` leave controls out; they are None without
  instances. `by_category`, `by_task` and `controls` (by control category) map
  names to groups; control tasks are only in the last two. A row without a kind
  (of another system, scored without a corpus) makes `classification` and
  `generation` None; one without task or category is in no named group.

  A group is `{'num_tasks', 'num_instances', 'exact_match', 'rouge_1',
  'rouge_l', 'format_correctness', 'strict_exact_match',
  'strict_format_correctness'}` with unrounded percentages from 0 to 100.
  Format correctness is over the instances with a label space, None without
  any; `num_tasks` is None if a row does not name its task.

  `num_with_special_tokens` and `num_with_unknown_tokens` count the answers that
  such tokens were left out of; each is there only if it is not 0.

  Args:
    rows: Rows in any order; the result does not depend on it.
    generation_is_answered: Whether the rows answer generation. Otherwise they
      are a baseline's: `overall` and `generation` are None, and named groups
      with generation are left out.
    scorer: ROUGE scorer; None for that of the English track.
  """
  scored = [(row, score_row(row, scorer=scorer)) for row in rows]
  headline = [pair for pair in scored if not _is_control(pair[0])]
  kinds_are_known = all(row.kind is not None for row, _ in headline)

  def named(
    pairs: Sequence[_Scored], key: Callable[[Prediction], str | None]
  ) -> dict[str, dict | None]:
    groups: dict[str, list[_Scored]] = {}
    for row, score in pairs:
      name = key(row)
      if name is not None:
        groups.setdefault(name, []).append((row, score))
    return {
      name: _group(groups[name])
      for name in sorted(groups)
      if generation_is_answered
      or all(row.kind == CLASSIFICATION for row, _ in groups[name])
    }

  def of_kind(kind: str) -> dict | None:
    if not kinds_are_known:
      return None
    return _group([pair for pair in headline if pair[0].kind == kind])

  counts = {
    'num_with_special_tokens': sum(row.has_special_tokens for row in rows),
    'num_with_unknown_tokens': sum(row.has_unknown_tokens for row in rows),
  }
  return {
    'num_instances': len(scored),
    **{name: number for name, number in counts.items() if number},
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
  labelled = [score for score in scores if score.in_format is not None]
  return {
    'num_tasks': None if None in tasks else len(tasks),
    'num_instances': len(scores),
    'exact_match': _percent([score.exact_match for score in scores]),
    'rouge_1': _percent([score.rouge_1 for score in scores]),
    'rouge_l': _percent([score.rouge_l for score in scores]),
    'format_correctness': _percent([bool(s.in_format) for s in labelled]),
    'strict_exact_match': _percent([s.strict_exact_match for s in scores]),
    'strict_format_correctness': _percent(
      [bool(s.strict_in_format) for s in labelled]
    ),
  }


def _percent(values: Sequence[float]) -> float | None:
  """Returns a mean in percent; None without values."""
  if not values:
    return None
  # `fsum` is exact, so the order of the rows does not matter.
  return 100.0 * math.fsum(values) / len(values)


def _normalize(text: str) -> str:
  if len(text) < 1024:
    return _cached_normalize(text)
  return normalize_answer(text)


# Labels and references repeat often.
_cached_normalize = functools.lru_cache(maxsize=1 << 16)(normalize_answer)


@functools.cache
def _english() -> Rouge:
  return Rouge()
