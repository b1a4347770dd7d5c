"""Tests of closed forms against simulation."""

import math

import fakes
import numpy as np
import pytest

from it_study.corpus import natinst
from it_study.corpus.miniature import benchmark as mini
from it_study.evaluation import baselines, closed_forms

HEADLINE = ('headline', 'classification')


@pytest.fixture(name='corpus', scope='module', params=['fake', 'miniature'])
def _corpus(request, tmp_path_factory):
  if request.param == 'miniature':
    directory = tmp_path_factory.mktemp('mini')
    return natinst.open_corpus(mini.write_miniature(directory, size=mini.SMALL))
  return natinst.open_corpus(
    fakes.write_small_corpus(tmp_path_factory.mktemp('corpus') / 'corpus')
  )


def check_simulation(corpus, name, *, num_draws=100_000):
  form = closed_forms.closed_forms(name, corpus=corpus)[HEADLINE]
  means = closed_forms.simulate(name, corpus=corpus, num_draws=num_draws)
  deviation = form.standard_deviation
  assert abs(means.mean() - form.exact_match) <= (
    3 * deviation / math.sqrt(num_draws) + 1e-9
  )
  assert abs(means.std() - deviation) <= (
    3 * deviation / math.sqrt(2 * num_draws) + 1e-9
  )
  inside = (means >= form.low - 1e-9) & (means <= form.high + 1e-9)
  error = math.sqrt(0.05 * 0.95 / num_draws)
  assert inside.mean() >= 0.95 - 3 * error
  # One right answer less on either side, and the range is too narrow.
  step = 100 / form.num_instances
  if deviation:
    narrow = (means > form.low + step / 2) & (means < form.high - step / 2)
    assert narrow.mean() < 0.95 + 3 * error


@pytest.mark.parametrize('name', baselines.BASELINES)
def test_closed_forms_are_what_a_simulation_draws(corpus, name):
  check_simulation(corpus, name)


@pytest.mark.parametrize('name', ['random', 'prior'])
def test_closed_forms_of_real_tasks_are_what_a_simulation_draws(
  natinst_dir, name
):
  check_simulation(natinst.open_corpus(natinst_dir), name)


def test_closed_forms_agree_with_metrics_json(corpus):
  form = closed_forms.closed_forms('random', corpus=corpus)[HEADLINE]
  expected = baselines.expected_score('random', corpus=corpus)
  assert form.exact_match == pytest.approx(expected['exact_match'])
  assert form.standard_deviation == pytest.approx(
    expected['standard_deviation']
  )


def test_what_draws_nothing_has_the_score_of_its_rows(corpus):
  for name in ('majority', 'copy_demo'):
    metrics = baselines.baseline_metrics(name, corpus=corpus)
    forms = closed_forms.closed_forms(name, corpus=corpus)
    form = forms[HEADLINE]
    assert form.exact_match == pytest.approx(
      metrics['classification']['exact_match']
    )
    assert form.standard_deviation == 0
    assert form.low == form.high == pytest.approx(form.exact_match)
    for (kind, task), of_task in forms.items():
      if kind == 'task':
        assert of_task.exact_match == pytest.approx(
          metrics['by_task'][task]['exact_match']
        )


def test_the_range_is_that_of_a_binomial_where_all_chances_are_alike():
  form = closed_forms._closed_form([0.5] * 100, num_tasks=1, level=0.95)
  # P(39 or fewer) is 1.8%, P(40 or fewer) 2.8%.
  assert (form.low, form.high) == (40.0, 60.0)
  mixed = closed_forms._poisson_binomial([0.5, 1.0, 0.0, 0.25])
  assert mixed == pytest.approx([0, 0.375, 0.5, 0.125, 0])


def test_a_split_without_classification_has_no_closed_form(tmp_path):
  corpus = natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))
  forms = closed_forms.closed_forms('random', corpus=corpus)
  assert all(isinstance(form.exact_match, float) for form in forms.values())
  assert np.isfinite([form.low for form in forms.values()]).all()


@pytest.fixture(name='two_splits')
def _two_splits(write_corpus, raw_task):
  """Three labels in validation, two in test, and a control."""

  def task(name, outputs, **fields):
    return raw_task(
      Instances=[
        {'id': f'{name}{k}', 'input': f'{name} {k}', 'output': output}
        for k, output in enumerate(outputs)
      ],
      Positive_Examples=[],
      **fields,
    )

  return natinst.open_corpus(
    write_corpus(
      train={'task1_a': task('a', ['x', 'y', 'z'] * 10)},
      test={
        'task2_b': task('b', ['yes', 'no'] * 15),
        'task3_c': task('c', ['yes', 'no'] * 15),
        'task4_d': task(
          'd', ['k', 'l', 'm', 'n'] * 8, Categories=['Negative Control']
        ),
      },
    )
  )


def test_closed_forms_are_those_of_the_split(two_splits):
  for split, expected, num_tasks in (
    ('validation', 100 / 3, 1),
    ('test', 50.0, 2),
  ):
    form = closed_forms.closed_forms('random', corpus=two_splits, split=split)[
      HEADLINE
    ]
    assert form.exact_match == pytest.approx(expected)
    assert form.num_tasks == num_tasks
    means = closed_forms.simulate(
      'random', corpus=two_splits, split=split, num_draws=2000
    )
    assert means.mean() == pytest.approx(expected, abs=2)


def test_a_lower_level_has_a_narrower_range(two_splits):
  wide, narrow = (
    closed_forms.closed_forms('random', corpus=two_splits, level=level)[
      HEADLINE
    ]
    for level in (0.95, 0.5)
  )
  assert (wide.level, narrow.level) == (0.95, 0.5)
  # Of 60 fair draws: 22 to 38 are right in 97.3%, 27 to 33 in 63.4%.
  assert (wide.low, wide.high) == pytest.approx((2200 / 60, 3800 / 60))
  assert (narrow.low, narrow.high) == pytest.approx((2700 / 60, 3300 / 60))


def test_controls_have_a_closed_form_of_their_own(two_splits):
  forms = closed_forms.closed_forms('random', corpus=two_splits)
  assert forms['control', 'Negative Control'].exact_match == 25.0
  assert ('category', 'Negative Control') not in forms
  assert forms['task', 'task4_d'].num_instances == 32
  assert forms[HEADLINE].num_instances == 60


def test_a_simulation_depends_on_its_seed_alone(two_splits, monkeypatch):
  first, again, other = (
    closed_forms.simulate('random', corpus=two_splits, num_draws=50, seed=seed)
    for seed in (0, 0, 1)
  )
  assert first.tolist() == again.tolist() != other.tolist()
  # Draws in blocks leave none out.
  monkeypatch.setattr(closed_forms, '_DRAWS_AT_ONCE', 7)
  blocks = closed_forms.simulate('random', corpus=two_splits, num_draws=50)
  assert blocks.shape == (50,)
  assert blocks.min() > 20
