"""Tests of errors while files are written: one line, whoever raises them."""

import asyncio
import dataclasses
import errno
import gc
import json
import os
import re
import subprocess
import sys

import pytest

from it_study import cli
from it_study.commands import registry
from it_study.commands.doctor import doctor
from it_study.errors import InputError
from it_study.storage import write_errors

# A limit on the size of a file stands for a full disk: the system's calls fail
# in the same places.
_PROGRAM = """
import json, pathlib, resource, sys
from it_study.checkpoints import manager, weights
from it_study.checkpoints.hf import params as hf
from it_study.checkpoints.step_folders import LocalCheckpoints
from it_study.models.config import T5Config
import t5x_fixture
config = T5Config(
  vocab_size=4096, emb_dim=16, num_heads=2, head_dim=8, mlp_dim=64,
  num_encoder_layers=4, num_decoder_layers=4)
params = t5x_fixture.draw(config)
folder = pathlib.Path(sys.argv[1])
hf.save_params(folder / 'hf', params, config=config)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
found = []
for to in ('t5x', 't5x_orbax', 'it_study'):
  try:
    weights.convert(folder / 'hf', folder / to, source_format='hf', to=to)
  except Exception as error:
    found.append([to, type(error).__name__, str(error)])
checkpoints = manager.Checkpoints(LocalCheckpoints(folder / 'training'))
try:
  checkpoints.save(step=3, params=params, opt_state={'a': 1}, metadata={})
  checkpoints.wait()
except Exception as error:
  found.append(['training', type(error).__name__, str(error)])
print(json.dumps(found))
"""


def test_a_full_disk_is_reported_once_by_every_writer(tmp_path):
  done = subprocess.run(
    [sys.executable, '-c', _PROGRAM, str(tmp_path)],
    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'ERROR' not in done.stderr
  assert 'Traceback' not in done.stderr
  full = (
    'cannot be written: File too large. Free some space, then run the same '
    'command.'
  )
  assert json.loads(done.stdout) == [
    ['t5x', 'InputError', f'{tmp_path}/t5x/checkpoint_0: {full}'],
    ['t5x_orbax', 'InputError', f'{tmp_path}/t5x_orbax/checkpoint_0: {full}'],
    ['it_study', 'InputError', f'{tmp_path}/it_study: {full}'],
    ['training', 'InputError', f'{tmp_path}/training/3: {full}'],
  ]


@pytest.mark.parametrize(
  ('error', 'is_logged'),
  [
    (ValueError('[OS error 28: No space left on device]'), False),
    (ValueError('x'), True),
  ],
)
def test_writes_that_nobody_waited_for_are_not_logged(error, is_logged, caplog):
  async def write():
    raise error

  async def give_up():
    task = asyncio.ensure_future(write())
    await asyncio.sleep(0)
    del task
    gc.collect()

  with write_errors.writing('a/b'):
    asyncio.run(give_up())
  assert ('never retrieved' in caplog.text) == is_logged


@pytest.mark.parametrize(
  ('error', 'why'),
  [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 'No space left on'),
    (
      ValueError('RESOURCE_EXHAUSTED: [OS error 122: Disk quota exceeded]'),
      'D',
    ),
    (
      RuntimeError('x [OS error 13: Permission denied /a]'),
      'Permission denied',
    ),
    (FileNotFoundError(errno.ENOENT, 'No such file'), 'No such file'),
  ],
)
def test_what_a_user_can_mend_is_an_input_error(error, why):
  with (
    pytest.raises(InputError, match=rf'^a/b: cannot be written: {why}.*\.$'),
    write_errors.writing('a/b'),
  ):
    raise error


@pytest.mark.parametrize(
  'error', [ValueError('x'), RuntimeError('out of rows')]
)
def test_other_errors_stay(error):
  with (
    pytest.raises(type(error), match=re.escape(str(error))),
    write_errors.writing('a/b'),
  ):
    raise error


@pytest.mark.parametrize(
  ('error', 'path'),
  [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'out/x'), 'out/x'),
    (ValueError('a: No space left on device [source locations]'), 'a file'),
  ],
)
def test_a_full_disk_is_one_line_of_any_command(
  error, path, monkeypatch, capsys
):
  def fail(options):
    raise error

  command = dataclasses.replace(doctor.COMMAND, run=fail)
  monkeypatch.setattr(registry, 'COMMANDS', (command,))
  assert cli.main(['doctor']) == 2
  assert capsys.readouterr().err == (
    f'it-study: {path}: cannot be written: No space left on device. Free some '
    'space, then run the same command.\n'
  )
