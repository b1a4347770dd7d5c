"""Tests of plan and of the command: a small T5, eight devices."""

import json
import os
import re
import subprocess
import sys

import gguf_files
import jax
import pytest

from it_study import cli
from it_study.errors import InputError
from it_study.input_pipeline import row_layouts
from it_study.input_pipeline.feed import Feed
from it_study.input_pipeline.token_cache import write_token_cache
from it_study.models import partitioning
from it_study.models.adapters.lora import Lora
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.t5 import T5Config
from it_study.training import optimizers
from it_study.training.planning import plan

MODEL = {
  'vocab_size': 96,
  'emb_dim': 32,
  'num_heads': 4,
  'head_dim': 8,
  'mlp_dim': 64,
  'num_encoder_layers': 2,
  'num_decoder_layers': 1,
}
LENGTHS = {'inputs': 24, 'targets': 16}
# Two embeddings' rows, the relative position tables, the layers' matrices and
# norms, the two last norms.
NUM_PARAMETERS = (
  2 * 96 * 32
  + 2 * 32 * 4
  + 2 * (4 * 32 * 32 + 3 * 32 * 64 + 2 * 32)
  + 1 * (8 * 32 * 32 + 3 * 32 * 64 + 3 * 32)
  + 2 * 32
)
# The encoder's, in the backward pass. Without a loop in between (the decoder's
# is one of a single layer) XLA on CPUs keeps the forward pass's.
SCORES_AGAIN = 2 * 32 * 16 * 2 * 24 * 24
_ON_EIGHT_DEVICES = f"""
import json
import jax
from it_study.input_pipeline import row_layouts
from it_study.models import partitioning
from it_study.models.t5 import T5Config
from it_study.models.decoder_only.config import DecoderConfig
from it_study.training import optimizers
from it_study.training.loss import division
from it_study.training.planning import plan
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
for name, mesh, scan, microbatch_size in (
  ('data', (8, 1, 1), False, None),
  ('fsdp', (1, 8, 1), False, None),
  ('scanned', (1, 8, 1), True, None),
  ('parts', (2, 2, 2), True, 2),
):
  data, fsdp, model = mesh
  print(json.dumps([name, plan.plan(
    model_config=T5Config(**{MODEL!r}, scan_layers=scan),
    optimizer=optimizers.adamw(),
    mesh=partitioning.make_mesh(data=data, fsdp=fsdp, model=model),
    batch_size=16,
    lengths={LENGTHS!r},
    microbatch_size=microbatch_size,
  ).to_dict()]))
for name, logits_bytes, block_bytes in (
  ('whole loss', 2**20, 2**28),
  ('loss in parts', 1, 2**28),
  ('loss in blocks', 1, 4 * 32 * 96 // 3),
):
  division._CPU_LOGITS_BYTES = logits_bytes
  division._BLOCK_BYTES = block_bytes
  # It is no argument of the step.
  jax.clear_caches()
  print(json.dumps([name, plan.plan(
    model_config=DecoderConfig(96, 32, 4, 2, 8, 64, 1),
    optimizer=optimizers.adamw(),
    mesh=partitioning.make_mesh(data=2, fsdp=4),
    batch_size=8,
    # Together a power of two, so that they fit into one part.
    lengths={{'inputs': 16, 'targets': 16}},
    layout=row_layouts.DECODER,
  ).to_dict()]))
"""

COMMAND = (
  'plan',
  '--gin_file=models/t5_1_1_tiny.gin',
  '--gin_file=runs/finetune.gin',
  '--gin.BATCH_SIZE=4',
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 16, 'targets': 8}",
)


