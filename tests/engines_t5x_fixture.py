"""A small corpus and tiny trainings for the tests of the T5X engine."""

import importlib.util
import json
import pathlib

import fakes
import pytest

from it_study import predictions, seqio_lib
from it_study.data import vocabularies
from it_study.engines import native
from it_study.engines.t5x import engine as t5x
from it_study.inference.decoding import Decoding
from it_study.training import optimizers
import tasks  # noqa: F401  Registers the conditions.

needs_t5x = [
  pytest.mark.t5x,
  pytest.mark.skipif(
    importlib.util.find_spec('t5x') is None, reason='needs T5X'
  ),
]


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('t5x') / 'corpus')


@pytest.fixture(autouse=True)
def _use(corpus, monkeypatch):
  use(corpus, monkeypatch)


def use(corpus, monkeypatch):
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)


def finetune(engine, model_dir, **settings):
  defaults = {
    'model_config': fakes.tiny_model(),
    'optimizer': optimizers.adafactor(learning_rate=1e-2),
    'mixture_or_task_name': f'{fakes.NAME}_n3',
    'task_feature_lengths': fakes.LENGTHS,
    'model_dir': model_dir,
    'batch_size': 4,
    'train_steps': 20,
    'log_period': 1,
    'checkpoint_period': 10,
  }
  return engine.finetune(**{**defaults, **settings})


def finetune_both(corpus, folder, **settings):
  """Trains with each engine from the same weights.

  Args:
    corpus: Folder of the corpus.
    folder: Folder for `start`, the weights, and a training named after each
      engine.
    **settings: Arguments of `finetune`.
  """
  with pytest.MonkeyPatch.context() as patch:
    use(corpus, patch)
    finetune(native, folder / 'start', train_steps=2)
    for engine in (native, t5x):
      finetune(
        engine,
        folder / engine.ENGINE,
        initial_checkpoint_path=str(folder / 'start'),
        **settings,
      )
  return folder


def infer(engine, folder, checkpoint, method='greedy'):
  path = engine.predict(
    model_config=fakes.tiny_model(),
    mixture_or_task_name=fakes.NAME,
    task_feature_lengths=fakes.LENGTHS,
    infer_output_dir=folder,
    checkpoint_path=checkpoint,
    batch_size=32,
    decoding=Decoding(method=method),
  )
  return predictions.read_predictions(path)


def lines(model_dir):
  text = (pathlib.Path(model_dir) / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]
