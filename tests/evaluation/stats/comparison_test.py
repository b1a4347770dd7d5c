"""Tests of paired comparisons of prediction files."""

import dataclasses
import io
import math

import pytest
from rich import console

from it_study.commands.score_tables import print_comparison
from it_study.errors import InputError
from it_study.evaluation.score import score_rows
from it_study.evaluation.stats.comparison import (
  Changes,
  PairedRows,
  compare,
)
from it_study.evaluation.stats.margins import check_margin
from it_study.predictions import Prediction


def make_rows(predictions, *, task='t{}', category='C', kind='classification'):
  """Rows, ten to a task, whose one reference is 'yes'."""
  return [
    Prediction(
      id=f'i{k}',
      task=task.format(k // 10),
      category=category,
      kind=kind,
      label_space=('yes', 'no') if kind == 'classification' else None,
      position=k % 10,
      split='test',
      inputs='',
      targets=('yes',),
      prediction=prediction,
      engine='native',
    )
    for k, prediction in enumerate(predictions)
  ]


def test_a_difference_is_in_points_and_over_its_group():
  rows = (
    make_rows(['yes'] * 20)
    + make_rows(['x'] * 10, task='g{}', kind='generation')
    + make_rows(['x'] * 10, task='c{}', category='Positive Control')
  )
  others = [dataclasses.replace(row, prediction='no') for row in rows]
  pairs = PairedRows([(rows, others)])
  found = pairs.difference('exact_match', 'classification')
  assert (found.first, found.second, found.estimate.mean) == (100, 0, 100)
  assert (found.estimate.num_tasks, found.estimate.num_instances) == (2, 20)
  overall = pairs.difference('rouge_l')
  assert overall.estimate.mean == pytest.approx(200 / 3)
  assert overall.estimate.num_tasks == 3
  in_format = pairs.difference('format_correctness', 'Positive Control')
  assert (in_format.first, in_format.second) == (0, 100)
  assert pairs.difference('format_correctness', 'generation') is None
  assert pairs.categories() == ['C', 'Positive Control']


def test_identical_files_tell_as_much_as_they_have_tasks():
  rows = make_rows(['yes', 'no'] * 15)
  found = PairedRows([(rows, rows)]).difference('exact_match')
  interval = found.estimate.interval()
  # With a tail of 2.5%, none of 3 tasks bounds their share to 70.8%.
  assert (interval.mean, interval.low, interval.high) == (
    0,
    pytest.approx(-70.76, abs=0.005),
    pytest.approx(70.76, abs=0.005),
  )
  many = make_rows(['yes', 'no'] * 500)
  assert len({row.task for row in many}) == 100
  found = PairedRows([(many, many)]).difference('exact_match')
  assert found.estimate.equivalence(3).p_value == pytest.approx(0.97**100)
  assert not found.estimate.equivalence(3).holds


def test_a_planted_difference_is_found_whatever_the_order():
  better = make_rows(['yes'] * 50)
  worse = make_rows((['yes'] * 8 + ['no'] * 2 + ['yes'] * 7 + ['no'] * 3) * 2)
  worse += make_rows(['no'] * 10, task='t4')
  worse = [
    dataclasses.replace(row, id=f'i{k}', task=f't{k // 10}')
    for k, row in enumerate(worse)
  ]
  found = PairedRows([(better, worse[::-1])]).difference('exact_match')
  assert found.estimate.mean == pytest.approx(40)
  assert found.estimate.interval().high > 0
  back = PairedRows([(worse, better)]).difference('exact_match')
  assert back.estimate.mean == pytest.approx(-40)


def test_seeds_are_crossed_with_tasks():
  better = make_rows(['yes'] * 40)
  worse = make_rows(['no'] * 4 + ['yes'] * 36)
  found = PairedRows([(better, worse), (better, better)]).difference(
    'exact_match'
  )
  assert found.estimate.num_seeds == 2
  assert found.estimate.num_instances == 40
  assert found.estimate.mean == pytest.approx(5)


def test_changes_are_counted():
  first = make_rows(['yes', 'Yes.', 'no', 'x', 'maybe', 'yes'])
  second = make_rows(['no', 'yes', 'yes', 'no', 'maybe', 'x'])
  assert PairedRows([(first, second)]).changes() == Changes(
    num_instances=6,
    changed=4,
    gained=1,
    lost=2,
    left_format=1,
    entered_format=1,
    towards=(('no', 2),),
  )
  assert PairedRows([(first, second)]).changes().share == pytest.approx(200 / 3)
  assert PairedRows([(first, second)]).changes('generation') is None


def test_files_that_do_not_pair_are_refused():
  rows = make_rows(['yes'] * 3)
  with pytest.raises(
    InputError,
    match=r'^a.jsonl and b.jsonl hold different instances: b.jsonl lacks 2 of '
    r"3 \('i1', 'i2'\). A paired comparison needs the same instances. Predict "
    r'the same split of the same corpus for both.$',
  ):
    PairedRows([(rows, rows[:1])], names=[('a.jsonl', 'b.jsonl')])
  with pytest.raises(InputError, match='A1 and A2 hold different instances'):
    PairedRows([(rows, rows), (rows[:2], rows[:2])])
  with pytest.raises(InputError, match="B1: instance 'i0' of task 't0'"):
    PairedRows([(rows, [*rows, rows[0]])])
  nameless = [dataclasses.replace(row, task=None) for row in rows]
  with pytest.raises(InputError, match='a row has no id or task, which a'):
    PairedRows([(nameless, rows)])
  with pytest.raises(InputError, match='got none'):
    PairedRows([])


def test_unknown_choices_are_refused():
  pairs = PairedRows([(make_rows(['yes']), make_rows(['yes']))])
  with pytest.raises(
    InputError,
    match="metric 'rouge' is unknown; expected one of exact_match, rouge_1, "
    'rouge_l',
  ):
    pairs.difference('rouge')
  with pytest.raises(InputError, match="Did you mean 'overall'"):
    pairs.changes('overal')


def test_files_of_different_splits_are_reported():
  rows = make_rows(['yes'] * 12)
  others = [
    dataclasses.replace(row, id=f'v{row.id}', split='validation')
    for row in rows[:4]
  ]
  with pytest.raises(
    InputError,
    match=r"B1 lacks 12 of 12 \('i0', 'i1', …\), A1 lacks 4 of 4 \('vi0', "
    r"'vi1', …\). .* The first holds split test, the second validation: "
    r'predict the same split for both.$',
  ):
    PairedRows([(rows, others)])


def mixed_rows(engine, prediction):
  """Classification beside generation, and a category that holds both."""
  rows = (
    make_rows(['yes', 'no'] * 10)
    + make_rows(['x'] * 10, task='g{}', category='G', kind='generation')
    + make_rows(['no'] * 10, task='m{}', category='M')
    + make_rows(['x'] * 10, task='n{}', category='M', kind='generation')
  )
  return [
    dataclasses.replace(
      row,
      engine=engine,
      prediction=row.prediction if row.kind == 'classification' else prediction,
    )
    for row in rows
  ]


def test_groups_a_baseline_abstains_from_are_left_out_as_score_does():
  rows = mixed_rows('baseline:random', '')
  scored = score_rows(rows)
  for seeds in (
    [(rows, mixed_rows('native', 'yes'))],
    [(mixed_rows('native', 'yes'), rows)],
  ):
    compared = compare(seeds)
    groups = {difference.group for difference in compared.differences}
    assert groups == {'classification', 'C'} == set(compared.changes)
    assert groups == {
      name
      for name in ('overall', 'classification', 'generation')
      if scored[name] is not None
    } | set(scored['by_category'])
    assert not compared.answers_generation
  first = compared.differences[0]
  assert first.group == 'classification'
  assert first.second == pytest.approx(scored['classification'][first.metric])
  answering = mixed_rows('baseline:copy_input', 'yes')
  assert 'generation' in compare([(answering, answering)]).changes


def test_nothing_to_compare_is_an_error():
  rows = [
    dataclasses.replace(row, engine='baseline:prior')
    for row in make_rows([''] * 10, kind='generation')
  ]
  with pytest.raises(InputError, match='nothing to compare: one side'):
    compare([(rows, rows)])


def test_a_margin_is_in_points():
  rows = make_rows(['yes', 'no'])
  for margin in (200, 100.0, 0, -1.0, math.nan, True, 'wide'):
    with pytest.raises(
      InputError,
      match='expected a number of points above 0 and below 100, such as 3, got',
    ):
      compare([(rows, rows)], margin=margin)
  with pytest.raises(
    InputError, match=r'^--margin: expected .*, got 200\.0\.$'
  ):
    check_margin(200.0, setting='--margin')


@pytest.mark.parametrize('width', [120, 85, 80, 72, 50, 20])
def test_no_number_or_name_is_cut_however_narrow_the_terminal(width):
  # One task each of two: the intervals are as wide as they can be.
  rows = make_rows(['yes'] * 20, category='Cause Effect Classification')
  others = make_rows(['no'] * 10 + ['yes'] * 10)
  compared = compare([(rows, others)])
  output = io.StringIO()
  print_comparison(
    compared,
    per_category=True,
    console=console.Console(file=output, width=width, highlight=False),
  )
  text = ' '.join(output.getvalue().split())
  for difference in compared.differences:
    interval = difference.estimate.interval()
    detectable = difference.estimate.minimum_detectable_effect()
    assert (interval.low, interval.high) == (-100, 100) or (
      # No difference in any of 2 tasks.
      interval.high == -interval.low == pytest.approx(100 * (1 - 0.025**0.5))
    )
    for number in (
      f'{difference.first:.1f}',
      f'{difference.second:.1f}',
      f'{difference.estimate.mean:+.1f}',
      f'[{interval.low:+.1f}, {interval.high:+.1f}]',
      f'{detectable:.1f}' if detectable <= 100 else '–',
    ):
      assert number in text
  # A name that is wider than the terminal still stays whole.
  name = 'Cause Effect Classification'
  lines = [line.strip() for line in output.getvalue().splitlines()]
  assert sum(line.startswith(name) for line in lines) == 4
  assert max(map(len, lines)) <= max(width, len(name))


def test_a_comparison_as_json():
  first = make_rows(['yes'] * 30 + ['no'] * 10)
  second = make_rows(['no', 'yes'] * 20)
  compared = compare([(first, second)], margin=60.0)
  found = compared.to_json()
  assert found['margin'] == 60.0
  assert found['changes']['overall'] == {
    'num_instances': 40,
    'changed': 20,
    'gained': 5,
    'lost': 15,
    'left_format': 0,
    'entered_format': 0,
    'towards': (('no', 15), ('yes', 5)),
    'share': 50.0,
  }
  (row,) = (
    row
    for row in found['differences']
    if (row['group'], row['metric']) == ('overall', 'exact_match')
  )
  estimate = compared.differences[0].estimate
  interval = estimate.interval()
  assert row == {
    'group': 'overall',
    'metric': 'exact_match',
    'first': 75.0,
    'second': 50.0,
    'difference': 25.0,
    'varies': True,
    'low': interval.low,
    'high': interval.high,
    'p_value': estimate.p_value(),
    # One of two headline groups, whose p-values are equal.
    'p_value_holm': pytest.approx(2 * estimate.p_value()),
    'q_value_benjamini_hochberg': pytest.approx(estimate.p_value()),
    'equivalence_p_value': estimate.equivalence(60.0).p_value,
    'equivalent': estimate.equivalence(60.0).holds,
    'minimum_detectable_effect': estimate.minimum_detectable_effect(),
    'smallest_margin': estimate.smallest_margin(),
    'num_tasks': 4,
    'num_instances': 40,
    'num_seeds': 1,
  }
  assert interval.low < 25 < interval.high


def test_what_a_single_instance_cannot_tell_is_null_in_json():
  rows = make_rows(['yes'])
  row = compare([(rows, make_rows(['no']))]).to_json()['differences'][0]
  assert row['minimum_detectable_effect'] is None
  assert row['smallest_margin'] is None


@pytest.mark.parametrize(
  ('answers', 'row', 'line'),
  [
    (
      ['yes', 'no', 'yes'],
      'overall 66.7 66.7 +0.0 [-70.8, +70.8] 1.000 – –',
      'Exact match (overall, generation); ROUGE-1 (overall, generation); '
      'ROUGE-L (overall, generation).',
    ),
    (
      ['no', 'yes', 'no'],
      'overall 66.7 33.3 +33.3 [-100.0, +100.0] 1.000 p 0.587 –',
      None,
    ),
  ],
)
def test_a_comparison_says_where_there_is_no_variance_to_judge_by(
  answers, row, line
):
  first = make_rows(['yes', 'no', 'yes'], kind='generation')
  second = make_rows(answers, kind='generation')
  output = io.StringIO()
  print_comparison(
    compare([(first, second)]),
    console=console.Console(file=output, width=120, highlight=False),
  )
  text = ' '.join(output.getvalue().split())
  assert row in text
  assert '3 instances of 1 task. A minus B' in text
  note = (
    'Where no score differs, or all differ alike, there is no variance to '
    'judge by: the interval and p are then exact bounds from the number of '
    'tasks (of instances, if there is one task), which do not speak for other '
    f'seeds, and equivalence is not claimed. Equal differences: {line}'
  )
  assert (note in text) == (line is not None)
  assert ('Equal differences' in text) == (line is not None)


def test_controls_are_no_sample_of_tasks():
  def rows(predictions, category):
    return make_rows(predictions, category=category)

  # One task gains by 100 points, the other by nothing.
  first, second = ['yes'] * 20, ['no'] * 10 + ['yes'] * 10
  errors = {
    category: PairedRows([(rows(first, category), rows(second, category))])
    .difference('exact_match', category)
    .estimate.standard_error
    for category in ('C', 'Negative Control')
  }
  assert errors == {'C': 50.0, 'Negative Control': 0.0}


def test_the_most_frequent_changes_are_listed():
  first = make_rows(['x'] * 8)
  second = make_rows(['b', 'b', 'c', 'c', 'c', 'a', 'a', 'once'])
  pairs = PairedRows([(first, second)])
  assert pairs.changes().towards == (('c', 3), ('a', 2), ('b', 2))
  assert pairs.changes(most=1).towards == (('c', 3),)
  generation = [
    make_rows(texts, kind='generation') for texts in (['x'] * 3, ['y'] * 3)
  ]
  changes = PairedRows([tuple(generation)]).changes()
  assert (changes.changed, changes.towards) == (3, ())


def test_changes_are_counted_over_seeds():
  first, second = make_rows(['yes', 'no']), make_rows(['no', 'no'])
  changes = PairedRows([(first, second), (first, first)]).changes()
  assert (changes.num_instances, changes.changed, changes.share) == (4, 1, 25)
