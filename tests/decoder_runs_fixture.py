"""Trainings and predictions of a tiny Llama by the command line, for tests."""

import json
import pathlib

import fakes
import gguf_files
import pytest

from it_study import cli
from it_study.checkpoints import manager
from it_study.checkpoints.gguf import folder

PLAIN = 'natinst_def_original_ex_empty0'
CHAT = f'{PLAIN}_fmtchat'
SHORT = 'natinst_def_empty_ex_empty0'


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  """The folder of a tiny Llama."""
  directory = tmp_path_factory.mktemp('decoder')
  return folder.write_folder(
    gguf_files.write(directory / 'm.gguf'), directory / 'hf'
  )


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('corpus') / 'c')


@pytest.fixture(name='here', autouse=True)
def _here(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  # Set by a prediction, for this process.
  monkeypatch.setenv('IT_STUDY_VOCABULARY', '')
  (tmp_path / 'tiny.gin').write_text(gguf_files.GIN)


def predict(model, corpus, *more, condition=CHAT, out='out'):
  return cli.main(
    [
      'predict',
      '--gin_file=tiny.gin',
      '--gin_file=runs/predict.gin',
      f'--gin.CORPUS={corpus}',
      f'--gin.CHECKPOINT_PATH={model}',
      f'--gin.MIXTURE_OR_TASK_NAME={condition}',
      f'--gin.INFER_OUTPUT_DIR={out}',
      "--gin.TASK_FEATURE_LENGTHS={'inputs': 160, 'targets': 8}",
      '--quiet',
      *more,
    ]
  )


def rows(out='out'):
  with open(f'{out}/predictions.jsonl', encoding='utf-8') as file:
    return [json.loads(line) for line in file]


def train(corpus, *more, out='m', steps=300):
  return cli.main(
    [
      'train',
      '--gin_file=tiny.gin',
      '--gin_file=runs/finetune.gin',
      f'--gin.CORPUS={corpus}',
      f'--gin.MODEL_DIR={out}',
      f'--gin.TRAIN_STEPS={steps}',
      '--gin.BATCH_SIZE=8',
      '--gin.OPTIMIZER=@adamw()',
      '--gin.LEARNING_RATE=1e-2',
      f'--gin.MIXTURE_OR_TASK_NAME={SHORT}',
      "--gin.TASK_FEATURE_LENGTHS={'inputs': 96, 'targets': 12}",
      '--quiet',
      *more,
    ]
  )


def params_of(folder):
  """Returns the parameters of the newest checkpoint of a training."""
  return manager.read_params(pathlib.Path(manager.find_checkpoint(folder)))


def train_lora(model, corpus, *more, **settings):
  return train(
    corpus,
    '--gin_file=runs/lora.gin',
    f'--gin.INITIAL_CHECKPOINT_PATH={model}',
    '--gin.LORA_RANK=2',
    '--gin.LEARNING_RATE=1e-1',
    *more,
    **settings,
  )
