"""Tests of it_study.distributed, and of training in two processes."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from it_study import distributed
from it_study.checkpoints import manager
from it_study.errors import InputError
from it_study.input_pipeline.token_cache import write_token_cache
from it_study.processes import graceful_exit
from it_study.training.preemption import PREEMPTED_STATUS

STEPS = 20
KINDS = ('t5', 'decoder', 'lora')
_TRAIN = """
import sys
import time
import jax
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
model_dir, tokens, devices, pause, *kinds = sys.argv[1:]
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', int(devices))
from it_study import distributed
distributed.start()
from it_study.checkpoints import finite
from it_study.input_pipeline import feed, row_layouts, token_cache
from it_study.models import partitioning
from it_study.models.adapters.lora import Lora
from it_study.models.decoder_only.config import DecoderConfig
from it_study.models.decoder_only.model import DecoderLM
from it_study.models.t5 import T5Config
from it_study.training import optimizers, settings, trainer
mesh = partitioning.make_mesh(data=-1, fsdp=min(2, jax.device_count()))
decoder = DecoderConfig(
  128, 64, 8, 4, 8, 64, 1,
  qk_norm='head', norm_place='around', window=6, window_pattern=(True,),
)
models = {
  't5': T5Config(128, 64, 8, 8, 64, 1, 1, dropout_rate=0.1),
  'decoder': decoder,
  'lora': decoder,
}

def draw_decoder():
  return partitioning.init_params(model=DecoderLM(decoder), seed=0, mesh=mesh)

def train(kind):
  is_lora = kind == 'lora'
  trainer.train(
    model_config=models[kind],
    feed=feed.Feed(
      token_cache.open_token_cache(tokens),
      batch_size=8,
      lengths={'inputs': 16, 'targets': 8},
      seed=1,
      layout=row_layouts.ENCODER_DECODER
      if kind == 't5'
      else row_layouts.DECODER,
    ),
    train_steps=20,
    settings=settings.TrainingSettings(
      optimizer=optimizers.adafactor(
        learning_rate=2e-2, min_dim_size_to_factor=32
      ),
      seed=3,
      checkpoints=settings.CheckpointSettings(period=7),
      # They take seconds.
      log=settings.LogSettings(period=1, events=kind == 't5'),
      lora=Lora(rank=4) if is_lora else None,
    ),
    mesh=mesh,
    model_dir=f'{model_dir}/{kind}',
    initial_params=draw_decoder if is_lora else None,
    on_progress=lambda _: time.sleep(float(pause)),
  )

for kind in kinds:
  train(kind)
