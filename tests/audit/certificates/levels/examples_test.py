"""Faults planted in examples: each is caught, and named by its code."""

import dataclasses
import json

from certificates_fixture import (
  DELUSIVE,
  ORIGINAL,
  build_bench,
  of_task,
  replace_level,
)
import pytest

from it_study.corpus import natinst
from it_study.data import tfds_builder


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


def _with(index, **fields):
  """A change of one example in a list."""

  def change(examples, tasks):
    examples = list(examples)
    examples[index] = dataclasses.replace(examples[index], **fields)
    return examples

  return change


@pytest.mark.parametrize(
  ('change', 'codes'),
  [
    (_with(0, output='yep'), {'example-text'}),
    (_with(1, input='Is snow  wet?'), {'example-text'}),
    (lambda examples, _: examples[::-1], {'example-order'}),
    (lambda examples, _: examples[:1], {'example-count', 'cut-record'}),
    (lambda examples, _: [*examples, examples[0]], {'example-count'}),
    (_with(0, source='swap'), {'example-record'}),
  ],
)
def test_a_changed_original_example_is_caught(
  bench, monkeypatch, change, codes
):
  replace_level(
    monkeypatch, 'original', of_task('task5_wet', change), axis='example'
  )
  found = bench.certify(ORIGINAL).tally
  assert {code for code in found.failures if code != 'cut-record'} == (
    codes - {'cut-record'}
  )
  assert found.first[next(iter(codes - {'cut-record'}))][0].task == 'task5_wet'


def test_a_changed_explanation_is_caught(bench, monkeypatch):
  change = of_task('task5_wet', _with(0, explanation='We tried!'))
  replace_level(monkeypatch, 'original', change, axis='example')
  assert bench.codes(ORIGINAL) == {}
  assert bench.codes(f'{ORIGINAL}_expl') == {'example-text': 100}


@pytest.mark.parametrize('definition', ['simplified', 'empty', 'shuffled'])
def test_examples_beside_an_altered_definition_are_judged(
  bench, monkeypatch, definition
):
  change = of_task('task5_wet', _with(1, output='NO'))
  replace_level(monkeypatch, 'original', change, axis='example')
  condition = f'natinst_def_{definition}_ex_original2'
  assert bench.codes(condition) == {'example-text': 100}


@pytest.mark.parametrize('examples', ['delusive2', 'empty0'])
def test_a_definition_beside_altered_examples_is_judged(
  bench, monkeypatch, examples
):
  change = of_task('task5_wet', lambda text, _: text.replace('wet', 'Wet'))
  replace_level(monkeypatch, 'original', change)
  condition = f'natinst_def_original_ex_{examples}'
  assert bench.codes(condition) == {'definition-text': 100}


# The delusive examples of task5_wet: soup, no, from negatives; a swap.
@pytest.mark.parametrize(
  ('change', 'code'),
  [
    (_with(0, output='perhaps'), 'delusive-outside-labels'),
    (_with(1, input='Is sand wet?', output='yes'), 'delusive-right'),
    (_with(1, input='Is sand wet?', output='YES!'), 'delusive-right'),
    (_with(0, source='swap'), 'delusive-source'),
    (_with(1, source='negatives'), 'delusive-source'),
    (_with(0, input='Is soup  wet?'), 'delusive-input'),
    (_with(0, input='Is tea wet?'), 'delusive-input'),
    (_with(0, output='nO'), 'delusive-output'),
    (lambda examples, _: examples[:1], 'example-count'),
    (lambda examples, _: examples[::-1], 'delusive-order'),
  ],
)
def test_a_wrong_delusive_example_is_caught(bench, monkeypatch, change, code):
  change = of_task('task5_wet', change)
  replace_level(monkeypatch, 'delusive', change, axis='example')
  found = bench.certify(DELUSIVE).tally
  assert dict(found.failures) == {code: 100}
  assert found.first[code][0].task == 'task5_wet'


def test_a_right_negative_example_is_caught_by_an_instance(tmp_path):
  directory = tmp_path / 'corpus'
  bench = build_bench(tmp_path)
  path = directory / 'tasks/task5_wet.json'
  raw = json.loads(path.read_text())
  raw['Negative Examples'][0].update(input='Is thing wet 0', output='yes')
  path.write_text(json.dumps(raw))
  corpus = natinst.open_corpus(directory)
  data_dir = tfds_builder.build_rows(corpus, data_dir=tmp_path / 'again')
  bench = dataclasses.replace(bench, corpus=corpus, data_dir=data_dir)
  certificate = bench.certify('natinst_def_empty_ex_delusive1')
  assert dict(certificate.tally.failures) == {'delusive-right': 100}
  (row, *_) = certificate.delusive()
  assert (row['source'], row['gold_known'], row['accidentally_right']) == (
    'negatives',
    100,
    100,
  )


def test_an_explanation_in_a_delusive_example_is_caught(bench, monkeypatch):
  change = of_task('task5_wet', _with(0, explanation='It is wrong.'))
  replace_level(monkeypatch, 'delusive', change, axis='example')
  found = bench.certify(f'{DELUSIVE}_expl').tally
  assert dict(found.failures) == {'explanation-shown': 100}
  assert found.first['explanation-shown'][0].found == 'It is wrong.'
