"""Tests of tasks on every kind of source, mixed, on both engines."""

from engines_t5x_fixture import needs_t5x
import fakes
import pytest
import seqio
import seqio_tasks_fixture as fixture
import tensorflow as tf
import tensorflow_datasets as tfds
from vocabularies_fixture import write_model

from it_study import predictions, seqio_lib
from it_study.engines import native
from it_study.engines.t5x import engine as t5x
from it_study.evaluation import score
from it_study.training import optimizers

LENGTHS = {'inputs': 24, 'targets': 8}
NUM_ROWS = {'train': 6, 'test': 5}
_ROWS = {split: fixture.questions(count) for split, count in NUM_ROWS.items()}


def _function(folder):
  del folder
  return None, []


def _text(folder):
  for split, rows in _ROWS.items():
    lines = [f'{row["inputs"]}\t{row["targets"]}\n' for row in rows]
    (folder / f'{split}.tsv').write_text(''.join(lines))
  paths = {split: str(folder / f'{split}.tsv') for split in _ROWS}

  def parse(line):
    inputs, targets = tf.unstack(tf.strings.split(line, '\t'), 2)
    return {'inputs': inputs, 'targets': targets}

  return seqio.TextLineDataSource(paths), [lambda dataset: dataset.map(parse)]


def _records(folder):
  for split, rows in _ROWS.items():
    with tf.io.TFRecordWriter(str(folder / f'{split}.tfrecord')) as writer:
      for row in rows:
        features = {
          key: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[text.encode()])
          )
          for key, text in row.items()
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        writer.write(example.SerializeToString())
  return seqio.TFExampleDataSource(
    {split: str(folder / f'{split}.tfrecord') for split in _ROWS},
    {key: tf.io.FixedLenFeature([], tf.string) for key in _ROWS['test'][0]},
  ), []


def _tfds(folder):
  features = tfds.features.FeaturesDict(
    {key: tfds.features.Text() for key in _ROWS['test'][0]}
  )
  tfds.dataset_builders.store_as_tfds_dataset(
    name='even_numbers',
    version='1.0.0',
    data_dir=folder,
    split_datasets={
      split: tf.data.Dataset.from_tensor_slices(
        {key: [row[key] for row in rows] for key in rows[0]}
      )
      for split, rows in _ROWS.items()
    },
    features=features,
    disable_shuffling=True,
  )
  return seqio.TfdsDataSource(
    'even_numbers:1.0.0', tfds_data_dir=str(folder), splits=tuple(_ROWS)
  ), []


_SOURCES = {
  'own_function': _function,
  'own_text': _text,
  'own_records': _records,
  'own_tfds': _tfds,
}


def register(folder, vocabulary):
  """Registers a task per kind of source, and a mixture of them with rates."""
  for name, make in _SOURCES.items():
    (folder / name).mkdir()
    source, preprocessors = make(folder / name)
    more = {} if source is None else {'source': source}
    feature = seqio.Feature(vocabulary)
    fixture.add_task(
      name,
      _ROWS,
      preprocessors=[
        *preprocessors,
        seqio.preprocessors.tokenize,
        seqio.preprocessors.append_eos_after_trim,
      ],
      output_features={'inputs': feature, 'targets': feature},
      **more,
    )
    seqio_lib.declare(name, label_space=['yes', 'no'])
  seqio.MixtureRegistry.remove('own_mixture')
  rates = dict(zip(_SOURCES, (1, 2, 3, 4), strict=True))
  seqio_lib.add_mixture('own_mixture', rates)


def check(engine, folder, **settings):
  """Trains and predicts the mixture, and checks what is written."""
  common = {
    'model_config': fakes.tiny_model(),
    'mixture_or_task_name': 'own_mixture',
    'task_feature_lengths': LENGTHS,
    'batch_size': 4,
  }
  engine.finetune(
    **common,
    optimizer=optimizers.adafactor(learning_rate=1e-2),
    model_dir=folder / 'model',
    train_steps=20,
  )
  path = engine.predict(
    **common,
    infer_output_dir=folder / 'out',
    checkpoint_path=folder / 'model',
    **settings,
  )
  rows = predictions.read_predictions(path)
  assert [
    (row.task, row.position, row.inputs, row.targets) for row in rows
  ] == [
    (name, n, row['inputs'], (row['targets'],))
    for name in sorted(_SOURCES)
    for n, row in enumerate(_ROWS['test'])
  ]
  assert score.score_file(path).metrics['num_instances'] == len(rows)
  return rows


class Interrupted(Exception):
  pass


def test_native_engine(tmp_path):
  register(tmp_path, seqio.ByteVocabulary())
  rows = check(native, tmp_path)
  settings = {
    'model_config': fakes.tiny_model(),
    'mixture_or_task_name': 'own_mixture',
    'task_feature_lengths': LENGTHS,
    'batch_size': 4,
    'infer_output_dir': tmp_path / 'again',
    'checkpoint_path': tmp_path / 'model',
  }

  def interrupt(done, total):
    if done >= 8:
      raise Interrupted

  with pytest.raises(Interrupted):
    native.predict(**settings, on_progress=interrupt)
  assert not (tmp_path / 'again/predictions.jsonl').exists()
  native.predict(**settings)
  assert predictions.read_predictions(tmp_path / 'again/predictions.jsonl') == (
    rows
  )


def test_a_vocabulary_of_the_tasks_own(tmp_path):
  model = write_model(tmp_path / 'm.model', texts=['Is 1234567890 even?', 'no'])
  register(tmp_path, seqio.SentencePieceVocabulary(str(model)))
  check(native, tmp_path)


class TestWithT5X:
  pytestmark = needs_t5x

  def test_t5x_engine(self, tmp_path):
    register(tmp_path, seqio.ByteVocabulary())
    check(t5x, tmp_path)