# More sums over devices than a device holds at once.
sharding = NamedSharding(mesh, PartitionSpec('fsdp'))
many = [jax.device_put(np.ones((2, 8)), sharding) for _ in range(100)]
finite.check(many, source='here')
print('done', distributed.is_first(), jax.process_count())
"""


def start(
  model_dir: pathlib.Path,
  tokens: pathlib.Path,
  *kinds: str,
  processes: int,
  devices: int,
  pause: float = 0.0,
) -> list[subprocess.Popen]:
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  started = []
  for index in range(processes):
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
    if processes > 1:
      environment |= {
        'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}',
        'JAX_NUM_PROCESSES': str(processes),
        'JAX_PROCESS_ID': str(index),
      }
    started.append(
      subprocess.Popen(
        [
          *(sys.executable, '-c', _TRAIN, str(model_dir), str(tokens)),
          *(str(devices), str(pause), *kinds),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
    )
  return started


def finish(started: list[subprocess.Popen], status: int = 0) -> list[str]:
  outputs = []
  for process in started:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == status, errors[-3000:]
    outputs.append(out)
  return outputs


def lines(model_dir: pathlib.Path) -> list[dict]:
  text = (model_dir / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def losses(model_dir: pathlib.Path) -> list[float]:
  return [line['loss'] for line in lines(model_dir)]


@pytest.fixture(name='tokens', scope='module')
def _tokens(tmp_path_factory):
  random = np.random.default_rng(0)
  path = tmp_path_factory.mktemp('tokens') / 'cache'
  write_token_cache(
    path,
    [
      {
        'inputs': [*random.integers(2, 128, random.integers(3, 15)), 1],
        'targets': [*random.integers(2, 128, random.integers(1, 7)), 1],
      }
      for _ in range(60)
    ],
  )
  return path


@pytest.fixture(name='two', scope='module')
def _two(tmp_path_factory, tokens):
  """Trainings in two processes of four devices each, by kind."""
  folder = tmp_path_factory.mktemp('two')
  outputs = finish(start(folder, tokens, *KINDS, processes=2, devices=4))
  # Gloo prints to standard output as well.
  last = [output.splitlines()[-1] for output in outputs]
  assert last == ['done True 2', 'done False 2']
  return folder


@pytest.fixture(name='one', scope='module')
def _one(tmp_path_factory, tokens):
  """The same trainings on one device."""
  folder = tmp_path_factory.mktemp('one')
  finish(start(folder, tokens, *KINDS, processes=1, devices=1))
  return folder


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_two_processes_train_as_one_does(kind, one, two):
  one, two = one / kind, two / kind
  assert [line['step'] for line in lines(two)] == list(range(1, STEPS + 1))
  for name in ('loss', 'gradient_norm'):
    expected, found = (
      np.array([line[name] for line in lines(folder)]) for folder in (one, two)
    )
    print('two processes', kind, name, np.abs(found / expected - 1).max())
    np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert losses(two)[0] - losses(two)[-1] > 0.1
  # Token counts are exact, as the batches are the same.
  for name in ('num_target_tokens', 'steps'):
    assert [line[name] for line in lines(two)] == [
      line[name] for line in lines(one)
    ]
  if kind == 't5':
    assert len(list((two / 'events').iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_a_checkpoint_of_two_processes_is_read_by_one(kind, one, two):
  names = sorted(path.name for path in (two / kind / 'checkpoints').iterdir())
  assert names == ['14', '20']
  expected, found = (
    manager.restore_params(folder / kind) for folder in (one, two)
  )
  differences = []
  for value, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    assert len(value.devices()) == 1
    difference = np.linalg.norm(value - other) / np.linalg.norm(other)
    differences.append(difference)
  print('two processes', kind, 'parameters', max(differences))
  assert max(differences) < 1e-5


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_and_they_resume(
  tmp_path, tokens, two
):
  # It restores the most: its weights, its updates and the optimizer's state.
  kind = 'lora'
  started = start(tmp_path, tokens, kind, processes=2, devices=4, pause=0.5)
  folder = tmp_path / kind
  log = folder / 'metrics.jsonl'
  deadline = time.monotonic() + 200
  while not log.exists() or len(log.read_text().splitlines()) < 3:
    assert time.monotonic() < deadline
    time.sleep(0.05)
  started[1].send_signal(signal.SIGTERM)
  finish(started, status=PREEMPTED_STATUS)
  stopped = lines(folder)[-1]['step']
  assert 3 <= stopped < STEPS
  assert manager.find_checkpoint(folder).name == str(stopped)
  finish(start(tmp_path, tokens, kind, processes=2, devices=4))
  jax.tree.map(
    np.testing.assert_array_equal,
    manager.restore_params(folder),
    manager.restore_params(two / kind),
  )
  assert losses(folder) == losses(two / kind)


@pytest.mark.parametrize(
  ('environment', 'message'),
  [
    (
      {'JAX_NUM_PROCESSES': '2', 'JAX_PROCESS_ID': '0'},
      'JAX_NUM_PROCESSES is set, but JAX_COORDINATOR_ADDRESS is not. Set all '
      'of JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID for '
      'several processes, none of them for one.',
    ),
    (
      {
        'JAX_COORDINATOR_ADDRESS': 'here:1',
        'JAX_NUM_PROCESSES': 'two',
        'JAX_PROCESS_ID': '0',
      },
      "JAX_NUM_PROCESSES is 'two'; it must be a whole number from 1 up.",
    ),
    (
      {
        'JAX_COORDINATOR_ADDRESS': 'here:1',
        'JAX_NUM_PROCESSES': '2',
        'JAX_PROCESS_ID': '2',
      },
      "JAX_PROCESS_ID is '2'; with JAX_NUM_PROCESSES=2 it must be a whole "
      'number from 0 to 1.',
    ),
    (
      {
        'JAX_COORDINATOR_ADDRESS': 'here',
        'JAX_NUM_PROCESSES': '2',
        'JAX_PROCESS_ID': '0',
      },
      "JAX_COORDINATOR_ADDRESS is 'here'; it must be host and port of process "
      '0, such as 10.0.0.1:1234.',
    ),
    (
      {'IT_STUDY_DISTRIBUTED': 'yes'},
      "IT_STUDY_DISTRIBUTED is 'yes'; set it to 'detect' to let JAX detect "
      'other processes, or leave it unset.',
    ),
  ],
)
def test_inconsistent_variables_are_refused(environment, message):
  with pytest.raises(InputError) as caught:
    distributed.start(environment)
  assert str(caught.value) == message


@pytest.mark.parametrize(
  ('environment', 'expected'),
  [
    ({}, []),
    ({'SLURM_NTASKS': '1', 'TPU_WORKER_HOSTNAMES': 'localhost'}, []),
    ({'SLURM_NTASKS': '4'}, [{}]),
    ({'TPU_WORKER_HOSTNAMES': '10.0.0.1,10.0.0.2'}, [{}]),
    ({'IT_STUDY_DISTRIBUTED': 'detect'}, [{}]),
    (
      {
        'JAX_COORDINATOR_ADDRESS': 'here:1',
        'JAX_NUM_PROCESSES': '1',
        'JAX_PROCESS_ID': '0',
      },
      [],
    ),
  ],
)
def test_processes_are_joined_if_there_are_several(
  monkeypatch, environment, expected
):
  calls = []
  monkeypatch.setattr(
    jax.distributed, 'initialize', lambda **given: calls.append(given)
  )
  distributed.start(environment)
  assert calls == expected


def test_one_process_is_never_held_up(monkeypatch):
  numbers = []
  monkeypatch.setattr(
    distributed, 'is_preempted', lambda n: numbers.append(n) or len(numbers) > 1
  )
  distributed.exit_if_preempted()
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  distributed.exit_if_preempted()
  with pytest.raises(graceful_exit.Terminated) as caught:
    distributed.exit_if_preempted()
  assert caught.value.code == 75
  assert numbers == [numbers[0], numbers[0] + 1]


@pytest.mark.parametrize(
  ('environment', 'expected'),
  [
    ({}, False),
    ({'SLURM_NTASKS': '1', 'TPU_WORKER_HOSTNAMES': 'a'}, False),
    ({'SLURM_NTASKS': '2'}, True),
    ({'JAX_NUM_PROCESSES': '1'}, True),
    ({'IT_STUDY_DISTRIBUTED': 'detect'}, True),
  ],
)
def test_several_processes_are_expected(environment, expected):
  assert distributed.is_expected(environment) is expected


def test_a_command_for_one_process_says_so(monkeypatch):
  distributed.refuse('study')
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(InputError) as caught:
    distributed.refuse('study')
  assert str(caught.value) == (
    'study runs in a single process, found 2. Start it without '
    'JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID; only train '
    'and predict run in several.'
  )


@pytest.mark.parametrize(
  ('error', 'reason'),
  [
    (AssertionError(), 'no JAX for it is installed'),
    (
      RuntimeError("No backend 'x': gone (set JAX_PLATFORMS='' to choose)"),
      "No backend 'x': gone",
    ),
  ],
)
def test_a_platform_that_is_not_there_is_named(monkeypatch, error, reason):
  def fail():
    raise error

  monkeypatch.setattr(jax, 'devices', fail)
  platforms = jax.config.values['jax_platforms']
  with pytest.raises(InputError) as caught:
    distributed.count()
  assert str(caught.value) == (
    f'JAX_PLATFORMS is {platforms!r}, which JAX cannot use on this machine: '
    f"{reason}. Unset it, or set JAX_PLATFORMS=cpu; 'it-study doctor' shows "
    'the devices.'
  )
