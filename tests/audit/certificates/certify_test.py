"""Tests that correct rows and prompts are certified and counted."""

import json
import shutil

from certificates_fixture import DELUSIVE, ORIGINAL, build_bench
import fakes
import pytest

from it_study.audit.certificates import certify
from it_study.conditions import (
  DEFINITION_LEVELS,
  EXAMPLE_LEVELS,
  PROMPT_TEMPLATES,
  Condition,
)
from it_study.corpus import natinst, worker_pool
from it_study.corpus.miniature import benchmark as mini
from it_study.data import tfds_builder, vocabularies
from it_study.instructions.definitions import OutputSpace


@pytest.fixture(name='bench', scope='module')
def _bench(tmp_path_factory):
  return build_bench(tmp_path_factory.mktemp('certificates'))


def test_default_conditions_are_every_definition_with_every_example():
  names = [c.name for c in certify.default_conditions()]
  assert len(names) == len(set(names)) == 55
  assert names[:6] == [
    'natinst_def_original_ex_empty0',
    'natinst_def_original_ex_original1',
    'natinst_def_original_ex_original2',
    'natinst_def_original_ex_delusive1',
    'natinst_def_original_ex_delusive2',
    'natinst_def_simplified_ex_empty0',
  ]
  assert names[-1] == 'natinst_def_original_ex_original2_neg2_expl'


def test_the_small_corpus_is_certified_under_all_conditions(bench):
  certificate = certify.certify(
    corpus=bench.corpus, data_dir=bench.data_dir, num_workers=0
  )
  assert certificate.is_clean, '\n'.join(certificate.lines())
  assert certificate.tally.rows == {'train': 68, 'validation': 40, 'test': 142}
  assert certificate.num_prompts == 55 * 250
  assert not certificate.tally.refusals


def test_a_corpus_that_cannot_shuffle_is_certified_for_the_rest(tmp_path):
  corpus = natinst.open_corpus(fakes.write_small_corpus(tmp_path / 'c'))
  certificate = certify.certify(
    corpus=corpus,
    data_dir=tfds_builder.build_rows(corpus, data_dir=tmp_path / 'rows'),
    num_workers=0,
  )
  assert certificate.is_clean
  assert certificate.num_prompts == 55 * 172 - 5 * (106 + 40)
  reasons = list(certificate.tally.refusals.values())
  assert len(reasons) == 5 * 3
  assert 'no other classification task' in reasons[0]
  assert sum(line.startswith('refused: ') for line in certificate.lines()) == 15


@pytest.mark.slow
def test_the_miniature_is_certified(tmp_path):
  corpus = natinst.open_corpus(mini.write_miniature(tmp_path, size=mini.SMALL))
  certificate = certify.certify(
    corpus=corpus,
    data_dir=tfds_builder.build_rows(corpus),
    splits=('validation', 'test'),
    num_workers=0,
  )
  assert certificate.is_clean, '\n'.join(certificate.lines())


@pytest.mark.slow
def test_real_tasks_are_certified(natinst_dir, tmp_path):
  corpus = natinst.open_corpus(natinst_dir)
  certificate = certify.certify(
    corpus=corpus,
    data_dir=tfds_builder.build_rows(
      corpus, data_dir=tmp_path, max_instances_per_task=10
    ),
    conditions=[c for c in certify.default_conditions() if c.num_examples != 1],
    num_workers=0,
  )
  assert certificate.is_clean, '\n'.join(certificate.lines())
  assert not certificate.tally.refusals


@pytest.mark.parametrize('most', [60, 90, 120, 160, 240])
def test_limited_prompts_are_certified(bench, monkeypatch, most):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  names = [
    f'natinst_def_{definition}_ex_{examples}{suffix}'
    for definition in DEFINITION_LEVELS.names()
    for examples in ('original2_neg1_expl', 'delusive2_neg1')
    for suffix in ('', '_trunctk', '_budget')
  ]
  certificate = bench.certify(*names, max_tokens=most)
  assert certificate.is_clean, '\n'.join(certificate.lines())
  cut = sum(
    n for (*_, what), n in certificate.tally.prompts.items() if what != 'fewer'
  )
  assert cut > certificate.num_prompts


def test_two_processes_give_the_same_certificate(bench):
  one = bench.certify(ORIGINAL, DELUSIVE)
  two = certify.certify(
    corpus=bench.corpus,
    data_dir=bench.data_dir,
    conditions=[Condition.from_name(name) for name in (ORIGINAL, DELUSIVE)],
    splits=('test',),
    num_workers=2,
  )
  assert two.to_json() == one.to_json()


