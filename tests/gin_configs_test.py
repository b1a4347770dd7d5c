"""Tests of gin_configs: every shipped file parses by its first line."""

import dataclasses
import inspect
import re
import shlex

import jax
import promptsource_fixture
import pytest

from it_study import cli, gin_utils
from it_study.checkpoints.hf import decoder_config as hf_config
from it_study.commands.runs import configuration
from it_study.conditions import Condition, standard_grid
from it_study.engines import native
from it_study.models import partitioning
from it_study.models.adapters.lora import Lora
from it_study.models.decoder_only.config import DecoderConfig, Rope
from it_study.models.decoder_only.model import DecoderLM
from it_study.models.t5 import T5Config
from it_study.study import run
from it_study.training import optimizers

FILES = gin_utils.shipped_files()
# Files for inclusion, without a command.
PARTS = ('models/', 'runs/common.gin', 'runs/miniature.gin')
LEAVES = [name for name in FILES if not name.startswith(PARTS)]


@pytest.fixture(autouse=True, scope='module')
def _checkout(tmp_path_factory):
  """What modules named in leaves need: P3's checkout; a user's own module."""
  checkout = tmp_path_factory.mktemp('promptsource')
  promptsource_fixture.write_checkout(checkout)
  (checkout / 'my_tasks.py').touch()
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(checkout)
    patch.setenv('IT_STUDY_PROMPTSOURCE', str(checkout))
    yield


def command_of(name) -> list[str]:
  """Returns the command in the first line of a gin file."""
  lines = (gin_utils.CONFIG_DIRECTORY / name).read_text().splitlines()
  text = ''
  for line in lines:
    text += line.removeprefix('#').strip()
    if not text.endswith('\\'):
      break
    text = text.removesuffix('\\')
  return shlex.split(text)


def configure(*words) -> str:
  """Returns the configuration that the command line makes."""
  words, bindings = cli._split_bindings(words)
  options = cli._parser().parse_args(words)
  options.gin_bindings = bindings
  return configuration.configure(
    options, files=options.gin_file, supplied=configuration.PER_UNIT_MACROS
  )


def load_leaf(name) -> str:
  return configure(*command_of(name)[1:])


def test_the_leaves_are_known():
  assert LEAVES == [
    'runs/finetune.gin',
    'runs/lora.gin',
    'runs/miniature_sweep.gin',
    'runs/predict.gin',
    'runs/study.gin',
    'runs/sweep.gin',
    'runs/t5_large_sweep.gin',
    'runs/tasks_study.gin',
    'runs/tk_instruct.gin',
    'studies/active_it.gin',
    'studies/active_it_v4.gin',
    'studies/alpaca.gin',
    'studies/definitions.gin',
    'studies/examples.gin',
    'studies/llama.gin',
    'studies/low_resource.gin',
    'studies/low_resource_fixed_steps.gin',
    'studies/miniature.gin',
    'studies/miniature_data.gin',
    'studies/miniature_definition_parts.gin',
    'studies/miniature_definitions.gin',
    'studies/miniature_examples.gin',
    'studies/miniature_label_names.gin',
    'studies/miniature_low_resource.gin',
    'studies/miniature_number_of_tasks.gin',
    'studies/miniature_surfaces.gin',
    'studies/natinst_tiny.gin',
    'studies/number_of_tasks.gin',
    'studies/p3_t0.gin',
    'studies/smollm2.gin',
    'studies/smollm2_lora.gin',
  ]


@pytest.mark.parametrize('name', LEAVES)
def test_a_leaf_opens_with_the_command_that_runs_it(name):
  words = command_of(name)
  assert words[0] == 'it-study'
  assert f'--gin_file={name}' in words


@pytest.mark.parametrize('name', LEAVES)
def test_a_leaf_parses_by_its_command(name, tmp_path):
  text = load_leaf(name)
  assert 'Config.emb_dim = ' in text
  saved = tmp_path / 'saved.gin'
  saved.write_text(text)
  assert configure('study', f'--gin_file={saved}') == text


def test_the_file_in_a_training_s_folder_runs_it_alone(tmp_path):
  text = load_leaf('studies/miniature.gin')
  saved = tmp_path / 'config.gin'
  # As `study` writes it.
  saved.write_text(
    f'{text}\n# This training.\n'
    "MIXTURE_OR_TASK_NAME = 'natinst_def_empty_ex_empty0'\n"
    "MODEL_DIR = '/tmp/training'\nSEED = 7\n"
  )
  configure('train', f'--gin_file={saved}')
  assert gin_utils.macro('MODEL_DIR') == '/tmp/training'
  assert gin_utils.macro('SEED') == 7


