"""Tests of it_study.data.seqio_tasks.own_metrics."""

import seqio
import seqio_tasks_fixture as fixture

from it_study.data.seqio_tasks import instances, own_metrics


def _choice(text, example=None, is_target=False):
  del is_target
  options = [option.decode() for option in example['options']]
  return options.index(text) if text in options else -1


def accuracy(targets, predictions):
  hits = [t == p for t, p in zip(targets, predictions, strict=True)]
  return {'accuracy': seqio.metrics.Scalar(100 * sum(hits) / len(hits))}


def share_of_no(targets, predictions):
  return {'no': predictions.count(1) / len(targets), 'undefined': float('nan')}


def fails(targets, predictions):
  raise KeyError('f1')


def likelihood(targets, scores):
  return {'likelihood': sum(scores)}


def evaluate(predictions, **fields):
  task = fixture.add_task(
    'own', {'test': fixture.questions(4, options=['yes', 'no'])}, **fields
  )
  lengths = {'inputs': 32, 'targets': 8}
  rows = list(instances.load(task, lengths=lengths, split='test'))
  return own_metrics.evaluate(
    task,
    examples=[row['example'] for row in rows],
    predictions=predictions,
  )


def test_metrics_get_what_the_task_s_own_function_makes_of_texts():
  result = evaluate(
    ['yes', 'yes', 'perhaps', 'no'],
    postprocess_fn=_choice,
    metric_fns=[accuracy, share_of_no, fails, likelihood],
  )
  assert result.values == {'accuracy': 50.0, 'no': 0.25}
  assert result.not_run == {
    f'{__name__}.likelihood': 'it is not a function of targets and predictions',
    'undefined': 'its value is nan',
    f'{__name__}.fails': "KeyError: 'f1'",
  }


def test_targets_are_told_from_predictions():
  def keep_targets(text, example, is_target):
    return text if is_target else ''

  result = evaluate(
    ['yes', 'no', 'yes', 'no'],
    postprocess_fn=keep_targets,
    metric_fns=[accuracy],
  )
  assert result.values == {'accuracy': 0.0}


def test_without_a_function_of_its_own_texts_are_compared():
  assert evaluate(['yes', 'no', 'no', 'no'], metric_fns=[accuracy]) == (
    {'accuracy': 75.0},
    {},
  )
  assert evaluate(['yes'] * 4) == ({}, {})


def test_a_function_that_fails_is_a_reason():
  def breaks(text, **unused):
    raise ValueError('no such answer')

  result = evaluate(['a'] * 4, postprocess_fn=breaks, metric_fns=[accuracy])
  assert result == (
    {},
    {f'{__name__}.accuracy': 'ValueError: no such answer'},
  )
