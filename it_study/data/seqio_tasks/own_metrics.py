"""Runs the metrics that a SeqIO task brings along."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Callable, Iterator, Mapping, Sequence
import math
from typing import Any, NamedTuple

import numpy as np
import seqio

from it_study.errors import function_name


class OwnMetrics(NamedTuple):
  """Results of a task's own metrics.

  Attributes:
    values: Value of each metric by name: a finite number or a text.
    not_run: Reason by name of each metric, or its function, without a value.
  """

  values: dict[str, float | str]
  not_run: dict[str, str]


def evaluate(
  task: seqio.Task,
  *,
  examples: Sequence[Mapping[str, Any]],
  predictions: Sequence[str],
) -> OwnMetrics:
  """Runs a task's `postprocess_fn` and `metric_fns`, as SeqIO's evaluator does.

  Whatever fails is a reason in the result, so that it loses no prediction.
  Metrics of log-likelihoods and metric objects are not run.

  Args:
    task: Task of the examples.
    examples: Features of each example.
    predictions: Predicted text of each example.
  """
  values: dict[str, float | str] = {}
  not_run = {
    type(metric).__name__: 'metric objects are not run, only metric_fns'
    for metric in task._metric_objs_constructor_args
  }
  functions = task._metric_fn_constructor_args
  if not functions:
    return OwnMetrics(values, not_run)
  try:
    to_run = task.predict_metric_fns
    for function in functions:
      if function not in to_run:
        not_run[function_name(function)] = (
          'it is not a function of targets and predictions'
        )
    targets = [
      task.postprocess_fn(_target(task, row), example=row, is_target=True)
      for row in examples
    ]
    outputs = [
      task.postprocess_fn(text, example=row, is_target=False)
      for text, row in zip(predictions, examples, strict=True)
    ]
  except Exception as error:
    reason = f'{type(error).__name__}: {error}'
    return OwnMetrics(
      values, dict.fromkeys(map(function_name, functions), reason)
    )
  for function in to_run:
    for name, value in _results(function, targets, outputs):
      if name in values:
        not_run[function_name(function)] = f'another one is named {name!r}'
      elif isinstance(value, Exception):
        not_run[name] = f'{type(value).__name__}: {value}'
      elif isinstance(value, str) or math.isfinite(value):
        values[name] = value
      else:
        not_run[name] = f'its value is {value}'
  return OwnMetrics(values, not_run)


def _results(
  function: Callable[..., Any], targets: Sequence, outputs: Sequence
) -> Iterator[tuple[str, float | str | Exception]]:
  """Yields the results of a metric by name, or what it raised."""
  try:
    for name, value in function(targets, outputs).items():
      # Of SeqIO's classes, a scalar and a text have a value to write.
      value = getattr(value, 'value', getattr(value, 'textdata', value))
      is_text = isinstance(value, str)
      yield name, value if is_text else float(np.asarray(value))
  except Exception as error:
    yield function_name(function), error


def _target(task: seqio.Task, example: Mapping[str, Any]) -> str:
  text = example.get('targets_pretokenized')
  if isinstance(text, bytes):
    return text.decode()
  vocabulary = task.output_features['targets'].vocabulary
  return vocabulary.decode([int(token) for token in example['targets']])
