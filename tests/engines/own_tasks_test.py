"""Tests of SeqIO tasks of the user's own: trained and predicted."""

import json

import fakes
import pytest
import seqio
import seqio_tasks_fixture as fixture

from it_study import predictions, seqio_lib
from it_study.engines import native
from it_study.errors import InputError
from it_study.evaluation import score
from it_study.inference.decoding import Decoding
from it_study.training import optimizers
import tasks  # noqa: F401  Registers the conditions.

LENGTHS = {'inputs': 24, 'targets': 8}


@pytest.fixture(autouse=True)
def _tasks():
  """Two tasks and a mixture of them; only one has a split dev."""
  fixture.add_mixture()


def infer(folder, **settings):
  defaults = {
    'model_config': fakes.tiny_model(),
    'task_feature_lengths': LENGTHS,
    'infer_output_dir': folder,
    'batch_size': 8,
  }
  path = native.predict(**{**defaults, **settings})
  return predictions.read_predictions(path)


def test_a_mixture_trains_and_is_predicted_task_by_task(tmp_path):
  native.finetune(
    model_config=fakes.tiny_model(),
    optimizer=optimizers.adamw(learning_rate=1e-3),
    mixture_or_task_name='both',
    task_feature_lengths=LENGTHS,
    model_dir=tmp_path / 'model',
    batch_size=4,
    train_steps=2,
  )
  rows = infer(
    tmp_path / 'out',
    mixture_or_task_name='both',
    checkpoint_path=tmp_path / 'model',
    decoding=Decoding(method='ranked'),
  )
  assert [(row.task, row.position) for row in rows] == [
    ('echo', 0),
    ('echo', 1),
    *(('even', n) for n in range(4)),
  ]
  echo, even = rows[0], rows[3]
  assert (echo.id, echo.id_source, echo.inputs) == ('5', None, 'a 5')
  assert (echo.kind, echo.category, echo.label_space) == (None, None, None)
  assert even.id_source == 'position'
  assert (even.kind, even.category) == ('classification', 'Numbers')
  assert even.label_space == ('yes', 'no')
  assert even.prediction in even.label_space
  assert set(even.scores) == {'yes', 'no'}
  assert (even.targets, even.inputs) == (('no',), 'Is 1 even?')
  assert {row.train_condition for row in rows} == {'both'}
  assert (echo.test_condition, even.test_condition) == ('echo', 'even')
  metrics = score.score_file(tmp_path / 'out/predictions.jsonl').metrics
  assert metrics['num_instances'] == 6
  assert metrics['by_task']['even']['num_instances'] == 4
  assert metrics['by_category']['Numbers']['format_correctness'] == 100
  summary = json.loads((tmp_path / 'out/inference.json').read_text())
  assert (summary['num_shortened'], summary['input_kept']) == (0, 1)


def test_any_split_is_predicted_and_instances_may_be_limited(tmp_path):
  rows = infer(
    tmp_path,
    mixture_or_task_name='both',
    split='dev',
    instances_per_test_task=2,
  )
  # The other task of the mixture has no such split.
  assert [(row.task, row.split, row.position) for row in rows] == [
    ('even', 'dev', 0),
    ('even', 'dev', 1),
  ]


def test_a_split_that_is_not_there_or_empty(tmp_path):
  with pytest.raises(InputError) as raised:
    infer(tmp_path, mixture_or_task_name='even', split='tset')
  assert str(raised.value) == (
    "even has no split 'tset'; there are train, test, dev. Did you mean 'test'?"
  )
  fixture.add_task(
    'none',
    {'test': fixture.questions(1)},
    preprocessors=[
      seqio.preprocessors.tokenize,
      lambda dataset: dataset.take(0),
    ],
  )
  with pytest.raises(InputError) as raised:
    infer(tmp_path, mixture_or_task_name='none')
  assert str(raised.value) == (
    'none has no instance in test: nothing to predict.'
  )


def test_conditions_of_the_same_instances_are_not_predicted_together(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  seqio_lib.use_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))
  names = [f'natinst_def_{name}_ex_empty0' for name in ('empty', 'original')]
  seqio.MixtureRegistry.remove('conditions')
  seqio_lib.add_mixture('conditions', dict.fromkeys(names, 1))
  with pytest.raises(InputError) as raised:
    infer(
      tmp_path / 'out',
      mixture_or_task_name='conditions',
      task_feature_lengths=fakes.LENGTHS,
    )
  assert str(raised.value) == (
    f'conditions: its tasks {names[0]} and {names[1]} have the same instances, '
    "such as 'entail-0' of task4_entail, so predictions could not be told "
    'apart. Predict its tasks one by one.'
  )