_T5S = [name for name in FILES if name.startswith('models/t5_')]
_DECODERS = [n for n in FILES if n.startswith('models/') and n not in _T5S]


# Rows of the released tables, and parameters, which the authors state.
_DECODER_SIZES = {
  'gemma3_1b': (262_144, 999_885_952),
  'llama3_1_8b': (128_256, 8_030_261_248),
  'llama3_2_1b': (128_256, 1_235_814_400),
  'llama_7b': (32_000, 6_738_415_616),
  'olmo2_7b': (100_352, 7_298_617_344),
  'qwen3_0_6b': (151_936, 596_049_920),
  'qwen3_8b': (151_936, 8_190_735_360),
  'smollm2_135m': (49_152, 134_515_008),
}


def decoder_config(name, vocab_size):
  gin_utils.load(
    files=[name], configurables=[DecoderConfig, Rope], read=['MODEL']
  )
  return gin_utils.configured('DecoderConfig')(vocab_size=vocab_size)


@pytest.mark.parametrize('name', _DECODERS)
def test_a_decoder_only_model_has_the_released_size(name):
  rows, size = _DECODER_SIZES[name.removeprefix('models/')[: -len('.gin')]]
  config = decoder_config(name, rows)
  params = partitioning.abstract_params(
    model=DecoderLM(dataclasses.replace(config, num_layers=1)),
    mesh=partitioning.make_mesh(devices=jax.devices()[:1]),
  )
  # One layer is traced, since all are alike.
  of_layer = sum(
    leaf.size for leaf in jax.tree.leaves(params['decoder']['layers_0'])
  )
  of_one = sum(leaf.size for leaf in jax.tree.leaves(params))
  assert of_one + (config.num_layers - 1) * of_layer == size
  # A config.json of its family describes it exactly.
  fields = hf_config.read_config(hf_config.write_config(config))
  assert dataclasses.replace(config, **fields) == config


def test_a_decoder_only_model_is_whole():
  config = decoder_config('models/smollm2_135m.gin', 49_152)
  assert config == DecoderConfig(
    vocab_size=49152,
    emb_dim=576,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    mlp_dim=1536,
    num_layers=30,
    logits_via_embedding=True,
    rope=Rope(base=100_000.0),
  )


@pytest.mark.parametrize('name', _T5S)
def test_a_model_is_whole(name):
  gin_utils.load(files=[name], configurables=[T5Config])
  config = gin_utils.configured('T5Config')(vocab_size=32128)
  is_first = 't5_1_0' in name
  activations = ('relu',) if is_first else ('gelu', 'linear')
  assert config.mlp_activations == activations
  assert config.logits_via_embedding == is_first


# T5X, examples/t5/t5_1_0/*.gin and t5_1_1/*.gin.
@pytest.mark.parametrize(
  ('size', 'widths'),
  [
    ('1_0_small', (512, 8, 64, 2048, 6, 6)),
    ('1_0_base', (768, 12, 64, 3072, 12, 12)),
    ('1_0_large', (1024, 16, 64, 4096, 24, 24)),
    ('1_0_xl', (1024, 32, 128, 16384, 24, 24)),
    ('1_0_xxl', (1024, 128, 128, 65536, 24, 24)),
    ('1_1_small', (512, 6, 64, 1024, 8, 8)),
    ('1_1_base', (768, 12, 64, 2048, 12, 12)),
    ('1_1_large', (1024, 16, 64, 2816, 24, 24)),
    ('1_1_xl', (2048, 32, 64, 5120, 24, 24)),
    ('1_1_xxl', (4096, 64, 64, 10240, 24, 24)),
  ],
)
def test_released_sizes(size, widths):
  gin_utils.load(files=[f'models/t5_{size}.gin'], configurables=[T5Config])
  config = gin_utils.configured('T5Config')(vocab_size=32128)
  assert widths == (
    config.emb_dim,
    config.num_heads,
    config.head_dim,
    config.mlp_dim,
    config.num_encoder_layers,
    config.num_decoder_layers,
  )
  assert config.dropout_rate == 0.1


@pytest.mark.parametrize(
  ('function', 'leaf', 'by_the_caller'),
  [
    (
      'finetune',
      'runs/finetune.gin',
      # runs/lora.gin sets it.
      {'checkpoint_folder', 'lora', 'on_progress'},
    ),
    # studies/smollm2.gin sets the number of instances.
    (
      'predict',
      'runs/predict.gin',
      {'instances_per_test_task', 'on_progress'},
    ),
    (
      'run_study',
      'runs/study.gin',
      {'study_dir', 'engine', 'record', 'on_step'},
    ),
  ],
)
def test_every_setting_has_a_macro_or_a_value(function, leaf, by_the_caller):
  text = load_leaf(leaf)
  bound = set(re.findall(rf'^{function}\.(\w+) =', text, re.MULTILINE))
  module = run if function == 'run_study' else native
  parameters = inspect.signature(getattr(module, function)).parameters
  assert bound == set(parameters) - by_the_caller