@pytest.fixture(name='plans', scope='module')
def _plans():
  process = subprocess.run(
    [sys.executable, '-c', _ON_EIGHT_DEVICES],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert process.returncode == 0, process.stderr[-3000:]
  return dict(json.loads(line) for line in process.stdout.splitlines())


@pytest.fixture(autouse=True)
def _keep_settings(monkeypatch):
  monkeypatch.setenv('IT_STUDY_VOCABULARY', '')
  yield
  jax.config.update('jax_enable_compilation_cache', True)


def refusal(capsys, *words) -> str:
  assert cli.main([*COMMAND, *words]) == 2
  printed = capsys.readouterr()
  assert printed.out == ''
  return printed.err.removeprefix('it-study: ').removesuffix('\n')


def test_bytes_are_per_device(plans):
  for name, share in (('data', 1), ('fsdp', 8)):
    found = plans[name]
    assert found['num_parameters'] == NUM_PARAMETERS
    assert found['is_estimate']
    # Of 5 features of the prompt's length that a packed batch has 3, of the
    # target's 5; two rows a device.
    assert found['batch_bytes'] == 2 * 4 * (3 * 24 + 5 * 16)
    assert found['temporary_bytes'] > 0
    assert found['total_bytes'] == sum(
      found[f'{part}_bytes']
      for part in ('parameter', 'optimizer', 'batch', 'temporary', 'other')
    )
    split = 4 * NUM_PARAMETERS / share
    # Not split are the position tables.
    whole = 4 * 2 * 32 * 4 * (1 - 1 / share)
    assert found['parameter_bytes'] == split + whole
    # Two moments, and the steps of the state, of Adam and of its schedule.
    assert found['optimizer_bytes'] == 2 * (split + whole) + 3 * 4


def test_data_parallelism_sends_the_gradients(plans):
  gradients = NUM_PARAMETERS - 2 * 32 * 4
  # The shared embedding's are sent for both of its uses, those of a position
  # table before they are summed over layers and distances.
  again = 96 * 32
  tables = 4 * (2 * 24 * 24 + 1 * 16 * 16)
  # Tokens, loss, its second part, and correct ones.
  scalars = 4
  found = plans['data']['collectives']
  assert list(found) == ['all-reduce']
  payload = 4 * (gradients + again + tables + scalars)
  assert found['all-reduce']['payload_bytes'] == payload
  assert found['all-reduce']['sent_bytes'] == payload * 2 * 7 / 8


def test_a_loss_in_parts_sends_the_gradient_of_its_kernel_once(plans):
  whole, parts = (
    sum(kind['sent_bytes'] for kind in plans[name]['collectives'].values())
    for name in ('whole loss', 'loss in parts')
  )
  # A few numbers for each of four parts; the kernel has 96 x 32 entries.
  assert whole > 4 * 96 * 32
  assert 0 <= parts - whole < 4 * 4 * 10


def test_a_loss_in_blocks_gathers_its_kernel_once_more(plans):
  parts, blocks = (
    plans[name]['collectives'] for name in ('loss in parts', 'loss in blocks')
  )
  # Each of three blocks twice, in place of the whole.
  gathers = [found['all-gather'] for found in (parts, blocks)]
  assert gathers[1]['count'] == gathers[0]['count'] + 2 * 3 - 1
  kernel_bytes = 4 * 96 * 32
  assert gathers[1]['payload_bytes'] == (
    gathers[0]['payload_bytes'] + kernel_bytes
  )
  # The gradient of a block is sent once, not for each of four parts.
  reduced = [found['all-reduce']['sent_bytes'] for found in (parts, blocks)]
  assert abs(reduced[1] - reduced[0]) < 4 * 4 * 10
  # And no device holds the kernel or its gradient.
  assert plans['loss in blocks']['temporary_bytes'] < (
    plans['loss in parts']['temporary_bytes'] - kernel_bytes
  )


def test_embeddings_are_exchanged_rather_than_their_table(plans):
  found = plans['whole loss']['collectives']['all-to-all']
  # Those of 32 tokens of width 32 a device, and then their gradient.
  assert found['payload_bytes'] == 2 * 4 * 32 * 32


def test_a_scanned_plan_equals_the_unrolled_one(plans):
  for field in ('parameter_bytes', 'optimizer_bytes', 'batch_bytes'):
    assert plans['scanned'][field] == plans['fsdp'][field]
  assert plans['scanned']['program_flops'] == (
    plans['fsdp']['program_flops'] + SCORES_AGAIN
  )
  assert plans['scanned']['compiler_flops'] < plans['fsdp']['compiler_flops']


def test_the_program_matches_the_formula(plans):
  for name in ('data', 'fsdp', 'scanned', 'parts'):
    found = plans[name]
    # XLA writes some gradients of norms' scales, which the formula leaves out,
    # as products: 2 x emb x tokens for each of them at most.
    norms = 2 * 32 * 16 * (5 * 24 + 4 * 16)
    extra = found['program_flops'] - found['model_flops']
    if name in ('scanned', 'parts'):
      extra -= SCORES_AGAIN
    assert 0 <= extra <= norms < 0.01 * found['model_flops']
    assert found['unknown_loops'] == 0


def test_a_device_computes_its_rows_in_microbatches(plans):
  assert plans['parts']['num_microbatches'] == 2
  assert plans['fsdp']['num_microbatches'] == 1


@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize(
  'layout', [row_layouts.ENCODER_DECODER, row_layouts.DECODER]
)
def test_the_batch_matches_the_feed(tmp_path, packed, layout):
  cache = write_token_cache(
    tmp_path / 'cache', [{'inputs': [5, 1], 'targets': [6, 1]}] * 4
  )
  feed = Feed(cache, batch_size=4, lengths=LENGTHS, pack=packed, layout=layout)
  assert set(plan._batch_shapes(4, LENGTHS, packed, layout)) == {
    (name, array.shape, array.dtype.name)
    for name, array in feed.batch(0).items()
  }


def test_one_device_sends_nothing():
  found = plan.plan(
    model_config=T5Config(**MODEL, scan_layers=True),
    optimizer=optimizers.adamw(),
    mesh=partitioning.make_mesh(devices=jax.devices()[:1]),
    batch_size=2,
    lengths=LENGTHS,
    packed=False,
  )
  assert found.collectives == {}
  assert found.estimated_cycles is None
  assert found.estimated_seconds is None
  assert found.device_memory_bytes is None


def decoder_plan(**settings):
  return plan.plan(
    model_config=DecoderConfig(
      vocab_size=96,
      emb_dim=32,
      num_heads=4,
      num_kv_heads=2,
      head_dim=8,
      mlp_dim=64,
      num_layers=2,
      scan_layers=True,
    ),
    optimizer=optimizers.adamw(),
    mesh=partitioning.make_mesh(devices=jax.devices()[:1]),
    batch_size=2,
    lengths=LENGTHS,
    layout=row_layouts.DECODER,
    **settings,
  )


def test_a_decoder_only_model():
  # Embeddings and logits, attention, MLP and norms of the layers, last norm.
  layer = 32 * (2 * 32 + 2 * 16) + 3 * 32 * 64 + 2 * 32
  number = 2 * 96 * 32 + 2 * layer + 32
  found = decoder_plan()
  assert (found.num_parameters, found.num_lora_parameters) == (number, None)
  assert found.parameter_bytes == 4 * number
  assert found.optimizer_bytes == 2 * 4 * number + 3 * 4
  assert found.batch_bytes == 5 * 4 * 2 * (24 + 16)
  # Scores of both layers, again in the backward pass.
  scores = 2 * 2 * 2 * (24 + 16) ** 2 * 32
  # Logits of parts of 32 tokens, those without a target included.
  logits = 3 * 2 * 2 * (64 - (24 + 16)) * 32 * 96
  assert found.program_flops == found.model_flops + scores + logits
  updated = decoder_plan(lora=Lora(rank=2, targets=('query', 'wi_0')))
  extra = 2 * (2 * (32 + 32) + 2 * (32 + 64))
  assert updated.num_parameters == number
  assert updated.num_lora_parameters == extra
  assert updated.parameter_bytes == 4 * (number + extra)
  assert updated.optimizer_bytes == 2 * 4 * extra + 3 * 4
  assert updated.program_flops < found.program_flops


def test_the_command_prints_a_table(capsys):
  assert cli.main([*COMMAND, '--gin.DTYPE=float32']) == 0
  printed = capsys.readouterr()
  first, *others = printed.err.splitlines()
  assert first == (
    'compiling a step for 1 virtual CPU device: 1 to 4 minutes on two CPU '
    'cores, for models up to 11B parameters'
  )
  # On a busy machine.
  assert all(re.fullmatch(r'\w+, \d+ s so far', line) for line in others)
  lines = printed.out.splitlines()
  assert lines[0].split(maxsplit=1) == [
    'for',
    '1 virtual CPU device (data 1 x fsdp 1 x model 1)',
  ]
  names = [line.split('  ')[0] for line in lines if line[:1].strip()]
  assert names[:6] == [
    'for',
    'model',
    'batch',
    'bytes per device',
    'FLOPs per step',
    'sent per step, per device',
  ]
  assert lines[-3].startswith('This is an estimate from virtual CPU devices.')
  assert lines[-2] == "No vocabulary is set: assuming T5's 32,128 rows."
  assert lines[-1].startswith('T5Config.scan_layers is not set: assuming True')


def test_the_command_uses_the_settings(capsys):
  assert (
    cli.main(
      [
        *COMMAND,
        '--json',
        '--gin.DTYPE=float32',
        '--gin.IT_STUDY_VOCABULARY=byte',
        '--gin.T5Config.scan_layers=False',
        '--gin.MICROBATCH_SIZE=1',
        '--gin.PACK=False',
      ]
    )
    == 0
  )
  found = json.loads(capsys.readouterr().out)
  assert found['model']['vocab_size'] == 384
  assert found['model']['scan_layers'] is False
  assert found['num_microbatches'] == 4
  assert found['batch_size'] == 4
  assert found['batch_bytes'] == 4 * 4 * (16 + 3 * 8)
  assert len(found['remarks']) == 1


LLAMA = (
  *('plan', '--gin_file=tiny.gin', '--gin_file=runs/finetune.gin'),
  *('--gin.DTYPE=float32', '--gin.BATCH_SIZE=2'),
  "--gin.TASK_FEATURE_LENGTHS={'inputs': 16, 'targets': 8}",
)


def test_the_command_plans_lora_of_a_decoder(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'tiny.gin').write_text(gguf_files.GIN)
  words = ('--gin_file=runs/lora.gin', '--vocabulary_size=260')
  assert cli.main([*LLAMA, *words]) == 0
  printed = capsys.readouterr().out.splitlines()
  assert printed[1] == (
    'model                      17,632 parameters and 1,792 of LoRA, float32, '
    'remat none'
  )
  assert printed[2].endswith('2 rows of 16 + 8 tokens, packed, in 1 microbatch')
  assert printed[-2].startswith('DecoderConfig.scan_layers is not set: ')
  assert printed[-1] == (
    'FLOPs by formula are those of training all parameters; LoRA skips some of '
    'the backward pass.'
  )


def test_a_decoder_s_vocabulary_must_be_known(capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'tiny.gin').write_text(gguf_files.GIN)
  assert cli.main([*LLAMA]) == 2
  assert capsys.readouterr().err == (
    'it-study: No vocabulary is set, and a decoder-only model has that of its '
    'weights. Give the rows of its embedding table, such as '
    '--vocabulary_size=32000 for LLaMA, or set IT_STUDY_VOCABULARY to a folder '
    'with tokenizer.json.\n'
  )
  assert refusal(capsys, '--vocabulary_size=0') == (
    '--vocabulary_size is 0; give a whole number from 1 up.'
  )


def test_a_mesh_that_does_not_fit(capsys):
  assert refusal(capsys, '--devices=1', '--gin.MESH_MODEL=2') == (
    'Mesh data=-1 x fsdp=1 x model=2 does not fit 1 cpu device(s): the product '
    'must be 1. Change MESH_DATA, MESH_FSDP or MESH_MODEL.'
  )


def test_a_number_is_refused_before_slow_imports():
  code = (
    'import sys\n'
    'from it_study import cli\n'
    "status = cli.main(['plan', '--devices=0'])\n"
    "print(status, {'jax', 'scipy', 'tensorflow'} & set(sys.modules))"
  )
  done = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    check=True,
    env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    text=True,
  )
  assert done.stdout == '2 set()\n'
  assert done.stderr == (
    'it-study: --devices is 0; give a whole number from 1 up.\n'
  )


