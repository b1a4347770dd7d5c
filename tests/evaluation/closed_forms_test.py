"""Tests of closed forms against simulation."""

import math

import fakes
import numpy as np
import pytest

from it_study.corpus import locate, natinst
from it_study.evaluation import baselines, closed_forms

HEADLINE = ('headline', 'classification')


@pytest.fixture(name='corpus', scope='module', params=['fake', 'miniature'])
def _corpus(request, tmp_path_factory):
  if request.param == 'miniature':
    return natinst.open_corpus(locate.find('miniature'))
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
