"""Baselines that need no model, and the score expected by chance."""

import bisect
import collections
from collections.abc import Iterator, Mapping, Sequence
import functools
import itertools
import math
from typing import NamedTuple

from it_study.corpus.natinst import CONTROL_CATEGORIES, Corpus, Instance, Task
from it_study.corpus.normalization import merge_labels, normalize_answer
from it_study.corpus.task_kinds import CLASSIFICATION
from it_study.errors import InputError, nearest
from it_study.evaluation import metrics
from it_study.evaluation.rouge import Rouge
from it_study.predictions import Prediction
from it_study.seeding import stable_random

BASELINES = ('random', 'majority', 'prior', 'copy_input', 'copy_demo')
# These abstain from generation: they predict the empty string.
_LABEL_BASELINES = ('random', 'majority', 'prior')
_DRAWING_BASELINES = ('random', 'prior')


def run_baseline(
  name: str, *, corpus: Corpus, split: str = 'test', seed: int = 0
) -> list[Prediction]:
  """Predicts every instance of a split, control tasks included.

  * `random`: a label drawn uniformly from the task's label space, where labels
    that exact match cannot tell apart count as one.
  * `prior`: a label drawn in proportion to how often it is a reference of the
    task's unscored instances (on test, those after the first 100). Without any
    such reference the positive examples are counted; without any of those the
    draw is uniform.
  * `majority`: the label with the highest count of `prior`; ties go to the
    first in the label space.
  * `copy_input`: the instance's input. `copy_demo`: the output of the task's
    first positive example, or the empty string without examples.

  An instance with several references counts once for each of their labels. The
  first three predict the empty string for generation. A draw depends only on
  (seed, instance id, name).

  Args:
    name: One of `BASELINES`.
    corpus: Corpus to predict.
    split: Split to predict: 'train', 'validation' or 'test'.
    seed: Seed of the draws.

  Returns:
    Rows sorted by task and position, with engine 'baseline:NAME', no
    conditions, and the instance's bare input as `inputs`.

  Raises:
    InputError: If the name or split is unknown, or a task cannot be read.
  """
  _check_name(name)
  rows = [
    Prediction.of_instance(
      task,
      instance,
      split=split,
      inputs=instance.input,
      prediction=_predict(name, task, instance, labels, weights, seed),
      seed=seed,
      engine=engine_name(name),
    )
    for task, instance, labels, weights in _weighted(name, corpus, split)
  ]
  return sorted(rows, key=lambda row: (row.task, row.position))


def baseline_metrics(
  name: str, *, corpus: Corpus, split: str = 'test', seed: int = 0
) -> dict:
  """Computes the metrics of `run_baseline`; see `metrics.compute_metrics`.

  For `random`, `majority` and `prior`, `overall` and `generation` are None, and
  categories and tasks with generation are left out. For `random` and `prior`,
  `classification` also has `expected` (see `expected_score`).
  """
  rows = run_baseline(name, corpus=corpus, split=split, seed=seed)
  return metrics_of_rows(name, rows, corpus=corpus, split=split)


def metrics_of_rows(
  name: str,
  rows: Sequence[Prediction],
  *,
  corpus: Corpus | None,
  split: str = 'test',
  scorer: Rouge | None = None,
) -> dict:
  """Like `baseline_metrics`, for rows that have been predicted before.

  Without a corpus `expected` is unknown and left out.
  """
  _check_name(name)
  result = metrics.compute_metrics(
    rows,
    generation_is_answered=name not in _LABEL_BASELINES,
    scorer=scorer,
  )
  if result['classification'] is not None and corpus is not None:
    expected = expected_score(name, corpus=corpus, split=split)
    if expected is not None:
      result['classification']['expected'] = expected
  return result


def expected_score(
  name: str, *, corpus: Corpus, split: str = 'test'
) -> dict[str, float] | None:
  """Computes the expected exact match of a draw over classification instances.

  Let p_i be the probability that the draw for instance i is correct: the total
  weight of the labels that equal one of its references. Draws are independent,
  so the mean over n instances has expectation sum(p_i) / n and standard
  deviation sqrt(sum(p_i (1 - p_i))) / n. Control tasks are left out.

  Returns:
    `{'exact_match', 'standard_deviation'}` in percentage points; None for a
    baseline that does not draw or a split without classification.
  """
  _check_name(name)
  if name not in _DRAWING_BASELINES:
    return None
  chances = [
    chance
    for task, chance in acceptance(name, corpus=corpus, split=split)
    if task.category not in CONTROL_CATEGORIES
  ]
  if not chances:
    return None
  variance = math.fsum(p * (1 - p) for p in chances)
  return {
    'exact_match': 100.0 * math.fsum(chances) / len(chances),
    'standard_deviation': 100.0 * math.sqrt(variance) / len(chances),
  }


def acceptance(
  name: str, *, corpus: Corpus, split: str = 'test'
) -> Iterator[tuple[Task, float]]:
  """Yields each classification instance's task and probability of being right.

  The probability is the total weight of the labels that equal one of the
  references; 0 or 1 for a baseline that does not draw.
  """
  for draw in draws(name, corpus=corpus, split=split):
    hits = [
      weight
      for right, weight in zip(draw.is_right, draw.weights, strict=True)
      if right
    ]
    yield draw.task, sum(hits) / sum(draw.weights)


