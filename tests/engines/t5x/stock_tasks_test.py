"""Stock T5X on the tasks of `tasks`: nothing of it is changed or wrapped."""

import functools
import importlib.util
import json

import fakes
import pytest
import seqio

from it_study import seqio_lib
from it_study.corpus import natinst
from it_study.data import vocabularies
from it_study.evaluation import score

pytestmark = pytest.mark.t5x
if importlib.util.find_spec('t5x') is None:
  pytest.skip('needs T5X', allow_module_level=True)

NAME = 'natinst_def_simplified_ex_original2'
LENGTHS = {'inputs': 128, 'targets': 8}


def t5x_model(vocabulary):
  """The model of T5X's t5_1_1/tiny.gin, in float32."""
  from t5x import adafactor, models
  from t5x.examples.t5 import network

  config = network.T5Config(
    vocab_size=384,
    dtype='float32',
    emb_dim=8,
    num_heads=4,
    num_encoder_layers=2,
    num_decoder_layers=2,
    head_dim=3,
    mlp_dim=16,
    mlp_activations=('gelu', 'linear'),
    dropout_rate=0.0,
    logits_via_embedding=False,
  )
  return models.EncoderDecoderModel(
    module=network.Transformer(config=config),
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    optimizer_def=adafactor.Adafactor(
      decay_rate=0.8,
      step_offset=0,
      logical_factor_rules=adafactor.standard_logical_factor_rules(),
    ),
    z_loss=0.0001,
  )


def dataset_config(split, **settings):
  from t5x import utils

  return utils.DatasetConfig(
    mixture_or_task_name=settings.pop('name', NAME),
    task_feature_lengths=settings.pop('lengths', LENGTHS),
    split=split,
    batch_size=8,
    shuffle=split == 'train',
    seed=0,
    use_cached=False,
    pack=split == 'train',
    module='tasks',
    **settings,
  )


def t5x_partitioner():
  from t5x import partitioning

  return partitioning.PjitPartitioner(
    num_partitions=1,
    logical_axis_rules=partitioning.standard_logical_axis_rules(),
  )


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('t5x') / 'corpus')


@pytest.fixture(name='trained', scope='module')
def _trained(corpus, tmp_path_factory):
  """The folder of two steps of T5X's own training, evaluation included."""
  from t5x import train, trainer, utils

  folder = tmp_path_factory.mktemp('trained')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(vocabularies.VARIABLE, 'byte')
    seqio_lib.use_corpus(corpus)
    step, _ = train.train(
      model=t5x_model(seqio.ByteVocabulary()),
      model_dir=str(folder),
      train_dataset_cfg=dataset_config('train'),
      train_eval_dataset_cfg=dataset_config('validation'),
      infer_eval_dataset_cfg=dataset_config('validation'),
      checkpoint_cfg=utils.CheckpointConfig(
        save=utils.SaveCheckpointConfig(period=2, dtype='float32')
      ),
      partitioner=t5x_partitioner(),
      trainer_cls=functools.partial(
        trainer.Trainer,
        num_microbatches=None,
        learning_rate_fn=utils.create_learning_rate_scheduler(
          factors='constant', base_learning_rate=0.001
        ),
      ),
      total_steps=2,
      eval_steps=1,
      eval_period=2,
      random_seed=0,
      summarize_config_fn=lambda *_, **__: None,
      inference_evaluator_cls=functools.partial(
        seqio.Evaluator,
        logger_cls=[
          seqio.PyLoggingLogger,
          seqio.TensorBoardLogger,
          seqio.JSONLogger,
        ],
      ),
    )
  assert step == 2
  return folder


def test_t5x_trains_and_evaluates_on_a_task(trained):
  assert (trained / 'checkpoint_2').is_dir()
  lines = (trained / f'inference_eval/{NAME}-metrics.jsonl').read_text()
  metrics = json.loads(lines.splitlines()[-1])
  assert metrics['step'] == 2
  assert 0 <= metrics['exact_match'] <= metrics['rouge_l'] <= 100
  rows = (trained / f'inference_eval/{NAME}-000002.jsonl').read_text()
  assert len(rows.splitlines()) == fakes.NUM_ROWS['validation']


def test_what_t5x_infers_is_scored(trained, corpus, tmp_path, monkeypatch):
  from t5x import infer, utils

  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)
  infer.infer(
    mode='predict',
    model=t5x_model(seqio.ByteVocabulary()),
    dataset_cfg=dataset_config('test'),
    restore_checkpoint_cfg=utils.RestoreCheckpointConfig(
      path=str(trained / 'checkpoint_2'), mode='specific', dtype='float32'
    ),
    partitioner=t5x_partitioner(),
    output_dir=str(tmp_path),
    checkpoint_period=100,
    summarize_config_fn=lambda *_, **__: None,
  )
  (path,) = tmp_path.glob('*.jsonl-00000-of-00001')
  opened = natinst.open_corpus(corpus)
  result = score.score_file(path, corpus=opened, split='test')
  assert result.metrics['overall']['num_instances'] == fakes.NUM_ROWS['test']
  assert result.metrics['classification']['num_tasks'] == 1


def test_t5x_takes_a_mixture(corpus, monkeypatch):
  from t5x import utils

  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  seqio_lib.use_corpus(corpus)
  dataset = utils.get_dataset(
    dataset_config(
      'train',
      name='natinst_all_definitions',
      lengths={'inputs': 512, 'targets': 32},
    ),
    shard_id=0,
    num_shards=1,
    feature_converter_cls=seqio.EncDecFeatureConverter,
  )
  batch = next(dataset.as_numpy_iterator())
  assert batch['encoder_input_tokens'].shape == (8, 512)
  # Packed: a second example begins in some row.
  assert batch['encoder_segment_ids'].max() >= 2


def test_t5x_refuses_a_model_of_another_vocabulary(monkeypatch):
  from t5x import utils

  monkeypatch.setenv(vocabularies.VARIABLE, 'byte')
  other = t5x_model(seqio.PassThroughVocabulary(size=259))
  with pytest.raises(ValueError, match='vocabularies do not match'):
    utils.verify_matching_vocabs(dataset_config('train'), other)
  utils.verify_matching_vocabs(
    dataset_config('train'), t5x_model(seqio.ByteVocabulary())
  )
  # And with no vocabulary named, T5's own fits, though it is not read.
  monkeypatch.setenv(vocabularies.VARIABLE, '')
  t5 = seqio.SentencePieceVocabulary(vocabularies.DEFAULT)
  utils.verify_matching_vocabs(dataset_config('train'), t5x_model(t5))
