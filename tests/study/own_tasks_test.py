"""Tests of studies of SeqIO tasks of the user's own."""

import json
import re

import fakes
import pytest
import seqio
import seqio_tasks_fixture as fixture

from it_study import seqio_lib
from it_study.data.seqio_tasks import corpus as corpus_lib
from it_study.errors import InputError
from it_study.report import write_report
from it_study.study import run as study
from it_study.study.run_record import RunRecord

CONFIG = (
  "TEST_TASKS = ('even',)\nTRAIN_TASKS = ('both',)\n\n"
  'run_study.conditions = %TRAIN_TASKS\n'
)


@pytest.fixture(autouse=True)
def _tasks():
  """A classification task, one without labels, and a mixture of them."""
  fixture.add_mixture()
  seqio_lib.declare('echo', kind='generation')


class Engine(fakes.Engine):
  """Answers the instances of any task."""

  def __init__(self):
    self.dies_at = self.instances_per_test_task = None
    self.calls = []

  def predict(self, *, mixture_or_task_name, **arguments):
    self.corpus = corpus_lib.make(seqio_lib.find_task(mixture_or_task_name))
    return super().predict(
      mixture_or_task_name=mixture_or_task_name, **arguments
    )


def run(study_dir, engine=None, **settings):
  defaults = {
    'corpus': None,
    'conditions': ('both',),
    'seeds': (0,),
    'splits': ('test',),
    'test_conditions': ('even',),
    'record': RunRecord(config=CONFIG),
  }
  path = study.run_study(
    study_dir=study_dir, engine=engine or Engine(), **{**defaults, **settings}
  )
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_mixture_is_trained_on_and_tested_on_a_task(tmp_path):
  rows = run(tmp_path)
  assert [row['cell'] for row in rows] == [
    *(
      f'baseline_{name}_seed0__even__test'
      for name in ('random', 'majority', 'prior', 'copy_input')
    ),
    'untuned_seed0__even__test',
    'both_seed0__even__test',
  ]
  majority, trained = rows[1], rows[-1]
  assert majority['metrics']['classification']['exact_match'] == 50
  assert (majority['test_condition'], majority['test_task']) == (None, 'even')
  assert {
    key: trained[key]
    for key in (
      *('training', 'train_condition', 'test_condition', 'test_task'),
      *('matched', 'original_instructions', 'split'),
    )
  } == {
    'training': 'both_seed0',
    'train_condition': 'both',
    'test_condition': 'even',
    'test_task': 'even',
    'matched': False,
    'original_instructions': False,
    'split': 'test',
  }
  assert trained['metrics']['by_category']['Numbers']['num_instances'] == 4
  record = json.loads((tmp_path / 'run.json').read_text())
  assert (record['conditions'], record['test_conditions']) == (
    ['both'],
    ['even'],
  )
  facts = record['test_tasks']['even']['test']
  assert (facts['num_tasks'], facts['num_instances']) == (1, 4)
  assert not {'corpus', 'label_rules', 'delusive_sources'} & set(record)


def test_a_task_without_labels_has_no_label_baselines(tmp_path):
  rows = run(tmp_path, test_conditions=(), conditions=('echo',))
  assert [row['cell'] for row in rows] == [
    'baseline_copy_input_seed0__echo__test',
    'untuned_seed0__echo__test',
    'echo_seed0__echo__test',
  ]
  assert rows[-1]['matched']


def test_an_untuned_model_alone_on_any_split_and_few_instances(tmp_path):
  class Few(Engine):
    def predict(self, **arguments):
      folder = arguments['infer_output_dir'] / 'predictions.jsonl'
      path = super().predict(**arguments)
      lines = path.read_text().splitlines()[:2]
      folder.write_text('\n'.join(lines) + '\n')
      return path

  engine = Few()
  engine.instances_per_test_task = 2
  rows = run(tmp_path, engine, conditions=(), splits=('dev',))
  assert engine.calls == ['predict untuned even dev']
  assert [row['metrics']['num_instances'] for row in rows] == [2] * 5


