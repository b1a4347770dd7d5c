"""Tests of tasks whose features have a vocabulary of their own."""

import functools
import json

import fakes
import pytest
import seqio
from vocabularies_fixture import write_model

from it_study import predictions, seqio_lib
from it_study.conditions import Condition
from it_study.data import preprocessors, row_source, vocabularies
from it_study.engines import native
from it_study.errors import InputError
from it_study.training import optimizers
import tasks  # noqa: F401  Registers the conditions.

NAME = 'own_bytes'
BYTES = 'byte, 259 tokens, SHA-256 0b908701b385'
CHOICE = Condition(examples='empty', num_examples=0, definition='empty')


def add(name, **vocabulary_of):
  """Registers a condition as a plain SeqIO task, with features of its own."""
  seqio.TaskRegistry.remove(name)
  seqio.TaskRegistry.add(
    name,
    source=row_source.ChosenRows(
      choice=CHOICE, rows=row_source.SOURCE, task=None
    ),
    preprocessors=[
      functools.partial(
        preprocessors.render_rows, condition=CHOICE, source=row_source.SOURCE
      ),
      seqio.preprocessors.tokenize,
      seqio.preprocessors.append_eos_after_trim,
    ],
    output_features={
      feature: seqio.Feature(vocabulary, add_eos=True)
      for feature, vocabulary in vocabulary_of.items()
    },
  )


@pytest.fixture(autouse=True)
def _use(tmp_path, monkeypatch):
  """A corpus, and a current vocabulary that is not the task's."""
  monkeypatch.setenv(
    vocabularies.VARIABLE,
    str(write_model(tmp_path / 'v.model')),
  )
  seqio_lib.use_corpus(fakes.write_small_corpus(tmp_path / 'corpus'))
  add(NAME, inputs=seqio.ByteVocabulary(), targets=seqio.ByteVocabulary())
  yield
  seqio.TaskRegistry.remove(NAME)


def finetune(folder, **settings):
  return native.finetune(
    model_config=fakes.tiny_model(),
    optimizer=optimizers.adamw(learning_rate=1e-3),
    task_feature_lengths=fakes.LENGTHS,
    model_dir=folder,
    batch_size=4,
    train_steps=1,
    **{'mixture_or_task_name': NAME, **settings},
  )


def infer(folder, **settings):
  path = native.predict(
    model_config=fakes.tiny_model(),
    task_feature_lengths=fakes.LENGTHS,
    infer_output_dir=folder,
    batch_size=32,
    **{'mixture_or_task_name': NAME, **settings},
  )
  return predictions.read_predictions(path)


def test_the_task_s_vocabulary_is_used_and_recorded(tmp_path, monkeypatch):
  finetune(tmp_path / 'm')
  record = json.loads((tmp_path / 'm/training.json').read_text())
  assert record['vocabulary'] == BYTES
  assert record['vocabulary_sha256'] == vocabularies.fingerprint(
    seqio.ByteVocabulary()
  )
  assert record['model']['vocab_size'] == 384
  own = infer(tmp_path / 'own', checkpoint_path=tmp_path / 'm')
  assert vocabularies.describe().startswith('v.model, ')
  # A condition is predicted with the current vocabulary.
  condition = {
    'mixture_or_task_name': CHOICE.name,
    'checkpoint_path': tmp_path / 'm',
  }
  with pytest.raises(InputError) as error:
    infer(tmp_path / 'other', **condition)
  assert str(error.value) == (
    f'{tmp_path}/m was trained with the vocabulary {BYTES}; in use is '
    f'{vocabularies.describe()}. Set IT_STUDY_VOCABULARY to the one it was '
    'trained with.'
  )
  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  same = infer(tmp_path / 'same', **condition)
  assert [row.prediction for row in same] == [row.prediction for row in own]
  assert len({row.prediction for row in own}) > 1


def test_a_mixture_has_the_vocabulary_of_its_tasks():
  seqio.MixtureRegistry.remove('own_mixture')
  seqio_lib.add_mixture('own_mixture', {NAME: 1})
  assert seqio_lib.vocabulary_of('own_mixture') == seqio.ByteVocabulary()
  assert seqio_lib.vocabulary_of(CHOICE.name) == (
    vocabularies.current_vocabulary()
  )


def test_two_vocabularies_are_refused(tmp_path):
  add(
    'own_two',
    inputs=seqio.ByteVocabulary(),
    targets=vocabularies.current_vocabulary(),
  )
  with pytest.raises(InputError) as error:
    finetune(tmp_path, mixture_or_task_name='own_two')
  assert str(error.value) == (
    'own_two: inputs and targets have different vocabularies. A model has one '
    'table of tokens: give both features the same vocabulary.'
  )


def test_a_missing_feature_is_named():
  add('own_targets', targets=seqio.ByteVocabulary())
  with pytest.raises(InputError) as error:
    seqio_lib.vocabulary_of('own_targets')
  assert str(error.value) == (
    "own_targets has no feature 'inputs', only targets. A model reads 'inputs' "
    "and writes 'targets'."
  )


def test_a_missing_model_file_is_named(tmp_path):
  vocabulary = seqio.SentencePieceVocabulary(str(tmp_path / 'none.model'))
  add('own_missing', inputs=vocabulary, targets=vocabulary)
  with pytest.raises(InputError, match=r'vocabulary .*none.model: cannot be'):
    finetune(tmp_path / 'm', mixture_or_task_name='own_missing')