def test_a_default_is_the_same_in_gin_as_in_the_library():
  load_leaf('runs/finetune.gin')
  for function in ('finetune', 'predict'):
    parameters = inspect.signature(getattr(native, function)).parameters
    for macro, name in (
      ('SEED', 'seed'),
      ('DTYPE', 'dtype'),
      ('MESH_DATA', 'mesh_data'),
      ('MESH_FSDP', 'mesh_fsdp'),
      ('MESH_MODEL', 'mesh_model'),
      ('MIXTURE_OR_TASK_MODULE', 'mixture_or_task_module'),
    ):
      assert gin_utils.macro(macro) == parameters[name].default, name


@pytest.mark.parametrize(
  ('leaf', 'levels', 'amounts'),
  [
    (
      'definitions',
      ('original', 'simplified', 'empty'),
      (10, 20, 50, 200, 800),
    ),
    ('low_resource', ('original',), (1, 2, 5, 10, 20, 50, 200, 800)),
    ('miniature_low_resource', ('original',), (1, 2, 5, 10, 20, 40)),
  ],
)
def test_a_sweep_is_the_grid_it_says(leaf, levels, amounts):
  load_leaf(f'studies/{leaf}.gin')
  grid = gin_utils.configured('sweep')()
  assert [(c.instances_per_task, c.definition) for c in grid] == [
    (amount, level) for amount in amounts for level in levels
  ]


def test_the_sweep_over_tasks_ends_with_all_of_them():
  load_leaf('studies/number_of_tasks.gin')
  grid = gin_utils.configured('sweep')()
  assert [c.num_tasks for c in grid] == [8, 32, 128, 512, None]
  assert {c.instances_per_task for c in grid} == {200}


@pytest.mark.parametrize(
  ('leaf', 'instances', 'learning_rate', 'warmup_steps'),
  [('active_it', 100, 1e-4, 100), ('active_it_v4', 200, 5e-5, 50)],
)
def test_the_recipes_of_active_it(leaf, instances, learning_rate, warmup_steps):
  load_leaf(f'studies/{leaf}.gin')
  (condition,) = gin_utils.configured('sweep')()
  assert condition == Condition(instances_per_task=instances)
  optimizer = gin_utils.bound('finetune', ('optimizer',))['optimizer']
  assert optimizer.name == 'adamw'
  assert optimizer.schedule == optimizers.linear_warmup(
    learning_rate=learning_rate, warmup_steps=warmup_steps
  )
  assert gin_utils.macro('BATCH_SIZE') == 128
  assert gin_utils.macro('EPOCHS') == 8


@pytest.mark.parametrize(
  ('leaf', 'prompt_format'), [('llama', 'plain'), ('alpaca', 'alpaca')]
)
def test_table_2_is_the_grid_it_says(leaf, prompt_format):
  load_leaf(f'studies/{leaf}.gin')
  assert gin_utils.bound('run_study', ('conditions',))['conditions'] == tuple(
    Condition(definition=level, prompt_format=prompt_format)
    for level in ('original', 'simplified')
  )
  optimizer = gin_utils.bound('finetune', ('optimizer',))['optimizer']
  assert optimizer == optimizers.adamw(
    learning_rate=optimizers.linear_warmup(learning_rate=2e-5, warmup_steps=50)
  )
  assert (gin_utils.macro('BATCH_SIZE'), gin_utils.macro('EPOCHS')) == (128, 3)


def test_smollm2_is_tuned_with_lora_on_both_experiments():
  load_leaf('studies/smollm2_lora.gin')
  assert gin_utils.bound('run_study', ('conditions',))['conditions'] == (
    standard_grid(instances_per_task=5, prompt_format='chat')
  )
  lora = gin_utils.bound('finetune', ('lora',))['lora']
  assert lora == Lora(rank=8, alpha=16.0)
  few = gin_utils.bound('predict', ('instances_per_test_task',))
  assert few == {'instances_per_test_task': 3}


def test_fixed_steps_take_the_place_of_epochs():
  load_leaf('studies/low_resource_fixed_steps.gin')
  assert gin_utils.macro('EPOCHS') is None
  assert gin_utils.macro('TRAIN_STEPS') == 2000