@pytest.mark.parametrize('num_workers', [None, 2])
def test_workers_are_not_asked_about_a_prefix(
  bench, monkeypatch, request, num_workers
):
  PROMPT_TEMPLATES.register('mine')
  request.addfinalizer(lambda: PROMPT_TEMPLATES.unregister('mine'))
  numbers = []
  real = worker_pool.map_tasks

  def map_tasks(function, *, num_workers, **more):
    numbers.append(num_workers)
    return real(function, num_workers=0, **more)

  monkeypatch.setattr(worker_pool, 'map_tasks', map_tasks)
  monkeypatch.setattr(certify, '_FEW_PROMPTS', 0)
  for prefix in ('natinst', 'mine'):
    certificate = certify.certify(
      corpus=bench.corpus,
      data_dir=bench.data_dir,
      conditions=[Condition(prefix=prefix)],
      splits=('test',),
      num_workers=num_workers,
    )
    assert certificate.is_clean
  assert numbers == [2, 2, 0, 0]


def test_delusive_examples_are_counted_by_source(bench):
  certificate = bench.certify(DELUSIVE)
  assert [
    (row['kind'], row['source'], row['shown'], row['gold_known'])
    for row in certificate.delusive()
  ] == [
    ('classification', 'negatives', 130, 0),
    ('classification', 'swap', 130, 130),
    ('generation', 'negatives', 12, 0),
    ('generation', 'repair', 12, 12),
  ]
  assert certificate.delusive()[1] == {
    'condition': DELUSIVE,
    'split': 'test',
    'kind': 'classification',
    'source': 'swap',
    'shown': 130,
    'share': 50.0,
    'gold_known': 130,
    'gold_unknown': 0,
    'accidentally_right': 0,
    'accidentally_right_rate': 0.0,
  }
  assert (
    'classification    swap             130  50.0 %         130         0'
    '      0  0.00 %'
  ) in list(certificate.lines())


def test_examples_that_a_task_lacks_are_counted(bench):
  certificate = bench.certify('natinst_def_empty_ex_original3_neg2')
  counts = certificate.to_json()['conditions']
  # Two of four tasks have two positive examples, all have one negative one.
  assert counts == {
    'natinst_def_empty_ex_original3_neg2': {
      'test': {
        'prompts': 142,
        'shortened': 0,
        'dropped': 0,
        'fewer': 130 * 2 + 12,
      }
    }
  }


def test_one_source_alone_is_certified(bench):
  for source in ('negatives', 'swap', 'repair'):
    certificate = bench.certify(f'{DELUSIVE}_src{source}')
    assert certificate.is_clean, '\n'.join(certificate.lines())
    assert {row['source'] for row in certificate.delusive()} == {source}


def test_another_wording_is_judged_by_its_own_template(bench, monkeypatch):
  monkeypatch.setattr(
    DEFINITION_LEVELS, '_levels', dict(DEFINITION_LEVELS._levels)
  )
  DEFINITION_LEVELS.register('oneof', OutputSpace('One of: {labels}!', ' / '))
  name = 'natinst_def_oneof_ex_original1'
  certificate = bench.certify(name)
  assert certificate.is_clean
  assert set(certificate.to_json()['conditions'][name]['test']) == {
    'prompts',
    'shortened',
    'dropped',
    'fewer',
  }


def test_a_custom_level_leaves_the_rest_judged(bench, monkeypatch):
  monkeypatch.setattr(
    DEFINITION_LEVELS, '_levels', dict(DEFINITION_LEVELS._levels)
  )
  monkeypatch.setattr(EXAMPLE_LEVELS, '_levels', dict(EXAMPLE_LEVELS._levels))
  DEFINITION_LEVELS.register('loud', _loud)
  EXAMPLE_LEVELS.register('last', _last)
  for name, unjudged in (
    ('natinst_def_loud_ex_original2', 'unjudged definition'),
    ('natinst_def_original_ex_last1', 'unjudged examples'),
  ):
    certificate = bench.certify(name)
    assert certificate.is_clean, '\n'.join(certificate.lines())
    assert certificate.to_json()['conditions'][name]['test'][unjudged] == 142


def test_the_verdict_is_one_line(bench):
  certificate = bench.certify(ORIGINAL, DELUSIVE)
  fingerprint = bench.corpus.fingerprint()[:12]
  assert certificate.verdict() == (
    f'certified: corpus {fingerprint}: 142 rows, 284 prompts under 2 '
    'conditions, no failure'
  )
  assert list(certificate.lines())[-1] == certificate.verdict()


