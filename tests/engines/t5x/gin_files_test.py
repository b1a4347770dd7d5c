"""Tests of gin_configs/t5x, the gin files for T5X by itself."""

import importlib.util
import inspect
import json
import os
import pathlib
import shlex
import subprocess
import sys

import fakes
import gin
import pages
import pytest
import seqio
import t5x_fixture

from it_study import gin_utils
from it_study.corpus import natinst
from it_study.data import vocabularies
from it_study.engines import native
from it_study.evaluation import score
from it_study.models.t5 import T5Config
from it_study.training import optimizers

pytestmark = pytest.mark.t5x
if importlib.util.find_spec('t5x') is None:
  pytest.skip('needs T5X', allow_module_level=True)

FILES = sorted(path.name for path in gin_utils.T5X_DIRECTORY.glob('*.gin'))
# What the others include.
LEAVES = [name for name in FILES if name != 'common.gin']
SIZES = ('small', 'base', 'large', 'xl', 'xxl')
ENTRIES = {'train': 'train', 'eval': 'evaluate', 'infer': 'infer'}
# Of the page.
NAME = 'natinst_def_simplified_ex_original2'


# In place of T5X's own, and by their names, so that gin binds them.
def train(**settings):
  return settings


def evaluate(**settings):
  return settings


def infer(**settings):
  return settings


def command_of(name) -> tuple[dict[str, str], list[str]]:
  """Environment and words of the command that a leaf opens with."""
  text = ''
  for line in (gin_utils.T5X_DIRECTORY / name).read_text().splitlines():
    text += line.removeprefix('#').strip()
    if not text.endswith('\\'):
      break
    text = text.removesuffix('\\')
  words = shlex.split(text)
  count = words.index('python')
  return dict(word.split('=') for word in words[:count]), words[count:]


@pytest.fixture(name='configure')
def _configure(monkeypatch):
  """What T5X's entry function is given for the words of a command."""
  from t5x import gin_utils as t5x_gin_utils

  main = sys.modules['__main__']
  for function in (train, evaluate, infer):
    monkeypatch.setattr(main, function.__name__, function, raising=False)
  monkeypatch.setattr(gin.config, '_LOCATION_PREFIXES', [''])
  t5x_folder = pathlib.Path(t5x_gin_utils.__file__).parents[1]

  def configure(environment, words):
    monkeypatch.setenv(
      vocabularies.VARIABLE, environment.get(vocabularies.VARIABLE, '')
    )
    flags = [word.split('=', 1) for word in words if word.startswith('--')]
    (mode,) = (value for name, value in flags if name == '--run_mode')
    entry = globals()[ENTRIES[mode]]
    gin.clear_config()
    known = set(gin.config._REGISTRY._selector_map)
    gin.register(entry, '__main__')
    try:
      t5x_gin_utils.parse_gin_flags(
        ['.', str(t5x_folder)],
        [value for name, value in flags if name == '--gin_file'],
        [
          f'{name.removeprefix("--gin.")} = {value}'
          for name, value in flags
          if name.startswith('--gin.')
        ],
      )
      found = gin.get_configurable(entry)()
      if mode == 'train':
        found |= gin.get_bindings('trainer.Trainer')
      return found
    finally:
      gin.clear_config()
      # T5X's names would stand beside ours of the same name.
      for selector in set(gin.config._REGISTRY._selector_map) - known:
        added = gin.config._REGISTRY.pop(selector)
        gin.config._INVERSE_REGISTRY.pop(added.wrapped)

  return configure


def native_settings(leaf, size, *bindings):
  """What the native engine is given by its own files."""
  gin_utils.load(
    files=[f'models/t5_1_1_{size}.gin', leaf],
    bindings=['CORPUS=C', f'MIXTURE_OR_TASK_NAME={NAME}', *bindings],
    configurables=[
      native.finetune,
      native.predict,
      T5Config,
      native.Decoding,
      optimizers.adafactor,
      optimizers.adamw,
    ],
    defaults=['MODEL = @T5Config'],
    read=('CORPUS', 'ENGINE', 'IT_STUDY_VOCABULARY'),
  )
  function = 'finetune' if 'finetune' in leaf else 'predict'
  return gin_utils.bound(function, gin.get_bindings(function))


def test_every_gin_file_is_covered():
  assert LEAVES == [
    'byte.gin',
    'eval.gin',
    'finetune.gin',
    'infer.gin',
    'lm_base_finetune.gin',
    'lm_large_finetune.gin',
    'lm_small_finetune.gin',
    'lm_xl_finetune.gin',
    'lm_xxl_finetune.gin',
  ]


