"""Tests of the baselines and of what chance is expected to score."""

import json
import math
import os
import statistics

import pytest

from it_study.corpus.natinst import open_corpus
from it_study.errors import InputError
from it_study.evaluation import baselines, metrics


def write_task(directory, name, outputs, *, examples=('yes',), category='C'):
  """A task file whose instance k has id NAME-k and accepts `outputs[k]`."""
  content = {
    'Definition': 'd',
    'Categories': [category],
    'Positive Examples': [
      {'input': 'i', 'output': output, 'explanation': ''} for output in examples
    ],
    'Negative Examples': [],
    'Instances': [
      {'id': f'{name}-{k}', 'input': f'input {k}', 'output': list(accepted)}
      for k, accepted in enumerate(outputs)
    ],
  }
  (directory / 'tasks').mkdir(exist_ok=True)
  (directory / 'tasks' / f'{name}.json').write_text(json.dumps(content))


def open_tasks(directory, *, test, train=('train',), overrides=None):
  if train == ('train',):
    write_task(directory, 'train', [['yes'], ['no']] * 15)
  splits = directory / 'splits' / 'default'
  splits.mkdir(parents=True)
  (splits / 'train_tasks.txt').write_text('\n'.join(train))
  (splits / 'test_tasks.txt').write_text('\n'.join(test))
  return open_corpus(directory, overrides=overrides or {})


@pytest.fixture
def corpus(tmp_path):
  """Two classification tasks, one generation task and a control."""
  # Labels yes, no, No, maybe, of which three can be told apart; after the
  # first 100: 10 no, 30 maybe, none with yes alone.
  write_task(
    tmp_path,
    'cls_a',
    [['yes'], ['no'], ['No', 'maybe'], ['yes']] * 25
    + [['No.']] * 10
    + [['maybe']] * 30
    + [['other']] * 50,
  )
  write_task(tmp_path, 'cls_b', [['b'], ['a']] * 15, examples=('a', 'a', 'b'))
  write_task(
    tmp_path, 'gen', [[f'text {k}'] for k in range(30)], examples=('demo', 'x')
  )
  write_task(
    tmp_path, 'control', [['b'], ['a']] * 15, category='Positive Control'
  )
  return open_tasks(tmp_path, test=('gen', 'cls_b', 'control', 'cls_a'))


def by_task(rows):
  tasks: dict[str, list] = {}
  for row in rows:
    tasks.setdefault(row.task, []).append(row)
  return tasks


def test_every_instance_is_predicted_once_in_order(corpus):
  for name in baselines.BASELINES:
    rows = baselines.run_baseline(name, corpus=corpus, seed=3)
    keys = [(row.task, row.position) for row in rows]
    assert len(rows) == 190
    assert keys == sorted(set(keys))
    assert {row.engine for row in rows} == {f'baseline:{name}'}
    assert {(r.train_condition, r.test_condition) for r in rows} == {
      (None, None)
    }
    assert {row.seed for row in rows} == {3}
    assert rows[0].inputs == 'input 0'


def test_copies(corpus):
  rows = by_task(baselines.run_baseline('copy_input', corpus=corpus))
  assert rows['gen'][7].prediction == 'input 7'
  assert rows['cls_b'][2].prediction == 'input 2'
  rows = by_task(baselines.run_baseline('copy_demo', corpus=corpus))
  assert {row.prediction for row in rows['gen']} == {'demo'}
  assert {row.prediction for row in rows['cls_b']} == {'a'}


def test_a_task_without_examples_leaves_nothing_to_copy(tmp_path):
  write_task(tmp_path, 't', [['a'], ['b']] * 13, examples=())
  corpus = open_tasks(tmp_path, test=('t',))
  rows = baselines.run_baseline('copy_demo', corpus=corpus)
  assert {row.prediction for row in rows} == {''}


def test_majority_counts_after_the_first_100_else_examples(corpus):
  rows = by_task(baselines.run_baseline('majority', corpus=corpus))
  assert {row.prediction for row in rows['cls_a']} == {'maybe'}
  assert {row.prediction for row in rows['cls_b']} == {'a'}
  assert {row.prediction for row in rows['gen']} == {''}


def test_majority_goes_by_label_order_where_counts_tie(tmp_path):
  write_task(tmp_path, 't', [['b'], ['a']] * 15, examples=('a', 'b'))
  write_task(tmp_path, 'u', [['b'], ['a']] * 15, examples=())
  corpus = open_tasks(tmp_path, test=('t', 'u'))
  rows = by_task(baselines.run_baseline('majority', corpus=corpus))
  assert {row.prediction for row in rows['t']} == {'b'}
  # Nothing to count at all: uniform, hence a tie as well.
  assert {row.prediction for row in rows['u']} == {'b'}