def test_a_condition_and_a_task_of_the_user_s_own_mix(tmp_path, monkeypatch):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  seqio_lib.use_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))
  seqio.MixtureRegistry.remove('mixed')
  seqio_lib.add_mixture('mixed', {fakes.NAME: 1, 'even': 1})
  rows = infer(
    tmp_path / 'out',
    mixture_or_task_name='mixed',
    task_feature_lengths=fakes.LENGTHS,
  )
  assert len(rows) == fakes.NUM_ROWS['test'] + 4
  assert {row.task: (row.kind, row.test_condition) for row in rows} == {
    'even': ('classification', 'even'),
    'task4_entail': ('classification', fakes.NAME),
    'task5_title': ('generation', fakes.NAME),
  }


def test_features_follow_the_vocabulary_in_use(tmp_path, monkeypatch):
  features = seqio_lib.output_features()
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'byte')
  assert isinstance(features['inputs'].vocabulary, seqio.ByteVocabulary)
  assert features['inputs'].add_eos
  fixture.add_task('own', {'test': fixture.questions(2)})
  fixture.add_task(
    'current', {'test': fixture.questions(2)}, output_features=features
  )
  rows = [
    infer(tmp_path, mixture_or_task_name=name) for name in ('own', 'current')
  ]
  assert [r.prediction for r in rows[0]] == [r.prediction for r in rows[1]]


def test_a_task_s_own_metrics_are_stored_beside_ours(tmp_path, caplog):
  def count(targets, predictions):
    assert targets == ['yes', 'no']
    return {'number': len(predictions)}

  def fails(targets, predictions):
    raise ValueError('no word')

  fixture.add_task(
    'measured', {'test': fixture.questions(2)}, metric_fns=[count, fails]
  )
  infer(tmp_path, mixture_or_task_name='measured')
  summary = json.loads((tmp_path / 'inference.json').read_text())
  assert summary['task_metrics'] == {'measured': {'number': 2}}
  name = f'{__name__}.{fails.__qualname__}'
  reason = 'ValueError: no word'
  assert summary['task_metrics_not_run'] == {'measured': {name: reason}}
  assert caplog.messages[-2] == (
    'measured: its kind is not declared, so scores leave it out of '
    'classification and generation. By its targets it might be: '
    "it_study.seqio_lib.declare('measured', kind='generation')."
  )
  assert caplog.messages[-1] == (
    f'measured: its own metric {name} has no value: {reason}.'
  )


def test_a_task_with_few_answers_might_have_a_label_space(tmp_path, caplog):
  fixture.add_task('yesno', {'test': fixture.questions(26)})
  infer(tmp_path, mixture_or_task_name='yesno')
  assert caplog.messages[-1].endswith(
    "it_study.seqio_lib.declare('yesno', label_space=['no', 'yes'])."
  )


def test_only_tasks_of_the_user_s_own_need_no_corpus(capsys):
  words = [
    'predict',
    '--gin_file=models/t5_1_1_tiny.gin',
    '--gin_file=runs/predict.gin',
    '--gin.CORPUS=None',
    f'--gin.MIXTURE_OR_TASK_NAME={fakes.NAME}',
    '--gin.CHECKPOINT_PATH=None',
    '--gin.INFER_OUTPUT_DIR=out',
  ]
  assert fakes.refusal(capsys, *words) == (
    f'CORPUS is None, and {fakes.NAME} reads a corpus. Name its folder: '
    '--gin.CORPUS=DIR.'
  )


def test_targets_that_are_cut_in_training_are_counted(tmp_path):
  fixture.add_task(
    'long',
    {
      'train': [
        {'inputs': 'a', 'targets': text} for text in ('1234567', '12345678')
      ]
    },
  )
  record = native.finetune(
    model_config=fakes.tiny_model(),
    optimizer=optimizers.adamw(learning_rate=1e-3),
    mixture_or_task_name='long',
    task_feature_lengths=LENGTHS,
    model_dir=tmp_path,
    batch_size=1,
    train_steps=1,
  )
  assert record['num_cut_targets'] == 1
