"""Tests of it_study.commands.runs.finished."""

import argparse
import json
import pathlib
import shutil

import fakes
import pytest

from it_study.commands.runs import finished

_TRAINING = {'train_steps': 2}


@pytest.fixture(name='options')
def _options(tmp_path, monkeypatch):
  """Options of a training that is finished, in the working folder."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.delenv('IT_STUDY_VOCABULARY', raising=False)
  corpus = fakes.write_small_corpus('corpus')
  step = pathlib.Path('model/checkpoints/2')
  step.mkdir(parents=True)
  (step / 'manifest.json').write_text('{}')
  pathlib.Path('model/training.json').write_text(json.dumps(_TRAINING))
  options = make_options()
  finished.record(options, pathlib.Path('model'), corpus)
  return options


def make_options(*bindings):
  return argparse.Namespace(
    gin_file=['models/t5_1_1_tiny.gin', 'runs/finetune.gin'],
    gin_bindings=[
      'CORPUS=corpus',
      'MODEL_DIR=model',
      f'MIXTURE_OR_TASK_NAME={fakes.NAME}',
      *bindings,
    ],
    gin_search_paths='',
  )


def test_the_same_command_is_recognised(options):
  assert finished.find(options) == finished.Finished('model', _TRAINING)
  assert json.loads(pathlib.Path('model/finished.json').read_text()).keys() == {
    'request',
    'corpus',
    'fingerprint',
  }


@pytest.mark.parametrize(
  'binding',
  [
    'TRAIN_STEPS=3',
    'MODEL_DIR=other',
    'MODEL_DIR=gs://bucket/model',
    'MODEL_DIR=@none',
    'MIXTURE_OR_TASK_MODULE=mine',
    'MODEL_DIR',
  ],
)
def test_another_command_is_not(options, binding):
  del options
  assert finished.find(make_options(binding)) is None


def test_changes_around_the_command_are_noticed(options, tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setenv('IT_STUDY_VOCABULARY', 'byte')
    assert finished.find(options) is None
  with monkeypatch.context() as patch:
    patch.setenv('JAX_NUM_PROCESSES', '2')
    assert finished.find(options) is None
  (tmp_path / 'elsewhere').mkdir()
  monkeypatch.chdir(tmp_path / 'elsewhere')
  shutil.copytree('../model', 'model')
  assert finished.find(options) is None
  monkeypatch.chdir(tmp_path)
  assert finished.find(options) is not None
  task = pathlib.Path('corpus/tasks/task1_mood.json')
  task.write_text(task.read_text().replace('day 1', 'night 1'))
  assert finished.find(options) is None


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('finished.json', ''),
    ('finished.json', '[]'),
    ('finished.json', '{}'),
    ('training.json', '{"train_st'),
    ('training.json', None),
    ('checkpoints/2/manifest.json', None),
  ],
)
def test_damaged_files_are_left_to_the_training(options, name, content):
  path = pathlib.Path('model', name)
  if content is None:
    path.unlink()
  else:
    path.write_text(content)
  assert finished.find(options) is None


def test_a_changed_vocabulary_file_is_noticed(options, monkeypatch):
  pathlib.Path('vocabulary').write_text('one')
  monkeypatch.setenv('IT_STUDY_VOCABULARY', 'vocabulary')
  finished.record(options, pathlib.Path('model'), pathlib.Path('corpus'))
  assert finished.find(options) is not None
  pathlib.Path('vocabulary').write_text('two')
  assert finished.find(options) is None


def test_the_prediction_command_keeps_what_predict_knows():
  options = make_options('TRAIN_STEPS=2', 'SEED=3', 'T5Config.emb_dim=8')
  assert finished.prediction_command(options, 'a model/') == (
    'it-study predict --gin_file=models/t5_1_1_tiny.gin '
    '--gin_file=runs/predict.gin --gin.CORPUS=corpus '
    f'--gin.MIXTURE_OR_TASK_NAME={fakes.NAME} --gin.SEED=3 '
    "--gin.T5Config.emb_dim=8 '--gin.CHECKPOINT_PATH=a model/' "
    "'--gin.INFER_OUTPUT_DIR=a model_predictions'"
  )
  options.gin_file[1] = 'mine.gin'
  assert finished.prediction_command(options, 'model') is None
