"""predictions.jsonl and inference.json, the record of a prediction."""

from it_study.data import quiet_tensorflow  # noqa: F401  # isort: skip

from collections.abc import Mapping, Sequence
import functools
import json
import logging
import time
from typing import Any

import seqio

from it_study import predictions, seqio_lib
from it_study.conditions import Condition
from it_study.corpus import natinst, task_kinds
from it_study.data import row_source, vocabularies
from it_study.data.seqio_tasks import own_metrics
from it_study.engines import prediction_rows
from it_study.engines.prediction_rows import PredictionInputs
from it_study.inference import label_spaces
from it_study.inference.answers import Answer
from it_study.instructions import labels
from it_study.predictions import POSITION, Prediction
from it_study.storage import text_files

_logger = logging.getLogger(__name__)


def write(
  inputs: PredictionInputs,
  answers: Sequence[Answer],
  *,
  engine: str,
  num_kept_answers: int = 0,
) -> None:
  """Writes predictions.jsonl, and inference.json beside it.

  Args:
    inputs: Rows and settings of the prediction.
    answers: One answer per row.
    engine: Name of the engine.
    num_kept_answers: Number of answers that were in the cache before.
  """
  settings, training = inputs.settings, inputs.training
  names = dict.fromkeys(row['seqio_task'] for row in inputs.rows)
  facts = {name: _facts_of(name, settings.split) for name in names}
  lines = []
  for row, answer in zip(inputs.rows, answers, strict=True):
    of_task = facts[row['seqio_task']]
    lines.append(
      to_prediction(
        row,
        task=of_task['tasks'].get(row['task'].decode()),
        vocabulary=inputs.vocabulary,
        condition=of_task['condition'],
        prediction=answer.text,
        raw_prediction=answer.raw,
        scores=answer.scores,
        split=settings.split,
        engine=engine,
        train_condition=training.get('mixture_or_task_name'),
        test_condition=row['seqio_task'],
        seed=training.get('seed', settings.seed),
      )
    )
  predictions.write_predictions(inputs.path, lines)
  _advise(lines)
  summary = {
    'engine': engine,
    **_decoding_summary(inputs),
    'num_instances': len(inputs.rows),
    'num_kept_answers': num_kept_answers,
    **_truncation_summary(inputs),
    **_own_metrics(inputs.rows, answers),
    'seconds': time.monotonic() - inputs.started,
  }
  text_files.write_text(
    inputs.path.with_name('inference.json'),
    json.dumps(summary, indent=2) + '\n',
  )


def to_prediction(
  row: Mapping[str, Any],
  *,
  task: natinst.Task | None,
  vocabulary: seqio.Vocabulary,
  condition: Condition | None = None,
  **fields: Any,
) -> Prediction:
  """Returns a line of predictions.jsonl.

  Args:
    row: Row from `load_instances`.
    task: NatInst task of the row; None if it is of a SeqIO task of the user's
      own.
    vocabulary: Vocabulary of the prompt.
    condition: Condition of the prompt, which may rename labels; None if no
      single one is known.
    **fields: Split, prediction, scores, engine, conditions and seed.
  """
  # The row's own label space, as its condition may have renamed the task's.
  label_space = tuple(label.decode() for label in row['label_space'])
  targets = tuple(reference.decode() for reference in row['references'])
  prior = None
  if condition is not None and task is not None:
    prior = labels.prior_references(
      task=task, references=targets, condition=condition
    )
  return Prediction(
    id=row['id'].decode(),
    task=row['task'].decode(),
    category=row['category'] if task is None else task.category,
    kind=row['kind'] if task is None else task.kind,
    label_space=label_space or None,
    position=int(row['position']),
    inputs=vocabularies.readable(
      vocabulary, row['inputs_pretokenized'].decode()
    ),
    targets=targets,
    prior_targets=prior,
    id_source=None if row.get('has_own_id', True) else POSITION,
    **fields,
  )