def test_the_command_certifies_rows(bench, tmp_path, capsys):
  words = ['corpus', 'verify', bench.corpus.directory]
  words += ['--data_dir', bench.data_dir, '--condition', ORIGINAL]
  out = tmp_path / 'certificate.jsonl'
  assert fakes.run_command(*words, '--json', '--out', out) == 0
  told = json.loads(capsys.readouterr().out)
  assert told['certified'] is True
  assert told['rows'] == {'train': 68, 'validation': 40, 'test': 142}
  assert told['prompts'] == 250
  assert [json.loads(line) for line in out.read_text().splitlines()] == [told]


def test_the_command_names_failures(bench, tmp_path, capsys):
  damaged = bench.copy(tmp_path / 'rows')

  def change(rows):
    rows[0]['input'] = [rows[0]['input'][0] + ' ']

  damaged.edit('test', change)
  words = ['corpus', 'verify', damaged.corpus.directory]
  words += ['--data_dir', damaged.data_dir, '--condition', ORIGINAL]
  out = tmp_path / 'certificate.jsonl'
  assert fakes.run_command(*words, '--split', 'test', '--out', out) == 2
  shown = capsys.readouterr().out.splitlines()
  assert (
    "failure: row-input: a row's input is not the instance's, 1 times" in shown
  )
  assert (
    "  test task5_wet task5-0: expected 'Is thing wet 0', found "
    "'Is thing wet 0 ' at character 14"
  ) in shown
  assert shown[-1].startswith('NOT certified: ')
  assert json.loads(out.read_text().splitlines()[1]) == {
    'code': 'row-input',
    'expected': 'Is thing wet 0',
    'found': 'Is thing wet 0 ',
    'at': 14,
    'split': 'test',
    'task': 'task5_wet',
    'instance': 'task5-0',
    'condition': None,
  }


def test_a_directory_without_rows_is_refused(bench, tmp_path, capsys):
  told = fakes.refusal(
    capsys,
    *('corpus', 'verify', bench.corpus.directory, '--data_dir', tmp_path),
  )
  assert told.startswith(f'{tmp_path} holds no rows: there is no directory ')
  assert "Build them with 'it-study corpus build " in told


@pytest.mark.parametrize('number', ['0', '-1'])
def test_a_number_of_workers_below_one_is_refused(bench, capsys, number):
  told = fakes.refusal(
    capsys,
    *('corpus', 'verify', bench.corpus.directory, f'--num_workers={number}'),
  )
  assert told == f'--num_workers is {number}; it must be at least 1.'


def test_overlap_that_was_allowed_is_stated(bench, tmp_path):
  directory = tmp_path / 'corpus'
  shutil.copytree(bench.corpus.directory, directory)
  one, other = (
    json.loads((directory / f'tasks/{name}.json').read_text())
    for name in ('task2_hot', 'task6_dark')
  )
  for index in (3, 4):
    other['Instances'][index] |= {
      key: one['Instances'][index][key] for key in ('input', 'output')
    }
  (directory / 'tasks/task6_dark.json').write_text(json.dumps(other))
  corpus = natinst.open_corpus(directory)
  certificate = certify.certify(
    corpus=corpus,
    data_dir=tfds_builder.build_rows(
      corpus, data_dir=tmp_path / 'rows', allow_overlap=True
    ),
    conditions=[Condition.from_name(ORIGINAL)],
    num_workers=0,
  )
  assert certificate.is_clean
  assert certificate.to_json()['overlap'] == {
    'train_instances': 2,
    'test_instances': 2,
    'pairs_of_tasks': 1,
    'allowed': True,
  }
  assert list(certificate.lines())[-2] == (
    'overlap: 2 test instances of 1 pair of tasks are also in training or '
    'validation, with an output'
  )
  clean = bench.certify(ORIGINAL)
  assert clean.to_json()['overlap']['test_instances'] == 0
  assert not [line for line in clean.lines() if line.startswith('overlap')]


@pytest.mark.parametrize(
  ('words', 'most'),
  [((), None), (('--vocabulary=byte',), 1024)],
)
def test_a_named_vocabulary_has_the_limit_of_training(
  bench, capsys, words, most
):
  fakes.run_command(
    *('corpus', 'verify', str(bench.corpus.directory), '--split=test'),
    *('--condition', ORIGINAL, '--json', *words),
  )
  record = json.loads(capsys.readouterr().out)
  assert record['max_input_length'] == most


def _loud(*, task, instance, condition):
  return task.definition.upper()


def _last(*, task, instance, condition):
  return list(task.positive_examples[-1:])