def test_validation_counts_the_instances_that_are_not_scored(tmp_path):
  def open_with(name, outputs):
    directory = tmp_path / name
    directory.mkdir()
    write_task(directory, 'v', outputs)
    write_task(directory, 't', [['a']] * 30)
    return open_tasks(directory, train=('v',), test=('t',))

  corpus = open_with('first', [['yes']] * 40)
  scored = {instance.id for instance in corpus.instances('v', 'validation')}
  corpus = open_with(
    'second', [['yes' if f'v-{k}' in scored else 'no'] for k in range(40)]
  )
  rows = baselines.run_baseline('majority', corpus=corpus, split='validation')
  assert [row.prediction for row in rows] == ['no'] * 10
  assert {row.targets for row in rows} == {('yes',)}
  assert {row.split for row in rows} == {'validation'}


def test_draws_are_labels_and_depend_only_on_seed_and_id(corpus, tmp_path):
  rows = by_task(baselines.run_baseline('random', corpus=corpus))
  assert {row.prediction for row in rows['cls_a']} == {'yes', 'no', 'maybe'}
  assert {row.prediction for row in rows['gen']} == {''}
  other = by_task(baselines.run_baseline('random', corpus=corpus, seed=1))
  assert [r.prediction for r in rows['cls_a']] != [
    r.prediction for r in other['cls_a']
  ]
  # The same task alone in another corpus, its instances reversed except for
  # the first, so that the labels keep their order.
  again = tmp_path / 'again'
  again.mkdir()
  source = json.loads((tmp_path / 'tasks' / 'cls_b.json').read_text())
  source['Instances'].reverse()
  source['Instances'].insert(0, source['Instances'].pop())
  (again / 'tasks').mkdir()
  (again / 'tasks' / 'cls_b.json').write_text(json.dumps(source))
  alone = baselines.run_baseline(
    'random', corpus=open_tasks(again, test=('cls_b',))
  )
  assert {row.id: row.prediction for row in alone} == {
    row.id: row.prediction for row in rows['cls_b']
  }
  assert ''.join(row.prediction for row in rows['cls_b'][:8]) == 'abbbaabb'


def test_the_prior_never_draws_what_was_not_counted(corpus):
  rows = by_task(baselines.run_baseline('prior', corpus=corpus))
  drawn = [row.prediction for row in rows['cls_a']]
  assert set(drawn) == {'no', 'maybe'}
  assert 60 <= drawn.count('maybe') <= 90


def test_expected_score_of_the_random_baseline(corpus):
  # cls_a: three of four references have 1 of 3 labels, the fourth 2 of 3.
  # cls_b: 30 instances with 1 of 2. The control is not counted.
  expected = (75 / 3 + 25 * 2 / 3 + 30 / 2) / 130
  variance = 100 * (2 / 9) + 30 / 4
  assert baselines.expected_score('random', corpus=corpus) == {
    'exact_match': pytest.approx(100 * expected, abs=1e-12),
    'standard_deviation': pytest.approx(
      100 * math.sqrt(variance) / 130, abs=1e-12
    ),
  }


def test_expected_score_of_the_prior_baseline(corpus):
  # cls_a: yes 0, no 1/4, maybe 3/4; [No, maybe] is always right.
  # cls_b, by its examples: a 2/3, b 1/3.
  expected = (25 / 4 + 25 + 15 / 3 + 15 * 2 / 3) / 130
  variance = 25 * (3 / 16) + 30 * (2 / 9)
  assert baselines.expected_score('prior', corpus=corpus) == {
    'exact_match': pytest.approx(100 * expected, abs=1e-12),
    'standard_deviation': pytest.approx(
      100 * math.sqrt(variance) / 130, abs=1e-12
    ),
  }


@pytest.mark.parametrize('name', ['random', 'prior'])
def test_closed_form_against_simulation(corpus, name):
  num_draws = 400
  means = []
  for seed in range(num_draws):
    rows = [
      row
      for row in baselines.run_baseline(name, corpus=corpus, seed=seed)
      if metrics.in_group(row, 'classification')
    ]
    hits = [metrics.exact_match(row.prediction, row.targets) for row in rows]
    means.append(100 * sum(hits) / len(hits))
  expected = baselines.expected_score(name, corpus=corpus)
  deviation = expected['standard_deviation']
  assert abs(statistics.mean(means) - expected['exact_match']) < (
    3 * deviation / math.sqrt(num_draws)
  )
  assert abs(statistics.stdev(means) - deviation) < (
    3 * deviation / math.sqrt(2 * (num_draws - 1))
  )


@pytest.mark.parametrize('name', ['majority', 'copy_input', 'copy_demo'])
def test_baselines_without_draws_have_no_expected_score(corpus, name):
  assert baselines.expected_score(name, corpus=corpus) is None
  result = baselines.baseline_metrics(name, corpus=corpus)
  assert 'expected' not in result['classification']


def test_metrics_of_label_baselines_leave_generation_out(corpus):
  result = baselines.baseline_metrics('random', corpus=corpus)
  assert result['overall'] is None
  assert result['generation'] is None
  assert result['num_instances'] == 190
  assert result['classification']['num_tasks'] == 2
  assert result['classification']['format_correctness'] == 100.0
  assert result['classification']['expected'] == baselines.expected_score(
    'random', corpus=corpus
  )
  assert list(result['by_task']) == ['cls_a', 'cls_b', 'control']
  assert result['controls']['Positive Control']['num_instances'] == 30


