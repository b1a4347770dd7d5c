"""Tests of runs: the choice of the engine, and printed progress."""

import argparse
import json
import os
import subprocess
import sys

import fakes
from fakes import refusal
import pytest

from it_study.commands import progress
from it_study.commands.runs import configuration, runs
from it_study.errors import InputError
from it_study.storage import file_locks, local_folders
from it_study.training import trainer

METRICS = {
  'loss': 1.25,
  'gradient_norm': 0.12345,
  'tokens_per_second': 16707.8,
}


COMMANDS = {
  'study': ('--gin_file=runs/study.gin', '--gin.EPOCHS=1'),
  'train': ('--gin_file=runs/finetune.gin', '--gin.MODEL_DIR=out'),
  'predict': (
    '--gin_file=runs/predict.gin',
    '--gin.CHECKPOINT_PATH=in',
    '--gin.INFER_OUTPUT_DIR=out',
  ),
}


def words_of(command):
  words = [command, '--gin_file=models/t5_1_1_tiny.gin', *COMMANDS[command]]
  if command != 'study':
    words.append('--gin.MIXTURE_OR_TASK_NAME=none')
  return *words, '--gin.CORPUS=none'


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize(
  'flags',
  [
    ('--engine=t5x',),
    ('--gin.ENGINE=t5x',),
    ('--engine', 't5x', "--gin.ENGINE='t5x'"),
  ],
)
def test_the_flag_is_the_macro(capsys, monkeypatch, command, flags):
  def require():
    raise InputError('T5X is asked for')

  monkeypatch.setattr('it_study.engines.t5x.model.require', require)
  assert refusal(capsys, *words_of(command), *flags) == 'T5X is asked for'


@pytest.mark.parametrize('command', COMMANDS)
def test_a_flag_and_a_macro_must_agree(capsys, command):
  words = (*words_of(command), '--engine=t5x', "--gin.ENGINE='native'")
  assert refusal(capsys, *words) == (
    "--engine is 't5x' and --gin.ENGINE is 'native'; they are the same "
    'setting: give one of them.'
  )


@pytest.mark.parametrize('command', ['train', 'predict'])
def test_several_processes_of_t5x_do_not_write_to_a_bucket(
  capsys, monkeypatch, command
):
  monkeypatch.setattr('it_study.engines.t5x.model.require', lambda: None)
  monkeypatch.setattr('it_study.distributed.count', lambda: 2)
  words = [w.replace('DIR=out', 'DIR=gs://b/m') for w in words_of(command)]
  assert refusal(capsys, *words, '--engine=t5x').startswith(
    'gs://b/m: several processes of the engine t5x do not write to a bucket. '
  )