@pytest.mark.parametrize('name', LEAVES)
def test_a_gin_file_parses_with_the_command_at_its_top(
  name, configure, tmp_path, monkeypatch
):
  from t5x import utils

  # Wherever it is started.
  monkeypatch.chdir(tmp_path)
  environment, words = command_of(name)
  assert words[:3] == ['python', '-m', 't5x.main']
  assert f'--gin_file=gin_configs/t5x/{name}' in words
  found = configure(environment, words)
  model = found['model']
  is_byte = environment.get(vocabularies.VARIABLE) == 'byte'
  assert model.input_vocabulary == (
    seqio.ByteVocabulary()
    if is_byte
    else seqio.SentencePieceVocabulary(vocabularies.DEFAULT)
  )
  # T5X's own check; of T5's vocabulary it compares names and reads no file.
  datasets = [value for key, value in found.items() if 'dataset_cfg' in key]
  assert len(datasets) == (3 if '--run_mode=train' in words else 1)
  for dataset in datasets:
    assert dataset.module == 'it_study.tasks'
    assert not dataset.use_cached
    assert dataset.task_feature_lengths == {'inputs': 1024, 'targets': 128}
    utils.verify_matching_vocabs(dataset, model)


def test_bytes_on_one_side_alone_are_refused(configure, tmp_path, monkeypatch):
  from t5x import utils

  found = configure(*command_of('byte.gin'))
  other = seqio.PassThroughVocabulary(size=259)
  monkeypatch.setattr(vocabularies, 'current_vocabulary', lambda: other)
  with pytest.raises(ValueError, match='vocabularies do not match'):
    utils.verify_matching_vocabs(found['train_dataset_cfg'], found['model'])


@pytest.mark.parametrize('size', SIZES)
def test_a_gin_file_of_a_released_model(size, configure):
  found = configure(*command_of(f'lm_{size}_finetune.gin'))
  theirs = found['model'].module.config
  gin_utils.load(files=[f'models/t5_1_1_{size}.gin'], configurables=[T5Config])
  ours = gin_utils.configured('T5Config')(vocab_size=32128, dtype='bfloat16')
  for field in set(vars(theirs)) - {'float32_attention_logits'}:
    assert getattr(theirs, field) == getattr(ours, field), field
  assert found['checkpoint_cfg'].restore.path == (
    f'gs://t5-data/pretrained_models/t5x/t5_1_1_lm100k_{size}/'
    'checkpoint_1100000'
  )
  # 1,000 steps of fine-tuning, as of an optimizer that has seen none.
  assert found['total_steps'] == 1_101_000
  assert found['model'].optimizer_def.hyper_params.step_offset == 1_100_000


def test_training_settings_match_the_native_engine(configure):
  found = configure(*command_of('finetune.gin'))
  ours = native_settings(
    'runs/finetune.gin', 'small', 'TRAIN_STEPS=1000', 'MODEL_DIR=OUT'
  )
  batches = found['train_dataset_cfg']
  assert found['total_steps'] == ours['train_steps']
  assert found['relative_steps'] is None
  assert found['checkpoint_cfg'].restore.path is None
  assert found['random_seed'] == batches.seed == ours['seed']
  assert batches.batch_size == ours['batch_size']
  assert batches.task_feature_lengths == ours['task_feature_lengths']
  assert batches.pack is ours['pack'] is True
  assert not found['train_eval_dataset_cfg'].pack
  save = found['checkpoint_cfg'].save
  assert save.period == ours['checkpoint_period']
  assert save.keep == ours['keep_checkpoints']
  assert save.save_dataset
  model = found['model']
  assert model._loss_normalizing_factor == 'NUM_REAL_TARGET_TOKENS'
  assert model._z_loss == 1e-4
  assert model.module.config.float32_attention_logits
  assert model.module.config.dropout_rate == 0.1
  rate = found['learning_rate_fn']
  expected = ours['optimizer'].schedule
  assert [float(rate(step)) for step in (0, 999)] == [
    float(expected(step)) for step in (0, 999)
  ]
  hyper = model.optimizer_def.hyper_params
  for name, value in dict(ours['optimizer'].settings).items():
    theirs = 'step_offset' if name == 'decay_offset' else name
    assert getattr(hyper, theirs) == value, name


@pytest.mark.parametrize('name', ['eval.gin', 'infer.gin'])
def test_prediction_settings_match_the_native_engine(name, configure):
  from t5x import decoding

  found = configure(*command_of(name))
  ours = native_settings(
    'runs/predict.gin', 'small', 'CHECKPOINT_PATH=C', 'INFER_OUTPUT_DIR=OUT'
  )
  dataset = found['dataset_cfg']
  assert dataset.batch_size == ours['batch_size']
  assert dataset.split == ours['split']
  assert dataset.task_feature_lengths == ours['task_feature_lengths']
  assert found['restore_checkpoint_cfg'].dtype in (None, 'float32')
  model = found['model']
  assert inspect.unwrap(model.decode_fn) is decoding.temperature_sample
  assert model.module.config.float32_attention_logits


@pytest.fixture(name='corpus', scope='module')
def _corpus(tmp_path_factory):
  return fakes.write_small_corpus(tmp_path_factory.mktemp('t5x') / 'CORPUS')


