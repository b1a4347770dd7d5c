"""Tests of commands on a corpus that has only test tasks."""

import json
import pathlib

import fakes
from fakes import refusal, run_command as run
import pytest

from it_study.data import vocabularies

_LACKS = (
  'no training tasks, so no split {!r}; it can be predicted and scored on '
  'test, not trained on. List its training tasks in train_tasks.txt, or name '
  'another corpus.'
)
_MODEL = (
  '--gin_file=models/t5_1_1_tiny.gin',
  *(
    f'--gin.T5Config.{name}={size}'
    for name, size in fakes.tiny_model().keywords.items()
  ),
  '--gin.CORPUS=corpus',
  '--gin.IT_STUDY_VOCABULARY=byte',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 160, 'targets': 4}",
  f'--gin.MIXTURE_OR_TASK_NAME={fakes.NAME}',
)
_PREDICT = (
  *('predict', *_MODEL, '--gin_file=runs/predict.gin'),
  *('--gin.CHECKPOINT_PATH=None', '--gin.INFER_OUTPUT_DIR=out'),
)
_TRAIN = (
  *('train', *_MODEL, '--gin_file=runs/finetune.gin'),
  *('--gin.MODEL_DIR=model', '--gin.TRAIN_STEPS=2'),
)
_CONDITION = f'--condition={fakes.NAME}'


@pytest.fixture(autouse=True)
def _corpus(tmp_path, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  monkeypatch.chdir(tmp_path)
  fakes.write_small_corpus(tmp_path / 'corpus')
  pathlib.Path('corpus/splits/default/train_tasks.txt').unlink()


@pytest.mark.parametrize(
  'words',
  [
    ('corpus', 'check', 'corpus'),
    ('corpus', 'stats', 'corpus', _CONDITION, '--vocabulary=byte'),
    ('corpus', 'audit', 'corpus'),
    ('corpus', 'verify', 'corpus', _CONDITION),
    ('prompt', '--corpus=corpus', _CONDITION),
    ('baseline', 'prior', '--corpus=corpus'),
  ],
)
def test_it_is_described_and_rendered(words):
  assert run(*words, '--quiet') == 0


def test_it_is_predicted_and_scored(capsys):
  assert run(*_PREDICT) == 0
  capsys.readouterr()
  assert run('score', 'out/predictions.jsonl', '--corpus=corpus', '--json') == 0
  metrics = json.loads(capsys.readouterr().out)
  assert metrics['overall']['num_instances'] == 106


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (_TRAIN, f'the corpus in use: {_LACKS.format("train")}'),
    (
      (*_PREDICT, '--gin.SPLIT=validation'),
      f'the corpus in use: {_LACKS.format("validation")}',
    ),
    *(
      (words, f'corpus corpus: {_LACKS.format("train")}')
      for words in (
        ('study', '--gin_file=studies/natinst_tiny.gin', '--gin.CORPUS=corpus'),
        ('corpus', 'verify', 'corpus', '--split=train'),
        ('corpus', 'stats', 'corpus', '--split=train'),
        ('corpus', 'controls', 'corpus', 'controls'),
        ('prompt', '--corpus=corpus', _CONDITION, '--split=train'),
        ('baseline', 'prior', '--corpus=corpus', '--split=train'),
        ('score', 'p.jsonl', '--corpus=corpus', '--split=train'),
      )
    ),
  ],
)
def test_only_training_asks_for_training_tasks(capsys, words, message):
  assert refusal(capsys, *words) == message