class Draw(NamedTuple):
  """The possible answers of a baseline to one classification instance.

  Attributes:
    task: Task of the instance.
    weights: Weight of each answer, proportional to its probability.
    is_right: Whether each answer is correct.
  """

  task: Task
  weights: tuple[int, ...]
  is_right: tuple[bool, ...]


def draws(name: str, *, corpus: Corpus, split: str = 'test') -> Iterator[Draw]:
  """Yields the possible answers to each classification instance of a split."""
  _check_name(name)
  for task, instance, labels, weights in _weighted(name, corpus, split):
    if task.kind != CLASSIFICATION:
      continue
    if name not in _DRAWING_BASELINES:
      labels = (_predict(name, task, instance, labels, weights, 0),)
      weights = (1,)
    yield Draw(
      task,
      weights,
      tuple(metrics.exact_match(label, instance.outputs) for label in labels),
    )


def engine_name(name: str) -> str:
  """Returns the `engine` of a baseline's rows.

  >>> engine_name('random')
  'baseline:random'
  """
  return f'baseline:{name}'


def baseline_of(rows: Sequence[Prediction]) -> str | None:
  """Returns the baseline that predicted all of `rows`, or None."""
  engines = {row.engine for row in rows}
  for name in BASELINES:
    if engines == {engine_name(name)}:
      return name
  return None


def with_answers(corpus: Corpus, *, split: str) -> tuple[str, ...]:
  """Returns the baselines that can answer an instance of a split.

  Some draw labels, which may be missing, and one repeats an example's output.
  """
  tasks = [task for task, _ in corpus.rows(split)]
  missing: set[str] = set()
  if not any(task.label_space for task in tasks):
    missing |= set(_LABEL_BASELINES)
  if not any(task.positive_examples for task in tasks):
    missing.add('copy_demo')
  return tuple(name for name in BASELINES if name not in missing)


def answers_generation(rows: Sequence[Prediction]) -> bool:
  """Returns whether rows answer generation; some baselines abstain."""
  return baseline_of(rows) not in _LABEL_BASELINES


def leaves_out_categories(result: Mapping) -> bool:
  """Returns whether metrics lack categories that count in the headline.

  This happens when a baseline abstains from generation and a category mixes
  generation with classification: `by_category` then covers fewer instances
  than `classification`.
  """
  headline = result['classification']
  if headline is None or result['overall'] is not None:
    return False
  num_instances = sum(
    group['num_instances'] for group in result['by_category'].values()
  )
  return num_instances < headline['num_instances']


def _check_name(name: str) -> None:
  if name not in BASELINES:
    raise InputError(
      f'baseline {name!r} is unknown; expected one of {", ".join(BASELINES)}.'
      f'{nearest(name, BASELINES)}'
    )


def _weighted(
  name: str, corpus: Corpus, split: str
) -> Iterator[tuple[Task, Instance, tuple[str, ...], tuple[int, ...]]]:
  """Yields every instance with its task, the task's labels and weights."""

  @functools.cache
  def counts_of(task_name: str) -> tuple[collections.Counter[str], ...]:
    return _label_counts(task_name, corpus, split)

  seen: tuple[str, tuple[str, ...] | None] | None = None
  labels: tuple[str, ...] = ()
  weights: tuple[int, ...] = ()
  for task, instance in corpus.rows(split):
    if (task.name, task.label_space) != seen:
      seen = (task.name, task.label_space)
      labels = merge_labels(task.label_space or ())
      weights = (1,) * len(labels)
      if name in ('majority', 'prior') and labels:
        keys = [normalize_answer(label) for label in labels]
        counts = (
          tuple(counter[key] for key in keys)
          for counter in counts_of(task.name)
        )
        weights = next(filter(any, counts), weights)
    yield task, instance, labels, weights


def _label_counts(
  task_name: str, corpus: Corpus, split: str
) -> tuple[collections.Counter[str], ...]:
  """Counts the references of unscored instances, and those of examples.

  An instance counts once for each of its references, normalised.
  """
  scored = {instance.id for instance in corpus.instances(task_name, split)}
  file = corpus.load(task_name)
  unscored = [i.outputs for i in file.instances if i.id not in scored]
  examples = [(example.output,) for example in file.task.positive_examples]
  return tuple(
    collections.Counter(
      key for texts in outputs for key in set(map(normalize_answer, texts))
    )
    for outputs in (unscored, examples)
  )


def _predict(
  name: str,
  task: Task,
  instance: Instance,
  labels: Sequence[str],
  weights: Sequence[int],
  seed: int,
) -> str:
  if name == 'copy_input':
    return instance.input
  if name == 'copy_demo':
    examples = task.positive_examples
    return examples[0].output if examples else ''
  if not labels:
    return ''
  if name == 'majority':
    return labels[weights.index(max(weights))]
  # Of all methods only `random()` is stable across versions of Python.
  draw = stable_random(seed, instance.id, engine_name(name)).random()
  bounds = list(itertools.accumulate(weights))
  return labels[bisect.bisect_right(bounds, draw * bounds[-1])]