def run_shell(folder, *texts) -> None:
  """Runs shell on a CPU, this Python and its programs first on PATH."""
  programs = pathlib.Path(sys.executable).parent
  done = subprocess.run(
    ['bash', '-e', '-c', '\n'.join(texts)],
    cwd=folder,
    env={
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'PATH': f'{programs}{os.pathsep}{os.environ["PATH"]}',
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(name='walked', scope='module')
def _walked(corpus):
  """A folder in which everything was run that docs/t5x.md shows for a CPU."""
  folder = corpus.parent
  build, train, test, *_ = pages.blocks('docs/t5x.md', 'sh')
  run_shell(folder, build, train, test)
  return folder


def finetune(folder, model_dir, *, steps, **bindings) -> None:
  """The training of the page, of other steps and without evaluations."""
  train = pages.blocks('docs/t5x.md', 'sh')[1]
  bindings |= {
    'TRAIN_STEPS': steps,
    'train.train_eval_dataset_cfg': None,
    'train.infer_eval_dataset_cfg': None,
  }
  bindings['MODEL_DIR'] = str(model_dir)
  words = [shlex.quote(f'--gin.{k}={v!r}') for k, v in bindings.items()]
  run_shell(folder, f'{train.rstrip()} {" ".join(words)}')


@pytest.mark.slow
def test_the_page_trains_and_evaluates(walked):
  assert (walked / 'OUT/checkpoint_20').is_dir()
  folder = walked / 'OUT/inference_eval'
  line = json.loads((folder / f'{NAME}-metrics.jsonl').read_text())
  assert line['step'] == 20
  rows = (folder / f'{NAME}-000020.jsonl').read_text().splitlines()
  assert len(rows) == fakes.NUM_ROWS['validation']
  assert list((walked / 'OUT/training_eval' / NAME).glob('events.*'))


@pytest.mark.slow
def test_the_page_runs_by_the_path_of_a_script(walked):
  from t5x import train as script

  folder = walked / 'by_path'
  words = ('python', '-m', 't5x.main', '--run_mode=')
  by_path = f'python {pathlib.Path(script.__file__).parent}/'
  for command, name in zip(
    pages.blocks('docs/t5x.md', 'sh')[1:3], ('train', 'infer'), strict=True
  ):
    first = f'{" ".join(words)}{name}'
    assert first in command
    command = command[: command.find('it-study score')]
    run_shell(
      walked,
      'export IT_STUDY_VOCABULARY=byte',
      command.replace(first, f'{by_path}{name}.py')
      .replace('$PWD/', f'{folder}/')
      .replace('TRAIN_STEPS=20', 'TRAIN_STEPS=1')
      .replace('checkpoint_20', 'checkpoint_1'),
    )
  (answers,) = (folder / 'ANSWERS').glob('*.jsonl-00000-of-00001')
  assert len(answers.read_text().splitlines()) == fakes.NUM_ROWS['test']


@pytest.mark.slow
def test_the_page_s_answers_score_as_it_says(walked, corpus):
  (path,) = (walked / 'ANSWERS').glob('*.jsonl-00000-of-00001')
  found = score.score_file(
    path, corpus=natinst.open_corpus(corpus), split='test'
  ).metrics['overall']
  assert found['num_instances'] == fakes.NUM_ROWS['test']
  infer = pages.blocks('docs/t5x.md', 'sh')[2]
  run_shell(
    walked,
    'export IT_STUDY_VOCABULARY=byte',
    infer[: infer.index('it-study score')]
    .replace('=infer', '=eval')
    .replace('infer.gin', 'eval.gin')
    .replace('INFER_OUTPUT_DIR', 'EVAL_OUTPUT_DIR'),
  )
  folder = walked / 'ANSWERS/inference_eval'
  metrics = json.loads((folder / f'{NAME}-metrics.jsonl').read_text())
  rows = (folder / f'{NAME}-000020.jsonl').read_text().splitlines()
  answers = path.read_text().splitlines()
  assert [json.loads(row)['prediction'] for row in rows] == [
    json.loads(row)['prediction'] for row in answers
  ]
  assert metrics['exact_match'] == pytest.approx(found['exact_match'])
  assert metrics['rouge_l'] == pytest.approx(found['rouge_l'])


@pytest.mark.slow
def test_a_restart_continues_with_the_data(walked, tmp_path):
  finetune(walked, tmp_path, steps=10)
  finetune(walked, tmp_path, steps=20)
  t5x_fixture.assert_same(
    t5x_fixture.load(tmp_path / 'checkpoint_20'),
    t5x_fixture.load(walked / 'OUT/checkpoint_20'),
  )


@pytest.mark.slow
def test_steps_count_fine_tuning_only(walked, tmp_path):
  start = walked / 'OUT/checkpoint_20'
  finetune(
    walked,
    tmp_path,
    steps=2,
    INITIAL_CHECKPOINT_PATH=str(start),
    PRETRAINING_STEPS=20,
  )
  names = sorted(path.name for path in tmp_path.glob('checkpoint_*'))
  assert names == ['checkpoint_20', 'checkpoint_22']
  t5x_fixture.assert_same(
    t5x_fixture.load(tmp_path / 'checkpoint_20'), t5x_fixture.load(start)
  )