def _facts_of(name: str, split: str) -> dict[str, Any]:
  """Returns what the rows of a SeqIO task have in common, by field.

  'tasks' has its NatInst tasks by name.
  """
  task = seqio_lib.find_task(name)
  condition = prediction_rows.condition_of(task)
  if condition is not None and split != 'train':
    condition = condition.for_test()
  source = row_source.source_of(task)
  tasks = {} if source is None else source.metadata()['tasks']
  return {'condition': condition, 'tasks': tasks}


def _advise(lines: Sequence[Prediction]) -> None:
  """Says how to declare tasks of which nobody said what kind they are."""
  by_task: dict[str, list[tuple[str, ...]]] = {}
  for line in lines:
    if line.kind is None:
      by_task.setdefault(line.task or '', []).append(line.targets)
  for name, targets in by_task.items():
    kind, label_space = task_kinds.judge(instance_outputs=targets)
    guess = f'kind={kind!r}'
    if label_space is not None:
      guess = f'label_space={sorted(label_space)}'
    _logger.warning(
      '%s: its kind is not declared, so scores leave it out of classification '
      'and generation. By its targets it might be: '
      'it_study.seqio_lib.declare(%r, %s).',
      name,
      name,
      guess,
    )


def _own_metrics(
  rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]
) -> dict[str, Any]:
  """Returns what the metrics of the user's own tasks give, if they have any."""
  by_task: dict[str, list[tuple[Any, str]]] = {}
  for row, answer in zip(rows, answers, strict=True):
    if 'example' in row:
      pairs = by_task.setdefault(row['seqio_task'], [])
      pairs.append((row['example'], answer.text))
  values, not_run = {}, {}
  for name, pairs in by_task.items():
    examples, texts = zip(*pairs, strict=True)
    result = own_metrics.evaluate(
      seqio_lib.find_task(name), examples=examples, predictions=texts
    )
    if result.values:
      values[name] = result.values
    if result.not_run:
      not_run[name] = result.not_run
    for metric, reason in result.not_run.items():
      _logger.warning(
        '%s: its own metric %s has no value: %s.', name, metric, reason
      )
  summary = {'task_metrics': values, 'task_metrics_not_run': not_run}
  return {name: found for name, found in summary.items() if found}


def _decoding_summary(inputs: PredictionInputs) -> dict[str, Any]:
  decoding = inputs.settings.decoding
  summary = {'decoding': decoding.method, **decoding.settings(decoding.method)}
  if decoding.is_constrained or decoding.is_ranked:
    lacking = label_spaces.unspellable(
      inputs.rows, vocabulary=inputs.vocabulary
    )
    if lacking:
      summary |= {
        'unspellable_labels': decoding.unspellable_labels,
        'num_unspellable_labels': sum(map(len, lacking.values())),
        'num_unspellable_tasks': len(lacking),
      }
  return summary


def _truncation_summary(inputs: PredictionInputs) -> dict[str, Any]:
  """Counts what did not fit in the maximum lengths."""
  rows = inputs.rows
  longest = inputs.settings.task_feature_lengths['targets']

  @functools.cache
  def fits(answer: bytes) -> bool:
    return len(inputs.vocabulary.encode(answer.decode())) < longest

  def is_reachable(row: Mapping[str, Any]) -> bool:
    start = row.get('answer_start', b'')
    return any(fits(start + reference) for reference in row['references'])

  return {
    'num_shortened': sum(bool(row['shortened']) for row in rows),
    'num_dropped_examples': sum(
      int(row['num_dropped_examples']) for row in rows
    ),
    # Share of the instance's text, in characters; the mean over instances.
    'input_kept': sum(float(row['input_kept']) for row in rows) / len(rows),
    # No answer is a reference, end of sequence included.
    'num_unreachable': sum(not is_reachable(row) for row in rows),
  }
