"""Baselines that need no model, and what chance is expected to score."""

import bisect
from collections.abc import Iterator, Mapping, Sequence
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
# These have no answer to generation: they predict the empty string there.
_LABEL_BASELINES = ('random', 'majority', 'prior')
_DRAWING_BASELINES = ('random', 'prior')


def run_baseline(
  name: str, *, corpus: Corpus, split: str = 'test', seed: int = 0
) -> list[Prediction]:
  """Predicts every instance of a split, control tasks included.

  * `random`: a label drawn uniformly from the task's label space, in which
    labels that exact match cannot tell apart count as one.
  * `prior`: a label drawn by how often it is a reference among the task's
    instances that are not scored (on test, those after the first 100), or
    among its positive examples where there are no such instances or none of
    them has a label of the space. Where these are none either: uniformly.
  * `majority`: the most frequent of the same counts, ties by label order.
  * `copy_input`: the instance's input. `copy_demo`: the output of the task's
    first positive example, or the empty string where there is none.

  An instance with several references counts for each of their labels once.
  The first three predict the empty string for generation. A draw hangs on
  (seed, instance id, name) alone.

  Returns:
    Rows by task and position, engine 'baseline:NAME', both conditions None,
    `inputs` the instance's bare input.

  Raises:
    InputError: for an unknown name or split, or a task that cannot be read.
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
  """The metrics of `run_baseline`, as `metrics.compute_metrics` gives them.

  `random`, `majority` and `prior` leave `overall` and `generation` None, and
  leave out categories and tasks that hold generation. `random` and `prior` add
  `expected` (see `expected_score`) to `classification`.
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
  """Like `baseline_metrics`, of rows that are there already.

  Without a corpus nothing is known of what chance is expected to score, and
  `expected` is left out.
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
  """Expected exact match of one draw over the classification instances.

  With p_i the probability that the draw for instance i is accepted, that is
  the weight of the labels which one of its references equals, and draws that
  are independent, the mean over n instances has the expectation sum(p_i) / n
  and the standard deviation sqrt(sum(p_i (1 - p_i))) / n. Control tasks are
  left out.

  Returns:
    `{'exact_match', 'standard_deviation'}` in percentage points, or None for a
    baseline that draws nothing and for a split without classification.
  """
  _check_name(name)
  if name not in _DRAWING_BASELINES:
    return None
  accepted = [
    share
    for task, share in acceptance(name, corpus=corpus, split=split)
    if task.category not in CONTROL_CATEGORIES
  ]
  if not accepted:
    return None
  variance = math.fsum(p * (1 - p) for p in accepted)
  return {
    'exact_match': 100.0 * math.fsum(accepted) / len(accepted),
    'standard_deviation': 100.0 * math.sqrt(variance) / len(accepted),
  }


def acceptance(
  name: str, *, corpus: Corpus, split: str = 'test'
) -> Iterator[tuple[Task, float]]:
  """Each classification instance's task, and how probably it is right.

  With several references it is the weight of all the labels that one of them
  equals. A baseline that draws nothing is right for certain, or wrong.
  """
  _check_name(name)
  for draw in draws(name, corpus=corpus, split=split):
    hits = [
      weight
      for right, weight in zip(draw.is_right, draw.weights, strict=True)
      if right
    ]
    yield draw.task, sum(hits) / sum(draw.weights)


class Draw(NamedTuple):
  """What a baseline may answer to a classification instance.

  Attributes:
    task: of the instance.
    weights: of the possible answers, in proportion to their probability.
    is_right: whether each is accepted.
  """

  task: Task
  weights: tuple[int, ...]
  is_right: tuple[bool, ...]


def draws(name: str, *, corpus: Corpus, split: str = 'test') -> Iterator[Draw]:
  """What a baseline may answer to each classification instance of a split."""
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
  """What a baseline's rows have for `engine`.

  >>> engine_name('random')
  'baseline:random'
  """
  return f'baseline:{name}'


def baseline_of(rows: Sequence[Prediction]) -> str | None:
  """The baseline that predicted all of `rows`, or None."""
  engines = {row.engine for row in rows}
  for name in BASELINES:
    if engines == {engine_name(name)}:
      return name
  return None


def answers_generation(rows: Sequence[Prediction]) -> bool:
  """Whether rows answer generation, of which some baselines say nothing."""
  return baseline_of(rows) not in _LABEL_BASELINES


def leaves_out_categories(result: Mapping) -> bool:
  """Whether metrics lack categories of which the headline counts a part.

  So it is where a baseline abstains from generation, and a category holds some
  beside classification: `by_category` then has fewer instances than
  `classification`.
  """
  headline = result['classification']
  if headline is None or result['overall'] is not None:
    return False
  shown = sum(
    group['num_instances'] for group in result['by_category'].values()
  )
  return shown < headline['num_instances']


def _check_name(name: str) -> None:
  if name not in BASELINES:
    raise InputError(
      f'baseline {name!r} is unknown; there are {", ".join(BASELINES)}.'
      f'{nearest(name, BASELINES)}'
    )


def _weighted(
  name: str, corpus: Corpus, split: str
) -> Iterator[tuple[Task, Instance, tuple[str, ...], tuple[int, ...]]]:
  """Every instance of a split with its task's labels and their weights."""
  task_name, labels, weights = None, (), ()
  for task, instance in corpus.rows(split):
    if task.name != task_name:
      task_name = task.name
      labels = merge_labels(task.label_space or ())
      weights = (1,) * len(labels)
      if name in ('majority', 'prior') and labels:
        weights = _count_labels(labels, task, corpus, split) or weights
    yield task, instance, labels, weights


def _count_labels(
  labels: Sequence[str], task: Task, corpus: Corpus, split: str
) -> tuple[int, ...] | None:
  """How often each label is a reference outside of what is scored."""
  scored = {instance.id for instance in corpus.instances(task.name, split)}
  others = [
    instance.outputs
    for instance in corpus.load(task.name).instances
    if instance.id not in scored
  ]
  examples = [(example.output,) for example in task.positive_examples]
  for outputs in (others, examples):
    answers = [{normalize_answer(text) for text in texts} for texts in outputs]
    counts = tuple(
      sum(normalize_answer(label) in texts for texts in answers)
      for label in labels
    )
    if any(counts):
      return counts
  return None


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
  # `random()` alone gives the same in every version of Python.
  draw = stable_random(seed, instance.id, engine_name(name)).random()
  bounds = list(itertools.accumulate(weights))
  return labels[bisect.bisect_right(bounds, draw * bounds[-1])]