def test_conditions_may_be_tested_on_own_tasks(tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  seqio_lib.use_corpus(corpus)
  of_corpus = fakes.Engine(corpus)

  class Both(Engine):
    def predict(self, *, mixture_or_task_name, **arguments):
      engine = super() if mixture_or_task_name == 'even' else of_corpus
      return engine.predict(
        mixture_or_task_name=mixture_or_task_name, **arguments
      )

  rows = run(
    tmp_path / 'study', Both(), corpus=corpus, conditions=(fakes.NAME,)
  )
  assert [
    (row['train_condition'], row['test_condition'], row.get('test_task'))
    for row in rows
    if row['baseline'] is None
  ] == [
    (None, fakes.NAME, None),
    (None, 'even', 'even'),
    (fakes.NAME, fakes.NAME, None),
    (fakes.NAME, 'even', 'even'),
  ]
  assert [row['cell'] for row in rows if row['baseline'] == 'prior'] == [
    'baseline_prior_seed0__none__test',
    'baseline_prior_seed0__even__test',
  ]
  # The report has a part for each.
  write_report(study_dir=tmp_path / 'study')
  text = (tmp_path / 'study/report/report.md').read_text()
  headings = [line[3:] for line in text.splitlines() if line.startswith('## ')]
  assert headings[0] == 'Results on unseen tasks'
  assert headings[-4:-1] == [
    'Compared with guessing and with the untuned model',
    'even, split test',
    'What the models answer: even, split test',
  ]
  _, corpus_part, own_part = re.split(
    '## Results on unseen tasks|## Compared with guessing', text
  )
  row = r'\| Original definition, 1 example \| \[50.0\].*even__test'
  assert not re.search(row, corpus_part)
  assert re.search(row, own_part)


def test_tasks_may_be_added_and_only_new_cells_run(tmp_path):
  before = run(tmp_path)
  engine = Engine()
  config = CONFIG.replace("'both',", "'echo',").replace("'even',", "'echo',")
  rows = run(
    tmp_path,
    engine,
    conditions=('echo',),
    test_conditions=('echo',),
    record=RunRecord(config=config),
  )
  assert engine.calls == [
    'predict untuned echo test',
    'predict both_seed0 echo test',
    'train echo 0',
    'predict echo_seed0 even test',
    'predict echo_seed0 echo test',
  ]
  assert len(rows) == len(before) + 5
  assert (tmp_path / 'study.gin').read_text() == (
    "TEST_TASKS = ('even', 'echo')\n\n"
    '# What to train on, some of which was added later.\n'
    "run_study.conditions = (\n    'both',\n    'echo',\n)\n"
  )
  # The first command still fits.
  assert len(run(tmp_path, engine)) == len(rows)
  assert len(engine.calls) == 5


def test_other_instances_are_refused(tmp_path):
  run(tmp_path)
  fixture.add_task('even', {'test': fixture.questions(5)})
  seqio_lib.declare('even', label_space=['yes', 'no'])
  with pytest.raises(
    InputError,
    match=r'holds a study of other instances of even: there .*4, .*now .*5, .*'
    r'Name another --study_dir\.',
  ):
    run(tmp_path)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    (
      {'test_conditions': ('evn',)},
      "no SeqIO task or mixture 'evn' is registered. Did you mean 'even'? "
      'MIXTURE_OR_TASK_MODULE names the module that registers it.',
    ),
    (
      {'splits': ('tset',)},
      "even has no split 'tset'; there are train, test, dev. Did you mean "
      "'test'?",
    ),
    (
      {'test_conditions': ('empty',)},
      'empty has no instance in test: there is nothing to predict or to score.',
    ),
    (
      {'test_conditions': ('missing',)},
      "missing, example 1 of test: reference 'no' is not in its label space, "
      "['yes', 'maybe']. Add it to the label space, or correct the targets.",
    ),
    (
      {'conditions': ('missing',)},
      'missing has no split train, only test: there is nothing to train on.',
    ),
    (
      {'conditions': ('other',)},
      'other and even have different vocabularies. All tasks of a study need '
      'the same one, as the untuned model is tested on all of them.',
    ),
    (
      {'conditions': 'both'},
      "run_study.conditions or TRAIN_TASKS is 'both'; give values in brackets, "
      "such as ('A', 'B'), or ('A',) for one.",
    ),
    (
      {'conditions': (fakes.NAME,)},
      f'CORPUS is None, and {fakes.NAME} reads a corpus. Name its folder: '
      '--gin.CORPUS=DIR.',
    ),
    (
      {'conditions': (), 'test_conditions': ()},
      'nothing to train on or to test: name tasks in TRAIN_TASKS or '
      'TEST_TASKS.',
    ),
  ],
)
def test_refusals_before_the_folder_is_claimed(tmp_path, settings, message):
  empty = [seqio.preprocessors.tokenize, lambda dataset: dataset.take(0)]
  fixture.add_task('empty', {'test': fixture.questions(1)}, preprocessors=empty)
  fixture.add_task('missing', {'test': fixture.questions(2)})
  seqio_lib.declare('missing', label_space=['yes', 'maybe'])
  other = seqio.Feature(seqio.ByteVocabulary(extra_ids=7))
  fixture.add_task(
    'other',
    {'train': fixture.questions(1)},
    output_features={'inputs': other, 'targets': other},
  )
  with pytest.raises(InputError) as raised:
    run(tmp_path / 'study', **settings)
  assert str(raised.value) == message
  assert not (tmp_path / 'study').exists()