@pytest.mark.parametrize('engine', ['native', 't5x'])
@pytest.mark.parametrize('command', ['train', 'predict'])
def test_a_folder_in_use_is_refused_and_left_alone(
  capsys, monkeypatch, tmp_path, command, engine
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(configuration, 'use_corpus', lambda weights: None)
  monkeypatch.setattr('it_study.engines.t5x.model.require', lambda: None)
  with local_folders.locked('out'):
    message = refusal(capsys, *words_of(command), f'--engine={engine}')
    who = file_locks.find_holder('out/.lock').text
    assert f'process {os.getpid()} on ' in who
    assert message == (
      f'out: another run is using it ({who}). Wait for that run, stop it, or '
      'name another folder.'
    )
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['.lock']


@pytest.mark.parametrize(
  ('phase', 'step', 'metrics', 'expected'),
  [
    ('tokenising', 9_000, {}, ''),
    ('tokenising', 20_000, {}, 'tokenising: 20,000 examples\n'),
    ('resuming', 30, {}, 'continuing from step 30 of 100\n'),
    (
      'resuming',
      100,
      {},
      'already trained: step 100 of 100; nothing to do\n',
    ),
    ('compiling', 0, {}, 'compiling the training step\n'),
    (
      'training',
      50,
      METRICS,
      'step 50/100, loss 1.2500, gradient 0.123, 16,708 tokens/s, 7 s left\n',
    ),
    (
      'training',
      50,
      {
        **METRICS,
        'model_flops_utilization': 0.412,
        'compile_seconds': 12.3,
        'validation_loss': 2.5,
        'validation_seconds': 0.31,
      },
      'step 50/100, loss 1.2500, gradient 0.123, 16,708 tokens/s, 41.2% of '
      'peak, compiled in 12 s, held-out loss 2.5000 in 0.3 s, 7 s left\n',
    ),
  ],
)
def test_a_training_prints_its_progress(capsys, phase, step, metrics, expected):
  progress.print_progress(
    trainer.Progress(
      phase=phase,
      step=step,
      train_steps=100,
      metrics=metrics,
      seconds_left=7.0,
    )
  )
  assert capsys.readouterr() == ('', expected)


@pytest.mark.parametrize(
  ('kept', 'said'),
  [
    (0, ''),
    (1200, 'continued: 1,200 of 1,600 answers were cached\n'),
    (1600, 'already answered: all 1,600 answers were cached\n'),
  ],
)
def test_a_prediction_says_what_was_answered_before(
  capsys, tmp_path, kept, said
):
  record = {
    'num_kept_answers': kept,
    'num_instances': 1600,
    'num_unreachable': 0,
  }
  (tmp_path / 'inference.json').write_text(json.dumps(record))
  for quiet, expected in ((False, said), (True, '')):
    options = argparse.Namespace(quiet=quiet, json=False)
    runs._say_summary(options, tmp_path)
    assert capsys.readouterr() == ('', expected)


@pytest.mark.parametrize(
  ('named', 'expected'), [('', '{cache}/xla'), ('gs://b/x', 'gs://b/x')]
)
def test_compiled_programs_are_cached_in_jax_s_folder(
  tmp_path, named, expected
):
  code = (
    'import jax\n'
    'from it_study.commands.runs import configuration\n'
    'configuration._prepare_devices()\n'
    'print(jax.config.jax_compilation_cache_dir)\n'
  )
  environment = {
    **os.environ,
    'IT_STUDY_CACHE': str(tmp_path),
    'JAX_COMPILATION_CACHE_DIR': named,
  }
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    check=True,
    env=environment,
    text=True,
  )
  assert done.stdout.strip() == expected.format(cache=tmp_path)


def test_paths_begin_in_the_home_folder(capsys, monkeypatch, tmp_path):
  home = tmp_path / '2024_01_15'
  corpus = fakes.write_small_corpus(home / 'corpus')
  monkeypatch.setenv('HOME', str(home))
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'model.gin').write_text(
    ''.join(
      f'T5Config.{name} = {value}\n'
      for name, value in fakes.tiny_model().keywords.items()
    )
  )
  shared = (
    '--gin_file=~/../model.gin',
    '--gin.MIXTURE_OR_TASK_NAME=natinst_def_empty_ex_empty0_n2',
    '--gin.CORPUS=~/corpus',
    '--gin.IT_STUDY_VOCABULARY=byte',
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 64, 'targets': 4}",
    '--quiet',
  )
  train = ('train', *shared, '--gin_file=runs/finetune.gin')
  sizes = ('--gin.TRAIN_STEPS=1', '--gin.BATCH_SIZE=2')
  assert fakes.run_command(*train, *sizes, '--gin.MODEL_DIR=~/m') == 0
  predict = ('predict', *shared, '--gin_file=runs/predict.gin')
  assert (
    fakes.run_command(
      *predict,
      '--gin.CHECKPOINT_PATH=~/m',
      '--gin.INFER_OUTPUT_DIR=2024',
      '--gin.ANSWER_DIR=~/answers',
    )
    == 0
  )
  assert capsys.readouterr().err == ''
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    '2024',
    '2024_01_15',
    'model.gin',
  ]
  assert (home / 'm/checkpoints/1').is_dir()
  assert (home / 'answers').is_dir()
  scored = ('score', '~/../2024/predictions.jsonl', '--corpus', '~/corpus')
  assert fakes.run_command(*scored, '--out=~/metrics.json', '--quiet') == 0
  assert (home / 'metrics.json').is_file()
  assert corpus.is_dir()