def test_a_process_with_too_few_devices_is_refused(capsys):
  found = len(jax.devices('cpu'))
  assert refusal(capsys, f'--devices={found + 1}') == (
    f'a plan for {found + 1} devices needs its own process: JAX is already '
    f'running, with {found}. Run it-study plan by itself.'
  )


def test_a_batch_that_cannot_be_split():
  process = subprocess.run(
    [
      *(sys.executable, '-m', 'it_study.cli', *COMMAND),
      *('--gin.MESH_FSDP=8', '--gin.MESH_DATA=1', '--quiet'),
    ],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert process.returncode == 2
  assert process.stderr == (
    'it-study: batch size 4 cannot be split over 8 devices (data 1 times fsdp '
    '8). Use a multiple of 8, or a smaller mesh.\n'
  )


def test_a_step_that_does_not_fit_gets_advice(monkeypatch):
  class Lowered:
    def compile(self, compiler_options=None):
      raise jax.errors.JaxRuntimeError(
        'RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 31.50G'
        ' of 15.75G hbm.\n\nTotal hbm usage'
      )

  monkeypatch.setattr(
    plan.train_step, 'lower_train_step', lambda **settings: Lowered()
  )
  with pytest.raises(InputError) as refused:
    plan.plan(
      model_config=T5Config(**MODEL),
      optimizer=optimizers.adamw(),
      mesh=partitioning.make_mesh(devices=jax.devices()[:1]),
      batch_size=2,
      lengths=LENGTHS,
    )
  assert str(refused.value) == (
    'the step does not fit one cpu: Ran out of memory in memory space hbm. '
    'Used 31.50G of 15.75G hbm. Try a smaller MICROBATCH_SIZE, '
    "T5Config.remat_policy='full', or a larger MESH_FSDP or MESH_MODEL."
  )


def test_a_configuration_without_a_training(capsys):
  words = [*COMMAND[:2], '--gin_file=runs/predict.gin']
  words += ['--gin.CHECKPOINT_PATH=None', '--gin.INFER_OUTPUT_DIR=out']
  assert cli.main(words) == 2
  assert capsys.readouterr().err == (
    'it-study: the configuration lacks a training: runs/finetune.gin '
    '(finetune.batch_size is not set). Add the file with --gin_file.\n'
  )


def test_an_unknown_topology_is_refused(capsys):
  message = refusal(capsys, '--topology=v5e:4x5')
  assert message.startswith(
    "topology 'v5e:4x5' is unknown. Did you mean 'v5e:4x8'? There are v5e: "
    'with 2x2, 2x4, '
  )
  assert refusal(capsys, '--topology=v5e:4x4', '--devices=16') == (
    '--devices=16 and --topology=v5e:4x4: a topology says how many devices '
    'there are; give one of the two.'
  )


def test_a_topology_needs_its_compiler(capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, 'libtpu', None)
  assert refusal(capsys, '--topology=v5e:4x4') == (
    'topology v5e:4x4 needs the TPU compiler, libtpu, which is not installed: '
    "pip install 'it_study[tpu-aot]'."
  )