def test_metrics_of_copying_are_complete(corpus):
  result = baselines.baseline_metrics('copy_demo', corpus=corpus)
  assert result['overall']['num_instances'] == 160
  assert result['generation']['exact_match'] == 0.0
  # cls_a copies yes, cls_b a; each is right every other time.
  assert result['classification']['exact_match'] == 50.0


def test_a_split_without_classification_has_no_expected_score(tmp_path):
  write_task(tmp_path, 'g', [[f'{k}'] for k in range(30)])
  corpus = open_tasks(tmp_path, test=('g',))
  assert baselines.expected_score('random', corpus=corpus) is None
  result = baselines.baseline_metrics('random', corpus=corpus)
  assert result['classification'] is None


def test_references_outside_the_label_space_are_never_hit(tmp_path):
  write_task(tmp_path, 't', [['a', '?']] * 15 + [['b']] * 15)
  corpus = open_tasks(tmp_path, test=('t',))
  # Labels a, ?, b and yes of the example: 15 accept two of four, 15 one.
  assert baselines.expected_score('random', corpus=corpus)[
    'exact_match'
  ] == pytest.approx(37.5, abs=1e-12)


def test_baseline_of(corpus):
  rows = baselines.run_baseline('majority', corpus=corpus)
  assert baselines.baseline_of(rows) == 'majority'
  mixed = [*rows, *baselines.run_baseline('random', corpus=corpus)]
  assert baselines.baseline_of(mixed) is None


def test_an_unknown_name_has_no_expected_score(corpus):
  with pytest.raises(InputError, match="baseline 'randm' is unknown"):
    baselines.expected_score('randm', corpus=corpus)
  with pytest.raises(InputError, match="baseline 'randm' is unknown"):
    next(baselines.acceptance('randm', corpus=corpus))


def test_unknown_names_are_refused(corpus):
  with pytest.raises(InputError) as error:
    baselines.run_baseline('majorty', corpus=corpus)
  assert str(error.value) == (
    "baseline 'majorty' is unknown; expected one of random, majority, "
    "prior, copy_input, copy_demo. Did you mean 'majority'?"
  )
  with pytest.raises(InputError, match=r"'tset' is unknown.*'test'\?"):
    baselines.run_baseline('random', corpus=corpus, split='tset')


@pytest.mark.skipif('NATINST_DIR' not in os.environ, reason='needs NATINST_DIR')
def test_real_corpus_chance():
  corpus = open_corpus(os.environ['NATINST_DIR'])
  result = baselines.baseline_metrics('random', corpus=corpus)
  classification = result['classification']
  expected = classification['expected']
  # A uniform guess among 2 to 12 labels.
  assert 100 / 12 < expected['exact_match'] <= 50
  if len(corpus.test_tasks) == 119:
    # Kung & Peng 2023, abstract.
    assert abs(expected['exact_match'] - 42.6) < 1
  assert abs(classification['exact_match'] - expected['exact_match']) < (
    3 * expected['standard_deviation']
  )
  assert classification['format_correctness'] == 100.0


def test_metrics_are_those_of_the_seed(corpus):
  for seed in (0, 1):
    rows = baselines.run_baseline('random', corpus=corpus, seed=seed)
    found = baselines.baseline_metrics('random', corpus=corpus, seed=seed)
    assert found == baselines.metrics_of_rows('random', rows, corpus=corpus)
  first = baselines.baseline_metrics('random', corpus=corpus)
  assert first['by_task'] != found['by_task']


def test_without_a_corpus_nothing_is_expected(corpus):
  rows = baselines.run_baseline('random', corpus=corpus)
  found = baselines.metrics_of_rows('random', rows, corpus=None)
  assert 'expected' not in found['classification']


def test_answers_to_generation_are_those_of_copying(corpus):
  assert [
    baselines.answers_generation(baselines.run_baseline(name, corpus=corpus))
    for name in baselines.BASELINES
  ] == [False, False, False, True, True]


def test_categories_that_mix_kinds_are_left_out(tmp_path):
  write_task(tmp_path, 'cls', [['yes'], ['no']] * 15, category='C')
  write_task(tmp_path, 'gen', [[f'{k}'] for k in range(30)], category='C')
  corpus = open_tasks(tmp_path, test=('cls', 'gen'))
  found = baselines.baseline_metrics('random', corpus=corpus)
  assert found['by_category'] == {}
  assert baselines.leaves_out_categories(found)
  copied = baselines.baseline_metrics('copy_demo', corpus=corpus)
  assert not baselines.leaves_out_categories(copied)


def test_nothing_is_left_out_of_categories_of_one_kind(corpus):
  found = baselines.baseline_metrics('random', corpus=corpus)
  # All tasks but the control are of one category, which holds generation.
  assert baselines.leaves_out_categories(found)
  found['by_category'] = {'C': found['classification']}
  assert not baselines.leaves_out_categories(found)
  assert not baselines.leaves_out_categories(found | {'classification': None})