def test_a_number_in_a_gin_file_is_no_path(capsys, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.gin').write_text('MODEL_DIR = 2024_01_15\n')
  words = words_of('train')
  words = [word for word in words if 'MODEL_DIR' not in word]
  assert refusal(capsys, *words, '--gin_file=mine.gin') == (
    'MODEL_DIR is 20240115, not a path. Write a path in quotation marks: '
    "MODEL_DIR = '20240115'."
  )


def test_a_gin_file_imports_modules_of_the_working_directory(
  monkeypatch, tmp_path
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', [path for path in sys.path if path])
  (tmp_path / 'oven_of_mine.py').touch()
  (tmp_path / 'mine.gin').write_text('import oven_of_mine\n')
  # Refused afterwards, as it has neither a model nor a run.
  assert fakes.run_command('train', '--gin_file=mine.gin') == 2
  assert 'oven_of_mine' in sys.modules


@pytest.mark.parametrize('command', COMMANDS)
def test_a_model_too_large_is_refused_before_work_starts(
  capsys, monkeypatch, tmp_path, command
):
  monkeypatch.chdir(tmp_path)
  corpus = fakes.write_small_corpus(tmp_path / 'corpus')
  name = 'natinst_def_original_ex_empty0'
  others = {
    'study': (
      '--study_dir=out',
      '--gin.run_study.conditions=@named_conditions()',
      f'--gin.named_conditions.names=("{name}",)',
    ),
    'train': (f'--gin.MIXTURE_OR_TASK_NAME={name}', '--gin.TRAIN_STEPS=1'),
    'predict': (
      f'--gin.MIXTURE_OR_TASK_NAME={name}',
      '--gin.CHECKPOINT_PATH=None',
    ),
  }
  words = (
    *words_of(command),
    f'--gin.CORPUS={corpus}',
    '--gin.IT_STUDY_VOCABULARY=byte',
    '--gin.T5Config.emb_dim=9999999999',
    *others[command],
  )
  assert refusal(capsys, *words, '--quiet').startswith('the model has at least')
  written = {path.name for path in (tmp_path / 'out').rglob('*')}
  assert written <= {'.lock', 'config.gin'}


@pytest.fixture(name='run')
def _run(capsys, monkeypatch, tmp_path):
  """Runs a command whose engine does nothing but return a record."""

  def run(command, record, **options):
    def call(**arguments):
      if command is runs.train:
        return record
      folder = arguments['infer_output_dir']
      (folder / 'inference.json').write_text(json.dumps(record))
      return folder / 'predictions.jsonl'

    for name, replacement in (
      ('configure', lambda *_, **__: ''),
      ('use_corpus', lambda weights: None),
      ('path_macro', lambda _: tmp_path / 'out'),
      ('engine_call', lambda _: call),
    ):
      monkeypatch.setattr(configuration, name, replacement)
    for name in ('find', 'record', 'prediction_command'):
      monkeypatch.setattr(runs.finished, name, lambda *_: None)
    defaults = {'quiet': False, 'json': False, 'gin_file': []}
    command(argparse.Namespace(**defaults | options))
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if ': note: ' in line]

  return run


def test_train_says_how_many_targets_were_cut(run):
  record = {'num_examples': 3678, 'num_cut_targets': 1268}
  assert run(runs.train, record) == [
    'it-study: note: 1,268 of 3,678 training targets exceed '
    "TASK_FEATURE_LENGTHS['targets'] and were cut."
  ]
  assert run(runs.train, record, quiet=True) == []
  for number in (0, None):
    assert run(runs.train, record | {'num_cut_targets': number}) == []


def test_predict_says_what_no_answer_can_reach(run):
  record = {
    'num_instances': 4100,
    'num_kept_answers': 0,
    'num_unreachable': 1005,
  }
  assert run(runs.predict, record) == [
    'it-study: note: 1,005 of 4,100 instances have no reference within '
    "TASK_FEATURE_LENGTHS['targets'], so no answer to them can be right."
  ]
  assert run(runs.predict, record, quiet=True) == []
  assert run(runs.predict, record | {'num_unreachable': 0}) == []
