"""Tests of the spread of exact match over the prompts of a data set."""

from it_study.evaluation import prompt_spread
from it_study.evaluation.prompt_spread import Spread
from it_study.predictions import Prediction


def rows_of(category, task, *answers):
  return [
    Prediction(
      id=str(place),
      task=task,
      category=category,
      kind='classification',
      label_space=('yes', 'no'),
      position=place,
      split='test',
      inputs='?',
      targets=('yes',),
      prediction=answer,
    )
    for place, answer in enumerate(answers)
  ]


def test_the_spread_is_over_the_tasks_of_a_category():
  rows = [
    *rows_of('b', 'b.1', 'yes', 'no'),
    *rows_of('a', 'a.4', 'yes'),
    *rows_of('a', 'a.1', 'no', 'no'),
    *rows_of('a', 'a.2', 'yes', 'no', 'no', 'no'),
    *rows_of('a', 'a.3', 'yes', 'no'),
    *rows_of(None, 'c', 'yes'),
  ]
  first, second = prompt_spread.spreads(rows)
  assert first == Spread(
    category='a',
    median=37.5,
    q1=18.75,
    q3=62.5,
    by_task={'a.1': 0.0, 'a.2': 25.0, 'a.3': 50.0, 'a.4': 100.0},
  )
  assert str(first) == 'a: median 37.5, quartiles 18.8 to 62.5, over 4 tasks'
  assert str(second) == 'b: median 50.0, quartiles 50.0 to 50.0, over 1 task'
