"""Tests of it_study.commands.runs.effects, with the shipped gin files."""

import argparse

import pytest

from it_study import gin_utils
from it_study.commands.runs import configuration
from it_study.errors import InputError

MODEL = 'models/t5_1_1_tiny.gin'
FILES = {
  'study': [MODEL, 'runs/study.gin'],
  'train': [MODEL, 'runs/finetune.gin'],
  'predict': [MODEL, 'runs/predict.gin'],
}
NEEDED = {
  'study': ('CORPUS=c',),
  'train': ('CORPUS=c', 'MIXTURE_OR_TASK_NAME=t', 'MODEL_DIR=m'),
  'predict': (
    *('CORPUS=c', 'MIXTURE_OR_TASK_NAME=t', 'CHECKPOINT_PATH=None'),
    'INFER_OUTPUT_DIR=m',
  ),
}
NAMED = (
  'run_study.conditions=@named_conditions()',
  "named_conditions.names=('natinst_def_empty_ex_empty0',)",
)
NOT_READ = ': no setting that study reads refers to it.'
UNUSED = ': nothing in this configuration uses'


@pytest.fixture(autouse=True)
def _no_devices(monkeypatch):
  monkeypatch.setattr(configuration, '_prepare_devices', lambda: None)


def configure(command, *bindings):
  return configuration.configure(
    argparse.Namespace(
      gin_bindings=[*NEEDED[command], *bindings],
      gin_search_paths='',
      quiet=False,
      json=False,
    ),
    files=FILES[command],
    supplied=configuration.SUPPLIED[command],
    command=command,
  )


@pytest.mark.parametrize(
  ('command', 'setting', 'reason'),
  [
    ('train', 'T5Config.dtype=bfloat16', '. Set DTYPE.'),
    ('train', 'network.T5Config.dtype=bfloat16', '. Set DTYPE.'),
    (
      'predict',
      'T5Config.vocab_size=5',
      '. It follows from the vocabulary and the weights.',
    ),
    ('train', 'adamw.weight_decay=0.1', f'{UNUSED} adamw.'),
    ('study', 'linear_warmup.warmup_steps=3', f'{UNUSED} linear_warmup.'),
    ('train', 'predict.split=test', f'{UNUSED} predict.'),
    ('train', 'finetune.model_dir=m', ': train sets it itself.'),
    ('study', 'finetune.seed=3', ': study sets it itself.'),
    ('study', 'MODEL_DIR=m', NOT_READ),
    ('study', 'SPLIT=train', NOT_READ),
    ('study', 'SEED=1', NOT_READ),
    ('study', 'INSTANCES_PER_TASK=5', NOT_READ),
    (
      'predict',
      'NUM_BEAMS=3',
      ": DECODING is 'sample', and the setting is for beam and "
      'constrained_beam.',
    ),
    (
      'predict',
      'Decoding.length_alpha=3',
      ": DECODING is 'sample', and the setting is for beam and "
      'constrained_beam.',
    ),
  ],
)
def test_a_setting_without_effect_is_refused(command, setting, reason):
  others = {
    'study': ('SEEDS=(2, 3)', *NAMED),
    'predict': ('DECODING=sample',),
    'train': (),
  }
  with pytest.raises(InputError) as caught:
    configure(command, setting, *others[command])
  name = setting.partition('=')[0]
  assert str(caught.value) == f'{name} has no effect{reason}'


@pytest.mark.parametrize(
  ('command', 'bindings'),
  [
    ('train', ('adamw.weight_decay=0.1', 'OPTIMIZER=@adamw()')),
    ('train', ('DROPOUT_RATE=0.1', 'SEED=3', 'DTYPE=bfloat16')),
    ('train', ('T5Config.scan_layers=True', 'LEARNING_RATE=0.1')),
    ('predict', ('NUM_BEAMS=3', 'DECODING=beam', 'SPLIT=train')),
    ('study', ('SEED=1', 'INSTANCES_PER_TASK=5', 'DECODING=constrained')),
    ('study', ('INITIAL_CHECKPOINT_PATH=w', 'ANSWER_DIR=a', *NAMED)),
  ],
)
def test_settings_that_take_effect_are_accepted(command, bindings):
  configure(command, *bindings)


def test_settings_of_the_native_network_are_refused_for_t5x(monkeypatch):
  monkeypatch.setattr('it_study.engines.t5x.model.require', lambda: None)
  with pytest.raises(InputError) as caught:
    configure('train', 'ENGINE=t5x', 'T5Config.scan_layers=True')
  assert str(caught.value) == (
    "T5Config.scan_layers has no effect: the engine is 't5x'."
  )


def test_a_gin_file_may_hold_settings_of_other_commands(tmp_path):
  mine = tmp_path / 'mine.gin'
  mine.write_text("NUM_BEAMS = 3\nMODEL_DIR = 'm'\nadamw.weight_decay = 0.1\n")
  FILES['mine'] = [*FILES['study'], str(mine)]
  configuration.configure(
    argparse.Namespace(
      gin_bindings=['CORPUS=c'], gin_search_paths='', quiet=True
    ),
    files=FILES['mine'],
    supplied=configuration.SUPPLIED['study'],
    command='study',
  )


def test_but_no_parameter_that_every_command_sets(tmp_path):
  mine = tmp_path / 'mine.gin'
  mine.write_text("T5Config.dtype = 'bfloat16'\n")
  with pytest.raises(InputError) as caught:
    configuration.configure(
      argparse.Namespace(gin_bindings=['CORPUS=c'], gin_search_paths=''),
      files=[*FILES['study'], str(mine)],
      supplied=configuration.SUPPLIED['study'],
    )
  assert str(caught.value) == 'T5Config.dtype has no effect. Set DTYPE.'


def test_the_margins_of_controls_are_set_by_macros():
  configure('study', 'POSITIVE_CONTROL_MARGIN=25.0', *NAMED)
  margins = gin_utils.configured('ControlMargins')()
  assert (margins.positive, margins.negative) == (25.0, 10.0)


def test_settings_of_files_that_nothing_reads_are_said(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.gin').write_text(
    '# No effect:\n'
    'adamw.weight_decay = 0.1  # OPTIMIZER is adafactor.\n'
    'WARM = 5\n'
    'linear_warmup.warmup_steps = %WARM\n'
    # Read by this command, by another, and what a shipped file says too.
    'TRAIN_STEPS = 5\n'
    "predict.split = 'validation'\n"
    'adamw.learning_rate = %LEARNING_RATE\n'
  )
  monkeypatch.setitem(FILES, 'train', [MODEL, 'runs/finetune.gin', 'mine.gin'])
  configure('train')
  start = 'it-study: note: '
  assert capsys.readouterr().err.splitlines() == [
    f'{start}adamw.weight_decay in mine.gin has no effect{UNUSED} adamw.',
    f'{start}WARM in mine.gin has no effect: no setting that any command reads '
    'refers to it.',
    f'{start}linear_warmup.warmup_steps in mine.gin has no effect{UNUSED} '
    'linear_warmup.',
  ]


def test_a_recorded_configuration_has_no_unused_settings(
  tmp_path, monkeypatch, capsys
):
  text = configure('study')
  (tmp_path / 'study.gin').write_text(text)
  for command in ('study', 'train'):
    monkeypatch.setitem(FILES, command, [str(tmp_path / 'study.gin')])
    configure(command)
  assert capsys.readouterr().err == ''
